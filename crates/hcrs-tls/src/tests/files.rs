//! The errors for broken files.

use super::*;

#[test]
fn key_of_another_certificate_is_refused() {
    let fixture = fixture();
    let other = TempDir::new().unwrap();
    let stranger = make_dev_certificate(other.path(), &["localhost"]).unwrap();
    let settings = Settings { keyfile: stranger.keyfile.clone(), ..fixture.settings.clone() };
    let error = server_config(&settings).unwrap_err();
    assert!(matches!(error, TlsError::NotAPair { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains(fixture.settings.certfile.to_str().unwrap()), "{words}");
    assert!(words.contains(stranger.keyfile.to_str().unwrap()), "{words}");
}

#[test]
fn broken_files_are_named_in_the_error() {
    let fixture = fixture();
    let good = &fixture.settings;
    let written = |name: &str, content: &str| {
        let path = fixture.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let encrypted = written("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n");
    let old = written("old.pem", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n");
    let empty = written("empty.pem", "");
    let cut = written("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let no_der = written("no-der.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let bad_key = written("bad-key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let missing = fixture.folder.path().join("missing.pem");

    let cert = |path: &Path| Settings { certfile: path.into(), ..good.clone() };
    let key = |path: &Path| Settings { keyfile: path.into(), ..good.clone() };
    for (settings, path, words) in [
        (cert(&missing), &missing, "cannot read"),
        (key(&missing), &missing, "cannot read"),
        (cert(&empty), &empty, "holds no certificate"),
        (cert(&good.keyfile), &good.keyfile, "holds no certificate"),
        (cert(&cut), &cut, "is not valid PEM"),
        (cert(&no_der), &no_der, "the first certificate in certfile"),
        (key(&empty), &empty, "holds no private key"),
        (key(&good.certfile), &good.certfile, "holds no private key"),
        (key(&bad_key), &bad_key, "cannot be used"),
        (key(&encrypted), &encrypted, "is not valid PEM"),
        (key(&old), &old, "is encrypted"),
    ] {
        let error = server_config(&settings).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{error}");
    }
}

//! Certificates that come by themselves, and the handshakes by which an authority looks for them.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::UnixTime;
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::*;

const DIGEST: [u8; 32] = [7; 32];

/// Returns a client that accepts any certificate.
fn careless(alpn: &[&[u8]]) -> Arc<ClientConfig> {
    client_config(Authorities::Unverified, alpn).unwrap()
}

fn managed(folder: &TempDir, names: &[&str]) -> Settings {
    let certificate = |name: &&str| ManagedCertificate {
        name: (*name).to_owned(),
        file: folder.path().join(format!("{name}.pem")),
    };
    Settings { managed: names.iter().map(certificate).collect(), ..Settings::new("", "") }
}

/// Returns the certificate that a client gets for a name.
fn sent(tls: &TlsConfig, name: &str) -> String {
    let (_, choice) = choose_and_shake(&tls.current(), &careless(&[b"h2"]), name).unwrap();
    choice.certificate.to_string()
}

#[test]
fn a_self_made_certificate_stands_in_until_there_is_one() {
    let (pki, folder) = (Pki::new(), TempDir::new().unwrap());
    let settings = managed(&folder, &["a.test", "b.test"]);
    let (tls, warnings) = TlsConfig::load(settings.clone(), SystemTime::now()).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(tls.current().certificates(), [], "it is none that an operator looks for");
    let first = sent(&tls, "b.test");
    assert_ne!(first, sent(&tls, "a.test"));
    assert_eq!(sent(&tls, "unknown.test"), sent(&tls, "a.test"));
    let made = pki.server(&["b.test"], &rcgen::PKCS_ECDSA_P256_SHA256);
    let both = [fs::read(&made.keyfile).unwrap(), fs::read(&made.certfile).unwrap()].concat();
    fs::write(&settings.managed[1].file, &both).unwrap();
    assert_eq!(tls.reload(SystemTime::now()).unwrap(), []);
    assert_eq!(tls.current().certificates()[0].names, ["b.test"]);
    let second = sent(&tls, "b.test");
    assert!(
        first != second && fs::read_to_string(&made.certfile).unwrap().replace('\r', "").contains(&second)
    );
}

#[test]
fn a_damaged_file_counts_as_none_at_a_start_and_changes_nothing_later() {
    let folder = TempDir::new().unwrap();
    let settings = managed(&folder, &["a.test"]);
    fs::write(&settings.managed[0].file, "half").unwrap();
    let (tls, warnings) = TlsConfig::load(settings, SystemTime::now()).unwrap();
    assert!(matches!(&warnings[..], [TlsWarning::Managed { .. }]), "{warnings:?}");
    let before = sent(&tls, "a.test");
    assert!(tls.reload(SystemTime::now()).is_err());
    assert_eq!(sent(&tls, "a.test"), before);
}

#[test]
fn names_may_change_while_the_server_runs() {
    let folder = TempDir::new().unwrap();
    let (tls, _) = TlsConfig::load(managed(&folder, &["a.test"]), SystemTime::now()).unwrap();
    tls.manage(managed(&folder, &["c.test"]).managed);
    assert_eq!(tls.files(), [folder.path().join("c.test.pem")]);
    tls.reload(SystemTime::now()).unwrap();
    assert_eq!(sent(&tls, "c.test"), sent(&tls, "a.test"), "the only one");
    tls.manage(Vec::new());
    assert!(matches!(tls.reload(SystemTime::now()), Err(TlsError::NoCertificate { .. })));
}

/// Shakes hands with the configuration of a challenge, if it is one.
fn challenged(alpn: &[&[u8]], name: &str) -> Option<Vec<u8>> {
    let mut config = ClientConfig::clone(&careless(alpn));
    let seen = Arc::new(Seen::default());
    config.dangerous().set_certificate_verifier(Arc::clone(&seen) as _);
    let config = Arc::new(config);
    let found = Cell::new(false);
    let choose = |hello: &ClientHello<'_>| {
        let name = challenged_name(hello);
        found.set(name.is_some());
        match name {
            Some(name) => challenge_config(&name, &DIGEST).unwrap(),
            None => server_config(&fixture().settings).unwrap(),
        }
    };
    let _no_challenge = shake_by(choose, &config, name);
    found.get().then(|| seen.0.lock().unwrap().clone())
}

/// Keeps the certificate that a server sends.
#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Vec<u8>>);

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock().unwrap() = leaf.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn a_challenge_is_a_handshake_with_its_protocol_alone() {
    // A name as long as this has no room in a common name.
    let long = format!("{}.a.test", "l".repeat(63));
    for name in ["a.test", &long] {
        let certificate = challenged(&[ACME_PROTOCOL], name).unwrap();
        assert!(certificate.windows(DIGEST.len()).any(|part| part == DIGEST), "the digest is in it");
        assert!(certificate.windows(name.len()).any(|part| part == name.as_bytes()));
    }
    let certificate = challenged(&[ACME_PROTOCOL], "A.test").unwrap();
    assert!(certificate.windows(6).any(|part| part == b"a.test"), "names have no case");
    assert_eq!(challenged(&[ACME_PROTOCOL, b"h2"], "a.test"), None, "it is not the only protocol");
    assert_eq!(challenged(&[b"h2", ACME_PROTOCOL], "a.test"), None);
    assert_eq!(challenged(&[], "a.test"), None);
}

#[test]
fn a_pair_is_checked_before_it_is_stored() {
    let pki = Pki::new();
    let [one, two] = ["a.test", "b.test"].map(|name| pki.server(&[name], &rcgen::PKCS_ECDSA_P256_SHA256));
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    check_pair(&read(&one.keyfile), &read(&one.certfile)).unwrap();
    assert!(matches!(check_pair(&read(&two.keyfile), &read(&one.certfile)), Err(TlsError::NotAPair { .. })));
    assert!(matches!(check_pair(&read(&one.keyfile), ""), Err(TlsError::NoCertificate { .. })));
    assert!(check_pair("", &read(&one.certfile)).is_err());
}

//! The development certificate and its authority: creation, reuse and replacement.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::development::{DAY, write_certificate};

#[test]
fn private_key_is_readable_by_its_owner_only() {
    let fixture = fixture();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.settings.keyfile), 0o600);
    let files = DevCertificate::in_folder(fixture.folder.path());
    assert_eq!(mode(&files.ca_keyfile), 0o600);
    assert_eq!(mode(&files.cafile), 0o644);
    let left: Vec<_> = fs::read_dir(fixture.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 4, "nothing but the four files is left: {left:?}");
}

#[test]
fn making_it_again_replaces_both_files() {
    let fixture = fixture();
    let before = fs::read(&fixture.settings.keyfile).unwrap();
    let again = make_dev_certificate(fixture.folder.path(), &["localhost"]).unwrap();
    assert_ne!(before, fs::read(&again.keyfile).unwrap());
    server_config(&fixture.settings).unwrap();
}

#[test]
fn development_certificate_is_usable_until_a_day_before_its_end() {
    let folder = TempDir::new().unwrap();
    let now = SystemTime::now();
    let names = DevCertificate::LOCAL_NAMES;
    let made = write_certificate(folder.path(), &names, now).unwrap();
    assert!(made.is_usable(&names, now));
    assert!(made.is_usable(&names, now + 10 * DAY));
    assert!(!made.is_usable(&names, now + 11 * DAY + DAY / 2));
    assert!(!made.is_usable(&names, now - 3 * DAY), "not yet valid");
    assert!(!made.is_usable(&["example.org"], now), "made for other names");
    fs::remove_file(&made.keyfile).unwrap();
    assert!(!made.is_usable(&names, now), "half of it is missing");
}

#[test]
fn a_name_that_cannot_stand_in_a_certificate_is_refused() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(make_dev_certificate(folder.path(), &["münchen"]), Err(TlsError::Generate(_))));
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn the_authority_stays_while_certificates_come_and_go() {
    let folder = TempDir::new().unwrap();
    let now = SystemTime::now();
    let names = DevCertificate::LOCAL_NAMES;
    let made = write_certificate(folder.path(), &names, now).unwrap();
    let (first_ca, first) = (read(&made.cafile), read(&made.certfile));
    let later = now + 11 * DAY + DAY / 2;
    assert!(!made.is_usable(&names, later), "it ends within a day");
    assert!(made.authority_is_usable(&names, later));
    write_certificate(folder.path(), &names, later).unwrap();
    assert!(made.is_usable(&names, later));
    assert_eq!(read(&made.cafile), first_ca);
    assert_ne!(read(&made.certfile), first);
}

#[test]
fn an_authority_near_its_end_is_made_anew() {
    let folder = TempDir::new().unwrap();
    let now = SystemTime::now();
    let made = write_certificate(folder.path(), &["localhost"], now).unwrap();
    let before = read(&made.cafile);
    assert!(made.authority_is_usable(&["localhost"], now + 717 * DAY));
    let late = now + 719 * DAY;
    assert!(!made.authority_is_usable(&["localhost"], late), "its certificates would outlive it");
    write_certificate(folder.path(), &["localhost"], late).unwrap();
    assert_ne!(read(&made.cafile), before);
    assert!(made.is_usable(&["localhost"], late));
}

#[test]
fn an_authority_whose_files_are_no_pair_is_made_anew() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let now = SystemTime::now();
    let made = write_certificate(folder.path(), &["localhost"], now).unwrap();
    let stranger = write_certificate(other.path(), &["localhost"], now).unwrap();
    for broken in [read(&stranger.ca_keyfile), b"damaged".to_vec()] {
        fs::write(&made.ca_keyfile, broken).unwrap();
        assert!(!made.authority_is_usable(&["localhost"], now));
        write_certificate(folder.path(), &["localhost"], now).unwrap();
        assert!(made.is_usable(&["localhost"], now));
        assert!(made.authority_is_usable(&["localhost"], now));
    }
}

#[test]
fn the_authority_can_sign_for_its_names_only() {
    let folder = TempDir::new().unwrap();
    let now = SystemTime::now();
    let made = write_certificate(folder.path(), &["app.test", "*.wild.test", "192.0.2.7"], now).unwrap();
    assert!(made.is_usable(&["app.test", "192.0.2.7", "*.wild.test"], now));
    for name in ["app.test", "www.app.test", "x.wild.test", "192.0.2.7", "localhost", "127.0.0.1", "::1"] {
        assert!(made.authority_is_usable(&[name], now), "{name}");
    }
    for name in ["example.org", "test", "notapp.test", "192.0.2.8", "10.0.0.1", "::2"] {
        assert!(!made.authority_is_usable(&[name], now), "{name}");
    }
    let before = read(&made.cafile);
    write_certificate(folder.path(), &["example.org"], now).unwrap();
    assert_ne!(read(&made.cafile), before, "a name that it cannot sign for takes a new one");
}

#[test]
fn a_client_with_the_authority_alone_accepts_the_certificate() {
    let fixture = fixture();
    let files = DevCertificate::in_folder(fixture.folder.path());
    let server = server_config(&fixture.settings).unwrap();
    for cafile in [&files.cafile, &files.certfile] {
        handshake(&server, &client(cafile, &[&TLS13], &[]), "localhost").unwrap();
    }
}

#[test]
fn a_self_signed_certificate_from_before_is_kept_while_it_is_good() {
    let folder = TempDir::new().unwrap();
    let files = DevCertificate::in_folder(folder.path());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&files.certfile, made.cert.pem()).unwrap();
    fs::write(&files.keyfile, made.signing_key.serialize_pem()).unwrap();
    assert!(files.is_usable(&["localhost"], SystemTime::now()));
    assert!(!files.authority_is_usable(&["localhost"], SystemTime::now()));
}

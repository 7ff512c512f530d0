//! Files that change while the server runs.

use rustls::HandshakeKind;

use super::*;
use crate::development::DAY;

fn loaded(settings: Settings) -> TlsConfig {
    let (tls, warnings) = TlsConfig::load(settings, SystemTime::now()).unwrap();
    assert_eq!(warnings, []);
    tls
}

/// Replaces the old pair with a new one.
fn replace(old: &Settings, new: &CertificateFiles) {
    fs::copy(&new.certfile, &old.certfile).unwrap();
    fs::copy(&new.keyfile, &old.keyfile).unwrap();
}

fn served(tls: &TlsConfig, client: &Arc<ClientConfig>) -> (ServerConnection, String) {
    let (server, choice) = choose_and_shake(&tls.current(), client, "localhost").unwrap();
    (server, choice.certificate.to_string())
}

#[test]
fn a_new_pair_is_for_new_connections() {
    let pki = Pki::new();
    let settings = pki.localhost();
    let tls = loaded(settings.clone());
    let client = pki.trusting_client(None);
    let begun = tls.current();
    let (_, before) = served(&tls, &client);
    replace(&settings, &pki.server(&["localhost"], &rcgen::PKCS_ED25519));
    assert_eq!(served(&tls, &client).1, before, "no file is read before a reload");
    assert_eq!(tls.reload(SystemTime::now()).unwrap(), []);
    assert_ne!(served(&tls, &client).1, before);
    let (_, choice) = choose_and_shake(&begun, &client, "localhost").unwrap();
    assert_eq!(*choice.certificate, before, "a handshake that has begun goes on as it began");
}

#[test]
fn sessions_resume_over_a_reload() {
    let pki = Pki::new();
    let settings = pki.localhost();
    let tls = loaded(settings.clone());
    let client = pki.trusting_client(None);
    assert_eq!(served(&tls, &client).0.handshake_kind(), Some(HandshakeKind::Full));
    replace(&settings, &pki.server(&["localhost"], &rcgen::PKCS_ECDSA_P256_SHA256));
    tls.reload(SystemTime::now()).unwrap();
    assert_eq!(served(&tls, &client).0.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn sessions_end_when_other_clients_are_let_in() {
    let pki = Pki::new();
    let identity = pki.client(1);
    let list = pki.write("crl.pem", crl(&pki.ca, 30, &[]));
    let settings = Settings {
        ca_certs: Some(pki.cafile()),
        verify_mode: VerifyMode::Required,
        crls: vec![list],
        ..pki.localhost()
    };
    let tls = loaded(settings);
    let client = pki.trusting_client(Some(&identity));
    assert_eq!(served(&tls, &client).0.handshake_kind(), Some(HandshakeKind::Full));
    tls.reload(SystemTime::now()).unwrap();
    assert_eq!(served(&tls, &client).0.handshake_kind(), Some(HandshakeKind::Resumed), "nothing changed");
    pki.write("crl.pem", crl(&pki.ca, 30, &[1]));
    tls.reload(SystemTime::now()).unwrap();
    let refused = choose_and_shake(&tls.current(), &client, "localhost").unwrap_err();
    assert!(matches!(refused, Error::InvalidCertificate(_)), "its ticket does not get it in: {refused}");
}

#[test]
fn a_broken_pair_keeps_the_old_one() {
    let pki = Pki::new();
    let settings = pki.localhost();
    let tls = loaded(settings.clone());
    let client = pki.trusting_client(None);
    let (_, before) = served(&tls, &client);
    let new = pki.server(&["localhost"], &rcgen::PKCS_ECDSA_P256_SHA256);

    fs::copy(&new.certfile, &settings.certfile).unwrap();
    let error = tls.reload(SystemTime::now()).unwrap_err();
    assert!(error.to_string().contains("does not belong to the first certificate"), "{error}");
    assert_eq!(served(&tls, &client).1, before);

    fs::write(&settings.keyfile, "half of a").unwrap();
    assert!(matches!(tls.reload(SystemTime::now()), Err(TlsError::NoKey { .. })));
    fs::remove_file(&settings.keyfile).unwrap();
    assert!(matches!(tls.reload(SystemTime::now()), Err(TlsError::Read { .. })));
    assert_eq!(served(&tls, &client).1, before);

    fs::copy(&new.keyfile, &settings.keyfile).unwrap();
    tls.reload(SystemTime::now()).unwrap();
    assert_ne!(served(&tls, &client).1, before, "the next call finds both");
}

#[test]
fn a_certificate_out_of_its_time_is_told_and_used() {
    let pki = Pki::new();
    let files = pki.server_from(&["localhost"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.not_before = rcgen::date_time_ymd(2030, 1, 1);
        params.not_after = rcgen::date_time_ymd(2031, 6, 30);
    });
    let path = files.certfile.clone();
    let settings = Pki::settings(vec![files]);
    let start = SystemTime::from(rcgen::date_time_ymd(2030, 1, 1));
    let end = SystemTime::from(rcgen::date_time_ymd(2031, 6, 30));
    let early = TlsWarning::NotYetValid { path: path.clone(), start: "2030-01-01T00:00:00Z".into() };
    let late = TlsWarning::Expired { path, end: "2031-06-30T00:00:00Z".into() };
    let (tls, warnings) = TlsConfig::load(settings, start - DAY).unwrap();
    assert_eq!(warnings, [early]);
    assert_eq!(tls.reload(start).unwrap(), []);
    assert_eq!(tls.reload(end).unwrap(), []);
    let late = [late];
    assert_eq!(tls.current().out_of_date(end + DAY), late);
    assert_eq!(tls.reload(end + DAY).unwrap(), late);
    assert!(late[0].to_string().ends_with("has expired: its last moment was 2031-06-30T00:00:00Z"));
}

#[test]
fn every_file_that_is_read_is_listed_once() {
    let pki = Pki::new();
    let (first, second) = (pki.localhost(), pki.server(&["b.example"], &rcgen::PKCS_ECDSA_P256_SHA256));
    let both = pki
        .write("both.pem", [fs::read(&first.certfile).unwrap(), fs::read(&first.keyfile).unwrap()].concat());
    let list = pki.write("crl.pem", crl(&pki.ca, 30, &[]));
    let settings = Settings {
        certfile: both.clone(),
        keyfile: both.clone(),
        more_certificates: vec![second.clone()],
        ca_certs: Some(pki.cafile()),
        verify_mode: VerifyMode::Optional,
        crls: vec![list.clone()],
        ..first
    };
    let tls = loaded(settings);
    assert_eq!(tls.files(), [both, second.certfile, second.keyfile, pki.cafile(), list]);
}

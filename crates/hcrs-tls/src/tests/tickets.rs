//! Session tickets whose keys are in a file.

use std::os::unix::fs::PermissionsExt as _;

use rustls::HandshakeKind;

use super::*;

/// Keys in hexadecimal digits and in base64.
const FIRST: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SECOND: &str = "IB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgE=";

fn write_keys(pki: &Pki, keys: &str) -> PathBuf {
    let path = pki.write("tickets", keys);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn loaded(settings: Settings) -> TlsConfig {
    let (tls, warnings) = TlsConfig::load(settings, SystemTime::now()).unwrap();
    assert_eq!(warnings, []);
    tls
}

fn kind(tls: &TlsConfig, client: &Arc<ClientConfig>) -> HandshakeKind {
    let (server, _) = choose_and_shake(&tls.current(), client, "localhost").unwrap();
    server.handshake_kind().unwrap()
}

#[test]
fn servers_with_the_same_file_resume_each_others_sessions() {
    let pki = Pki::new();
    let path = write_keys(&pki, &format!("# made today\n\n{FIRST}\r\n  {SECOND}\n"));
    let settings = Settings { ticket_keys: Some(path), ..pki.localhost() };
    let (one, other) = (loaded(settings.clone()), loaded(settings.clone()));
    for version in [&TLS12, &TLS13] {
        let client = client(&pki.cafile(), &[version], &["h2"]);
        assert_eq!(kind(&one, &client), HandshakeKind::Full, "{version:?}");
        assert_eq!(kind(&other, &client), HandshakeKind::Resumed, "{version:?}");
        assert_eq!(kind(&one, &client), HandshakeKind::Resumed, "{version:?}: by the ticket of the other");
    }
    let client = pki.trusting_client(None);
    assert_eq!(kind(&one, &client), HandshakeKind::Full);
    let alone = loaded(Settings { ticket_keys: None, ..settings.clone() });
    assert_eq!(kind(&alone, &client), HandshakeKind::Full);
    // The configuration for callers that cannot reload has the same keys.
    let client = pki.trusting_client(None);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (server, _) = handshake(&server_config(&settings).unwrap(), &client, "localhost").unwrap();
        assert_eq!(server.handshake_kind(), Some(kind));
    }
}

#[test]
fn a_key_decrypts_until_it_is_removed() {
    let pki = Pki::new();
    let path = write_keys(&pki, FIRST);
    let tls = loaded(Settings { ticket_keys: Some(path), ..pki.localhost() });
    assert!(tls.files().iter().any(|file| file.ends_with("tickets")), "its change is a reason to reload");
    let (client, late) = (pki.trusting_client(None), pki.trusting_client(None));
    assert_eq!(kind(&tls, &client), HandshakeKind::Full);
    assert_eq!(kind(&tls, &late), HandshakeKind::Full);
    write_keys(&pki, &format!("{SECOND}\n{FIRST}\n"));
    tls.reload(SystemTime::now()).unwrap();
    assert_eq!(kind(&tls, &client), HandshakeKind::Resumed, "the old key decrypts");
    write_keys(&pki, SECOND);
    tls.reload(SystemTime::now()).unwrap();
    assert_eq!(kind(&tls, &client), HandshakeKind::Resumed, "it has got a ticket of the new key");
    assert_eq!(kind(&tls, &late), HandshakeKind::Full, "its key is gone");
}

#[test]
fn a_file_that_breaks_keeps_the_keys() {
    let pki = Pki::new();
    let path = write_keys(&pki, FIRST);
    let tls = loaded(Settings { ticket_keys: Some(path.clone()), ..pki.localhost() });
    let client = pki.trusting_client(None);
    assert_eq!(kind(&tls, &client), HandshakeKind::Full);
    write_keys(&pki, "half a key");
    assert!(tls.reload(SystemTime::now()).is_err());
    assert_eq!(kind(&tls, &client), HandshakeKind::Resumed);
    fs::remove_file(path).unwrap();
    assert!(tls.reload(SystemTime::now()).is_err());
    assert_eq!(kind(&tls, &client), HandshakeKind::Resumed);
}

#[test]
fn a_ticket_ends_with_the_policy_that_it_was_issued_under() {
    let pki = Pki::new();
    let identity = pki.client(1);
    let list = pki.write("crl.pem", crl(&pki.ca, 30, &[]));
    let settings = Settings {
        ca_certs: Some(pki.cafile()),
        verify_mode: VerifyMode::Required,
        crls: vec![list],
        ticket_keys: Some(write_keys(&pki, FIRST)),
        ..pki.localhost()
    };
    let client = pki.trusting_client(Some(&identity));
    let tls = loaded(settings.clone());
    assert_eq!(kind(&tls, &client), HandshakeKind::Full);
    assert_eq!(kind(&loaded(settings.clone()), &client), HandshakeKind::Resumed);
    let optional = Settings { verify_mode: VerifyMode::Optional, ..settings.clone() };
    assert_eq!(kind(&loaded(optional), &client), HandshakeKind::Full);
    pki.write("crl.pem", crl(&pki.ca, 30, &[1]));
    for tls in [loaded(settings), tls] {
        let client = Arc::clone(&client);
        tls.reload(SystemTime::now()).unwrap();
        let refused = choose_and_shake(&tls.current(), &client, "localhost").unwrap_err();
        assert!(matches!(refused, Error::InvalidCertificate(_)), "its ticket does not get it in: {refused}");
    }
}

#[test]
fn tickets_are_not_alike_and_none_that_was_changed_is_accepted() {
    let pki = Pki::new();
    let settings = Settings { ticket_keys: Some(write_keys(&pki, FIRST)), ..pki.localhost() };
    let ticketer = Arc::clone(&server_config(&settings).unwrap().ticketer);
    assert!(ticketer.enabled() && ticketer.lifetime() == 12 * 60 * 60);
    let (one, other) = (ticketer.encrypt(b"a session").unwrap(), ticketer.encrypt(b"a session").unwrap());
    assert_ne!(one[16..], other[16..], "another salt, and so another key");
    assert!(!one.windows(9).any(|bytes| bytes == b"a session"));
    assert_eq!(ticketer.decrypt(&one).as_deref(), Some(&b"a session"[..]));
    for at in 0..one.len() {
        let mut changed = one.clone();
        changed[at] ^= 1;
        assert_eq!(ticketer.decrypt(&changed), None, "byte {at}");
        assert_eq!(ticketer.decrypt(&one[..at]), None, "{at} bytes");
    }
    assert_eq!(format!("{ticketer:?}"), "SharedTicketer(1 keys, hidden)");
}

#[test]
fn mistakes_name_the_line_and_not_the_key() {
    let pki = Pki::new();
    let short = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    let table = [
        (String::new(), "holds no key"),
        ("# nothing\n\n".into(), "holds no key"),
        (format!("{FIRST}\n\n{short}\n"), "tickets:3: expected 32 to 64 random bytes"),
        (FIRST.repeat(3), "tickets:1: expected 32 to 64 random bytes"),
        (format!("{FIRST} {SECOND}"), "tickets:1: expected"),
        (format!("{FIRST}\n").repeat(17), "tickets:17: there are more than 16 keys"),
    ];
    for (text, expected) in table {
        let settings = Settings { ticket_keys: Some(write_keys(&pki, &text)), ..pki.localhost() };
        let message = TlsConfig::load(settings, SystemTime::now()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(&FIRST[..8]) && !message.contains(&short[..8]), "{message}");
    }
    let settings = Settings { ticket_keys: Some("/nowhere/tickets".into()), ..pki.localhost() };
    assert!(matches!(TlsConfig::load(settings, SystemTime::now()), Err(TlsError::Read { .. })));
}

#[test]
fn a_file_that_every_user_can_read_is_warned_of() {
    let pki = Pki::new();
    let path = write_keys(&pki, FIRST);
    let settings = Settings { ticket_keys: Some(path.clone()), ..pki.localhost() };
    for (mode, is_open) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (_, warnings) = TlsConfig::load(settings.clone(), SystemTime::now()).unwrap();
        let expected = is_open.then(|| TlsWarning::TicketKeysOpen { path: path.clone() });
        assert_eq!(warnings, Vec::from_iter(expected), "{mode:o}");
    }
}

//! Handshakes in memory, and what broken files are answered with.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, HandshakeKind, ProtocolVersion, RootCertStore,
    ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use tempfile::TempDir;

use super::*;
use crate::development::write_certificate;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Fixture {
    folder: TempDir,
    settings: Settings,
}

fn fixture() -> Fixture {
    let folder = TempDir::new().unwrap();
    let made = make_dev_certificate(folder.path(), &DevCertificate::LOCAL_NAMES).unwrap();
    Fixture { settings: Settings::new(made.certfile, made.keyfile), folder }
}

fn client(
    certfile: &Path,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certfile).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(8);
    Arc::new(config)
}

/// Carries bytes to and fro until neither side has any; the first error of either side ends it.
fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> Result<(ServerConnection, ClientConnection), Error> {
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), ServerName::try_from(name).unwrap()).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            if let Err(error) = server.process_new_packets() {
                let mut alert = Vec::new();
                server.write_tls(&mut alert).unwrap();
                client.read_tls(&mut &alert[..]).unwrap();
                assert!(client.process_new_packets().is_err());
                return Err(error);
            }
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((server, client))
}

#[test]
fn both_versions_shake_hands_and_carry_data() {
    let fixture = fixture();
    let server = server_config(&fixture.settings).unwrap();
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let client = client(&fixture.settings.certfile, &[version], &["h2"]);
        let (mut server, mut client) = handshake(&server, &client, "localhost").unwrap();
        assert_eq!(server.protocol_version(), Some(expected));
        client.writer().write_all(b"ping").unwrap();
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets().unwrap();
        let mut seen = [0; 4];
        server.reader().read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"ping");
    }
}

#[test]
fn certificate_is_good_for_the_name_and_both_addresses() {
    let fixture = fixture();
    let server = server_config(&fixture.settings).unwrap();
    let client = client(&fixture.settings.certfile, &[&TLS13], &[]);
    for name in DevCertificate::LOCAL_NAMES {
        handshake(&server, &client, name).unwrap();
    }
    assert!(handshake(&server, &client, "example.org").is_err());
}

#[test]
fn alpn_takes_the_servers_first_choice() {
    let fixture = fixture();
    let server = server_config(&fixture.settings).unwrap();
    for (offered, chosen) in [
        (&["http/1.1", "h2"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["h3", "h2"], Some(b"h2")),
        (&[], None),
    ] {
        let client = client(&fixture.settings.certfile, &[&TLS13, &TLS12], offered);
        let (server, _) = handshake(&server, &client, "localhost").unwrap();
        assert_eq!(server.alpn_protocol(), chosen, "{offered:?}");
    }
}

#[test]
fn alpn_without_a_common_name_is_alert_120() {
    let fixture = fixture();
    let server = server_config(&fixture.settings).unwrap();
    assert_eq!(u8::from(AlertDescription::NoApplicationProtocol), 120);
    for version in [&TLS12, &TLS13] {
        let client = client(&fixture.settings.certfile, &[version], &["spdy/3"]);
        let error = handshake(&server, &client, "localhost").err();
        assert_eq!(error, Some(Error::NoApplicationProtocol));
    }
}

#[test]
fn second_connection_resumes_by_ticket() {
    let fixture = fixture();
    let server = server_config(&fixture.settings).unwrap();
    for version in [&TLS12, &TLS13] {
        let client = client(&fixture.settings.certfile, &[version], &["h2"]);
        let (first, _) = handshake(&server, &client, "localhost").unwrap();
        assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        let (second, _) = handshake(&server, &client, "localhost").unwrap();
        assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
    }
}

#[test]
fn ticket_of_another_configuration_falls_back_to_a_full_handshake() {
    let fixture = fixture();
    let client = client(&fixture.settings.certfile, &[&TLS13], &["h2"]);
    handshake(&server_config(&fixture.settings).unwrap(), &client, "localhost").unwrap();
    let (second, _) = handshake(&server_config(&fixture.settings).unwrap(), &client, "localhost").unwrap();
    assert_eq!(second.handshake_kind(), Some(HandshakeKind::Full));
}

#[test]
fn early_data_is_never_offered() {
    let fixture = fixture();
    let server = server_config(&fixture.settings).unwrap();
    assert_eq!(server.max_early_data_size, 0);
    assert!(server.ticketer.enabled());
}

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
        (key(&encrypted), &encrypted, "is encrypted"),
        (key(&old), &old, "is encrypted"),
    ] {
        let error = server_config(&settings).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn protocol_names_have_1_to_255_bytes() {
    let fixture = fixture();
    for name in [String::new(), "x".repeat(256)] {
        let settings = Settings { alpn_protocols: vec![name], ..fixture.settings.clone() };
        assert!(matches!(server_config(&settings), Err(TlsError::AlpnName { .. })));
    }
}

#[test]
fn private_key_is_readable_by_its_owner_only() {
    let fixture = fixture();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.settings.keyfile), 0o600);
    let left: Vec<_> = fs::read_dir(fixture.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing but the two files is left: {left:?}");
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

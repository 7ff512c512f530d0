//! Handshakes with the one configuration for all clients.

use std::io::{Read as _, Write as _};

use rustls::{AlertDescription, Error, HandshakeKind, ProtocolVersion};

use super::*;

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
fn protocol_names_have_1_to_255_bytes() {
    let fixture = fixture();
    for name in [String::new(), "x".repeat(256)] {
        let settings = Settings { alpn_protocols: vec![name], ..fixture.settings.clone() };
        assert!(matches!(server_config(&settings), Err(TlsError::AlpnName { .. })));
    }
}

//! Handshakes of QUIC connections.

use rustls::quic::{ClientConnection as QuicClient, ServerConnection as QuicServer, Version};

use super::*;

/// Carries the messages of a handshake, those of one key at a time.
fn shake_hands(client: &mut QuicClient, server: &mut QuicServer) -> Result<(), Error> {
    for _ in 0..8 {
        let mut bytes = Vec::new();
        client.write_hs(&mut bytes);
        server.read_hs(&bytes)?;
        bytes.clear();
        server.write_hs(&mut bytes);
        client.read_hs(&bytes)?;
    }
    Ok(())
}

fn quic_client(config: Arc<ClientConfig>, name: &str) -> QuicClient {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    QuicClient::new(config, Version::V1, name, vec![]).unwrap()
}

#[test]
fn a_connection_gets_the_certificate_of_its_name_and_reports_the_choice() {
    let one = fixture();
    let folder = TempDir::new().unwrap();
    let other = make_dev_certificate(folder.path(), &["other.localhost"]).unwrap();
    let mut settings = one.settings.clone();
    let (certfile, keyfile) = (other.certfile.clone(), other.keyfile);
    settings.more_certificates = vec![CertificateFiles { certfile, keyfile, keyfile_password: None }];
    let (tls, _) = TlsConfig::load(settings, SystemTime::now()).unwrap();
    for (file, name) in [(&one.settings.certfile, "localhost"), (&other.certfile, "other.localhost")] {
        let handshake = tls.current().for_quic();
        assert!(handshake.info(&[]).is_none(), "there is no choice yet");
        let mut server = QuicServer::new(handshake.config(), Version::V1, vec![]).unwrap();
        let mut client = quic_client(client(file, &[&TLS13], &["h3"]), name);
        shake_hands(&mut client, &mut server).unwrap();
        assert!(!server.is_handshaking());
        assert_eq!(server.alpn_protocol(), Some(&b"h3"[..]));
        let info = handshake.info(&[]).unwrap();
        assert_eq!(info.version(), Some(0x0304));
        assert_eq!(info.cipher_suite(), server.negotiated_cipher_suite().map(|suite| suite.suite().into()));
        let leaf = CertificateDer::pem_file_iter(file).unwrap().next().unwrap().unwrap();
        assert_eq!(info.server_certificate(), pem::certificate(&leaf));
    }
}

#[test]
fn a_client_of_another_protocol_is_refused() {
    let fixture = fixture();
    let (tls, _) = TlsConfig::load(fixture.settings.clone(), SystemTime::now()).unwrap();
    let mut server = QuicServer::new(tls.current().for_quic().config(), Version::V1, vec![]).unwrap();
    let mut client = quic_client(client(&fixture.settings.certfile, &[&TLS13], &["h2"]), "localhost");
    assert_eq!(shake_hands(&mut client, &mut server), Err(Error::NoApplicationProtocol));
}

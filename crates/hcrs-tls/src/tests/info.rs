//! The info about a connection, for apps and the access log.

use rcgen::DnValue;

use super::*;

fn info(settings: &Settings, client: &Arc<ClientConfig>) -> TlsInfo {
    let (tls, _) = TlsConfig::load(settings.clone(), SystemTime::now()).unwrap();
    let (server, choice) = choose_and_shake(&tls.current(), client, "localhost").unwrap();
    TlsInfo::of(&server, &choice)
}

fn verifying(pki: &Pki) -> Settings {
    Settings { ca_certs: Some(pki.cafile()), verify_mode: VerifyMode::Optional, ..pki.localhost() }
}

#[test]
fn version_and_cipher_suite_have_their_registered_numbers_and_names() {
    let pki = Pki::new();
    let settings = pki.localhost();
    for (version, number, name, suite, suite_name) in [
        (&TLS12, 0x0303, "TLS 1.2", 0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        (&TLS13, 0x0304, "TLS 1.3", 0x1301, "TLS_AES_128_GCM_SHA256"),
    ] {
        let info = info(&settings, &client(&pki.cafile(), &[version], &[]));
        assert_eq!((info.version(), info.version_name()), (Some(number), name));
        assert_eq!(info.cipher_suite(), Some(suite));
        assert_eq!(info.cipher_suite_name().as_deref(), Some(suite_name));
    }
}

#[test]
fn the_servers_certificate_is_the_one_that_was_sent() {
    let pki = Pki::new();
    let settings = pki.localhost();
    let info = info(&settings, &pki.trusting_client(None));
    let sent = CertificateDer::from_pem_slice(info.server_certificate().as_bytes()).unwrap();
    assert_eq!(sent, CertificateDer::from_pem_file(&settings.certfile).unwrap());
    assert!(info.server_certificate().starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(info.server_certificate().ends_with("\n-----END CERTIFICATE-----\n"));
}

#[test]
fn a_client_without_a_certificate_has_no_name() {
    let pki = Pki::new();
    let info = info(&verifying(&pki), &pki.trusting_client(None));
    assert_eq!(info.client_certificates(), [""; 0]);
    assert_eq!(info.client_name(), None);
}

#[test]
fn the_clients_whole_chain_is_told_its_own_certificate_first() {
    let pki = Pki::new();
    let params = authority_params("intermediate");
    let intermediate = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &pki.ca).unwrap();
    let mut identity = issue_client(&intermediate, 1, |params| {
        params.distinguished_name.push(DnType::CommonName, "somebody");
    });
    identity.chain.push(intermediate.der().clone());
    let settings = verifying(&pki);
    let client = client_with(provider(), &pki.cafile(), &[&TLS13, &TLS12], &[], Some(&identity));
    let client = Arc::new(client);
    let first = info(&settings, &client);
    let sent_chain: Vec<_> = first
        .client_certificates()
        .iter()
        .map(|text| CertificateDer::from_pem_slice(text.as_bytes()).unwrap())
        .collect();
    assert_eq!(sent_chain, identity.chain);
    assert_eq!(first.client_name(), Some("CN=somebody"));
}

#[test]
fn a_resumed_session_still_tells_who_the_client_is() {
    let pki = Pki::new();
    let (tls, _) = TlsConfig::load(verifying(&pki), SystemTime::now()).unwrap();
    let client = pki.trusting_client(Some(&pki.client(1)));
    for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let (server, choice) = choose_and_shake(&tls.current(), &client, "localhost").unwrap();
        assert_eq!(server.handshake_kind(), Some(kind));
        let info = TlsInfo::of(&server, &choice);
        assert_eq!(info.client_name(), Some("CN=client"));
        assert_eq!(info.client_certificates().len(), 1);
    }
}

#[test]
fn subjects_are_written_as_rfc_4514_says() {
    let pki = Pki::new();
    let settings = verifying(&pki);
    let subject = |change: fn(&mut DistinguishedName)| {
        let identity = issue_client(&pki.ca, 1, |params| change(&mut params.distinguished_name));
        info(&settings, &pki.trusting_client(Some(&identity))).client_name().unwrap().to_owned()
    };
    // Section 2.1: the last relative name comes first.
    let ordered = subject(|name| {
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "Example");
        name.push(DnType::OrganizationalUnitName, "Sales");
        name.push(DnType::CommonName, "J. Smith");
    });
    assert_eq!(ordered, "CN=J. Smith,OU=Sales,O=Example,C=DE");
    // Section 2.4: special characters are escaped.
    for (value, written) in [
        ("Smith, James \"Jim\" <j>+x;y\\z", r#"CN=Smith\, James \"Jim\" \<j\>\+x\;y\\z"#),
        ("#1 = one", r"CN=\#1 = one"),
        (" around ", r"CN=\ around\ "),
        ("Lučić", "CN=Lučić"),
        ("a\0b\nc", r"CN=a\00b\0ac"),
        ("x,CN=admin", r"CN=x\,CN=admin"),
    ] {
        let identity = issue_client(&pki.ca, 1, |params| {
            params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(value.into()));
        });
        let info = info(&settings, &pki.trusting_client(Some(&identity)));
        assert_eq!(info.client_name(), Some(written), "{value:?}");
    }
    // Section 2.3: an attribute type without a short name is written as its number, its value as BER in
    // hexadecimal.
    let numbered = subject(|name| name.push(DnType::from_oid(&[1, 3, 6, 1, 4, 1, 99999, 1]), "x"));
    assert_eq!(numbered, "1.3.6.1.4.1.99999.1=#0c0178");
    assert_eq!(subject(|_| {}), "", "a certificate may have an empty subject");
}

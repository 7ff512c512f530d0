//! The choices by a client's first message: certificate, suite, group, version.

use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, kx_group};
use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme};

use super::*;

fn configs(settings: &Settings) -> Arc<ServerConfigs> {
    TlsConfig::load(settings.clone(), SystemTime::now()).unwrap().0.current()
}

/// Returns a client that offers just these suites, in this order, in either version.
fn offering(pki: &Pki, suites: &[CipherSuite]) -> Arc<ClientConfig> {
    let find = |id: &CipherSuite| *ALL_CIPHER_SUITES.iter().find(|suite| suite.suite() == *id).unwrap();
    let provider =
        CryptoProvider { cipher_suites: suites.iter().map(find).collect(), ..(*provider()).clone() };
    let has = |version| provider.cipher_suites.iter().any(|suite| suite.version().version == version);
    let mut versions = Vec::new();
    versions.extend(has(ProtocolVersion::TLSv1_3).then_some(&TLS13));
    versions.extend(has(ProtocolVersion::TLSv1_2).then_some(&TLS12));
    Arc::new(client_with(Arc::new(provider), &pki.cafile(), &versions, &[], None))
}

fn suite(configs: &ServerConfigs, client: &Arc<ClientConfig>) -> CipherSuite {
    let (server, _) = choose_and_shake(configs, client, "localhost").unwrap();
    server.negotiated_cipher_suite().unwrap().suite()
}

const AES128: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
const AES256: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
const CHACHA: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
const OLD_AES128: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
const OLD_AES256: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
const OLD_CHACHA: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;

#[test]
fn aes_128_is_taken_unless_the_client_puts_chacha20_first() {
    let pki = Pki::new();
    let configs = configs(&Settings { ciphers: "ALL".into(), ..pki.localhost() });
    for (offered, taken) in [
        (&[AES256, AES128, CHACHA][..], AES128),
        (&[AES128, CHACHA, AES256], AES128),
        (&[AES256, CHACHA], AES256),
        (&[CHACHA, AES128, AES256], CHACHA),
        (&[CHACHA, AES256], CHACHA),
        (&[OLD_AES256, OLD_AES128, OLD_CHACHA], OLD_AES128),
        (&[OLD_CHACHA, OLD_AES256, OLD_AES128], OLD_CHACHA),
        (&[OLD_AES256, OLD_CHACHA], OLD_AES256),
        (&[OLD_AES256, AES256, AES128], AES128),
    ] {
        assert_eq!(suite(&configs, &offering(&pki, offered)), taken, "{offered:?}");
    }
}

#[test]
fn ciphers_choose_for_tls_1_2_and_never_for_1_3() {
    let pki = Pki::new();
    let configs = configs(&Settings { ciphers: "AES256+ECDSA:AES128+ECDSA".into(), ..pki.localhost() });
    for (offered, taken) in [
        (&[OLD_AES128, OLD_AES256][..], OLD_AES256),
        (&[OLD_CHACHA, OLD_AES128], OLD_AES128),
        (&[CHACHA], CHACHA),
        (&[AES128, AES256], AES128),
    ] {
        assert_eq!(suite(&configs, &offering(&pki, offered)), taken, "{offered:?}");
    }
    assert!(choose_and_shake(&configs, &offering(&pki, &[OLD_CHACHA]), "localhost").is_err());
}

#[test]
fn the_default_ciphers_are_aes_gcm() {
    let pki = Pki::new();
    let configs = configs(&pki.localhost());
    assert_eq!(suite(&configs, &offering(&pki, &[OLD_CHACHA, OLD_AES256, OLD_AES128])), OLD_AES128);
}

#[test]
fn a_session_resumes_whatever_the_client_is_quick_at() {
    let pki = Pki::new();
    let configs = configs(&Settings { ciphers: "ALL".into(), ..pki.localhost() });
    for offered in [[AES256, AES128, CHACHA], [CHACHA, AES128, AES256], [OLD_AES256, OLD_AES128, OLD_CHACHA]]
    {
        let client = offering(&pki, &offered);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (server, _) = choose_and_shake(&configs, &client, "localhost").unwrap();
            assert_eq!(server.handshake_kind(), Some(expected), "{offered:?}");
        }
    }
}

#[test]
fn a_ticket_of_one_configuration_is_good_on_the_other() {
    let pki = Pki::new();
    let configs = configs(&pki.localhost());
    let config = |offered: &[CipherSuite]| {
        choose_and_shake(&configs, &offering(&pki, offered), "localhost").unwrap().1.config
    };
    let (aes, chacha20) = (config(&[AES128]), config(&[CHACHA]));
    assert!(!Arc::ptr_eq(&aes, &chacha20));
    let client = offering(&pki, &[AES128]);
    for (config, expected) in [(&aes, HandshakeKind::Full), (&chacha20, HandshakeKind::Resumed)] {
        let (server, _) = handshake(config, &client, "localhost").unwrap();
        assert_eq!(server.handshake_kind(), Some(expected));
    }
}

#[test]
fn the_certificate_is_chosen_by_name_and_the_first_is_the_default() {
    let pki = Pki::new();
    let algorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
    let files = vec![
        pki.server(&["localhost", "127.0.0.1"], algorithm),
        pki.server(&["*.example.org"], algorithm),
        pki.server(&["www.example.org", "example.com"], algorithm),
    ];
    let texts: Vec<String> =
        files.iter().map(|files| fs::read_to_string(&files.certfile).unwrap().replace('\r', "")).collect();
    let settings = Pki::settings(files);
    let configs = configs(&settings);
    let for_all = server_config(&settings).unwrap();
    let client = pki.trusting_client(None);
    for (name, place) in [
        ("localhost", 0),
        ("127.0.0.1", 0), // no name is sent for an address
        ("api.example.org", 1),
        ("www.example.org", 2),
        ("example.com", 2),
    ] {
        let (_, choice) = choose_and_shake(&configs, &client, name).unwrap();
        assert_eq!(*choice.certificate, texts[place], "{name}");
        handshake(&for_all, &client, name).unwrap();
    }
    for name in ["example.org", "a.b.example.org", "www.example.com"] {
        assert!(choose_and_shake(&configs, &client, name).is_err(), "{name}: the default is not for it");
        assert!(handshake(&for_all, &client, name).is_err(), "{name}");
    }
}

#[test]
fn of_two_certificates_for_a_name_the_client_gets_one_it_can_verify() {
    let pki = Pki::new();
    let ecdsa = pki.server(&["localhost"], &rcgen::PKCS_ECDSA_P256_SHA256);
    let rsa = pki.server(&["localhost"], &rcgen::PKCS_RSA_SHA256);
    let rsa_pem = fs::read_to_string(&rsa.certfile).unwrap().replace('\r', "");
    let configs = configs(&Pki::settings(vec![ecdsa, rsa]));
    let client = offering(&pki, &[CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]);
    assert_eq!(suite(&configs, &client), CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
    assert_eq!(suite(&configs, &offering(&pki, &[OLD_AES128])), OLD_AES128);

    let mut provider = (*provider()).clone();
    let signatures = &mut provider.signature_verification_algorithms;
    let rsa_alone =
        signatures.mapping.iter().filter(|(scheme, _)| *scheme == SignatureScheme::RSA_PSS_SHA256);
    signatures.mapping = Box::leak(rsa_alone.copied().collect());
    let client = Arc::new(client_with(Arc::new(provider), &pki.cafile(), &[&TLS13], &[], None));
    let (_, choice) = choose_and_shake(&configs, &client, "localhost").unwrap();
    assert_eq!(*choice.certificate, rsa_pem);
}

#[test]
fn a_further_certificate_without_names_is_told() {
    let pki = Pki::new();
    let first = pki.server(&["localhost"], &rcgen::PKCS_ECDSA_P256_SHA256);
    let nameless = pki.server(&[], &rcgen::PKCS_ECDSA_P256_SHA256);
    let path = nameless.certfile.clone();
    let (_, warnings) = TlsConfig::load(Pki::settings(vec![first, nameless]), SystemTime::now()).unwrap();
    assert_eq!(warnings, [TlsWarning::NoNames { path }]);
}

#[test]
fn the_minimum_version_refuses_the_older_one() {
    let pki = Pki::new();
    let settings = Settings { minimum_version: TlsVersion::Tls13, ..pki.localhost() };
    let configs = configs(&settings);
    assert_eq!(suite(&configs, &offering(&pki, &[AES128])), AES128);
    let refused = choose_and_shake(&configs, &offering(&pki, &[OLD_AES128]), "localhost").unwrap_err();
    assert!(matches!(refused, Error::PeerIncompatible(_)), "{refused}");
    for (name, version) in [("1.2", TlsVersion::Tls12), ("TLSv1.3", TlsVersion::Tls13)] {
        assert_eq!(name.parse::<TlsVersion>().unwrap(), version);
    }
    assert!("1.1".parse::<TlsVersion>().unwrap_err().to_string().contains("expected 1.2 or 1.3"));
}

#[test]
fn only_the_groups_that_are_named_are_agreed_on() {
    let pki = Pki::new();
    let client = |groups: &[&'static dyn rustls::crypto::SupportedKxGroup]| {
        let provider = CryptoProvider { kx_groups: groups.to_vec(), ..(*provider()).clone() };
        Arc::new(client_with(Arc::new(provider), &pki.cafile(), &[&TLS13, &TLS12], &[], None))
    };
    let agreed = |settings: &Settings, client| {
        let (server, _) = choose_and_shake(&configs(settings), client, "localhost")?;
        Ok::<NamedGroup, Error>(server.negotiated_key_exchange_group().unwrap().name())
    };
    let all = client(&[kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1]);
    assert_eq!(agreed(&pki.localhost(), &all), Ok(NamedGroup::X25519MLKEM768));
    for (name, group) in [
        ("x25519", NamedGroup::X25519),
        ("P-256", NamedGroup::secp256r1),
        ("prime256v1", NamedGroup::secp256r1),
        ("secp384r1", NamedGroup::secp384r1),
    ] {
        let settings = Settings { key_exchange: vec![name.parse().unwrap()], ..pki.localhost() };
        assert_eq!(agreed(&settings, &all), Ok(group), "{name}");
    }
    let settings = Settings { key_exchange: vec![KeyExchange::X25519], ..pki.localhost() };
    assert!(agreed(&settings, &client(&[kx_group::SECP256R1])).is_err());
    for group in KeyExchange::ALL {
        assert_eq!(group.name().parse::<KeyExchange>().unwrap(), group);
        let settings =
            Settings { key_exchange: vec![group], minimum_version: TlsVersion::Tls13, ..pki.localhost() };
        server_config(&settings).unwrap();
    }
    let error = "secp521r1".parse::<KeyExchange>().unwrap_err().to_string();
    assert!(error.contains("key_exchange: \"secp521r1\" is not known"), "{error}");
}

#[test]
fn groups_that_leave_a_version_without_any_are_refused() {
    let pki = Pki::new();
    let with = |groups: &[KeyExchange]| Settings { key_exchange: groups.to_vec(), ..pki.localhost() };
    let error = server_config(&with(&[])).unwrap_err();
    assert!(matches!(error, TlsError::NoKeyExchange), "{error}");
    let error = server_config(&with(&[KeyExchange::X25519MlKem768])).unwrap_err();
    assert!(matches!(error, TlsError::NoKeyExchangeForTls12), "{error}");
}

#[test]
fn ciphers_are_warned_of_and_refused_when_the_files_are_read() {
    let pki = Pki::new();
    let settings = Settings { ciphers: "ECDHE+AESGCM:RC4-MD5".into(), ..pki.localhost() };
    let (_, warnings) = TlsConfig::load(settings, SystemTime::now()).unwrap();
    assert_eq!(warnings, [TlsWarning::UnknownCipher { name: "RC4-MD5".into() }]);
    let settings = Settings { ciphers: "RC4-MD5".into(), ..pki.localhost() };
    assert!(matches!(server_config(&settings), Err(TlsError::NoCiphers { .. })));
}

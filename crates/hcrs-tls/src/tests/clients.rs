//! Clients' certificates: requests for them, acceptance, and revocation.

use rustls::CertificateError;

use super::*;

fn verifying(pki: &Pki, mode: VerifyMode) -> Settings {
    Settings { ca_certs: Some(pki.cafile()), verify_mode: mode, ..pki.localhost() }
}

fn shake(pki: &Pki, settings: &Settings, identity: Option<&ClientIdentity>) -> Result<usize, Error> {
    let server = server_config(settings).unwrap();
    let (server, _) = handshake(&server, &pki.trusting_client(identity), "localhost")?;
    Ok(server.peer_certificates().unwrap_or_default().len())
}

#[test]
fn the_mode_says_who_is_asked_and_who_is_let_in() {
    let pki = Pki::new();
    let known = pki.client(7);
    let stranger = issue_client(&authority("another CA"), 7, |_| {});
    let refused = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
    for (mode, without, with, unknown) in [
        (VerifyMode::None, Ok(0), Ok(0), Ok(0)),
        (VerifyMode::Optional, Ok(0), Ok(1), refused.clone()),
        (VerifyMode::Required, Err(Error::NoCertificatesPresented), Ok(1), refused),
    ] {
        let settings = verifying(&pki, mode);
        assert_eq!(shake(&pki, &settings, None), without, "{mode}");
        assert_eq!(shake(&pki, &settings, Some(&known)), with, "{mode}");
        assert_eq!(shake(&pki, &settings, Some(&stranger)), unknown, "{mode}");
    }
}

#[test]
fn a_certificate_that_is_over_or_for_servers_is_refused() {
    let pki = Pki::new();
    let settings = verifying(&pki, VerifyMode::Optional);
    let over = issue_client(&pki.ca, 1, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let server = issue_client(&pki.ca, 2, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for identity in [over, server] {
        let error = shake(&pki, &settings, Some(&identity)).unwrap_err();
        assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
    }
}

#[test]
fn an_intermediate_in_ca_certs_is_an_authority() {
    let pki = Pki::new();
    let params = authority_params("intermediate");
    let intermediate = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &pki.ca).unwrap();
    let settings = Settings {
        ca_certs: Some(pki.write("intermediate.pem", intermediate.pem())),
        ..verifying(&pki, VerifyMode::Required)
    };
    assert_eq!(shake(&pki, &settings, Some(&issue_client(&intermediate, 1, |_| {}))), Ok(1));
}

#[test]
fn a_revoked_certificate_is_refused_if_revocation_is_checked() {
    let pki = Pki::new();
    let list = crl(&pki.ca, 30, &[13]);
    let (good, revoked) = (pki.client(12), pki.client(13));
    let base = verifying(&pki, VerifyMode::Required);
    let beside = pki.write("ca-and-crl.pem", pki.ca.pem() + &list);
    let in_ca_certs = Settings { ca_certs: Some(beside), ..base.clone() };
    let in_crls = Settings { crls: vec![pki.write("crl.pem", &list)], ..base };
    let leaf = VerifyFlags::CRL_CHECK_LEAF;
    let chain = VerifyFlags::CRL_CHECK_CHAIN;
    let none = VerifyFlags::default();
    for (settings, flags, checked) in [
        (&in_ca_certs, none, false), // as in OpenSSL, which has the list but no flag to check it
        (&in_ca_certs, leaf, true),
        (&in_ca_certs, chain, true),
        (&in_crls, none, true),
        (&in_crls, leaf, true),
        (&in_crls, chain, true),
    ] {
        let settings = Settings { verify_flags: flags, ..settings.clone() };
        assert_eq!(shake(&pki, &settings, Some(&good)), Ok(1), "{flags:?}");
        let answer = if checked { Err(Error::InvalidCertificate(CertificateError::Revoked)) } else { Ok(1) };
        assert_eq!(shake(&pki, &settings, Some(&revoked)), answer, "{flags:?}");
    }
}

#[test]
fn the_chain_is_checked_unless_the_leaf_alone_is_asked_for() {
    let pki = Pki::new();
    let params = authority_params("intermediate");
    let intermediate = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &pki.ca).unwrap();
    let mut client = issue_client(&intermediate, 1, |_| {});
    client.chain.push(intermediate.der().clone());
    let settings = Settings {
        crls: vec![pki.write("crl.pem", crl(&intermediate, 30, &[]))], // and none of the root
        ..verifying(&pki, VerifyMode::Required)
    };
    let leaf_only = Settings { verify_flags: VerifyFlags::CRL_CHECK_LEAF, ..settings.clone() };
    assert_eq!(shake(&pki, &leaf_only, Some(&client)), Ok(2));
    let unknown = Err(Error::InvalidCertificate(CertificateError::UnknownRevocationStatus));
    assert_eq!(shake(&pki, &settings, Some(&client)), unknown);
    let whole = Settings {
        crls: vec![settings.crls[0].clone(), pki.write("root-crl.pem", crl(&pki.ca, 30, &[]))],
        ..settings
    };
    assert_eq!(shake(&pki, &whole, Some(&client)), Ok(2));
}

#[test]
fn a_list_past_its_next_update_refuses_everybody_and_is_told() {
    let pki = Pki::new();
    let path = pki.write("old-crl.pem", crl(&pki.ca, -2, &[]));
    let settings = Settings { crls: vec![path.clone()], ..verifying(&pki, VerifyMode::Required) };
    let error = shake(&pki, &settings, Some(&pki.client(1))).unwrap_err();
    assert!(
        matches!(&error, Error::InvalidCertificate(CertificateError::ExpiredRevocationListContext { .. })),
        "{error:?}"
    );
    let (_, warnings) = TlsConfig::load(settings, SystemTime::now()).unwrap();
    assert!(
        matches!(&warnings[..], [TlsWarning::CrlExpired { path: of, .. }] if *of == path),
        "{warnings:?}"
    );
}

#[test]
fn what_would_refuse_everybody_is_an_error_at_once() {
    let pki = Pki::new();
    let base = verifying(&pki, VerifyMode::Required);
    let flags = VerifyFlags::CRL_CHECK_LEAF;
    let damaged = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let damaged_authority = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (settings, words) in [
        (Settings { ca_certs: None, ..base.clone() }, "verify_mode is CERT_REQUIRED but ca_certs is not set"),
        (
            Settings { ca_certs: Some(pki.write("none.pem", "")), ..base.clone() },
            "no certificate that can be",
        ),
        (
            Settings { ca_certs: Some(pki.write("bad.pem", damaged_authority)), ..base.clone() },
            "bad.pem holds no",
        ),
        (Settings { ca_certs: Some("/no/such/file".into()), ..base.clone() }, "cannot read /no/such/file"),
        (Settings { verify_flags: flags, ..base.clone() }, "verify_flags asks for CRLs but there is none"),
        (Settings { crls: vec![pki.write("empty.pem", "")], ..base.clone() }, "empty.pem holds no CRL"),
        (Settings { crls: vec![pki.write("damaged.pem", damaged)], ..base }, "a CRL in "),
    ] {
        let error = server_config(&settings).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let pki = Pki::new();
    let warnings = |settings: Settings| TlsConfig::load(settings, SystemTime::now()).unwrap().1;
    let silent = Settings {
        verify_flags: VerifyFlags::X509_STRICT
            | VerifyFlags::X509_TRUSTED_FIRST
            | VerifyFlags::X509_PARTIAL_CHAIN,
        ..verifying(&pki, VerifyMode::Optional)
    };
    assert_eq!(warnings(silent), []);
    let proxies =
        Settings { verify_flags: VerifyFlags::from_bits(0x1_0060), ..verifying(&pki, VerifyMode::Optional) };
    assert_eq!(warnings(proxies), [TlsWarning::UnknownVerifyFlags { flags: 0x1_0040 }]);
    let unused = Settings { crls: vec!["unread.pem".into()], ..verifying(&pki, VerifyMode::None) };
    assert_eq!(
        warnings(unused),
        [TlsWarning::NotVerifying { setting: "ca_certs" }, TlsWarning::NotVerifying { setting: "crls" }]
    );
    let damaged = pki.ca.pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let partly = Settings {
        ca_certs: Some(pki.write("partly.pem", damaged)),
        ..verifying(&pki, VerifyMode::Required)
    };
    let warned = warnings(partly);
    assert!(matches!(&warned[..], [TlsWarning::UnusableAuthority { number: 2, .. }]), "{warned:?}");
}

#[test]
fn modes_and_flags_have_pythons_names_and_numbers() {
    for (name, number, mode) in [
        ("CERT_NONE", 0, VerifyMode::None),
        ("CERT_OPTIONAL", 1, VerifyMode::Optional),
        ("VerifyMode.CERT_REQUIRED", 2, VerifyMode::Required),
    ] {
        assert_eq!(name.parse::<VerifyMode>().unwrap(), mode);
        assert_eq!(VerifyMode::try_from(number).unwrap(), mode);
        assert!(name.ends_with(&mode.to_string()));
    }
    let error = VerifyMode::try_from(3).unwrap_err().to_string();
    assert!(error.contains("verify_mode: \"3\" is not known; expected CERT_NONE (0)"), "{error}");
    for (names, bits) in [
        ("VERIFY_DEFAULT", 0),
        ("VERIFY_CRL_CHECK_LEAF", 0x4),
        ("VERIFY_CRL_CHECK_CHAIN", 0xc),
        ("VERIFY_X509_STRICT | VERIFY_ALLOW_PROXY_CERTS", 0x60),
        ("VerifyFlags.VERIFY_X509_TRUSTED_FIRST|VERIFY_X509_PARTIAL_CHAIN", 0x8_8000),
        ("32", 0x20),
    ] {
        assert_eq!(names.parse::<VerifyFlags>().unwrap().bits(), bits, "{names}");
    }
    assert!("VERIFY_NOTHING".parse::<VerifyFlags>().is_err());
}

//! Cipher lists as they are found in deployments, and the order for either kind of client.

use super::*;

/// Returns the OpenSSL names of the suites that the list selects, and its warnings.
fn selected(list: &str) -> (Vec<&'static str>, Vec<TlsWarning>) {
    let Selection { suites, warnings } = select(list).unwrap();
    let name = |id| TLS12.iter().find(|suite| suite.id == id).unwrap().openssl;
    (suites.into_iter().map(name).collect(), warnings)
}

fn unknown(name: &str) -> TlsWarning {
    TlsWarning::UnknownCipher { name: name.to_owned() }
}

const ECDSA128: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
const RSA128: &str = "ECDHE-RSA-AES128-GCM-SHA256";
const ECDSA256: &str = "ECDHE-ECDSA-AES256-GCM-SHA384";
const RSA256: &str = "ECDHE-RSA-AES256-GCM-SHA384";
const ECDSA_CHACHA: &str = "ECDHE-ECDSA-CHACHA20-POLY1305";
const RSA_CHACHA: &str = "ECDHE-RSA-CHACHA20-POLY1305";

#[test]
fn selectors_select() {
    let aes = vec![ECDSA128, RSA128, ECDSA256, RSA256];
    let all = vec![ECDSA128, RSA128, ECDSA256, RSA256, ECDSA_CHACHA, RSA_CHACHA];
    for (list, expected) in [
        ("ECDHE+AESGCM", aes.clone()),
        ("ALL", all.clone()),
        ("DEFAULT", all.clone()),
        ("HIGH:!aNULL:!MD5:!RC4:!3DES:!SHA1:!SHA256:!SHA384", all.clone()),
        ("kECDHE", all.clone()),
        ("EECDH+aRSA+AES256", vec![RSA256]),
        ("aECDSA", vec![ECDSA128, ECDSA256, ECDSA_CHACHA]),
        ("ECDSA+CHACHA20", vec![ECDSA_CHACHA]),
        ("TLSv1.2+AES128", vec![ECDSA128, RSA128]),
        ("FIPS", aes.clone()),
        ("CHACHA20:ALL", vec![ECDSA_CHACHA, RSA_CHACHA, ECDSA128, RSA128, ECDSA256, RSA256]),
        ("ECDHE-RSA-AES256-GCM-SHA384,ECDHE-RSA-AES128-GCM-SHA256", vec![RSA256, RSA128]),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", vec![RSA128]),
        ("  AES128  CHACHA20+aRSA;", vec![ECDSA128, RSA128, RSA_CHACHA]),
        ("ALL:!CHACHA20:!aRSA", vec![ECDSA128, ECDSA256]),
        ("ALL:@STRENGTH", vec![ECDSA256, RSA256, ECDSA_CHACHA, RSA_CHACHA, ECDSA128, RSA128]),
        ("AES128:@SECLEVEL=2", vec![ECDSA128, RSA128]),
    ] {
        assert_eq!(selected(list), (expected, vec![]), "{list}");
    }
}

#[test]
fn operators_move_and_remove() {
    for (list, expected) in [
        ("AES:-AES128:AES128", vec![ECDSA256, RSA256, ECDSA128, RSA128]),
        ("AES:!AES128:AES128", vec![ECDSA256, RSA256]),
        ("!AES128:AES", vec![ECDSA256, RSA256]),
        ("AES:+AES128", vec![ECDSA256, RSA256, ECDSA128, RSA128]),
        ("AES128:+CHACHA20", vec![ECDSA128, RSA128]),
        ("AES128:AES128", vec![ECDSA128, RSA128]),
    ] {
        assert_eq!(selected(list), (expected, vec![]), "{list}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    for (list, warnings) in [
        ("ECDHE+AESGCM:DHE+AESGCM", vec![unknown("DHE+AESGCM")]),
        ("AES128:ECDHE-RSA-AES128-SHA:RC4-MD5", vec![unknown("ECDHE-RSA-AES128-SHA"), unknown("RC4-MD5")]),
        ("AES128:!CHACHA2O", vec![unknown("!CHACHA2O")]),
        ("AES128:ecdhe", vec![unknown("ecdhe")]),
        ("AES128:ECDHE+", vec![unknown("ECDHE+")]),
        ("AES128:!", vec![unknown("!")]),
        ("AES128:@WEAKNESS", vec![unknown("@WEAKNESS")]),
        ("AES128:@SECLEVEL=5", vec![TlsWarning::SecurityLevel { name: "@SECLEVEL=5".into() }]),
        (
            "TLS_AES_256_GCM_SHA384:AES128",
            vec![TlsWarning::Tls13Cipher { name: "TLS_AES_256_GCM_SHA384".into() }],
        ),
        (
            "AES128:!TLS_CHACHA20_POLY1305_SHA256",
            vec![TlsWarning::Tls13Cipher { name: "!TLS_CHACHA20_POLY1305_SHA256".into() }],
        ),
    ] {
        let (suites, warned) = selected(list);
        assert_eq!(warned, warnings, "{list}");
        assert!(suites.contains(&RSA128), "{list}: {suites:?}");
    }
}

#[test]
fn a_list_that_leaves_nothing_is_refused() {
    for list in ["", " : ", "RC4", "ALL:!ECDHE", "nonsense", "TLS_AES_128_GCM_SHA256", "!ALL:ALL", "+AES"] {
        let error = select(list).unwrap_err();
        assert!(matches!(error, TlsError::NoCiphers { .. }), "{list}");
        assert!(error.to_string().contains("leaves no cipher suite"), "{error}");
    }
}

#[test]
fn every_suite_has_an_implementation() {
    let all = select("ALL").unwrap().suites;
    assert_eq!(Favourite::Aes.order(&all).len(), 9);
    assert_eq!(ALL_CIPHER_SUITES.len(), 9, "none is missing from the tables");
}

#[test]
fn a_clients_first_known_suite_tells_what_it_is_quick_at() {
    use CipherSuite as C;
    for (offered, expected) in [
        (&[C::TLS13_AES_256_GCM_SHA384, C::TLS13_CHACHA20_POLY1305_SHA256][..], Favourite::Aes),
        (&[C::TLS13_CHACHA20_POLY1305_SHA256, C::TLS13_AES_128_GCM_SHA256], Favourite::ChaCha20),
        (&[C::Unknown(0x0a0a), C::TLS13_CHACHA20_POLY1305_SHA256], Favourite::ChaCha20),
        (
            &[C::TLS_RSA_WITH_AES_128_CBC_SHA, C::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256],
            Favourite::ChaCha20,
        ),
        (&[C::TLS_RSA_WITH_AES_128_CBC_SHA], Favourite::Aes),
        (&[], Favourite::Aes),
    ] {
        assert_eq!(Favourite::of(offered), expected, "{offered:?}");
    }
}

#[test]
fn the_order_follows_the_client_and_within_that_the_list() {
    use CipherSuite as C;
    let order = |favourite: Favourite, list: &str| -> Vec<CipherSuite> {
        favourite.order(&select(list).unwrap().suites).iter().map(SupportedCipherSuite::suite).collect()
    };
    let list = "CHACHA20+aRSA:ECDHE-RSA-AES256-GCM-SHA384:AES128+aRSA";
    let aes = [
        C::TLS13_AES_128_GCM_SHA256,
        C::TLS13_AES_256_GCM_SHA384,
        C::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        C::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    let chacha = [C::TLS13_CHACHA20_POLY1305_SHA256, C::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256];
    assert_eq!(order(Favourite::Aes, list), [&aes[..], &chacha].concat());
    assert_eq!(order(Favourite::ChaCha20, list), [&chacha[..], &aes].concat());
}

#[test]
fn a_key_fits_the_suites_that_are_signed_with_it() {
    use CipherSuite as C;
    use SignatureAlgorithm as S;
    for (offered, key, fits) in [
        (C::TLS13_AES_128_GCM_SHA256, S::RSA, true),
        (C::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, S::RSA, true),
        (C::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, S::ECDSA, false),
        (C::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, S::ED25519, true),
        (C::TLS_RSA_WITH_AES_128_CBC_SHA, S::RSA, false),
    ] {
        assert_eq!(fit(&[offered], key), fits, "{offered:?} {key:?}");
    }
}

//! Certificates that come by themselves: `[hcrs.acme]`, and the ports that go with it.

use hcrs_server::{AcmeSettings, ChallengePolicy, DirectoryUrl, Domain, HmacKey, KeyType};

use super::*;

fn acme(settings: &Settings) -> Option<&AcmeSettings> {
    settings.acme.as_ref()
}

/// Sets a key beside a name and a folder.
#[track_caller]
fn acme_ends_in<T: Debug + PartialEq>(line: &str, setting: impl Fn(&AcmeSettings) -> T, expected: T) {
    let toml = format!("[hcrs]\nacme_domains = \"a.test\"\n{line}");
    ends_in(&toml, |s| acme(s).map(&setting), Some(expected));
}

fn domains(names: &[&str]) -> Vec<Domain> {
    names.iter().map(|name| Domain::parse(name).unwrap()).collect()
}

#[test]
fn the_keys_of_certificates_end_in_their_settings() {
    ends_in(
        "[hcrs]\nacme_domains = [\"A.test\", \"b.test.\", \"a.test\"]",
        |s| acme(s).map(|acme| acme.domains.clone()),
        Some(domains(&["a.test", "b.test"])),
    );
    acme_ends_in("acme_email = \"a@b.test\"", |a| a.email.clone(), Some("a@b.test".into()));
    acme_ends_in("acme_email = \"mailto:a@b.test\"", |a| a.email.clone(), Some("a@b.test".into()));
    acme_ends_in(
        "acme_directory = \"https://ca.test/dir\"",
        |a| a.directory.clone(),
        DirectoryUrl::parse("https://ca.test/dir").unwrap(),
    );
    acme_ends_in("acme_directory_ca = \"ca.pem\"", |a| a.directory_ca.clone(), Some("ca.pem".into()));
    acme_ends_in("acme_challenge = \"http-01\"", |a| a.challenge, ChallengePolicy::parse("http-01").unwrap());
    acme_ends_in("acme_profile = \"shortlived\"", |a| a.profile.clone(), Some("shortlived".into()));
    acme_ends_in("acme_storage = \"/srv/acme\"", |a| a.storage.clone(), "/srv/acme".into());
    acme_ends_in("acme_key_type = \"RSA-2048\"", |a| a.key_type, KeyType::Rsa2048);
    acme_ends_in(
        "acme_eab_kid = \"k\"\nacme_eab_hmac_key = \"YWJj\"",
        |a| a.external_account.clone().map(|external| (external.kid, external.key)),
        Some(("k".into(), HmacKey::parse("YWJj").unwrap())),
    );
}

#[test]
fn the_table_has_the_keys_without_their_beginning() {
    let by_table = settings("[hcrs.acme]\ndomains = [\"a.test\"]\nstorage = \"/s\"\nkey_type = \"rsa-4096\"");
    let by_keys =
        settings("[hcrs]\nacme_domains = \"a.test\"\nacme_storage = \"/s\"\nacme_key_type = \"rsa-4096\"");
    assert_eq!(by_table.acme, by_keys.acme);
    assert_eq!(acme(&by_table).unwrap().key_type, KeyType::Rsa4096);
    let unknown = config("[hcrs.acme]\ndomain = [\"a.test\"]").unwrap().warnings;
    assert!(
        unknown[0].contains("test.toml:2")
            && unknown[0].contains("[hcrs.acme] domain, ignored; did you mean domains?"),
        "{unknown:?}"
    );
}

#[test]
fn mistakes_are_told_with_their_place_and_their_reason() {
    for (line, why) in [
        ("domains = [\"a.test\",\n\"*.a.test\"]", "\"*.a.test\": a wildcard needs the challenge dns-01"),
        ("domains = \"192.0.2.1\"", "an address cannot be named"),
        ("domains = \"a.test:443\"", "expected a host name"),
        ("domains = 1", "expected a string or an array of strings"),
        ("email = \"a\"", "[hcrs.acme] email: expected an address, as admin@example.com"),
        ("directory = \"http://ca.test\"", "a URL that begins with https://"),
        ("challenge = \"dns-01\"", "expected one of auto, tls-alpn-01, http-01"),
        ("key_type = \"dsa\"", "expected one of ecdsa-p256"),
        ("profile = \"\"", "expected a string that is not empty"),
        ("domains = \"a.test\"\neab_kid = \"k\"", "eab_kid and eab_hmac_key belong together"),
        ("domains = \"a.test\"\neab_hmac_key = \"!secret!\"", "expected a key in base64url"),
    ] {
        let error = config(&format!("[hcrs.acme]\n{line}")).unwrap_err().to_string();
        assert!(error.contains("test.toml:") && error.contains(why), "{error}");
        assert!(!error.contains("expected a key") || !error.contains("found"), "{error}");
    }
    let unused = config("[hcrs.acme]\nemail = \"a@b.test\"\nchallenge = \"auto\"").unwrap().warnings;
    assert_eq!(unused, ["test.toml:2:9: acme_email is ignored: acme_domains has no names"]);
}

#[test]
fn names_have_the_ports_of_https_and_http_unless_others_are_given() {
    let of = |arguments: &str| {
        let words = arguments.split_whitespace().map(OsString::from);
        let environment = [("HOME".into(), "/home/a".into())];
        match parse_in(words, &environment) {
            Ok(Command::Serve(config)) => config.server,
            other => panic!("{other:?}"),
        }
    };
    let usual = of("hcrs --domain a.test --domain b.test m:a");
    assert!(binds(&usual, true).contains(&"0.0.0.0:443".to_owned()), "{:?}", binds(&usual, true));
    assert!(binds(&usual, false).contains(&"0.0.0.0:80".to_owned()), "{:?}", binds(&usual, false));
    assert!(usual.connection.redirect_http);
    assert_eq!(acme(&usual).unwrap().domains, domains(&["a.test", "b.test"]));
    assert_eq!(tls(&usual).managed.len(), 2);
    let explicit = of("hcrs --domain a.test --bind 127.0.0.1:1 m:a");
    assert_eq!(
        (binds(&explicit, true), binds(&explicit, false)),
        (vec!["127.0.0.1:1".to_owned()], Vec::new())
    );
    assert!(!explicit.connection.redirect_http);
    let half = of("hcrs --domain a.test --insecure-bind 127.0.0.1:2 m:a");
    assert_eq!(binds(&half, false), ["127.0.0.1:2"]);
    assert!(binds(&half, true).contains(&"0.0.0.0:443".to_owned()) && !half.connection.redirect_http);
}

#[test]
fn the_key_of_an_account_is_not_shown() {
    for file in ["[hcrs.acme]\neab_hmac_key = \"c2VjcmV0\"", "[hcrs]\nacme_eab_hmac_key = \"c2VjcmV0\""] {
        let config = config(&format!("{file}\neab_kid = \"k\"")).or_else(|_| config(file)).unwrap();
        let shown = config.shown();
        assert!(shown.contains("acme_eab_hmac_key = (hidden)") && !shown.contains("c2VjcmV0"), "{shown}");
    }
}

//! Whole configurations of different shapes (`tests/nginx`): each is converted, compared with the file beside it, and
//! read back. With `HCRS_GENERATE` in the environment the files are written.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hcrs_config::{ConfigError, check_text};

use super::super::generated::assert_current;
use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nginx")
}

fn cases() -> Vec<String> {
    let entries = folder().read_dir().unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Converts a case as the command does.
fn converted(name: &str, flags: &[&str]) -> Result<String, Vec<String>> {
    let path = folder().join(name).join("nginx.conf").display().to_string();
    run(&path, flags)
}

fn run(path: &str, flags: &[&str]) -> Result<String, Vec<String>> {
    let words: Vec<OsString> = ["migrate", path].iter().chain(flags).map(OsString::from).collect();
    match crate::parse(&words) {
        Ok(migrated) => {
            let mut printed = Vec::new();
            migrated.write(&mut printed).unwrap();
            Ok(String::from_utf8(printed).unwrap())
        }
        Err(ConfigError::Invalid(problems)) => Err(problems),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_case_is_converted_as_stored() {
    let cases = cases();
    assert!(cases.len() > 20, "{cases:?}");
    for name in cases {
        let text = converted(&name, &["--app", "main:app"])
            .unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        // The path of the checkout is not a part of the result.
        let text = text.replace(&format!("{}/", folder().display()), "");
        assert_current(&format!("crates/hcrs-migrate/tests/nginx/{name}/hypercorn.toml"), &text);
    }
}

#[test]
fn each_case_is_a_configuration_without_a_mistake() {
    for name in cases() {
        for flags in [&["--app", "main:app"][..], &[]] {
            let text = converted(&name, flags).unwrap();
            match check_text(&name, text.clone()) {
                Ok(config) => assert!(config.warnings.is_empty(), "{name}: {:?}", config.warnings),
                Err(error) => panic!("{name}: {error}\n{text}"),
            }
        }
    }
}

/// Returns the names and lines of all directives.
fn all_directives<'a>(directives: &'a [syntax::Directive], found: &mut Vec<&'a syntax::Directive>) {
    for directive in directives {
        found.push(directive);
        all_directives(directive.children(), found);
    }
}

#[test]
fn each_directive_is_named_in_the_result() {
    for name in cases() {
        let configuration = include::read(&folder().join(&name).join("nginx.conf")).unwrap();
        convert::convert(&configuration, &[], "").unwrap();
        let mut found = Vec::new();
        all_directives(&configuration.directives, &mut found);
        for directive in found {
            assert!(directive.is_seen(), "{name}: {} ({})", directive.written(), directive.place);
        }
    }
}

/// Converts a text as a file `nginx.conf`.
fn converted_text(text: &str) -> Result<String, Vec<String>> {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("nginx.conf");
    std::fs::write(&path, text).unwrap();
    run(path.to_str().unwrap(), &[])
}

#[test]
fn addresses_for_quic_become_those_of_http3() {
    let tls = "ssl_certificate c; ssl_certificate_key k;";
    let text = |listen: &str| format!("http {{ server {{ {listen} root /srv; }} }}");
    let both = format!("listen 443 ssl; listen 443 quic reuseport; listen [::]:443 quic; http3 on; {tls}");
    let converted = converted_text(&text(&both)).unwrap();
    assert!(converted.contains("quic_bind = [\"0.0.0.0:443\", \"[::]:443\"]"), "{converted}");
    assert!(!converted_text(&text(&format!("listen 443 ssl; {tls}"))).unwrap().contains("quic_bind"));
    let without = converted_text(&text("listen 80; listen 443 quic;")).unwrap();
    assert!(without.contains("HTTP/3 needs a certificate") && !without.contains("quic_bind ="), "{without}");
}

#[test]
fn bad_input_is_refused_with_its_place() {
    for (text, problem) in [
        ("server {\n  listen 80;\n", "nginx.conf:1: the block of server is not closed"),
        ("server {\n  listen 80\n}\n", "nginx.conf:2: listen is not ended"),
        ("server {\n}\n}\n", "nginx.conf:3: } closes no block"),
        (
            "events {}\nhttp {\n  include sites/a.conf;\n}\n",
            "nginx.conf:3: include sites/a.conf: there is no file",
        ),
        ("server {\n  return 200 \"x;\n}\n", "nginx.conf:2: the text behind \" is not closed"),
        ("\n\u{1}\u{2}\u{3}", "nginx.conf:2: a control character"),
        ("include nginx.conf;", "nginx.conf:1: include nginx.conf: the file includes itself"),
        ("worker_processes 1;\n", "nginx.conf: there is no server block"),
        ("", "nginx.conf: there is no server block"),
    ] {
        let problems = converted_text(text).unwrap_err().join("\n");
        assert!(problems.contains(problem), "{text:?}\n{problems}");
    }
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("nginx.conf");
    std::fs::write(&path, [0xff, 0xfe, 0x00, 0x01]).unwrap();
    let problems = run(path.to_str().unwrap(), &[]).unwrap_err().join("\n");
    assert!(problems.contains("not UTF-8"), "{problems}");
    let problems = run("no/nginx.conf", &[]).unwrap_err().join("\n");
    assert!(problems.contains("no/nginx.conf: cannot read"), "{problems}");
}

#[test]
fn files_of_nginx_are_recognized() {
    for (text, expected) in [
        ("server {\n}\n", true),
        ("# a\n\nupstream a {\n}", true),
        ("user www-data;\n", true),
        ("proxy_read_timeout 5;\n", true),
        ("server\n{\n}", true),
        ("bind = '0.0.0.0:80'\n", false),
        ("user = 'www'\n", false),
        ("import os\n", false),
        ("", false),
    ] {
        assert_eq!(is_text_of_nginx(text), expected, "{text:?}");
    }
    assert!(
        is_configuration("nginx.conf")
            && !is_configuration("nginx.py")
            && !is_configuration("gunicorn.conf.py")
    );
}

#[test]
fn the_app_may_be_named_or_chosen() {
    let text = "upstream front { server 127.0.0.1:3000; } upstream back { server 127.0.0.1:8000; }\n\
                server { listen 80; location / { proxy_pass http://front; } location /api/ { proxy_pass http://back; } }";
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("nginx.conf");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let first = run(path, &["--app", "m:create(debug=1)"]).unwrap();
    assert!(
        first.contains("application_path = \"m:create(debug=1)\"") && first.contains("front is the app"),
        "{first}"
    );
    assert!(first.contains("upstream = [\"http://127.0.0.1:8000\"]"), "{first}");
    let second = run(path, &["--app", "back=m:a"]).unwrap();
    assert!(second.contains("application_path = \"m:a\"") && second.contains("back is the app"), "{second}");
    assert!(second.contains("upstream = [\"http://127.0.0.1:3000\"]"), "{second}");
    let both = run(path, &["--app", "m:a", "--app", "back=n:b"]).unwrap();
    for line in [
        "application_path = \"m:a\"",
        "[[hcrs.apps]]\nname = \"back\"",
        "application_path = \"n:b\"",
        "app = \"back\"",
    ] {
        assert!(both.contains(line), "{line}\n{both}");
    }
    check_text("both", both).unwrap();
    let none = run(path, &["--app", "other=m:a"]).unwrap();
    assert!(none.contains("no request is proxied to other"), "{none}");
}

#[test]
fn paths_before_upstreams_are_kept_removed_or_replaced() {
    for (location, pass, expected) in [
        ("/", "proxy_pass http://b;", "upstream = [\"http://b\"]"),
        ("/x/", "proxy_pass http://b/;", "upstream = [\"http://b\"] strip_path = true"),
        ("/x/", "proxy_pass http://b/x/;", "upstream = [\"http://b\"]"),
        ("/x/", "proxy_pass http://b/y/;", "upstream = [\"http://b/y\"] strip_path = true"),
        ("/x", "proxy_pass http://b/y;", "upstream = [\"http://b/y\"] strip_path = true"),
        ("/", "proxy_pass http://b/y/;", "upstream = [\"http://b/y\"]"),
        (
            "/x/",
            "rewrite ^/x/(.*)$ /$1 break; proxy_pass http://b;",
            "upstream = [\"http://b\"] strip_path = true",
        ),
        (
            "/x/",
            "rewrite ^/x/?(.*) /$1 break; proxy_pass http://b;",
            "upstream = [\"http://b\"] strip_path = true",
        ),
    ] {
        let text = format!(
            "server {{ listen 80; location /a {{ proxy_pass http://a; }} location {location} {{ {pass} }} }}"
        );
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, text).unwrap();
        let result = run(path.to_str().unwrap(), &["--app", "a=m:a"]).unwrap();
        let keys: Vec<&str> = result
            .lines()
            .filter(|line| line.starts_with("upstream") || line.starts_with("strip_path"))
            .filter_map(|line| line.split("  #").next().map(str::trim))
            .collect();
        assert_eq!(keys.join(" "), expected, "{location} {pass}\n{result}");
    }
}

#[test]
fn values_that_hcrs_does_not_take_are_reported() {
    let text = "server { listen 80; client_max_body_size 1m; location / { proxy_pass http://a; } \
                location /x { limit_req zone=z; proxy_pass http://a; } } \
                limit_req_zone $binary_remote_addr zone=z:1m rate=99999999999r/s;";
    let result = converted_text(text).unwrap();
    let (_, mistakes) = result.split_once("Mistakes in the lines above").unwrap();
    assert!(mistakes.contains("# - line:") && mistakes.contains("rate"), "{result}");
}

#[test]
fn a_restriction_is_never_lost() {
    for inner in [
        "location /x { auth_request /check; proxy_pass http://a; }",
        "location /x { allow 10.0.0.1; deny 10.0.0.0/8; proxy_pass http://a; }",
        "location /x { deny all; }",
        "location /x { secure_link $arg_x; proxy_pass http://a; }",
        "location /x { allow $remote; deny all; }",
        "deny all;",
    ] {
        let result =
            converted_text(&format!("server {{ listen 80; location / {{ proxy_pass http://a; }} {inner} }}"));
        let result = result.unwrap();
        assert!(result.contains("status = 403"), "{inner}\n{result}");
    }
}

proptest::proptest! {
    #[test]
    fn any_configuration_is_converted_or_refused(
        directives in proptest::collection::vec(directive(), 0..12),
        outer in proptest::collection::vec(directive(), 0..4),
    ) {
        let (inner, outer) = (directives.join("\n"), outer.join("\n"));
        let text = format!("{outer}\nserver {{ listen 443 ssl; {inner} location / {{ proxy_pass http://a; }} }}");
        if let Ok(result) = converted_text(&text) {
            proptest::prop_assert!(toml::de::DeTable::parse(&result).is_ok(), "{}\n{}", text, result);
            let checked = check_text("x", result.clone());
            // Values of hcrs have bounds that nginx does not have; the form is always right.
            if let Err(error) = checked {
                let message = error.to_string();
                for wrong in ["unknown key", "no request reaches", "a route has", "goes with", "duplicate", "expected a table"] {
                    proptest::prop_assert!(!message.contains(wrong), "{}\n{}\n{}", text, result, message);
                }
            }
        }
    }
}

/// Returns directives of the table with arguments that are possible, and locations.
fn directive() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::strategy::Strategy as _;
    let names: Vec<&str> =
        directives::TABLE.iter().map(|(name, _)| *name).filter(|name| !name.contains('*')).collect();
    let argument = || {
        proptest::prop_oneof![
            proptest::sample::select(
                &[
                    "on",
                    "off",
                    "/x",
                    "/srv/x",
                    "10m",
                    "30d",
                    "301",
                    "404",
                    "503",
                    "http://b",
                    "http://unix:/x:/",
                    "$uri",
                    "=404",
                    "@app",
                    "https://$host$request_uri",
                    "10.0.0.0/8",
                    "all",
                    "all",
                    "zone=a",
                    "rate=5r/s",
                    "burst=2",
                    "text/css",
                    "*.test",
                    "a.test",
                    "~^(a|b)\\.css$",
                    "\"a b\"",
                    "''",
                    "permanent",
                    "last",
                    "break",
                    "$1",
                    "1",
                    "443",
                ][..]
            )
            .prop_map(str::to_owned),
            "[a-z/$.(){}^*0-9]{1,6}".prop_map(|text| format!("\"{text}\"")),
        ]
    };
    let simple = (proptest::sample::select(names), proptest::collection::vec(argument(), 0..4))
        .prop_map(|(name, arguments)| format!("{name} {};", arguments.join(" ")));
    let modifier = proptest::sample::select(&["", "= ", "^~ ", "~ ", "~* "][..]);
    let block = (modifier, "/[a-c/]{0,4}", proptest::collection::vec(simple.clone().boxed(), 0..4))
        .prop_map(|(modifier, path, inner)| format!("location {modifier}{path} {{ {} }}", inner.join(" ")));
    let condition = (argument(), argument(), simple.clone())
        .prop_map(|(left, right, inner)| format!("if ({left} = {right}) {{ {inner} }}"));
    proptest::prop_oneof![3 => simple, 3 => block, 1 => condition]
}

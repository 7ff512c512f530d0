//! Rules: of all requests, and of routes.

use std::time::Duration;

use hcrs_http::ResponseHead;
use hcrs_rules::{FieldChange, FieldChanges, Rate};
use hcrs_server::{FixedBody, PasswordSource, RateBy, Rules, StrictTransport};

use super::{config, settings};

/// Checks that a key has this effect in `[hcrs]` and in a route.
#[expect(clippy::needless_pass_by_value, reason = "the lines that use it read as a table")]
fn rule<T: std::fmt::Debug + PartialEq>(toml: &str, read: impl Fn(&Rules) -> T, expected: T) {
    let of_all = settings(&format!("[hcrs]\n{toml}"));
    assert_eq!(read(of_all.routes.rules_of_all()), expected, "{toml}");
    let of_route = settings(&format!("[[hcrs.routes]]\nstatus = 404\n{toml}"));
    assert_eq!(read(&of_route.routes.list()[0].rules), expected, "{toml}");
    assert_ne!(read(of_route.routes.rules_of_all()), expected, "{toml} is a rule of the route alone");
}

#[test]
fn rules_end_in_their_settings() {
    let networks = |texts: &[&str]| Some(texts.iter().map(|text| text.parse().unwrap()).collect());
    rule("allow = [\"10.0.0.0/8\", \"::1\"]", |r| r.allow.clone(), networks(&["10.0.0.0/8", "::1"]));
    rule("allow = \"10.0.0.1\"", |r| r.allow.clone(), networks(&["10.0.0.1"]));
    rule("deny = [\"fd00::/8\"]", |r| r.deny.clone(), networks(&["fd00::/8"]));
    rule("rate = \"10/s\"", |r| r.rate, Some(Rate::parse("10/s").unwrap()));
    rule("rate = \"10/s\"\nrate_burst = 30", |r| r.rate_burst, Some(30));
    rule(
        "rate = \"10/s\"\nrate_by = \"X-Api-Key\"",
        |r| r.rate_by.clone(),
        Some(RateBy::Field("x-api-key".into())),
    );
    rule("rate = \"10/s\"\nrate_by = \"address\"", |r| r.rate_by.clone(), Some(RateBy::Address));
    rule("auth = \"users\"", |r| r.auth.clone(), Some(PasswordSource::new("users".into())));
    rule("auth = \"users\"\nauth_realm = \"the staff\"", |r| r.auth_realm.clone(), Some("the staff".into()));
    rule("request_timeout = 1.5", |r| r.request_timeout, Some(Duration::from_millis(1500)));
    rule("request_timeout = 0", |r| r.request_timeout, Some(Duration::ZERO));
    rule("maintenance_file = \"down.html\"", |r| r.maintenance_file.clone(), Some("down.html".into()));
    rule("buffer_response = \"1M\"", |r| r.buffer_response, Some(1 << 20));
    let year = StrictTransport::Sent("max-age=31536000".into());
    let sent = StrictTransport::Sent("max-age=1; includeSubDomains".into());
    for (value, expected) in
        [("true", year), ("false", StrictTransport::Off), ("\"max-age=1; includeSubDomains\"", sent)]
    {
        rule(&format!("strict_transport = {value}"), |r| r.strict_transport.clone(), Some(expected));
    }
    let quiet = settings("[[hcrs.routes]]\nstatus = 404\naccess_log = false");
    assert_eq!(quiet.routes.list()[0].rules.access_log, Some(false));
}

#[test]
fn changes_of_fields_end_in_one_setting() {
    let changes = |all: &[(FieldChange, &str, &str)]| {
        let mut changes = FieldChanges::default();
        for (change, name, value) in all {
            changes.include(*change, name, value).unwrap();
        }
        changes
    };
    let fields = |r: &Rules| r.fields.clone();
    for set in ["{ X-Frame-Options = \"DENY\", b = \"a=b\" }", "[\"X-Frame-Options=DENY\", \"b=a=b\"]"] {
        let expected = [(FieldChange::Set, "x-frame-options", "DENY"), (FieldChange::Set, "b", "a=b")];
        rule(&format!("set_headers = {set}"), fields, changes(&expected));
    }
    rule("add_headers = { vary = \"cookie\" }", fields, changes(&[(FieldChange::Add, "vary", "cookie")]));
    let removed = [(FieldChange::Remove, "a", ""), (FieldChange::Remove, "b", "")];
    rule("remove_headers = [\"a\", \"B\"]", fields, changes(&removed));
    let of_both = settings(
        "[hcrs]\nset_headers = { a = \"1\" }\nremove_headers = \"b\"\n\
         routes = [{ status = 404, set_headers = {} }]",
    );
    let head = ResponseHead::new(200, [(&b"b"[..], &b"1"[..])]);
    assert_eq!(of_both.routes.rules_of_all().fields.apply(&head, &[]).field_count(), 1);
    assert_eq!(
        of_both.routes.list()[0].rules.fields.apply(&head, &[]).field_count(),
        0,
        "a route unsets them"
    );
}

#[test]
fn error_pages_are_files_or_texts_by_status() {
    let page =
        |status: u16| move |r: &Rules| r.error_pages.as_ref().and_then(|pages| pages.find(status).cloned());
    let toml = "error_pages = { \"502\" = \"text:down\", \"4xx\" = \"no.html\" }";
    rule(toml, page(502), Some(FixedBody::Text("down".into())));
    rule(toml, page(404), Some(FixedBody::File(hcrs_server::LoadedFile::new("no.html".into()))));
    rule("error_pages = [\"404=text:a=b\"]", page(404), Some(FixedBody::Text("a=b".into())));
}

#[test]
fn mistakes_in_rules_are_named_with_their_place_and_key() {
    for (toml, message) in [
        ("allow = \"10.0.0.0/33\"", "allow: \"10.0.0.0/33\": expected an address or a network"),
        ("deny = [\n\"10.0.0.1/8\"]", "deny: \"10.0.0.1/8\": host bits are set: the network is 10.0.0.0/8"),
        ("allow = 1", "allow: expected a string or an array of strings"),
        ("rate = \"10\"", "rate: expected a number of requests in a second, minute or hour"),
        ("rate = 10", "rate: expected a string"),
        ("rate_burst = 0", "rate_burst: expected a whole number from 1"),
        ("rate = \"1/h\"\nrate_burst = 200", "rate_burst: expected a burst from 1 to 168 at this rate"),
        ("rate_by = \"x key\"", "rate_by: expected address, or the name of a request field"),
        ("auth = \"\"", "auth: expected a path as a string"),
        ("auth_realm = 'a\"b'", "auth_realm: expected visible ASCII characters"),
        (
            "set_headers = { Content-Length = \"1\" }",
            "set_headers: \"Content-Length\": the server frames responses",
        ),
        ("set_headers = { date = \"1\" }", "set_headers: \"date\": include_date_header decides"),
        (
            "set_headers = { a = \"b\\r\\nc: d\" }",
            "set_headers: \"a\": expected the value of a response field",
        ),
        ("set_headers = [\"a\"]", "set_headers: expected a string of the form name=value"),
        ("set_headers = { a = 1 }", "set_headers: expected a string"),
        (
            "add_headers = { \":status\" = \"1\" }",
            "add_headers: \":status\": expected the name of a response field",
        ),
        ("remove_headers = \"server\"", "remove_headers: \"server\": the server adds this field"),
        ("remove_headers = [\"a\", \"upgrade\"]", "remove_headers: \"upgrade\": the server frames responses"),
        ("strict_transport = \"yes\"", "strict_transport: expected true, false, or a text with max-age="),
        ("request_timeout = -1", "request_timeout: expected a number of seconds from 0"),
        ("error_pages = { \"200\" = \"a\" }", "error_pages: \"200\": expected a status from 400 to 599"),
        ("error_pages = { \"404\" = \"\" }", "error_pages: \"404\": expected a file, or text:"),
        ("error_pages = [\"404=a\", \"404=b\"]", "error_pages: \"404\" has a page already"),
        ("buffer_response = \"big\"", "buffer_response: expected a number of bytes"),
    ] {
        let of_all = config(&format!("[hcrs]\n{toml}")).unwrap_err().to_string();
        assert!(of_all.contains("test.toml:") && of_all.contains(&format!("[hcrs] {message}")), "{of_all}");
        let of_route = config(&format!("[[hcrs.routes]]\napp = true\n{toml}")).unwrap_err().to_string();
        let line = 2 + toml.matches('\n').count();
        let is_named = of_route.contains(&format!("test.toml:{}", line + 1))
            && of_route.contains(&format!("routes: {message}"));
        assert!(is_named, "{of_route}");
    }
    let near = config("[[hcrs.routes]]\napp = true\nrat = \"1/s\"").unwrap_err().to_string();
    assert!(near.contains("did you mean rate?"), "{near}");
}

#[test]
fn rules_without_effect_are_a_warning() {
    let warned = |toml: &str| config(toml).unwrap_or_else(|error| panic!("{error}")).warnings;
    for (key, value, needs) in
        [("rate_burst", "5", "rate"), ("rate_by", "\"address\"", "rate"), ("auth_realm", "\"a\"", "auth")]
    {
        let of_all = format!("test.toml:2:{}: {key} is ignored: there is no {needs}", key.len() + 4);
        assert_eq!(warned(&format!("[hcrs]\n{key} = {value}")), [of_all]);
        let of_route = format!("test.toml:1:1: routes: {key} is ignored: there is no {needs}");
        assert_eq!(warned(&format!("[[hcrs.routes]]\napp = true\n{key} = {value}")), [of_route]);
    }
    for used in [
        "[hcrs]\nrate = \"1/s\"\n[[hcrs.routes]]\napp = true\nrate_burst = 5\nrate_by = \"x-key\"",
        "[hcrs]\nrate_burst = 5\n[[hcrs.routes]]\napp = true\nrate = \"1/s\"",
        "[hcrs]\nauth = \"users\"\n[[hcrs.routes]]\napp = true\nauth_realm = \"a\"",
    ] {
        assert_eq!(warned(used), [""; 0], "{used}");
    }
    let too_large =
        "test.toml:3:1: routes: rate_burst is ignored: expected a burst from 1 to 168 at this rate";
    for (of_all, of_route) in [("rate = \"1/h\"", "rate_burst = 200"), ("rate_burst = 200", "rate = \"1/h\"")]
    {
        let toml = format!("[hcrs]\n{of_all}\n[[hcrs.routes]]\napp = true\n{of_route}");
        assert_eq!(warned(&toml), [too_large], "{toml}");
    }
    let reversed = config("[hcrs]\nrate_burst = 200\nrate = \"1/h\"").unwrap_err().to_string();
    assert!(reversed.contains("rate_burst: expected a burst from 1 to 168"), "{reversed}");
}

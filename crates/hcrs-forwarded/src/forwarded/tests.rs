use hcrs_http::{PATH_PREFIX_MAX, PathPrefix, RequestLine, Version};
use proptest::prelude::*;

use super::*;

const PROXY: &str = "10.0.0.1";

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let line = RequestLine {
        version: Version::Http11,
        scheme: Scheme::Http,
        method: b"GET",
        path: b"/p",
        query: b"q",
    };
    let endpoints = Endpoints::new(
        Some(Address { host: PROXY, port: 1000 }),
        Some(Address { host: "10.0.0.9", port: 8000 }),
    );
    let mut head = RequestHead::new(Vec::new(), line, &endpoints);
    head.push_field(b"host", b"inner:8000");
    for (name, value) in fields {
        head.push_field(name.as_bytes(), value.as_bytes());
    }
    head.set_has_body();
    head
}

fn resolved(style: ForwardedStyle, hops: usize, head: &RequestHead) -> Option<RequestHead> {
    let mut trust = Trust::default();
    trust.add("10.0.0.0/8, fd00::/8").unwrap();
    Forwarding { style, hops: NonZeroUsize::new(hops), prefix: false }.resolve_client(head, &trust)
}

/// Returns a head's facts as `client scheme host server`.
fn seen(head: &RequestHead) -> String {
    let view = head.view();
    let address =
        |address: Option<Address<'_>>| address.map_or_else(String::new, |a| format!("{}|{}", a.host, a.port));
    let host = String::from_utf8_lossy(view.fields().first(b"host").unwrap()).into_owned();
    format!("{} {} {host} {}", address(view.client()), view.scheme.as_str(), address(view.server()))
}

fn legacy(hops: usize, fields: &[(&str, &str)]) -> String {
    let head = head(fields);
    seen(&resolved(ForwardedStyle::Legacy, hops, &head).unwrap_or(head))
}

fn modern(hops: usize, lines: &[&str]) -> String {
    let fields: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
    let head = head(&fields);
    seen(&resolved(ForwardedStyle::Modern, hops, &head).unwrap_or(head))
}

const UNCHANGED: &str = "10.0.0.1|1000 http inner:8000 10.0.0.9|8000";

fn client_of(seen: &str) -> &str {
    seen.split(' ').next().unwrap()
}

#[test]
fn the_first_address_from_the_right_that_is_not_trusted_is_the_client() {
    for (list, client) in [
        ("192.0.2.1", "192.0.2.1|0"),
        ("192.0.2.1, 10.0.0.2", "192.0.2.1|0"),
        ("6.6.6.6, 192.0.2.1, 10.0.0.2, 10.0.0.3", "192.0.2.1|0"),
        ("127.0.0.1, 10.0.0.5, 192.0.2.1", "192.0.2.1|0"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3|0"),
        ("192.0.2.1:4711, 10.0.0.2:80", "192.0.2.1|4711"),
        ("2001:db8::1, fd00::2", "2001:db8::1|0"),
        ("[2001:db8::1]:99, [fd00::2]", "2001:db8::1|99"),
        ("::ffff:192.0.2.1, ::ffff:10.0.0.2", "192.0.2.1|0"),
        (", 192.0.2.1,", "192.0.2.1|0"),
    ] {
        assert_eq!(client_of(&legacy(0, &[("x-forwarded-for", list)])), client, "{list}");
    }
}

#[test]
fn what_is_no_address_ends_the_walk_at_the_nearest_hop_that_is_known() {
    for (list, client) in [
        ("unknown", "10.0.0.1|1000"),
        ("192.0.2.1, unknown, 10.0.0.2", "10.0.0.2|0"),
        ("192.0.2.1, x y, 10.0.0.2", "10.0.0.2|0"),
        ("192.0.2.1, 10.0.0.2:x", "10.0.0.1|1000"),
        ("192.0.2.1, 10.0.0.2:65536", "10.0.0.1|1000"),
        ("192.0.2.1, [10.0.0.2]", "10.0.0.1|1000"),
        ("192.0.2.1, [::1", "10.0.0.1|1000"),
        ("192.0.2.1, 1.2.3", "10.0.0.1|1000"),
        ("", "10.0.0.1|1000"),
    ] {
        assert_eq!(client_of(&legacy(0, &[("x-forwarded-for", list)])), client, "{list}");
    }
}

#[test]
fn several_lines_are_one_list_in_their_order() {
    let lines =
        [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "10.0.0.2")];
    assert_eq!(client_of(&legacy(0, &lines)), "192.0.2.1|0");
}

#[test]
fn scheme_host_and_port_are_those_of_the_outermost_trusted_hop() {
    let all = |schemes, hosts, ports| {
        legacy(
            0,
            &[
                ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.2"),
                ("x-forwarded-proto", schemes),
                ("x-forwarded-host", hosts),
                ("x-forwarded-port", ports),
            ],
        )
    };
    assert_eq!(all("https", "a.test", "443"), "192.0.2.1|0 https a.test a.test|443");
    assert_eq!(
        all("evil, https, http", "evil, a.test, b", "1, 8443, 80"),
        "192.0.2.1|0 https a.test:8443 a.test|8443"
    );
    assert_eq!(all("HTTPS", "a.test:444", "8443"), "192.0.2.1|0 https a.test:444 a.test|444");
    assert_eq!(all("wss", "[::1]:1", "x"), "192.0.2.1|0 https [::1]:1 ::1|1");
    assert_eq!(all("gopher", "a b", "-1"), "192.0.2.1|0 http inner:8000 10.0.0.9|8000");
}

#[test]
fn a_proxy_may_say_only_a_part() {
    assert_eq!(legacy(0, &[("x-forwarded-proto", "https")]), "10.0.0.1|1000 https inner:8000 10.0.0.9|8000");
    assert_eq!(
        legacy(0, &[("x-forwarded-proto", "http, https")]),
        "10.0.0.1|1000 https inner:8000 10.0.0.9|8000"
    );
    assert_eq!(legacy(0, &[("x-forwarded-port", "81")]), "10.0.0.1|1000 http inner:8000 10.0.0.9|81");
    assert_eq!(
        legacy(0, &[("forwarded", "for=192.0.2.1;proto=https")]),
        UNCHANGED,
        "not the fields that count"
    );
    assert_eq!(legacy(0, &[]), UNCHANGED);
}

#[test]
fn malformed_hosts_are_ignored() {
    for host in ["", "a@b", "a/b", "a b", "a:", "a:x", "a:99999", "[::1", "[x]", "::1", "a\"b", "a\\b", ":80"]
    {
        assert_eq!(legacy(0, &[("x-forwarded-host", host)]), UNCHANGED, "{host}");
    }
}

#[test]
fn hops_count_where_addresses_are_not_known() {
    let list = ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 198.51.100.1");
    assert_eq!(client_of(&legacy(1, &[list])), "198.51.100.1|0");
    assert_eq!(client_of(&legacy(2, &[list])), "192.0.2.1|0");
    assert_eq!(client_of(&legacy(3, &[list])), "6.6.6.6|0");
    assert_eq!(legacy(4, &[list, ("x-forwarded-proto", "https")]), UNCHANGED, "it has come another way");
    let schemes = ("x-forwarded-proto", "evil, https, http");
    assert!(legacy(2, &[list, schemes]).starts_with("192.0.2.1|0 https "));
    assert!(
        legacy(2, &[("x-forwarded-for", "192.0.2.1, unknown"), schemes]).starts_with("192.0.2.1|0 https ")
    );
    assert_eq!(
        modern(2, &["for=192.0.2.1;proto=https, for=unknown"]),
        "192.0.2.1|0 https inner:8000 10.0.0.9|8000"
    );
    assert_eq!(modern(2, &["for=192.0.2.1;proto=https"]), UNCHANGED);
}

#[test]
fn forwarded_is_walked_alike() {
    let host = "inner:8000 10.0.0.9|8000";
    for (lines, expected) in [
        (&["for=192.0.2.1;proto=https;host=a.test"][..], "192.0.2.1|0 https a.test a.test|443".to_owned()),
        (
            &["For=\"[2001:db8::1]:4711\";Proto=HTTPS, for=10.0.0.2;proto=http"],
            format!("2001:db8::1|4711 https {host}"),
        ),
        (
            &["for=6.6.6.6;proto=https, for=192.0.2.1;proto=http, for=10.0.0.2"],
            format!("192.0.2.1|0 http {host}"),
        ),
        (&["for=6.6.6.6", "for=192.0.2.1", "for=10.0.0.2"], format!("192.0.2.1|0 http {host}")),
        (&["for=192.0.2.1:80"], format!("192.0.2.1|80 http {host}")),
        (&["for=\"192.0.2.1:_port\""], format!("192.0.2.1|0 http {host}")),
        (&["for=192.0.2.1, for=unknown;proto=https, for=10.0.0.2"], format!("10.0.0.2|0 https {host}")),
        (&["for=192.0.2.1, for=_hidden, for=10.0.0.2"], format!("10.0.0.2|0 http {host}")),
        (&["for=192.0.2.1, proto=https;by=_x"], format!("10.0.0.1|1000 https {host}")),
        (&["for=192.0.2.1;proto=https, for=a;for=b, for=10.0.0.2"], format!("10.0.0.2|0 http {host}")),
        (&["host=\"a.test:8443\""], "10.0.0.1|1000 http a.test:8443 a.test|8443".to_owned()),
        (&["host=\"a.test, b\";proto=x"], UNCHANGED.to_owned()),
        (&["nonsense"], UNCHANGED.to_owned()),
    ] {
        assert_eq!(modern(0, lines), expected, "{lines:?}");
    }
    let head = head(&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")]);
    assert!(resolved(ForwardedStyle::Modern, 0, &head).is_none(), "not the fields that count");
}

#[test]
fn everyone_is_trusted_as_the_peer_only() {
    let trust = Trust { everyone: true, ..Trust::default() };
    let forwarding = Forwarding { style: ForwardedStyle::Legacy, hops: None, prefix: false };
    let head = head(&[("x-forwarded-for", "6.6.6.6, 192.0.2.1")]);
    assert_eq!(client_of(&seen(&forwarding.resolve_client(&head, &trust).unwrap())), "192.0.2.1|0");
}

#[test]
fn nothing_else_of_the_head_is_changed() {
    let before = head(&[("b", "1"), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-host", "a"), ("b", "2")]);
    let after = resolved(ForwardedStyle::Legacy, 0, &before).unwrap();
    let (before, after) = (before.view(), after.view());
    assert_eq!((after.method, after.path, after.query), (before.method, before.path, before.query));
    assert_eq!(
        (after.version, after.has_body, after.field_count),
        (before.version, true, before.field_count)
    );
    let others = |(name, _): &(&[u8], &[u8])| *name != b"host";
    assert!(after.fields().filter(others).eq(before.fields().filter(others)));
    assert_eq!(after.fields().next(), Some((&b"host"[..], &b"a"[..])), "the host keeps its place");
}

#[test]
fn prefixes_are_read_where_they_are_wanted() {
    let read = |value: &str, prefix: bool| {
        let head = head(&[("x-forwarded-prefix", value)]);
        let forwarding = Forwarding { style: ForwardedStyle::Legacy, hops: None, prefix };
        let resolved = forwarding.resolve_client(&head, &Trust::default()).unwrap_or(head);
        assert_eq!(resolved.view().path, b"/p");
        String::from_utf8(resolved.view().prefix.to_vec()).unwrap()
    };
    assert_eq!(read("/api", false), "");
    for (value, prefix) in [("/api", "/api"), ("/a/b%20c/", "/a/b%20c"), ("/evil, /api", "/api")] {
        assert_eq!(read(value, true), prefix);
    }
    for value in ["/%2e%2e/x", "/%2E/x", "/.%2e", "/a%2f..%2Fb", "/a%2F%2Fb", "/a%2"] {
        assert_eq!(read(value, true), "", "{value}");
    }
    let long = format!("/{}", "x".repeat(PATH_PREFIX_MAX));
    for value in [
        "",
        "/",
        "api",
        "//evil",
        "/a//b",
        "/..",
        "/a/../b",
        "/a?b",
        "/a b",
        "/\u{e9}",
        "/%2e%2E/a",
        "/a/.%2e",
        "/a%2f..",
        "/%",
        "/%0",
        "/%00",
        &long,
    ] {
        assert_eq!(read(value, true), "", "{value}");
    }
    assert_eq!(read(&long[..PATH_PREFIX_MAX], true).len(), PATH_PREFIX_MAX);
}

#[test]
fn a_prefix_of_the_connection_stays_unless_another_one_is_said() {
    let line = RequestLine {
        version: Version::Http11,
        scheme: Scheme::Http,
        method: b"GET",
        path: b"/p",
        query: b"",
    };
    let endpoints = Endpoints::default().with_prefix(PathPrefix::parse("/own/").unwrap().as_bytes());
    let with = |name: &[u8], value: &[u8]| {
        let mut head = RequestHead::new(Vec::new(), line, &endpoints);
        head.push_field(name, value);
        head
    };
    let forwarding = Forwarding { style: ForwardedStyle::Legacy, hops: None, prefix: true };
    let resolved = |name, value| forwarding.resolve_client(&with(name, value), &Trust::default()).unwrap();
    assert_eq!(resolved(b"x-forwarded-proto", b"https").view().prefix, b"/own");
    assert_eq!(resolved(b"x-forwarded-prefix", b"/sent").view().prefix, b"/sent");
    assert_eq!(without_forwarded(&with(b"forwarded", b"for=a")).unwrap().view().prefix, b"/own");
}

#[test]
fn fields_of_strangers_can_be_dropped() {
    let before = head(&[("forwarded", "for=a"), ("x", "1"), ("x-forwarded-ssl", "on"), ("x-forwarded", "y")]);
    let after = without_forwarded(&before).unwrap();
    let names: Vec<&[u8]> = after.view().fields().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"host"[..], b"x", b"x-forwarded"]);
    assert_eq!((seen(&after), after.has_body()), (UNCHANGED.to_owned(), true));
    assert!(without_forwarded(&after).is_none());
}

proptest! {
    #[test]
    fn clients_cannot_change_what_the_proxy_says(
        fields in proptest::collection::vec(
            (
                0usize..5,
                proptest::collection::vec(prop_oneof![Just(b','), Just(b'"'), any::<u8>()], 0..40),
            ),
            0..8,
        ),
    ) {
        let names =
            ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"];
        let mut head = head(&[]);
        for (name, value) in &fields {
            head.push_field(names[*name].as_bytes(), value);
        }
        for (name, value) in [
            ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a.test"),
            ("x-forwarded-port", "443"), ("forwarded", "for=192.0.2.1;proto=https;host=a.test"),
        ] {
            head.push_field(name.as_bytes(), value.as_bytes());
        }
        for style in [ForwardedStyle::Legacy, ForwardedStyle::Modern] {
            for hops in [0, 1] {
                let resolved = resolved(style, hops, &head).unwrap();
                prop_assert_eq!(seen(&resolved), "192.0.2.1|0 https a.test a.test|443");
            }
            for hops in [2, 3] {
                let _any_answer = resolved(style, hops, &head);
            }
        }
    }
}

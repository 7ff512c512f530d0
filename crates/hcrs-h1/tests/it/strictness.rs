//! Requests that are refused, their answers, and odd requests that are accepted.

use hcrs_h1::Settings;
use hcrs_http::Fault;

use crate::driver::{BodyLength, Seen, connection, feed, see, see_all};

/// Returns the status with which `wire` is refused, if it is, in one read and byte by byte.
fn refusal(wire: &str) -> Option<u16> {
    let whole = see(wire.as_bytes());
    let dripped = see_all(Settings::default(), wire.as_bytes().chunks(1));
    assert_eq!(whole.last(), dripped.last(), "{wire:?}");
    match whole.last() {
        Some(Seen::Fault(fault)) => Some(fault.status()),
        _ => None,
    }
}

/// Returns a GET with these lines after its request line.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\n{fields}\r\n")
}

#[test]
fn refuses_malformed_request_lines() {
    for (line, status) in [
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET /\tHTTP/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1", 400),
        ("GET / HTTP/1.x", 400),
        ("GET / HTTP/01.1", 400),
        ("GET / HTTP/1.1x", 400),
        ("G(T / HTTP/1.1", 400),
        ("G\0T / HTTP/1.1", 400),
        ("/ HTTP/1.1", 400),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/2.0", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET / HTTP/3.7", 505),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /\u{e9} HTTP/1.1", 400),
        ("GET /\x7f HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET x HTTP/1.1", 400),
        ("GET a:80 HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET http://u@a/ HTTP/1.1", 400),
        ("CONNECT a:80 HTTP/1.1", 405),
        ("CONNECT / HTTP/1.1", 405),
    ] {
        assert_eq!(refusal(&format!("{line}\r\nhost: a\r\n\r\n")), Some(status), "{line:?}");
    }
}

#[test]
fn refuses_malformed_fields() {
    for fields in [
        "host: a\n",
        "host: a\r\nx: y\n",
        "host: a\r\n\n",
        "host: a\rx: y\r\n",
        "host: a\r\nx: a\rb\r\n",
        "host: a\r\nx: a\0b\r\n",
        "host: a\r\nx: a\x7fb\r\n",
        "host: a\r\nx: a\x01b\r\n",
        "host: a\r\nx : y\r\n",
        "host: a\r\nx\t: y\r\n",
        "host: a\r\nx y: z\r\n",
        "host: a\r\n: y\r\n",
        "host: a\r\nx\r\n",
        "host: a\r\nx: y\r\n z\r\n",
        "host: a\r\nx: y\r\n\tz\r\n",
        " x: y\r\nhost: a\r\n",
        "host: a\r\n\u{e9}: y\r\n",
        "host: a\r\nx(y): z\r\n",
    ] {
        assert_eq!(refusal(&get(fields)), Some(400), "{fields:?}");
    }
}

#[test]
fn refuses_hosts_that_are_missing_doubled_or_more_than_a_host() {
    for fields in [
        "",
        "host: a\r\nhost: a\r\n",
        "host:\r\n",
        "host: u@a\r\n",
        "host: a/b\r\n",
        "host: a,b\r\n",
        "host: a b\r\n",
        "host: a:x\r\n",
        "host: http://a\r\n",
        "host: \u{e9}\r\n",
    ] {
        assert_eq!(refusal(&get(fields)), Some(400), "{fields:?}");
        let absolute = format!("GET http://b/ HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(refusal(&absolute), Some(400), "{absolute:?}");
    }
}

#[test]
fn refuses_bodies_whose_length_could_be_read_in_two_ways() {
    for (fields, status) in [
        ("content-length: 1\r\ncontent-length: 1\r\n", 400),
        ("content-length: 1\r\ncontent-length: 2\r\n", 400),
        ("content-length: 0\r\ncontent-length: 0\r\n", 400),
        ("content-length: 1, 1\r\n", 400),
        ("content-length: 1 1\r\n", 400),
        ("content-length: +1\r\n", 400),
        ("content-length: 01\r\n", 400),
        ("content-length: 00\r\n", 400),
        ("content-length: -1\r\n", 400),
        ("content-length: 0x1\r\n", 400),
        ("content-length: 1.0\r\n", 400),
        ("content-length:\r\n", 400),
        ("content-length: \u{661}\r\n", 400),
        ("content-length: 18446744073709551616\r\n", 400),
        ("content-length: 1\r\ntransfer-encoding: chunked\r\n", 400),
        ("transfer-encoding: chunked\r\ncontent-length: 0\r\n", 400),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", 400),
        ("transfer-encoding: chunked, chunked\r\n", 400),
        ("transfer-encoding: chunked, gzip\r\n", 400),
        ("transfer-encoding: chunked;a=b\r\n", 400),
        ("transfer-encoding: xchunked\r\n", 400),
        ("transfer-encoding: \"chunked\"\r\n", 400),
        ("transfer-encoding: chunked,\r\n", 400),
        ("transfer-encoding: ,chunked\r\n", 400),
        ("transfer-encoding:\r\n", 400),
        ("transfer-encoding: identity\r\n", 400),
        ("transfer-encoding: gzip, chunked\r\n", 501),
    ] {
        let wire = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        assert_eq!(refusal(&wire), Some(status), "{fields:?}");
    }
    assert_eq!(refusal("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"), Some(400));
}

#[test]
fn refuses_unknown_expectations_but_not_from_old_clients() {
    let wire = |version: &str, value: &str| {
        format!("POST / HTTP/{version}\r\nhost: a\r\ncontent-length: 0\r\nexpect: {value}\r\n\r\n")
    };
    assert_eq!(refusal(&wire("1.1", "200-ok")), Some(417));
    assert_eq!(refusal(&wire("1.1", "100-Continue")), None);
    assert_eq!(refusal(&wire("1.0", "200-ok")), None);
}

#[test]
fn skips_two_empty_lines_and_no_more() {
    assert_eq!(refusal(&format!("\r\n\r\n{}", get("host: a\r\n"))), None);
    assert_eq!(refusal(&format!("\r\n\r\n\r\n{}", get("host: a\r\n"))), Some(400));
    assert_eq!(refusal(&format!("\n{}", get("host: a\r\n"))), Some(400));
}

#[test]
fn limits_hold_however_the_head_arrives() {
    let long = "x".repeat(16 * 1024);
    assert_eq!(refusal(&get(&format!("host: a\r\nx: {long}\r\n"))), Some(431));
    assert_eq!(refusal(&format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")), Some(414));
    assert_eq!(refusal(&long), Some(400));

    let with_total = |total: usize| {
        let empty = get("host: a\r\nx: \r\n").len();
        get(&format!("host: a\r\nx: {}\r\n", "x".repeat(total - empty)))
    };
    assert_eq!(refusal(&with_total(16 * 1024)), None);
    assert_eq!(refusal(&with_total(16 * 1024 + 1)), Some(431));

    let with_fields = |count: usize| get(&format!("host: a\r\n{}", "x:\r\n".repeat(count - 1)));
    assert_eq!(refusal(&with_fields(256)), None);
    assert_eq!(refusal(&with_fields(257)), Some(431));
}

#[test]
fn more_fields_than_by_default_are_served_if_the_operator_allows() {
    let settings = Settings { max_fields: 1000, ..Settings::default() };
    let wire = |count: usize| get(&format!("host: a\r\n{}", "x:\r\n".repeat(count - 1)));
    assert!(matches!(see_all(settings, [wire(1000).as_bytes()])[..], [Seen::Head(..)]));
    assert_eq!(see_all(settings, [wire(1001).as_bytes()]), [Seen::Fault(Fault::HeadTooLarge)]);
}

#[test]
fn a_head_and_a_name_beyond_what_a_length_can_hold_are_refused() {
    let settings = Settings { max_head_bytes: 1 << 20, ..Settings::default() };
    let long = "x".repeat(70_000);
    let name = get(&format!("host: a\r\n{long}: y\r\n"));
    assert_eq!(see_all(settings, [name.as_bytes()]), [Seen::Fault(Fault::HeadTooLarge)]);
    let method = format!("{long} / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(matches!(see_all(settings, [method.as_bytes()])[..], [Seen::Fault(Fault::BadRequest(_))]));
}

#[test]
fn refuses_what_cannot_become_a_request_before_the_rest_is_here() {
    for start in ["\x16\x03\x01", "\0", "GET /\r\n", "GET / HTTP/1.1\n", "GET / SMTP\r\n"] {
        let seen = see(start.as_bytes());
        assert!(matches!(seen[..], [Seen::Fault(Fault::BadRequest(_))]), "{start:?}: {seen:?}");
    }
    assert_eq!(see(b"GET / HTTP/2.0\r\n"), [Seen::Fault(Fault::VersionNotSupported)]);
}

#[test]
fn refuses_malformed_chunks_and_ends_the_connection() {
    let wire = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        2\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
    let seen = see(wire);
    assert!(matches!(seen[..], [Seen::Head(..), Seen::Fault(Fault::BadRequest(_))]), "{seen:?}");
}

#[test]
fn nothing_is_read_after_a_fault() {
    let mut connection = connection();
    feed(&mut connection, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(connection.poll_event().is_err());
    assert!(matches!(connection.poll_event(), Ok(None)));
    assert!(connection.must_close());
    assert!(!connection.is_idle());
}

#[test]
fn fields_are_given_in_order_in_lower_case_without_blanks_around_values() {
    let wire = "GeT /a?b=c HTTP/1.1\r\nHost: A:80\r\n\
                X-Long-Name-0123456789012345678901234567890123456789012345678901234567890: \t v w \t\r\n\
                X: 1\r\nContent_Length: 5\r\ny_z: 2\r\nx:\r\nX: caf\u{e9}\r\n\r\n";
    let head = "GeT /a?b=c 1.1\nhost: A:80\n\
                x-long-name-0123456789012345678901234567890123456789012345678901234567890: v w\n\
                x: 1\nx: \nx: caf\\xc3\\xa9";
    assert_eq!(see(wire.as_bytes()), [Seen::Head(head.into(), BodyLength::None)]);
}

#[test]
fn the_authority_of_an_absolute_target_stands_for_host() {
    let wire = "GET http://b:1/c?d HTTP/1.1\r\nx: y\r\nhost: a\r\nz:\r\n\r\n";
    assert_eq!(
        see(wire.as_bytes()),
        [Seen::Head("GET /c?d 1.1\nx: y\nhost: b:1\nz: ".into(), BodyLength::None)]
    );
    let old = "GET http://b/ HTTP/1.0\r\nx: y\r\n\r\n";
    assert_eq!(see(old.as_bytes()), [Seen::Head("GET /? 1.0\nhost: b\nx: y".into(), BodyLength::None)]);
}

#[test]
fn old_clients_may_leave_host_out() {
    assert_eq!(see(b"GET / HTTP/1.0\r\n\r\n"), [Seen::Head("GET /? 1.0".into(), BodyLength::None)]);
    assert_eq!(
        see(b"GET / HTTP/1.0\r\nhost:\r\n\r\n"),
        [Seen::Head("GET /? 1.0\nhost: ".into(), BodyLength::None)]
    );
}

//! Responses: framing, checks on the app's heads, and answers to faults. httparse reads them back.

use hcrs_h1::{Connection, ServerFields};
use hcrs_http::{Fault, Field};

use crate::driver::{after, answer, connection, response};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\n\r\n";

fn write(
    connection: &mut Connection,
    status: u16,
    fields: &[(&str, &str)],
    body_now: Option<usize>,
) -> Result<String, Fault> {
    let mut out = Vec::new();
    let extra = ServerFields { date: Some(b"now"), server: Some(b"hcrs"), alt_svc: b"" };
    let written = connection.write_head(&response(status, fields), body_now, false, &extra, &mut out);
    assert_eq!(written.is_err(), out.is_empty(), "an error leaves nothing behind");
    written.map(|()| String::from_utf8(out).expect("text"))
}

/// Returns status and fields as a client reads them.
fn read_back(text: &str) -> (u16, Vec<(String, String)>) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut fields);
    assert!(head.parse(text.as_bytes()).expect("well-formed").is_complete(), "{text:?}");
    let fields = head
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned()));
    (head.code.expect("a status"), fields.collect())
}

#[test]
fn the_apps_fields_come_first_in_its_order_and_case() {
    let mut connection = after(GET);
    let text = write(&mut connection, 201, &[("X-B", "1"), ("x-a", "\u{e9}"), ("X-B", "")], None)
        .expect("a good head");
    assert_eq!(
        text,
        "HTTP/1.1 201 Created\r\nX-B: 1\r\nx-a: \u{e9}\r\nX-B: \r\ndate: now\r\nserver: hcrs\r\n\
         transfer-encoding: chunked\r\n\r\n",
    );
}

#[test]
fn date_and_server_of_the_app_stand_for_ours() {
    let text =
        write(&mut after(GET), 200, &[("Date", "then"), ("SERVER", "mine")], Some(0)).expect("a good head");
    assert_eq!(text, "HTTP/1.1 200 OK\r\nDate: then\r\nSERVER: mine\r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn framing_follows_from_request_status_and_length() {
    let none: &[(&str, &str)] = &[];
    let five = &[("Content-Length", "5")][..];
    for (request, status, fields, body_now, framing) in [
        (GET, 200, none, None, Some(("transfer-encoding", "chunked"))),
        (GET, 200, none, Some(0), Some(("content-length", "0"))),
        (GET, 200, none, Some(12), Some(("content-length", "12"))),
        (GET, 200, five, None, Some(("Content-Length", "5"))),
        (GET, 200, five, Some(5), Some(("Content-Length", "5"))),
        (GET, 200, &[("transfer-encoding", "Chunked")], None, Some(("transfer-encoding", "chunked"))),
        (
            GET,
            200,
            &[("transfer-encoding", "chunked"), ("content-length", "5")],
            None,
            Some(("content-length", "5")),
        ),
        (GET, 200, &[("content-length", "5"), ("content-length", "5")], None, Some(("content-length", "5"))),
        (GET, 200, &[("content-length", " 5\t")], None, Some(("content-length", "5"))),
        (GET, 204, none, None, None),
        (GET, 204, none, Some(0), None),
        (GET, 204, five, None, None),
        (GET, 304, none, Some(0), None),
        (GET, 304, five, None, Some(("Content-Length", "5"))),
        (HEAD, 200, none, None, None),
        (HEAD, 200, none, Some(0), None),
        (HEAD, 200, five, Some(0), Some(("Content-Length", "5"))),
        (OLD, 200, none, None, None),
        (OLD, 200, none, Some(3), Some(("content-length", "3"))),
    ] {
        let case = format!("{request:?} {status} {fields:?} {body_now:?}");
        let (code, fields) = read_back(&write(&mut after(request), status, fields, body_now).expect(&case));
        let seen: Vec<_> = fields
            .iter()
            .map(|(name, value)| (&name[..], &value[..]))
            .filter(|(name, _)| {
                ["content-length", "transfer-encoding"]
                    .iter()
                    .any(|framing| framing.eq_ignore_ascii_case(name))
            })
            .collect();
        assert_eq!((code, seen), (status, Vec::from_iter(framing)), "{case}");
    }
}

#[test]
fn what_cannot_be_sent_is_the_apps_fault() {
    for (status, fields) in [
        (0, &[][..]),
        (99, &[]),
        (100, &[]),
        (101, &[]),
        (103, &[]),
        (1000, &[]),
        (u16::MAX, &[]),
        (200, &[("", "x")]),
        (200, &[("a b", "x")]),
        (200, &[("a:", "x")]),
        (200, &[("a\r\nb", "x")]),
        (200, &[("\u{e9}", "x")]),
        (200, &[("a", "x\r\ny: z")]),
        (200, &[("a", "x\ny")]),
        (200, &[("a", "x\0")]),
        (200, &[("a", "x\x7f")]),
        (200, &[("content-length", "")]),
        (200, &[("content-length", "x")]),
        (200, &[("content-length", "-1")]),
        (200, &[("content-length", "1, 1")]),
        (200, &[("content-length", "1"), ("content-length", "2")]),
        (200, &[("content-length", "99999999999999999999")]),
        (200, &[("transfer-encoding", "gzip")]),
        (200, &[("transfer-encoding", "gzip, chunked")]),
    ] {
        let mut connection = after(GET);
        assert_eq!(
            write(&mut connection, status, fields, None),
            Err(Fault::AppFailed),
            "{status} {fields:?}"
        );
        assert!(!connection.has_head_out());
        assert!(answer(&mut connection).starts_with("HTTP/1.1 200"), "the exchange can still be answered");
    }
    let differs = write(&mut after(GET), 200, &[("content-length", "5")], Some(4));
    assert_eq!(differs, Err(Fault::AppFailed));
}

#[test]
fn a_second_head_is_the_apps_fault_and_so_is_one_without_a_request() {
    let mut connection = after(GET);
    write(&mut connection, 200, &[], None).expect("a good head");
    assert_eq!(write(&mut connection, 200, &[], None), Err(Fault::AppFailed));
    assert_eq!(write(&mut self::connection(), 200, &[], None), Err(Fault::AppFailed));
}

#[test]
fn other_options_of_connection_are_passed_on() {
    let text = write(
        &mut after(GET),
        426,
        &[("Connection", "upgrade, keep-alive, close"), ("upgrade", "x")],
        Some(0),
    )
    .expect("a good head");
    let (_, fields) = read_back(&text);
    let seen: Vec<_> =
        fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection")).map(|f| &f.1[..]).collect();
    assert_eq!(seen, ["upgrade", "close"]);
}

fn body(connection: &mut Connection, pieces: &[&str]) -> Result<String, Fault> {
    let mut out = Vec::new();
    for piece in pieces {
        connection.write_data(piece.as_bytes(), &mut out)?;
    }
    connection.write_end(&mut out)?;
    Ok(String::from_utf8(out).expect("text"))
}

#[test]
fn bodies_keep_to_the_framing_announced() {
    let long = "x".repeat(4096);
    let five = &[("content-length", "5")][..];
    for (request, status, fields, pieces, expected) in [
        (
            GET,
            200,
            &[][..],
            &["hello", "", &long][..],
            Ok(format!("5\r\nhello\r\n1000\r\n{long}\r\n0\r\n\r\n")),
        ),
        (GET, 200, &[], &[], Ok("0\r\n\r\n".into())),
        (GET, 200, five, &["he", "llo"], Ok("hello".into())),
        (GET, 200, five, &["hell"], Err(Fault::AppFailed)),
        (GET, 200, five, &["hello", "!"], Err(Fault::AppFailed)),
        (OLD, 200, &[], &["hello"], Ok("hello".into())),
        (HEAD, 200, &[], &["hello"], Ok(String::new())),
        (HEAD, 200, five, &[], Ok(String::new())),
        (GET, 204, &[], &["hello"], Ok(String::new())),
        (GET, 304, five, &["hello"], Ok(String::new())),
    ] {
        let mut connection = after(request);
        write(&mut connection, status, fields, None).expect("a good head");
        let written = body(&mut connection, pieces);
        assert_eq!(written, expected, "{request:?} {status} {fields:?}");
        assert_eq!(connection.can_keep_alive(), expected.is_ok() && request != OLD);
    }
}

#[test]
fn a_body_before_the_head_or_after_the_end_is_the_apps_fault() {
    let mut connection = after(GET);
    let mut out = Vec::new();
    assert_eq!(connection.write_data(b"x", &mut out), Err(Fault::AppFailed));
    assert_eq!(connection.write_end(&mut out), Err(Fault::AppFailed));
    let mut connection = after(GET);
    answer(&mut connection);
    assert_eq!(connection.write_data(b"x", &mut out), Err(Fault::AppFailed));
    assert_eq!(connection.write_end(&mut out), Err(Fault::AppFailed));
    assert!(out.is_empty());
}

#[test]
fn faults_are_answered_with_a_complete_response() {
    let extra =
        ServerFields { date: Some(b"now"), server: Some(b"hcrs"), alt_svc: b"alt-svc: a\r\nalt-svc: b\r\n" };
    let unfinished = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nx";
    for (request, fault, close, expected, lives) in [
        (GET, Fault::QueueFull, false, "503 Service Unavailable\r\nretry-after: 1", true),
        (GET, Fault::QueueFull, true, "503 Service Unavailable\r\nretry-after: 1", false),
        (GET, Fault::AppFailed, false, "500 Internal Server Error", true),
        (OLD, Fault::WorkerLost, false, "502 Bad Gateway", false),
        (unfinished, Fault::BodyTimeout, false, "408 Request Timeout", false),
        (GET, Fault::UnknownHost, false, "404 Not Found", true),
        (unfinished, Fault::UnknownHost, false, "404 Not Found", false),
        (GET, Fault::MethodNotAllowed, false, "405 Method Not Allowed\r\nallow: ", true),
    ] {
        let mut connection = after(request);
        let mut out = Vec::new();
        connection.write_fault(fault, None, close, &extra, &mut out);
        let end = if lives { "" } else { "connection: close\r\n" };
        let expected = format!(
            "HTTP/1.1 {expected}\r\ndate: now\r\nserver: hcrs\r\nalt-svc: a\r\nalt-svc: b\r\n\
             content-length: 0\r\n{end}\r\n"
        );
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert_eq!(connection.can_keep_alive(), lives);
        assert!(connection.response_ended());
        connection.write_fault(fault, None, close, &extra, &mut out);
        assert_eq!(out.len(), expected.len(), "only one answer goes out");
    }
}

#[test]
fn the_response_to_a_fault_may_have_a_field_of_its_own() {
    let own = Some(Field { name: b"x-request-id", value: b"4242" });
    let mut out = Vec::new();
    after(GET).write_fault(Fault::QueueTimeout, own, false, &ServerFields::default(), &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nx-request-id: 4242\r\ncontent-length: 0\r\n\r\n"
    );
}

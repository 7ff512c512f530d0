//! The client's side: requests as they are written, responses however they arrive, and servers that lie.

use bytes::BufMut as _;
use hcrs_h1::{
    BadResponse, ClientConnection, OutgoingRequest, RequestBody, ResponseEvent, Settings, Unsendable,
};
use hcrs_http::ResponseHead;
use proptest::prelude::*;

/// A part of a response that can be compared; adjacent pieces of a body are one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Interim(String),
    Head(String),
    Switched(String),
    Data(Vec<u8>),
    Trailers(String),
    End,
    Bad(BadResponse),
}

const GET: OutgoingRequest<'_> = OutgoingRequest {
    method: b"GET",
    target: &[b"/"],
    body: RequestBody::None,
    asks_for_websocket: false,
    accepts_trailers: false,
};
const HEAD: OutgoingRequest<'_> = OutgoingRequest { method: b"HEAD", ..GET };
const UPGRADE: OutgoingRequest<'_> = OutgoingRequest { asks_for_websocket: true, ..GET };

/// Returns a connection that has written the request, and what it has written.
fn asking(
    request: &OutgoingRequest<'_>,
    fields: &[(&str, &str)],
) -> Result<(ClientConnection, String), Unsendable> {
    let mut connection = ClientConnection::new(&Settings::default());
    let mut out = b"before".to_vec();
    let pushed = |written: &mut hcrs_h1::RequestFields<'_>| {
        for (name, value) in fields {
            written.push(name.as_bytes(), &[value.as_bytes()]);
        }
    };
    let written = connection.write_request(request, pushed, &mut out);
    let out = String::from_utf8(out).expect("a head in ASCII");
    let out = out.strip_prefix("before").expect("the bytes before the head");
    assert!(written.is_ok() || out.is_empty(), "an error leaves no trace");
    written.map(|()| (connection, out.to_owned()))
}

fn describe(head: &ResponseHead) -> String {
    let lines =
        head.fields().map(|(name, value)| format!(" {}:{}", name.escape_ascii(), value.escape_ascii()));
    head.status().to_string() + &lines.collect::<String>()
}

/// Returns the events of what has arrived, with `room` for each piece of a body.
fn drain(connection: &mut ClientConnection, room: usize, seen: &mut Vec<Seen>) {
    loop {
        let ends =
            matches!(seen.last(), Some(Seen::End | Seen::Trailers(_) | Seen::Switched(_) | Seen::Bad(_)));
        match connection.poll_event(room) {
            Ok(None) => return,
            event => {
                assert!(!ends, "{event:?} after {seen:?}");
                let last = match event {
                    Ok(Some(ResponseEvent::Data { data, end })) => {
                        assert!(!data.is_empty() && data.len() <= room);
                        match seen.last_mut() {
                            Some(Seen::Data(whole)) => whole.extend_from_slice(&data),
                            _ => seen.push(Seen::Data(data.to_vec())),
                        }
                        if !end {
                            continue;
                        }
                        Seen::End
                    }
                    Ok(Some(ResponseEvent::Interim(head))) => Seen::Interim(describe(&head)),
                    Ok(Some(ResponseEvent::Switched(head))) => Seen::Switched(describe(&head)),
                    Ok(Some(ResponseEvent::Head { head, is_whole })) => {
                        seen.push(Seen::Head(describe(&head)));
                        if !is_whole {
                            continue;
                        }
                        Seen::End
                    }
                    Ok(Some(ResponseEvent::Trailers(fields))) => Seen::Trailers(describe(&fields)),
                    Ok(Some(ResponseEvent::End) | None) => Seen::End,
                    Err(bad) => Seen::Bad(bad),
                };
                seen.push(last);
            }
        }
    }
}

/// Returns the events of a response in pieces of `step` bytes, and whether the connection can be reused. With `closes`
/// the server closes behind it.
fn see(request: &OutgoingRequest<'_>, wire: &[u8], step: usize, closes: bool) -> (Vec<Seen>, bool) {
    let (mut connection, _) = asking(request, &[]).expect("a good request");
    let mut seen = Vec::new();
    for piece in wire.chunks(step) {
        connection.input_mut(piece.len()).put_slice(piece);
        drain(&mut connection, 3, &mut seen);
        drain(&mut connection, 1000, &mut seen);
    }
    if closes {
        connection.end_input();
        drain(&mut connection, 1000, &mut seen);
    }
    (seen, connection.can_be_reused())
}

fn data(text: &str) -> Seen {
    Seen::Data(text.as_bytes().to_vec())
}

#[test]
fn a_request_is_written_with_its_framing() {
    for (request, fields, expected) in [
        (GET, &[("host", "a"), ("x", "")][..], "GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n"),
        (
            OutgoingRequest { target: &[b"/base", b"/x", b"?", b"q=1"], accepts_trailers: true, ..GET },
            &[("host", "a")],
            "GET /base/x?q=1 HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n",
        ),
        (OutgoingRequest { method: b"POST", ..GET }, &[], "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"),
        (
            OutgoingRequest { method: b"PUT", body: RequestBody::Known(12), ..GET },
            &[],
            "PUT / HTTP/1.1\r\ncontent-length: 12\r\n\r\n",
        ),
        (
            OutgoingRequest { method: b"POST", body: RequestBody::Chunked, ..GET },
            &[],
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (UPGRADE, &[], "GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
    ] {
        let (_, written) = asking(&request, fields).unwrap();
        assert_eq!(written, expected);
    }
}

#[test]
fn no_part_of_a_request_begins_a_line_of_its_own() {
    for target in [&b""[..], b"/ HTTP/1.1", b"/\r\nx: y", b"/\n", b"/\0", b"/\xc3\xa9", b"/\t"] {
        assert!(
            asking(&OutgoingRequest { target: &[target], ..GET }, &[]).is_err(),
            "{}",
            target.escape_ascii()
        );
    }
    for method in [&b""[..], b"GET ", b"G\r\nT", b"G/T"] {
        assert!(asking(&OutgoingRequest { method, ..GET }, &[]).is_err(), "{}", method.escape_ascii());
    }
    for (name, value) in
        [("x", "a\r\ny: b"), ("x", "a\nb"), ("x", "a\rb"), ("x", "a\0b"), ("x\r\ny", "a"), ("x\n", "")]
    {
        assert!(asking(&GET, &[("host", "a"), (name, value)]).is_err(), "{name:?} {value:?}");
    }
}

#[test]
fn a_body_keeps_to_its_length() {
    let request = OutgoingRequest { method: b"POST", body: RequestBody::Known(5), ..GET };
    let (mut connection, _) = asking(&request, &[]).unwrap();
    let mut out = Vec::new();
    assert!(!connection.request_ended());
    assert_eq!(connection.plain_room(), Some(5));
    connection.write_data(b"hel", &mut out).unwrap();
    assert_eq!(connection.write_data(b"lo!", &mut out), Err(Unsendable));
    assert_eq!(connection.write_end(&mut out), Err(Unsendable));
    connection.wrote_plain(2);
    connection.write_end(&mut out).unwrap();
    assert!(connection.request_ended());
    assert_eq!(out, b"hel");

    let request = OutgoingRequest { method: b"POST", body: RequestBody::Chunked, ..GET };
    let (mut connection, _) = asking(&request, &[]).unwrap();
    let mut out = Vec::new();
    assert_eq!(connection.plain_room(), None);
    connection.write_data(b"hello", &mut out).unwrap();
    connection.write_data(b"", &mut out).unwrap();
    connection.write_end(&mut out).unwrap();
    assert_eq!(out, b"5\r\nhello\r\n0\r\n\r\n");
}

/// Asserts the events of responses that arrive in pieces of each size.
fn assert_seen<const N: usize>(rows: [(OutgoingRequest<'_>, &str, Vec<Seen>, bool); N]) {
    for (request, wire, expected, is_reused) in rows {
        for step in 1..=wire.len() {
            assert_eq!(
                see(&request, wire.as_bytes(), step, false),
                (expected.clone(), is_reused),
                "{wire:?} by {step}"
            );
        }
    }
}

#[test]
fn responses_are_read_however_they_are_cut() {
    let head = |text: &str| Seen::Head(text.to_owned());
    let (reused, closed) = (true, false);
    assert_seen([
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1 \r\n\r\nok",
            vec![head("200 content-length:2 x-a:1"), data("ok"), Seen::End],
            reused,
        ),
        (
            GET,
            "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
            vec![head("200 content-length:0"), Seen::End],
            reused,
        ),
        (GET, "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", vec![head("204"), Seen::End], reused),
        (
            GET,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
            vec![head("304 content-length:99"), Seen::End],
            reused,
        ),
        (
            HEAD,
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n",
            vec![head("200 content-length:99"), Seen::End],
            reused,
        ),
        (HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", vec![head("200"), Seen::End], reused),
        (
            GET,
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
            vec![head("200 content-length:1"), data("a"), Seen::End],
            reused,
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nconnection: Keep-Alive, X-Own, content-length\r\nx-own: 1\r\nkeep-alive: timeout=5\r\n\
            proxy-connection: x\r\nupgrade: h2c\r\nte: x\r\ncontent-length: 1\r\n\r\na",
            vec![head("200 content-length:1"), data("a"), Seen::End],
            reused,
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\na",
            vec![head("200 content-length:1"), data("a"), Seen::End],
            closed,
        ),
        (
            GET,
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
            vec![head("200 content-length:1"), data("a"), Seen::End],
            closed,
        ),
        (
            GET,
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na",
            vec![head("200 content-length:1"), data("a"), Seen::End],
            reused,
        ),
    ]);
}

#[test]
fn chunks_interim_responses_and_switches_are_read_however_they_are_cut() {
    let head = |text: &str| Seen::Head(text.to_owned());
    let (reused, closed) = (true, false);
    assert_seen([
        (
            GET,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
            vec![head("200"), data("hello world"), Seen::End],
            reused,
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7 \r\nhost: b\r\n\r\n",
            vec![head("200 trailer:x-sum"), data("a"), Seen::Trailers("0 x-sum:7".to_owned())],
            reused,
        ),
        (
            GET,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 P\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            vec![Seen::Interim("103 link:</a>".to_owned()), head("200 content-length:0"), Seen::End],
            reused,
        ),
        (
            UPGRADE,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\ncontent-length: 1\r\n\
            sec-websocket-accept: x\r\n\r\n",
            vec![Seen::Switched("101 sec-websocket-accept:x".to_owned())],
            closed,
        ),
        (
            UPGRADE,
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            vec![head("404 content-length:0"), Seen::End],
            reused,
        ),
    ]);
}

#[test]
fn a_response_without_a_length_ends_with_its_connection() {
    let wire = b"HTTP/1.1 200 OK\r\n\r\nhello";
    for step in 1..=wire.len() {
        let expected = vec![Seen::Head("200".to_owned()), data("hello"), Seen::End];
        assert_eq!(see(&GET, wire, step, true), (expected, false));
    }
}

#[test]
fn what_follows_a_response_belongs_to_no_request() {
    for wire in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nx",
        "HTTP/1.1 204 No Content\r\ncontent-length: 1\r\n\r\nx",
    ] {
        for step in 1..=wire.len() {
            let (seen, is_reused) = see(&GET, wire.as_bytes(), step, false);
            assert!(seen.contains(&Seen::End) && !is_reused, "{wire:?} by {step}: {seen:?}");
        }
    }
    let mut connection = ClientConnection::new(&Settings::default());
    assert!(connection.can_be_reused() && matches!(connection.poll_event(1), Ok(None)));
    connection.input_mut(1).put_slice(b"x");
    assert!(!connection.can_be_reused() && connection.poll_event(1).is_err());
}

#[test]
fn a_request_that_is_not_complete_keeps_its_connection_from_others() {
    let request = OutgoingRequest { method: b"POST", body: RequestBody::Known(1), ..GET };
    let (mut connection, _) = asking(&request, &[]).unwrap();
    connection.input_mut(99).put_slice(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n");
    let mut seen = Vec::new();
    drain(&mut connection, 9, &mut seen);
    assert!(connection.response_ended() && !connection.can_be_reused());
    connection.write_data(b"x", &mut Vec::new()).unwrap();
    connection.write_end(&mut Vec::new()).unwrap();
    assert!(connection.can_be_reused());
}

#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    for wire in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\nx: y\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx y: z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n x: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
        "HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\na",
        "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na",
        "HTTP/1.1 200 OK\r\ncontent-length: 0x1\r\n\r\na",
        "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\na",
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\na",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\na\n0\n\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\na",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx y: z\r\n\r\n",
    ] {
        for step in 1..=wire.len() {
            let (seen, is_reused) = see(&GET, wire.as_bytes(), step, false);
            assert!(matches!(seen.last(), Some(Seen::Bad(_))), "{wire:?} by {step}: {seen:?}");
            assert!(!is_reused);
        }
    }
    let others = "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n";
    assert!(matches!(see(&UPGRADE, others.as_bytes(), 9, false).0[..], [Seen::Bad(_)]));
}

#[test]
fn a_response_that_breaks_off_is_no_whole_one() {
    for wire in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
    ] {
        for len in 0..=wire.len() {
            let (seen, is_reused) = see(&GET, &wire.as_bytes()[..len], 7, true);
            assert!(matches!(seen.last(), Some(Seen::Bad(_))), "{wire:?} up to {len}: {seen:?}");
            assert!(!is_reused);
        }
    }
}

#[test]
fn a_connection_that_closes_without_a_byte_has_not_answered() {
    let (mut connection, _) = asking(&GET, &[]).unwrap();
    assert!(connection.is_unanswered());
    connection.input_mut(1).put_slice(b"H");
    assert!(!connection.is_unanswered());
    let (mut connection, _) = asking(&GET, &[]).unwrap();
    connection.input_mut(99).put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    assert!(matches!(connection.poll_event(1), Ok(None)) && !connection.is_unanswered());
    for (input, is_unanswered) in [(&b""[..], true), (b"HTTP/1.1 100 Continue\r\n\r\n", false), (b"H", false)]
    {
        let (mut connection, _) = asking(&GET, &[]).unwrap();
        if !input.is_empty() {
            connection.input_mut(99).put_slice(input);
        }
        connection.end_input();
        connection.poll_event(1).unwrap_err();
        assert_eq!(connection.is_unanswered(), is_unanswered, "{input:?}");
    }
}

#[test]
fn heads_are_bounded() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(16 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(257));
    let endless = "H".repeat(17 << 10);
    let trailers = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: {}\r\n\r\n",
        "a".repeat(16 << 10)
    );
    let interims = "HTTP/1.1 100 Continue\r\n\r\n".repeat(65);
    for wire in [long, many, endless, trailers, interims] {
        for step in [1, 1000, wire.len()] {
            let (seen, _) = see(&GET, wire.as_bytes(), step, false);
            assert!(matches!(seen.last(), Some(Seen::Bad(_))), "{}", &wire[..20]);
        }
    }
}

proptest! {
    /// Whatever a server sends, the client neither panics nor goes on after an error, and it does not matter how the
    /// bytes are cut.
    #[test]
    fn any_bytes_are_read_the_same_way_however_they_are_cut(
        pieces in prop::collection::vec(prop_oneof![
            Just("HTTP/1.1 200 OK\r\n"), Just("HTTP/1.1 100 C\r\n\r\n"), Just("content-length: 3\r\n"), Just("\r\n"),
            Just("transfer-encoding: chunked\r\n"), Just("3\r\nabc\r\n"), Just("0\r\n"), Just("x: y\r\n"), Just("abc"),
            Just("\n"), Just(": "), Just("\0"),
        ], 1..9),
        step in 1..40_usize,
        closes: bool,
    ) {
        let wire = pieces.concat();
        let by_step = see(&GET, wire.as_bytes(), step, closes);
        prop_assert_eq!(by_step, see(&GET, wire.as_bytes(), wire.len(), closes));
    }
}

//! Consecutive requests: bodies, pipelining, 100-continue, and the end of the connection.

use hcrs_h1::{Awaits, Event, ServerFields};
use hcrs_http::Fault;

use crate::driver::{BodyLength, Seen, after, answer, connection, drain, feed, response, see};

#[test]
fn bodies_are_given_in_the_framing_announced() {
    let head = |fields: &str| format!("POST /? 1.1\nhost: a\n{fields}");
    assert_eq!(
        see(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET"),
        [
            Seen::Head(head("content-length: 5"), BodyLength::Known(5)),
            Seen::Data(b"hello".to_vec()),
            Seen::End
        ],
    );
    assert_eq!(
        see(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n\
              3\r\nhel\r\n2;x\r\nlo\r\n0\r\nT: u \r\nhost: b\r\nt_v: w\r\nx:\r\n\r\n"),
        [
            Seen::Head(head("transfer-encoding: Chunked"), BodyLength::Chunked),
            Seen::Data(b"hello".to_vec()),
            Seen::Trailers("t=u x=".to_owned()),
            Seen::End
        ],
    );
    assert_eq!(
        see(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"),
        [Seen::Head(head("content-length: 0"), BodyLength::None)],
    );
}

#[test]
fn a_large_piece_of_a_body_is_not_copied() {
    let mut connection = connection();
    let head = b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\n";
    feed(&mut connection, [&head[..], &[b'x'; 9000]].concat());
    let body_at = connection.unparsed().as_ptr_range().end.wrapping_sub(9000);
    assert!(matches!(connection.poll_event(), Ok(Some(Event::Request(_)))));
    let Ok(Some(Event::Data(piece))) = connection.poll_event() else { panic!("no data") };
    assert_eq!((piece.len(), piece.as_ptr()), (9000, body_at));
}

#[test]
fn the_last_piece_of_a_known_length_is_seen_to_be_the_last() {
    let mut connection = connection();
    feed(&mut connection, "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nab");
    assert!(matches!(connection.poll_event(), Ok(Some(Event::Request(_)))));
    for (more, is_last) in [("", false), ("c", true)] {
        feed(&mut connection, more);
        assert!(matches!(connection.poll_event(), Ok(Some(Event::Data(_)))));
        assert_eq!(connection.has_read_body(), is_last);
    }
    assert!(matches!(connection.poll_event(), Ok(Some(Event::End))));
}

#[test]
fn pipelined_requests_wait_for_their_turn() {
    let mut connection = connection();
    feed(
        &mut connection,
        "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx\
         GET /3 HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    let mut paths = Vec::new();
    for _ in 0..3 {
        let mut seen = Vec::new();
        drain(&mut connection, &mut seen);
        let heads = seen.iter().filter(|seen| matches!(seen, Seen::Head(..))).count();
        assert_eq!(heads, 1, "{seen:?}");
        assert_eq!(connection.awaits(), Awaits::Nothing);
        connection.next_exchange();
        assert!(connection.request_ended(), "the next request has to wait for the response");
        assert_eq!(answer(&mut connection), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        connection.next_exchange();
        let Seen::Head(head, _) = &seen[0] else { panic!("{seen:?}") };
        paths.push(head.split(' ').nth(1).expect("a path").to_owned());
    }
    assert_eq!(paths, ["/1?", "/2?", "/3?"]);
    assert!(connection.is_idle());
}

#[test]
fn names_what_it_awaits() {
    let mut connection = connection();
    let mut feed = |bytes: &str| {
        feed(&mut connection, bytes);
        let mut seen = Vec::new();
        drain(&mut connection, &mut seen);
        (connection.awaits(), connection.is_idle())
    };
    assert_eq!(feed(""), (Awaits::Head { started: false }, true));
    assert_eq!(feed("\r\n"), (Awaits::Head { started: false }, true));
    assert_eq!(feed("P"), (Awaits::Head { started: true }, false));
    assert_eq!(feed("UT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n"), (Awaits::Body, false));
    assert_eq!(feed("x"), (Awaits::Body, false));
    assert_eq!(feed("yGET /"), (Awaits::Nothing, false));
}

#[test]
fn the_block_of_a_head_is_used_again() {
    let mut connection = connection();
    let block = Vec::with_capacity(4096);
    let at = block.as_ptr();
    connection.set_spare_block(block);
    feed(&mut connection, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let Ok(Some(Event::Request(request))) = connection.poll_event() else { panic!("no request") };
    assert_eq!(request.head.as_bytes().as_ptr(), at);
}

const EXPECTING: &str = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";

#[test]
fn continue_is_written_once_and_only_to_a_client_that_waits() {
    let mut out = Vec::new();
    let mut waiting = after(EXPECTING);
    assert_eq!(waiting.awaits(), Awaits::Nothing);
    assert!(waiting.write_continue(&mut out));
    assert!(!waiting.write_continue(&mut out));
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(waiting.awaits(), Awaits::Body);
    for wire in [
        &format!("{EXPECTING}x"),
        "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
        "PUT / HTTP/1.0\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
        "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n",
    ] {
        assert!(!after(wire).write_continue(&mut out), "{wire:?}");
    }
}

#[test]
fn a_response_before_continue_ends_the_connection() {
    let mut connection = after(EXPECTING);
    assert!(answer(&mut connection).contains("\r\nconnection: close\r\n"));
    assert!(!connection.write_continue(&mut Vec::new()));
    assert!(connection.must_close());
}

#[test]
fn the_connection_lives_on_if_both_sides_and_the_framing_allow() {
    for (request, response_fields, announced, lives) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", &[][..], None, true),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", &[], Some("close"), false),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: x, Close\r\n\r\n", &[], Some("close"), false),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nconnection: keep-alive\r\n\r\n",
            &[],
            Some("close"),
            false,
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: closed\r\n\r\n", &[], None, true),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", &[("connection", "close")], Some("close"), false),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", &[("Connection", "keep-alive")], None, true),
        ("GET / HTTP/1.0\r\n\r\n", &[], Some("close"), false),
        ("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", &[], Some("keep-alive"), true),
        ("GET / HTTP/1.0\r\nconnection: keep-alive, close\r\n\r\n", &[], Some("close"), false),
    ] {
        let mut connection = after(request);
        let mut out = Vec::new();
        let head = response(200, response_fields);
        connection
            .write_head(&head, Some(0), false, &ServerFields::default(), &mut out)
            .expect("a good head");
        connection.write_end(&mut out).expect("complete");
        let text = String::from_utf8(out).expect("text");
        let seen: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("connection: ")).collect();
        assert_eq!(seen, Vec::from_iter(announced), "{request:?}");
        assert_eq!(connection.can_keep_alive(), lives, "{request:?}");
        connection.next_exchange();
        assert_eq!(connection.is_idle(), lives, "{request:?}");
    }
}

#[test]
fn an_unread_body_has_to_be_read_before_the_next_exchange() {
    let mut connection = after("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n");
    assert!(!answer(&mut connection).contains("close"));
    assert!(!connection.can_keep_alive());
    assert!(!connection.must_close());
    connection.next_exchange();
    let mut seen = Vec::new();
    feed(&mut connection, "xy");
    drain(&mut connection, &mut seen);
    assert_eq!(seen, [Seen::Data(b"xy".to_vec()), Seen::End]);
    assert!(connection.can_keep_alive());
}

#[test]
fn a_head_that_does_not_arrive_is_answered_and_ends_the_connection() {
    let mut connection = connection();
    feed(&mut connection, "GET / HT");
    assert!(matches!(connection.poll_event(), Ok(None)));
    let mut out = Vec::new();
    connection.write_fault(Fault::HeadTimeout, None, false, &ServerFields::default(), &mut out);
    assert_eq!(out, b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert!(connection.response_ended() && connection.must_close());
    feed(&mut connection, "TP/1.1\r\nhost: a\r\n\r\n");
    assert!(matches!(connection.poll_event(), Ok(None)));
}

#[test]
fn after_101_bytes_go_both_ways_as_they_are() {
    let mut connection = connection();
    feed(&mut connection, "GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nearly");
    let mut seen = Vec::new();
    drain(&mut connection, &mut seen);
    assert_eq!(connection.unparsed(), b"early", "it may be a pipelined request");
    assert!(connection.switched_input().is_none());
    let head = response(101, &[("upgrade", "x"), ("connection", "upgrade"), ("content-length", "0")]);
    let mut out = Vec::new();
    let extra = ServerFields { date: Some(b"now"), server: None, alt_svc: b"" };
    connection.write_switch(&head, &extra, &mut out).unwrap();
    assert_eq!(
        out.escape_ascii().to_string(),
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\ndate: now\r\n\r\n"
            .escape_ascii()
            .to_string()
    );
    assert_eq!(connection.awaits(), Awaits::Body);
    assert!(matches!(connection.poll_event(), Ok(None)), "none of the bytes is parsed");
    let input = connection.switched_input().expect("a connection that has switched");
    assert_eq!(input.split(), "early");
    feed(&mut connection, "GET / HTTP/1.1\r\n");
    assert!(matches!(connection.poll_event(), Ok(None)));
    assert_eq!(connection.switched_input().expect("it stays switched").split(), "GET / HTTP/1.1\r\n");
    out.clear();
    connection.write_data(b"any\r\nbytes", &mut out).unwrap();
    connection.write_end(&mut out).unwrap();
    assert_eq!(out, b"any\r\nbytes");
    assert!(connection.must_close() && !connection.can_keep_alive());
}

#[test]
fn a_switch_is_refused_where_http_does_not_allow_it() {
    let head = response(101, &[("upgrade", "x")]);
    for request in [
        &b"GET / HTTP/1.0\r\nhost: a\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n",
    ] {
        let mut connection = connection();
        feed(&mut connection, request);
        drain(&mut connection, &mut Vec::new());
        let mut out = Vec::new();
        assert_eq!(connection.write_switch(&head, &ServerFields::default(), &mut out), Err(Fault::AppFailed));
        assert_eq!(out, b"");
    }
}

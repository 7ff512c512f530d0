//! The closing handshake (RFC 6455 §7).

use hcrs_ws::{Event, MessageKind, SendError};

use crate::driver::{
    CLOSE, CONTINUATION, FIN, Frame, Seen, Server, TEXT, close, close_frame, closed_with, frame, ping,
    pong_frame, saw_close, saw_close_reply, saw_ping, saw_text, see, text,
};

#[test]
fn a_clients_close_is_told_and_its_code_echoed() {
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        for reason in ["", "bye", &"*".repeat(123), "\u{1f44b}"] {
            let mut server = Server::new();
            assert_eq!(server.feed(&close(code, reason)), [saw_close(code, reason)]);
            assert_eq!(server.sent(), [close_frame(code)]);
            assert!(server.connection.is_closed());
        }
    }
}

#[test]
fn a_close_without_a_code_is_echoed_without_one() {
    let mut server = Server::new();
    assert_eq!(server.feed(&frame(FIN | CLOSE, b"")), [saw_close(1005, "")]);
    assert_eq!(server.sent(), [Frame { first: FIN | CLOSE, payload: vec![] }]);
    assert!(server.connection.is_closed());
}

#[test]
fn malformed_closes_are_protocol_errors() {
    assert_eq!(see(&frame(FIN | CLOSE, b"\x03")), [Seen::Failed(1002)]);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        assert_eq!(see(&close(code, "")), [Seen::Failed(1002)], "{code}");
    }
    let reason = b"\x03\xe8\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    assert_eq!(see(&frame(FIN | CLOSE, reason)), [Seen::Failed(1007)]);
    assert_eq!(see(&frame(FIN | CLOSE, b"\x03\xe8\xe2\x82")), [Seen::Failed(1007)]);
}

#[test]
fn nothing_that_comes_after_a_close_counts() {
    for after in [close(1000, ""), ping(b""), text("after"), vec![0xff; 100]] {
        let mut server = Server::new();
        assert_eq!(server.feed(&[close(1000, ""), after].concat()), [saw_close(1000, "")]);
        assert!(server.feed(&text("later")).is_empty());
        assert_eq!(server.sent(), [close_frame(1000)]);
        assert!(server.input.is_empty());
    }
}

#[test]
fn what_comes_before_a_close_is_told_and_answered_first() {
    let mut server = Server::new();
    let seen = server.feed(&[text("before"), ping(b"p"), close(4000, "r")].concat());
    assert_eq!(seen, [saw_text("before"), saw_ping(b"p"), saw_close(4000, "r")]);
    assert_eq!(server.sent(), [pong_frame(b"p"), close_frame(4000)]);
}

#[test]
fn a_close_may_cut_a_message_short() {
    let wire = [frame(TEXT, b"begun"), close(1000, ""), frame(FIN | CONTINUATION, b"ended")].concat();
    assert_eq!(see(&wire), [saw_close(1000, "")]);
}

#[test]
fn this_end_closes_and_awaits_the_answer() {
    let mut server = Server::new();
    let Server { connection, out, .. } = &mut server;
    connection.write_close(1001, "restart", out).unwrap();
    assert_eq!(out, b"\x88\x09\x03\xe9restart");
    assert!(connection.awaits_close() && !connection.is_closed() && !connection.can_send());
    out.clear();

    // Messages in flight are skipped, broken ones too; pings are no longer answered.
    let wire = [
        text("late"),
        frame(FIN | TEXT, b"\xff"),
        frame(0xc1, b"compressed, or not"),
        ping(b"late"),
        frame(TEXT, &vec![b'x'; 70_000]),
        frame(FIN | CONTINUATION, b""),
    ];
    assert_eq!(server.feed(&wire.concat()), [saw_ping(b"late")]);
    assert!(server.input.is_empty());
    assert!(server.connection.awaits_close());

    assert_eq!(server.feed(&close(1001, "")), [saw_close_reply(1001, "")]);
    assert!(server.connection.is_closed() && !server.connection.awaits_close());
    assert!(server.out.is_empty(), "a Close frame is sent once");
}

#[test]
fn a_close_in_the_middle_of_a_frame_reads_over_its_rest() {
    let wire = frame(FIN | TEXT, &[b'x'; 10_000]);
    let mut server = Server::new();
    assert!(server.feed(&wire[..5000]).is_empty());
    server.connection.write_close(1000, "", &mut server.out).unwrap();
    assert!(server.feed(&wire[5000..]).is_empty());
    assert_eq!(server.feed(&close(1000, "")), [saw_close_reply(1000, "")]);
}

#[test]
fn frames_that_cannot_be_followed_end_the_wait_for_an_answer() {
    let mut server = Server::new();
    server.connection.write_close(1000, "", &mut server.out).unwrap();
    server.out.clear();
    assert_eq!(server.feed(b"\x81\x00"), [Seen::Failed(1002)]);
    assert!(server.connection.is_closed());
    assert!(server.out.is_empty());
}

#[test]
fn closes_may_cross() {
    let mut server = Server::new();
    server.input.extend(close(4001, "mine"));
    server.connection.write_close(1000, "", &mut server.out).unwrap();
    assert_eq!(server.feed(b""), [saw_close_reply(4001, "mine")]);
    assert_eq!(server.sent(), [close_frame(1000)]);
    assert!(server.connection.is_closed());
}

#[test]
fn nothing_is_sent_after_a_close_of_either_end() {
    let mut closed = Server::new();
    closed.connection.write_close(1000, "", &mut closed.out).unwrap();
    let mut received = Server::new();
    received.feed(&close(1000, ""));
    let mut failed = Server::new();
    failed.feed(b"\xff");
    for mut server in [closed, received, failed] {
        server.out.clear();
        let Server { connection, out, .. } = &mut server;
        assert_eq!(connection.write_message(MessageKind::Text, b"x", out), Err(SendError::Closed));
        assert_eq!(connection.write_fragment(MessageKind::Text, b"x", false, out), Err(SendError::Closed));
        assert_eq!(connection.write_close(1000, "", out), Err(SendError::Closed));
        assert!(out.is_empty());
    }
}

#[test]
fn messages_before_a_fault_can_be_answered_before_it_is() {
    let mut server = Server::new();
    let mut wire = text("hello");
    wire.push(0xff);
    server.input.extend_from_slice(&wire);
    let Server { connection, input, out, .. } = &mut server;
    assert_eq!(connection.poll_event(input), Ok(Some(Event::Text("hello".into()))));
    assert_eq!(connection.poll_event(input).unwrap_err().code, 1002);
    assert!(connection.has_failed() && connection.can_send() && !connection.is_closed());
    connection.write_message(MessageKind::Text, b"hello", out).unwrap();
    connection.write_close(1000, "the app's reason", out).unwrap();
    assert!(connection.is_closed() && !connection.has_failed() && !connection.can_send());
    let sent = server.sent();
    assert_eq!((sent.len(), &sent[0].payload[..]), (2, &b"hello"[..]));
    assert_eq!(closed_with(&sent), 1002, "the failure, not the app's reason");
}

#[test]
fn an_app_may_only_close_with_codes_that_can_be_sent() {
    let mut server = Server::new();
    let Server { connection, out, .. } = &mut server;
    for code in [0, 999, 1004, 1006, 1015, 1016, 2999, 5000] {
        assert_eq!(connection.write_close(code, "", out), Err(SendError::InvalidCloseCode(code)));
    }
    assert!(out.is_empty() && connection.can_send());
    connection.write_close(1005, "no code, no reason", out).unwrap();
    assert_eq!(out, b"\x88\x00");
}

#[test]
fn long_reasons_are_cut_between_characters() {
    for (reason, len) in [
        ("a".repeat(123), 123),
        ("a".repeat(124), 123),
        ("\u{20ac}".repeat(42), 123),
        ("\u{1f600}".repeat(31), 120),
    ] {
        let mut server = Server::new();
        server.connection.write_close(4000, &reason, &mut server.out).unwrap();
        let sent = server.sent();
        assert_eq!(closed_with(&sent), 4000);
        assert_eq!(&sent[0].payload[2..], &reason.as_bytes()[..len]);
    }
}

#[test]
fn a_message_in_fragments_must_end_before_another() {
    let mut server = Server::new();
    let Server { connection, out, .. } = &mut server;
    connection.write_fragment(MessageKind::Text, b"begun", false, out).unwrap();
    assert_eq!(connection.write_message(MessageKind::Text, b"x", out), Err(SendError::InFragments));
    assert_eq!(connection.write_fragment(MessageKind::Binary, b"x", true, out), Err(SendError::InFragments));
    connection.write_fragment(MessageKind::Text, b"", true, out).unwrap();
    connection.write_message(MessageKind::Text, b"x", out).unwrap();
    assert_eq!(out, b"\x01\x05begun\x80\x00\x81\x01x");
}

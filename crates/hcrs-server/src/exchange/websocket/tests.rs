//! The resources that a WebSocket holds, and their timely release.

use hcrs_http::{Endpoints, RequestLine, Scheme};
use hcrs_link::MessageKind;
use hcrs_ws::Compression;

use super::deadlines::CONTEXT_KEPT;
use super::*;

fn terms(compression: Compression) -> Rc<Terms> {
    let mut settings = crate::ConnectionSettings::default();
    settings.websocket.compression = Some(compression);
    Terms::new(&settings)
}

/// Returns a WebSocket that the app has accepted, on a connection of its own.
fn open(terms: &Rc<Terms>) -> WebSocket {
    let line = RequestLine {
        version: Version::Http2,
        scheme: Scheme::Https,
        method: b"GET",
        path: b"/",
        query: b"",
    };
    let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
    head.push_field(b"sec-websocket-version", b"13");
    head.push_field(b"sec-websocket-extensions", b"permessage-deflate");
    head.set_websocket();
    let asked_for = WebSocket::asked_for(&head, terms, || terms.room_of_connection());
    let mut websocket = asked_for.expect("a good handshake").expect("a WebSocket");
    websocket.accept(&ResponseHead::new(101, [])).expect("a good head");
    websocket
}

#[test]
fn a_quiet_websocket_releases_its_compression_context() {
    let compression =
        Compression { server_context_takeover: true, min_size: 0, max_contexts: 1, ..Compression::default() };
    let terms = terms(compression);
    let contexts = || format!("{:?}", terms.pool);
    let (mut websocket, start) = (open(&terms), Instant::now());
    let send_greeting = |websocket: &mut WebSocket| {
        assert!(websocket.send(MessageKind::Text, b"over and over", true).is_some());
        assert!(contexts().contains("contexts: 1"), "{}", contexts());
    };
    send_greeting(&mut websocket);
    let mut now = start;
    for _ in 0..3 {
        websocket.tick(now);
        now += CONTEXT_KEPT / 2;
        send_greeting(&mut websocket);
    }
    websocket.tick(now);
    websocket.tick(now + CONTEXT_KEPT);
    assert!(contexts().contains("contexts: 0"), "{}", contexts());
    // The room is free for another WebSocket again.
    send_greeting(&mut open(&terms));
}

#[test]
fn a_message_counts_until_the_worker_has_it() {
    let terms = terms(Compression::default());
    let mut websocket = open(&terms);
    let len = 1 << 20;
    // A binary message in one frame whose mask changes nothing.
    let header = [&[0x82, 0xff][..], &(len as u64).to_be_bytes(), &[0; 4]].concat();
    websocket.arrive(&header);
    for piece in vec![7; len].chunks(16 << 10) {
        websocket.arrive(piece);
        websocket.read();
    }
    assert!(terms.room.taken() > len - (100 << 10), "{}", terms.room.taken());
    let mut sent = 0;
    while let Some(Next::Piece(_, piece, end)) = websocket.next_for_app() {
        assert!(end || terms.room.taken() > 0, "after {sent} bytes");
        sent += piece.len();
        websocket.app_took(piece.len());
        if end {
            break;
        }
    }
    assert_eq!((sent, terms.room.taken()), (len, 0));
}

//! Frames without progress, and heads that are too large: their answers, in bounded memory.

use hcrs_h2::Settings;
use hcrs_http::Fault;

use crate::peer::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PRIORITY,
    PRIORITY_UPDATE, PROTOCOL_ERROR, Peer, RST_STREAM, SETTINGS, goodbye,
};
use crate::server::{Seen, Server, ended_calm, page, silent};

/// Most memory that a flood may cost one connection, in bytes.
const FLAT: u64 = 512 << 10;

/// Sends `frame` up to `count` times, a hundred at a time. Returns the code of the GOAWAY that answered.
fn flood(peer: &mut Peer, server: &mut Server, frame: &[u8], count: usize) -> Option<u32> {
    let flight = frame.repeat(100);
    for _ in 0..count / 100 {
        let frames = peer.round_trip(server, &flight);
        if server.ended.is_some() {
            return goodbye(&frames);
        }
    }
    None
}

#[test]
fn frames_without_progress_end_the_connection_after_the_burst_and_not_before() {
    let settings = Settings { frame_burst: 2000, frame_refill: 100, ..Settings::default() };
    let floods = [
        ("PING", peer::frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", peer::frame(SETTINGS, 0, 0, &[])),
        ("PING ACK", peer::frame(PING, ACK, 0, &[0; 8])),
        ("PRIORITY", peer::frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 0])),
        ("PRIORITY_UPDATE", peer::frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 1, b'i'])),
        ("unknown", peer::frame(0xf7, 0, 0, b"grease")),
        ("WINDOW_UPDATE", peer::window_update(0, 1)),
        ("WINDOW_UPDATE of a stream", peer::window_update(1, 1)),
    ];
    for (name, frame) in floods {
        let (mut peer, mut server) = Peer::connect_with(&settings, &[], silent());
        peer.round_trip(&mut server, &peer::post(1));
        assert_eq!(flood(&mut peer, &mut server, &frame, 1900), None, "{name}");
        server.wait(10);
        assert_eq!(
            flood(&mut peer, &mut server, &frame, 1000),
            None,
            "{name}: ten seconds forgive a thousand"
        );
        let held = allocation_counter::measure(|| {
            let code = flood(&mut peer, &mut server, &frame, 1200);
            assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name}");
        });
        assert_eq!(ended_calm(&server), Some(Fault::TooManyFrames), "{name}");
        assert!(held.bytes_max < FLAT, "{name}: {} bytes", held.bytes_max);
    }
}

#[test]
fn empty_data_frames_end_the_connection() {
    for (flags, payload) in [(0, &[][..]), (0x8, &[3, 0, 0, 0][..])] {
        let (mut peer, mut server) = Peer::connect(silent());
        peer.round_trip(&mut server, &peer::post(1));
        let frame = peer::frame(DATA, flags, 1, payload);
        let code = flood(&mut peer, &mut server, &frame, 20_000);
        assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    }
}

#[test]
fn a_flood_with_unread_answers_stops_the_reading() {
    let (peer, mut server) = Peer::connect_narrow(16 << 10, &[], silent());
    let pings = peer::frame(PING, 0, 0, &[0; 8]).repeat(500);
    let mut sent = 0;
    let held = allocation_counter::measure(|| {
        // Its answers fill the way back; then the server reads no more, and then nothing can be sent.
        for _ in 0..1000 {
            sent += peer.io.send(&pings);
            server.settle();
        }
    });
    assert!(server.ended.is_none());
    assert!(sent < 512 << 10, "{sent} bytes of PING were read");
    assert!(held.bytes_max < FLAT, "{} bytes", held.bytes_max);
}

#[test]
fn unread_resets_are_bounded() {
    // Each of these makes h2 reset a stream; none of the resets can be written.
    let (peer, mut server) = Peer::connect_narrow(1 << 10, &[], silent());
    let malformed = peer::request("GET", &[("te", "gzip")]);
    let held = allocation_counter::measure(|| {
        for n in 0..20_000 {
            let frame = peer::frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &malformed);
            peer.io.send(&frame);
            server.settle();
        }
    });
    assert!(held.bytes_max < 4 << 20, "{} bytes", held.bytes_max);
}

#[test]
fn window_updates_that_follow_data_are_no_offence() {
    let settings = Settings { frame_burst: 100, frame_refill: 1, ..Settings::default() };
    let (mut peer, mut server) = Peer::connect_with(&settings, &[], page(vec![7; 2_000_000]));
    peer.round_trip(&mut server, &peer::get(1));
    let mut received = 65_535;
    while received < 2_000_000 {
        let updates = [peer::window_update(0, 1000), peer::window_update(1, 1000)].concat();
        received += peer::body_len(&peer.round_trip(&mut server, &updates), 1);
        assert!(server.ended.is_none(), "after {received} bytes");
    }
}

#[test]
fn a_continuation_flood_ends_the_connection_within_the_limit_of_a_head() {
    let field = peer::block(&[("x-a", "1")]);
    for (name, block) in [("empty", &[][..]), ("small", &field)] {
        let (mut peer, mut server) = Peer::connect(silent());
        peer.round_trip(&mut server, &peer::frame(HEADERS, END_STREAM, 1, &peer::request("GET", &[])));
        let more = peer::frame(CONTINUATION, 0, 1, block);
        let mut code = None;
        let held = allocation_counter::measure(|| code = flood(&mut peer, &mut server, &more, 1000));
        assert!(server.ended.is_some(), "{name}");
        assert!(matches!(code, Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR)), "{name}: {code:?}");
        assert!(held.bytes_max < FLAT, "{name}: {} bytes", held.bytes_max);
    }
}

#[test]
fn a_head_over_the_limit_is_answered_and_one_far_over_it_ends_the_connection() {
    let value = "x".repeat(8000);
    let head_of = |fields: usize| {
        let names: Vec<String> = (0..fields).map(|n| format!("x-{n}")).collect();
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (&name[..], &value[..])).collect();
        peer::request("GET", &fields)
    };
    let request = |peer: &mut Peer, server: &mut Server, id: u32, block: &[u8]| {
        let mut pieces = block.chunks(16_384).peekable();
        let mut kind = HEADERS;
        let mut frames = Vec::new();
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let flags = if kind == HEADERS { end | END_STREAM } else { end };
            frames.extend(peer::frame(kind, flags, id, piece));
            kind = CONTINUATION;
        }
        let mut got = Vec::new();
        for piece in frames.chunks(100_000) {
            got.extend(if server.ended.is_none() { peer.round_trip(server, piece) } else { Vec::new() });
        }
        got
    };
    let (mut peer, mut server) = Peer::connect(page("ok"));
    assert_eq!(request(&mut peer, &mut server, 1, &head_of(7))[0].status(), 200);
    let frames = request(&mut peer, &mut server, 3, &head_of(9));
    assert_eq!(frames[0].status(), 431);
    let frames = request(&mut peer, &mut server, 5, &peer::request("GET", &[]));
    assert_eq!(frames[0].status(), 200, "the connection lives");
    server.take_seen();
    request(&mut peer, &mut server, 7, &head_of(40));
    assert!(server.ended.is_some());
    assert_eq!(server.take_seen(), []);
}

#[test]
fn more_fields_than_allowed_are_too_large_a_head_however_small_they_are() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    let crumbs = [("cookie", "a=1")].repeat(257);
    let block = peer::request("GET", &crumbs);
    let frames = peer.round_trip(&mut server, &peer::frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
    assert_eq!(frames[0].status(), 431);
    assert_eq!(server.take_seen(), [Seen::Refused(1, "GET /".into())]);
}

#[test]
fn a_malformed_head_resets_its_stream_and_the_connection_lives() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    let table: [&[(&str, &str)]; 4] =
        [&[("connection", "close")], &[("te", "gzip")], &[(":path", "/again")], &[("content-length", "1")]];
    for (n, fields) in (0u32..).zip(table) {
        let id = 2 * n + 1;
        let block = peer::request("GET", fields);
        let frames =
            peer.round_trip(&mut server, &peer::frame(HEADERS, END_HEADERS | END_STREAM, id, &block));
        assert_eq!((frames[0].kind, frames[0].code()), (RST_STREAM, PROTOCOL_ERROR), "{fields:?}");
    }
    assert_eq!(server.take_seen(), []);
    assert_eq!(peer.round_trip(&mut server, &peer::get(99))[0].status(), 200);
}

#[test]
fn bytes_that_no_field_may_have_end_the_connection() {
    for field in [("X-Upper", "1"), ("x-a", "1\r\nx-b: 2"), ("", "1"), ("x a", "1"), ("x-a", "\0")] {
        let (mut peer, mut server) = Peer::connect(page("ok"));
        let block = peer::request("GET", &[field]);
        let frames = peer.round_trip(&mut server, &peer::frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        assert_eq!(goodbye(&frames), Some(PROTOCOL_ERROR), "{field:?}");
        assert_eq!(server.take_seen(), []);
    }
}

#[test]
fn what_is_no_http2_at_all_ends_the_connection() {
    let (mut peer, mut server) = Peer::connect(silent());
    let frames = peer.round_trip(&mut server, &peer::frame(DATA, 0, 0, b"on no stream"));
    assert_eq!(goodbye(&frames), Some(PROTOCOL_ERROR));
    assert!(server.ended.is_some());
}

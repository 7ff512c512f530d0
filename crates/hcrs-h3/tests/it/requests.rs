//! Requests: their events, and the errors of clients on their streams.

use hcrs_h3::{Ended, Event, Settings};
use hcrs_http::Fault;

use crate::frames::{DATA, GREASE, HEADERS, data, frame, get, headers, prefixed, request, section, varint};
use crate::server::{Seen, Server, page, silent};

/// Error codes of streams.
const NO_ERROR: u64 = 0x100;
const REQUEST_REJECTED: u64 = 0x10b;
const REQUEST_CANCELLED: u64 = 0x10c;
const REQUEST_INCOMPLETE: u64 = 0x10d;
const MESSAGE_ERROR: u64 = 0x10e;

fn begun(id: u64, line: &str, has_body: bool) -> Seen {
    Seen::Request(id, line.into(), has_body)
}

#[test]
fn a_request_is_answered() {
    let mut server = Server::new(page("hello"));
    server.request(0, &get("/a?b"));
    assert_eq!(server.take_seen(), [begun(0, "GET /a?b", false)]);
    assert_eq!(server.response(0), (200, b"hello".to_vec()));
    assert!(server.wire.is_over(0));
}

#[test]
fn a_body_follows_its_request_and_ends() {
    let mut server = Server::new(silent());
    server.send(0, &request("POST", "/", &[]));
    server.send(0, &[data(b"ab"), data(b"c")].concat());
    server.request(0, &headers(&[("checksum", "1")]));
    let trailers = Seen::Trailers(0, "checksum=1".into());
    let expected = [begun(0, "POST /", true), Seen::Data(0, b"abc".into()), trailers, Seen::End(0)];
    assert_eq!(server.take_seen(), expected);
}

#[test]
fn trailers_in_the_same_piece_as_the_body_follow_it() {
    let mut server = Server::new(silent());
    let end = headers(&[("checksum", "1"), ("host", "a")]);
    server.request(0, &[request("POST", "/", &[]), data(b"abc"), end].concat());
    let trailers = Seen::Trailers(0, "checksum=1".into());
    assert_eq!(server.take_seen()[1..], [Seen::Data(0, b"abc".into()), trailers, Seen::End(0)]);
    // Without a body they follow the head, in one piece as in several.
    server.request(4, &[get("/"), headers(&[("checksum", "1")])].concat());
    let trailers = Seen::Trailers(4, "checksum=1".into());
    assert_eq!(server.take_seen(), [begun(4, "GET /", true), trailers, Seen::End(4)]);
}

#[test]
fn a_request_is_the_same_wherever_its_stream_is_cut() {
    let whole = [
        frame(GREASE, b"grease"),
        request("POST", "/a", &[("content-length", "5"), ("x-a", &"v".repeat(200))]),
        frame(GREASE, b""),
        data(b"hel"),
        data(b""),
        data(b"lo"),
        headers(&[("checksum", "1")]),
        frame(GREASE, &[7; 100]),
    ]
    .concat();
    let outcome = |cut: usize, piece: usize| {
        let mut server = Server::new(silent());
        server.wire.piece = piece;
        server.send(0, &whole[..cut]);
        server.request(0, &whole[cut..]);
        let mut body = Vec::new();
        let mut others = Vec::new();
        for seen in server.take_seen() {
            match seen {
                Seen::Data(0, data) => body.extend(data),
                other => others.push(other),
            }
        }
        let trailers = Seen::Trailers(0, "checksum=1".into());
        assert_eq!(
            others,
            [begun(0, "POST /a", true), trailers, Seen::End(0)],
            "cut at {cut}, pieces of {piece}"
        );
        assert_eq!(body, b"hello", "cut at {cut}, pieces of {piece}");
    };
    for cut in 0..=whole.len() {
        outcome(cut, usize::MAX);
    }
    outcome(0, 1);
    outcome(7, 3);
}

#[test]
fn an_end_that_comes_by_itself_ends_an_empty_body() {
    let mut server = Server::new(silent());
    server.send(0, &get("/"));
    server.request(0, b"");
    assert_eq!(server.take_seen(), [begun(0, "GET /", true), Seen::End(0)]);
    server.request(4, &[get("/"), data(b"")].concat());
    assert_eq!(server.take_seen(), [begun(4, "GET /", false)]);
}

#[test]
fn malformed_requests_reset_their_stream_and_the_connection_lives() {
    let line = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")];
    let malformed = [
        headers(&[]),
        headers(&line[..3]),
        headers(&[&line[..], &[("X-Upper", "1")]].concat()),
        headers(&[&line[..], &[("x-a", "1\r\nx-b: 2")]].concat()),
        headers(&[&line[..], &[("connection", "close")]].concat()),
        headers(&[&line[..], &[("transfer-encoding", "chunked")]].concat()),
        headers(&[&line[..], &[("te", "gzip")]].concat()),
        headers(&[&line[..], &[(":path", "/")]].concat()),
        headers(&[&[("x-a", "1")], &line[..]].concat()),
        headers(&[&line[..], &[(":odd", "1")]].concat()),
        headers(&[&line[..], &[(":protocol", "websocket")]].concat()),
        // RFC 9114 §4.4: CONNECT has no path of its own.
        headers(&[(":method", "CONNECT"), (":authority", "a:443"), (":path", "/")]),
        headers(&[(":method", "CONNECT"), (":scheme", "https"), (":authority", "a:443")]),
        headers(&[(":method", "CONNECT"), (":protocol", "websocket"), (":authority", "a")]),
    ];
    let mut server = Server::new(page("ok"));
    for (at, bytes) in malformed.iter().enumerate() {
        let id = 4 * at as u64;
        server.request(id, bytes);
        assert_eq!(server.take_seen(), [], "{at}");
        assert_eq!(server.wire.reset_with(id), Some(MESSAGE_ERROR), "{at}");
        assert!(server.wire.is_over(id) || server.wire.stopped_with(id) == Some(MESSAGE_ERROR), "{at}");
    }
    let id = 4 * malformed.len() as u64;
    server.request(id, &get("/"));
    assert_eq!(server.response(id).0, 200);
}

#[test]
fn requests_that_are_not_served_are_answered_with_their_status() {
    let large = "v".repeat(70_000);
    let table: [(Vec<u8>, u16); 7] = [
        (request("GET", "/a#b", &[]), 400),
        (request("GET", "/", &[("host", "other")]), 400),
        (request("GET", "/", &[("content-length", "+1")]), 400),
        (headers(&[(":method", "GET"), (":scheme", "https"), (":path", "/")]), 400),
        (headers(&[(":method", "CONNECT"), (":authority", "a:443")]), 405),
        (request("GET", "/", &[("x-a", &large)]), 431),
        (request("GET", "/", &[("x-a", "1"); 300]), 431),
    ];
    let mut server = Server::new(silent());
    for (at, (bytes, status)) in table.into_iter().enumerate() {
        let id = 4 * at as u64;
        server.request(id, &bytes);
        assert_eq!(server.take_seen(), [Seen::Refused(id, status)]);
        assert_eq!(server.response(id), (status, vec![]));
    }
}

#[test]
fn a_head_far_beyond_the_limit_ends_the_connection() {
    let far = "v".repeat(65_536 * 3);
    let mut server = Server::new(silent());
    // It ends at the length of the frame, before its bytes have come.
    server.send(0, &request("GET", "/", &[("x-a", &far)])[..10]);
    assert_eq!(server.closed_with().as_deref(), Some("H3_EXCESSIVE_LOAD"));
}

#[test]
fn a_body_is_as_long_as_announced() {
    let mut server = Server::new(silent());
    for (id, announced, sent) in [(0, "3", "ab"), (4, "3", "abcd"), (8, "3", ""), (12, "0", "a")] {
        server.send(id, &request("POST", "/", &[("content-length", announced)]));
        server.take_seen();
        server.request(id, &data(sent.as_bytes()));
        assert_eq!(server.take_seen().last(), Some(&Seen::Reset(id)), "{announced} {sent}");
        assert_eq!(server.wire.reset_with(id), Some(MESSAGE_ERROR));
    }
    server.request(16, &request("POST", "/", &[("content-length", "3")]));
    assert_eq!(server.take_seen(), [], "no body at all");
    assert_eq!(server.wire.reset_with(16), Some(MESSAGE_ERROR));
    assert!(server.ended.is_none());
}

#[test]
fn a_stream_that_ends_before_its_head_is_incomplete() {
    let mut server = Server::new(silent());
    server.request(0, b"");
    server.request(4, &frame(GREASE, b"abc"));
    for id in [0, 4] {
        assert_eq!(server.wire.reset_with(id), Some(REQUEST_INCOMPLETE));
    }
    assert_eq!((server.take_seen(), server.ended), (vec![], None));
}

#[test]
fn a_frame_that_its_stream_cuts_off_ends_the_connection() {
    for whole in [get("/"), [get("/"), data(b"abc")].concat()] {
        for cut in 1..whole.len() {
            let mut server = Server::new(silent());
            server.request(0, &whole[..cut]);
            let expected = if cut == get("/").len() { None } else { Some("H3_FRAME_ERROR") };
            assert_eq!(server.closed_with().as_deref(), expected, "cut at {cut}");
        }
    }
}

#[test]
fn frames_out_of_order_end_the_connection() {
    let trailers = headers(&[("a", "1")]);
    let out_of_order = [
        data(b"a"),
        [get("/"), trailers.clone(), data(b"a")].concat(),
        [get("/"), trailers.clone(), trailers.clone()].concat(),
        [get("/"), data(b"a"), trailers.clone(), data(b"")].concat(),
    ];
    let not_here = [0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0x9, 0xd, 0xf0700, 0xf0701];
    let unexpected = out_of_order
        .into_iter()
        .chain(not_here.map(|kind| frame(kind, &[0])))
        .chain(not_here.map(|kind| [get("/"), frame(kind, &[0])].concat()));
    for bytes in unexpected {
        let mut server = Server::new(silent());
        server.send(0, &bytes);
        assert_eq!(server.closed_with().as_deref(), Some("H3_FRAME_UNEXPECTED"), "{bytes:x?}");
        assert!(matches!(server.ended, Some(Ended::Protocol(_))));
    }
}

#[test]
fn sections_that_no_static_table_explains_end_the_connection() {
    let prefix = |section: &[u8]| [&[0, 0][..], section].concat();
    let broken: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![1, 0],
        vec![0, 0x80],
        prefix(&prefixed(0xc0, 6, 99)),
        prefix(&[0x80]),
        prefix(&[0x10]),
        prefix(&[0x00, 0x00]),
        prefix(&[0x40, 0x00]),
        prefix(&[0x51]),
        prefix(&[0x51, 0x05, b'/']),
        prefix(&[0x21]),
        // Padding of zeros in Huffman's code.
        prefix(&[0x51, 0x81, 0x00]),
    ];
    for section in broken {
        let mut server = Server::new(silent());
        server.send(0, &frame(HEADERS, &section));
        assert_eq!(server.closed_with().as_deref(), Some("QPACK_DECOMPRESSION_FAILED"), "{section:x?}");
    }
}

#[test]
fn malformed_trailers_reset_their_stream() {
    let mut server = Server::new(silent());
    for (id, field) in [(0, (":path", "/")), (4, ("connection", "close")), (8, ("X-A", "1"))] {
        server.send(id, &request("POST", "/", &[]));
        server.take_seen();
        server.request(id, &headers(&[field]));
        assert_eq!(server.take_seen(), [Seen::Reset(id)]);
        assert_eq!(server.wire.reset_with(id), Some(MESSAGE_ERROR));
    }
}

#[test]
fn a_body_is_taken_as_far_as_the_app_has_room() {
    let mut server = Server::with(&Settings { stream_window: 100_000, ..Settings::default() }, silent());
    server.send(0, &[request("POST", "/", &[]), frame(DATA, &vec![7; 300_000])].concat());
    let received = |server: &mut Server| -> usize {
        let len = |seen| if let Seen::Data(_, data) = seen { data.len() } else { 0 };
        server.take_seen().into_iter().map(len).sum()
    };
    let first = received(&mut server);
    assert!((84_000..=100_000).contains(&first), "{first} bytes without a release");
    assert_eq!(server.wire.untaken(0), 300_000 - first);
    assert_eq!(server.room.taken(), first);
    let key = server.key(0);
    server.turn(|turn, _| turn.release(key, 50_000));
    server.settle();
    assert_eq!(received(&mut server), 50_000);
    // More than the app has opens nothing.
    server.turn(|turn, _| turn.release(key, 200_000));
    server.settle();
    assert_eq!(received(&mut server), 0);
    let mut left = 300_000 - first - 50_000;
    server.turn(|turn, _| turn.release(key, 100_000));
    while left > 0 {
        server.settle();
        let len = received(&mut server);
        assert!(len > 0, "{left} bytes are left");
        left -= len;
        server.turn(|turn, _| turn.release(key, len));
    }
    server.connection.fail(key, Fault::BodyTooLarge);
    server.settle();
    assert_eq!(server.room.taken(), 0);
}

#[test]
fn bodies_that_are_not_read_leave_room_for_one_that_is() {
    let settings = Settings { connection_room: 200_000, stream_window: 100_000, ..Settings::default() };
    let mut server = Server::with(&settings, silent());
    let body = frame(DATA, &vec![7; 90_000]);
    for n in 0..8 {
        server.send(4 * n, &[request("POST", "/", &[]), body.clone()].concat());
    }
    let taken = server.room.taken();
    assert!((200_000..=300_000).contains(&taken), "{taken}");
    server.take_seen();
    // Each gets its first bytes, and the one whose app reads goes on.
    let (key, mut left) = (server.key(28), server.wire.untaken(28));
    assert!(left < 90_000);
    while left > 0 {
        let held = 90_000 - left;
        server.turn(|turn, _| turn.release(key, held.min(16 << 10)));
        server.settle();
        let now = server.wire.untaken(28);
        assert!(now < left, "{left} bytes stay");
        left = now;
    }
    assert!(server.room.taken() <= 320_000, "{}", server.room.taken());
}

#[test]
fn a_client_that_sends_without_end_gets_its_share_of_a_turn() {
    let mut server = Server::new(page("ok"));
    server.wire.send(0, &[request("POST", "/", &[]), frame(DATA, &vec![7; 1_000_000])].concat());
    server.turn(|_, _| {});
    let taken = 1_000_000 - server.wire.untaken(0);
    assert!((48_000..=90_000).contains(&taken), "{taken} bytes in one turn");
    server.wire.send(4, &get("/"));
    server.turn(|_, _| {});
    assert!(server.seen.contains(&begun(4, "GET /", true)), "others get their turn");
}

#[test]
fn a_reset_is_reported_to_the_app_and_ends_the_stream() {
    let mut server = Server::new(silent());
    server.send(0, &request("POST", "/", &[]));
    server.request(4, &get("/"));
    server.take_seen();
    server.wire.reset_request(0);
    server.settle();
    server.wire.stop_response(4);
    server.settle();
    assert_eq!(server.take_seen(), [Seen::Reset(0), Seen::Reset(4)]);
    for id in [0, 4] {
        assert_eq!(server.wire.reset_with(id), Some(REQUEST_CANCELLED));
        assert!(server.wire.is_over(id));
        let key = server.key(id);
        server.turn(|turn, now| {
            let sent = turn.send_data(now, key, "late".into(), true);
            assert_eq!(sent.map(|sent| (sent.len, sent.done)), Ok((4, true)), "it is dropped");
        });
    }
    // Before the head is complete, the app hears nothing.
    server.send(8, &get("/")[..5]);
    server.wire.reset_request(8);
    server.settle();
    assert_eq!(server.take_seen(), []);
}

#[test]
fn a_place_that_is_used_again_never_mixes_two_streams() {
    let mut server = Server::new(silent());
    server.request(0, &get("/first"));
    let old = server.key(0);
    server.wire.stop_response(0);
    server.settle();
    server.request(4, &get("/second"));
    let new = server.key(4);
    assert_eq!((old.slot, old.id, new.id), (new.slot, 0, 4));
    server.connection.fail(old, Fault::AppFailed);
    server.settle();
    assert!(server.wire.take(4).is_empty());
}

#[test]
fn a_body_that_arrives_after_its_answer_is_dropped_until_it_is_turned_away() {
    let mut server = Server::new(page("early"));
    server.send(0, &request("POST", "/", &[]));
    assert_eq!(server.response(0).0, 200);
    server.take_seen();
    server.send(0, &frame(DATA, &vec![7; 200_000]));
    assert_eq!((server.take_seen(), server.wire.untaken(0)), (vec![], 0), "it is read and dropped");
    assert!(server.connection.due_at(server.now).is_some());
    server.wait(400);
    assert_eq!(server.wire.stopped_with(0), None);
    server.wait(200);
    assert_eq!(server.wire.stopped_with(0), Some(NO_ERROR));
    assert_eq!((server.connection.due_at(server.now), server.room.taken()), (None, 0));
    // One that ends by itself is not stopped.
    server.send(4, &request("POST", "/", &[]));
    server.request(4, &data(b"all"));
    assert!(server.wire.is_over(4));
    assert_eq!(server.wire.stopped_with(4), None);
}

#[test]
fn a_body_that_found_no_room_is_dropped_once_it_is_answered() {
    let mut server = Server::with(&Settings { stream_window: 20_000, ..Settings::default() }, silent());
    server.send(0, &[request("POST", "/", &[]), frame(DATA, &vec![7; 100_000])].concat());
    assert!(server.wire.untaken(0) > 60_000);
    let key = server.key(0);
    server.turn(|turn, _| assert_eq!(turn.send_head(key, &crate::server::head(200, &[]), true), Ok(true)));
    server.settle();
    assert_eq!((server.wire.untaken(0), server.room.taken()), (0, 0));
    server.request(0, b"");
    assert!(server.wire.is_over(0));
}

#[test]
fn an_answered_upload_that_never_ends_is_turned_away_after_five_seconds() {
    let mut server = Server::new(page("early"));
    server.send(0, &request("POST", "/", &[]));
    for _ in 0..100 {
        if server.wire.stopped_with(0).is_some() {
            break;
        }
        server.wire.send(0, &data(b"more"));
        server.wait(100);
    }
    assert_eq!(server.wire.stopped_with(0), Some(NO_ERROR));
}

#[test]
fn streams_beyond_the_limit_are_rejected_and_the_connection_lives() {
    let mut server = Server::with(&Settings { max_concurrent_streams: 2, ..Settings::default() }, silent());
    for id in [0, 4, 8] {
        server.request(id, &get("/"));
    }
    assert_eq!(server.wire.reset_with(8), Some(REQUEST_REJECTED));
    assert_eq!(server.wire.stopped_with(8), Some(REQUEST_REJECTED));
    assert_eq!(server.take_seen().len(), 2);
}

#[test]
fn heads_that_do_not_arrive_can_be_refused() {
    let mut server = Server::new(page("ok"));
    server.send(0, &get("/")[..5]);
    let began = server.now;
    assert_eq!(server.connection.oldest_head(), Some(began));
    server.wait(1000);
    server.send(4, &get("/")[..5]);
    server.connection.refuse_heads(began);
    server.settle();
    assert_eq!(server.wire.reset_with(0), Some(REQUEST_INCOMPLETE));
    assert_eq!(server.connection.oldest_head(), Some(server.now));
    server.request(4, &get("/")[5..]);
    assert_eq!((server.response(4).0, server.connection.oldest_head()), (200, None));
}

#[test]
fn a_websocket_is_a_request_whose_bytes_go_on() {
    let connect = |protocol| {
        let line = [(":method", "CONNECT"), (":scheme", "https"), (":authority", "a"), (":path", "/chat")];
        headers(&[&line[..], &[(":protocol", protocol), ("sec-websocket-version", "13")]].concat())
    };
    let mut server = Server::new(Box::new(|_, _, event| {
        if let Event::Request { head, .. } = event {
            let view = head.view();
            assert_eq!((head.is_websocket(), view.method), (true, &b"GET"[..]));
            assert!(view.fields().first(b"sec-websocket-key").is_some());
        }
    }));
    server.send(0, &connect("websocket"));
    assert_eq!(server.take_seen(), [begun(0, "GET /chat", false)]);
    let key = server.key(0);
    server.turn(|turn, now| {
        assert_eq!(turn.send_head(key, &crate::server::head(200, &[]), false), Ok(false));
        assert_eq!(turn.send_data(now, key, "frames".into(), false).unwrap().len, 6);
    });
    server.send(0, &data(b"frame"));
    server.request(0, b"");
    assert_eq!(server.take_seen(), [Seen::Data(0, b"frame".into()), Seen::End(0)]);
    server.request(4, &connect("webtransport"));
    assert_eq!(server.take_seen(), [Seen::Refused(4, 405)]);
    let mut without = Server::with(&Settings { extended_connect: false, ..Settings::default() }, silent());
    without.request(0, &connect("websocket"));
    assert_eq!(without.wire.reset_with(0), Some(MESSAGE_ERROR));
}

#[test]
fn a_long_header_of_a_frame_is_read() {
    let section = section(&[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")]);
    let len = section.len() as u64 | 0xc000_0000_0000_0000;
    let kind = 0xc000_0000_0000_0001_u64.to_be_bytes();
    let mut server = Server::new(page("ok"));
    server.request(0, &[&kind[..], &len.to_be_bytes(), &section].concat());
    assert_eq!(server.response(0).0, 200);
    assert_eq!(varint(1), [1]);
}

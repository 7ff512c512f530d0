//! The client's requests as events: heads, bodies, windows.

use bytes::Bytes;
use hcrs_h2::{Event, Settings};

use crate::client::{self, Pair};
use crate::peer::{
    self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, PROTOCOL_ERROR, Peer, RST_STREAM,
    STREAM_CLOSED,
};
use crate::server::{Seen, page, silent};

#[test]
fn a_request_without_a_body_is_one_event() {
    let mut pair = Pair::new(page("hello"));
    let (response, body) = pair.fetch(client::get("/a?b=c")).unwrap();
    assert_eq!((response.status().as_u16(), &body[..]), (200, &b"hello"[..]));
    assert_eq!(pair.server.take_seen(), [Seen::Request(1, "GET /a?b=c".into(), false)]);
    assert_eq!(pair.server.open_streams(), 0);
}

#[test]
fn a_body_follows_its_request_and_ends() {
    let mut pair = Pair::new(silent());
    let (_response, mut body) = pair.begin(client::post("/"), false);
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    pair.run(std::future::ready(()));
    let seen = pair.server.take_seen();
    assert_eq!(seen, [Seen::Request(1, "POST /".into(), true), Seen::Data(1, 5), Seen::End(1)]);
}

#[test]
fn trailers_end_a_body() {
    let (mut peer, mut server) = Peer::connect(silent());
    let trailers = peer::block(&[("checksum", "1")]);
    peer.send(&[peer::post(1), peer::data(1, b"abc")].concat());
    peer.round_trip(&mut server, &peer::frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers));
    let trailers = Seen::Trailers(1, "checksum=1".into());
    assert_eq!(server.take_seen()[1..], [Seen::Data(1, 3), trailers, Seen::End(1)]);
}

#[test]
fn trailers_that_frame_a_message_are_dropped() {
    let (mut peer, mut server) = Peer::connect(silent());
    let trailers = peer::block(&[("content-length", "1"), ("x_y", "2"), ("host", "a")]);
    peer.send(&[peer::post(1), peer::data(1, b"abc")].concat());
    peer.round_trip(&mut server, &peer::frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers));
    assert_eq!(server.take_seen()[1..], [Seen::Data(1, 3), Seen::End(1)]);
}

#[test]
fn malformed_trailers_reset_their_stream() {
    for malformed in [(":path", "/other"), (":status", "200"), ("connection", "close")] {
        let (mut peer, mut server) = Peer::connect(silent());
        peer.round_trip(&mut server, &[peer::post(1), peer::data(1, b"abc")].concat());
        let trailers = peer::block(&[("checksum", "1"), malformed]);
        let end = peer::frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers);
        let frames = peer.round_trip(&mut server, &end);
        assert_eq!((frames[0].kind, frames[0].code()), (RST_STREAM, PROTOCOL_ERROR), "{malformed:?}");
        let seen = server.take_seen();
        assert_eq!(seen, [Seen::Request(1, "POST /".into(), true), Seen::Data(1, 3), Seen::Reset(1)]);
    }
}

#[test]
fn trailers_that_do_not_end_the_stream_reset_it() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::post(1));
    let trailers = peer::frame(HEADERS, END_HEADERS, 1, &peer::block(&[("checksum", "1")]));
    let frames = peer.round_trip(&mut server, &trailers);
    assert_eq!((frames[0].kind, frames[0].code()), (RST_STREAM, PROTOCOL_ERROR));
}

#[test]
fn a_head_that_is_not_served_is_answered_and_the_app_never_sees_it() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    let line = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")];
    let mismatch = peer::block(&[&line[..], &[("host", "b")]].concat());
    let frames = peer.round_trip(&mut server, &peer::frame(HEADERS, END_HEADERS | END_STREAM, 1, &mismatch));
    assert_eq!((frames[0].status(), frames[0].flags & END_STREAM), (400, END_STREAM));
    let connect = peer::block(&[(":method", "CONNECT"), (":authority", "a:443")]);
    let frames = peer.round_trip(&mut server, &peer::frame(HEADERS, END_HEADERS, 3, &connect));
    assert_eq!(frames[0].status(), 405);
    server.wait(2);
    server.turn(|_| {});
    let frames = peer.read(&mut server);
    assert_eq!((frames[0].kind, frames[0].code()), (RST_STREAM, NO_ERROR), "its body is not wanted");
    assert_eq!(server.take_seen(), [Seen::Refused(1, "GET /".into()), Seen::Refused(3, "CONNECT ".into())]);
    assert_eq!(peer.round_trip(&mut server, &peer::get(5))[0].status(), 200, "the connection lives");
}

#[test]
fn a_path_begins_with_a_slash_and_not_with_its_query() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    let mut get = |id, path| {
        let line = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", path)];
        peer.round_trip(&mut server, &peer::frame(HEADERS, END_HEADERS | END_STREAM, id, &peer::block(&line)))
    };
    assert_eq!(get(1, "/?x")[0].status(), 200);
    assert_eq!(get(3, "?x")[0].status(), 400);
    assert_eq!(get(7, "/a#b")[0].status(), 400, "a fragment");
    let frames = get(9, "x");
    assert_eq!((frames[0].kind, frames[0].code()), (RST_STREAM, PROTOCOL_ERROR), "malformed");
}

#[test]
fn the_window_opens_only_as_far_as_the_app_has_taken() {
    let settings = Settings { stream_window: 20_000, ..Settings::default() };
    let mut pair = Pair::with(&settings, &h2::client::Builder::new(), silent());
    let (_response, mut body) = pair.begin(client::post("/"), false);
    body.send_data(Bytes::from(vec![0; 50_000]), true).unwrap();
    pair.run(std::future::ready(()));
    let received = |seen: Vec<Seen>| -> usize {
        seen.iter().map(|seen| if let Seen::Data(_, len) = seen { *len } else { 0 }).sum()
    };
    assert_eq!(received(pair.server.take_seen()), 20_000);
    let key = pair.server.key(1);
    pair.server.turn(|hands| hands.connection.release(key, 15_000));
    pair.run(std::future::ready(()));
    assert_eq!(received(pair.server.take_seen()), 15_000);
    pair.server.turn(|hands| hands.connection.release(key, 20_000));
    pair.run(std::future::ready(()));
    let seen = pair.server.take_seen();
    assert_eq!(seen.last(), Some(&Seen::End(1)));
    assert_eq!(received(seen), 15_000);
}

#[test]
fn releasing_more_than_came_opens_nothing() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &[peer::post(1), peer::data(1, &[0; 9000])].concat());
    let key = server.key(1);
    server.turn(|hands| hands.connection.release(key, 9001));
    assert_eq!(peer.read(&mut server), []);
}

#[test]
fn a_hundred_unread_streams_leave_the_others_quick() {
    let mut pair = Pair::new(Box::new({
        let mut page = page("ok");
        move |hands, event| match event {
            // The first hundred requests are of an app that neither reads nor answers.
            Event::Request { key, .. } | Event::Data { key, .. } if key.id <= 197 => {}
            event => page(hands, event),
        }
    }));
    let mut unread = Vec::new();
    for _ in 0..99 {
        let (response, mut body) = pair.begin(client::post("/slow"), false);
        body.send_data(Bytes::from(vec![0; 1 << 20]), true).unwrap();
        unread.push((response, body));
    }
    pair.run(std::future::ready(()));
    let window = Settings::default().stream_window as usize;
    let received: usize =
        pair.server.take_seen().iter().map(|seen| if let Seen::Data(_, len) = seen { *len } else { 0 }).sum();
    assert_eq!(received, 99 * window, "each stream's window is full");
    let (response, mut body) = pair.begin(client::post("/quick"), false);
    body.send_data(Bytes::from(vec![0; 4 << 20]), true).unwrap();
    let body = pair.run(async {
        let mut body = response.await.unwrap().into_body();
        client::read_body(&mut body).await.unwrap()
    });
    assert_eq!(body, b"ok");
}

#[test]
fn thousands_of_tiny_frames_that_the_app_does_not_read_are_no_offence() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::post(1));
    let tiny = peer::data(1, b"x").repeat(25_000);
    for _ in 0..4 {
        assert_eq!(peer.round_trip(&mut server, &tiny), []);
    }
    let received: usize =
        server.take_seen().iter().map(|seen| if let Seen::Data(_, len) = seen { *len } else { 0 }).sum();
    assert_eq!(received, 100_000);
    let frames = peer.round_trip(&mut server, &peer::get(3));
    assert_eq!(frames, []);
    server.answer(3, 200, b"ok");
    assert_eq!(peer.read(&mut server)[0].status(), 200);
}

#[test]
fn a_body_longer_than_announced_is_a_reset() {
    let (mut peer, mut server) = Peer::connect(silent());
    let block = peer::request("POST", &[("content-length", "3")]);
    peer.round_trip(&mut server, &peer::frame(HEADERS, END_HEADERS, 1, &block));
    let frames = peer.round_trip(&mut server, &peer::last_data(1, b"four"));
    assert_eq!((frames[0].kind, frames[0].code()), (RST_STREAM, PROTOCOL_ERROR));
    assert_eq!(server.take_seen()[1..], [Seen::Reset(1)]);
    assert_eq!(server.open_streams(), 0);
}

#[test]
fn a_head_that_stops_midway_is_awaited() {
    let block = peer::request("GET", &[]);
    let (begin, rest) = block.split_at(10);
    let (mut peer, mut server) = Peer::connect(page("ok"));
    assert!(!server.connection.awaits_head());

    peer.round_trip(&mut server, &peer::frame(HEADERS, END_STREAM, 1, begin));
    assert!(server.connection.awaits_head(), "CONTINUATION is missing");
    let frames = peer.round_trip(&mut server, &peer::frame(CONTINUATION, END_HEADERS, 1, rest));
    assert_eq!(frames[0].status(), 200);
    assert!(!server.connection.awaits_head());

    let (mut sent, whole) = (0, peer::get(3));
    for cut in [3, 9, 15, whole.len() - 1] {
        peer.round_trip(&mut server, &whole[sent..cut]);
        sent = cut;
        assert!(server.connection.awaits_head(), "the frame stops after {cut} bytes");
    }
    assert_eq!(peer.round_trip(&mut server, &whole[sent..])[0].id, 3);
    assert!(!server.connection.awaits_head());
}

#[test]
fn a_busy_client_whose_reads_end_midway_is_not_awaited() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    let (one, other, third) = (peer::get(1), peer::get(3), peer::get(5));
    let half = one.len() / 2;
    peer.round_trip(&mut server, &[&one[..], &other[..half]].concat());
    assert!(!server.connection.awaits_head(), "it went on in this turn");
    peer.round_trip(&mut server, &[&other[half..], &third[..half]].concat());
    assert!(!server.connection.awaits_head());
    server.turn(|_| {});
    assert!(server.connection.awaits_head(), "and now it does not");
}

#[test]
fn a_stalled_body_is_no_awaited_head() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::post(1));
    peer.round_trip(&mut server, &peer::data(1, b"half of it")[..14]);
    assert!(!server.connection.awaits_head());
}

#[test]
fn a_client_that_has_sent_no_settings_is_awaited() {
    let (ours, theirs) = crate::pipe::pipe();
    ours.send(hcrs_h2::PREFACE);
    let server = crate::server::Server::new(theirs, &Settings::default(), silent());
    assert!(server.connection.awaits_head());
}

#[test]
fn a_stream_whose_number_was_skipped_ends_the_connection() {
    for (first, skipped) in [(3, 1), (5, 1), (5, 3)] {
        let (mut peer, mut server) = Peer::connect(silent());
        peer.round_trip(&mut server, &peer::get(first));
        let frames = peer.round_trip(&mut server, &peer::get(skipped));
        assert_eq!(peer::goodbye(&frames), Some(PROTOCOL_ERROR), "{skipped} behind {first}");
    }
    // The end of a stream that is forgotten is another error.
    let (mut peer, mut server) = Peer::connect(page("ok"));
    peer.round_trip(&mut server, &[peer::get(1), peer::get(3), peer::get(9)].concat());
    let frames = peer.round_trip(&mut server, &peer::get(3));
    assert_eq!((frames.len(), frames[0].kind, frames[0].code()), (1, RST_STREAM, STREAM_CLOSED));
}

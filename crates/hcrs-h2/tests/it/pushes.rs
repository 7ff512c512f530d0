//! Requests that are promised to the client, and the ways in which a client treats them.

use bytes::Bytes;
use hcrs_h2::{Event, Settings, StreamKey};
use hcrs_http::{Fault, RequestHead};

use crate::client::{Pair, get, read_body};
use crate::peer::{
    self, CANCEL, DATA, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW, INTERNAL_ERROR, Peer, RST_STREAM,
    SETTINGS, cancel, frame, of_stream, window_update,
};
use crate::server::{App, Hands, Seen, Server, answer, head, silent};

const PUSH_PROMISE: u8 = 0x5;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT: u16 = 0x3;

fn promise(hands: &mut Hands<'_, '_>, key: StreamKey, request: &RequestHead) -> bool {
    let fields = [(&b"accept"[..], &b"text/css"[..])];
    hands.connection.push(key, request.promised(b"/style.css?v=1", fields.into_iter())).is_ok()
}

/// Returns an app that promises `count` requests with each request, notes which it could, and answers none.
fn promising(count: usize, mut note: impl FnMut(bool) + 'static) -> App {
    Box::new(move |hands, event| {
        if let Event::Request { key, head, .. } = event {
            for _ in 0..count {
                note(promise(hands, *key, head));
            }
        }
    })
}

fn promised(frames: &[peer::Frame]) -> Vec<u32> {
    let promises = frames.iter().filter(|frame| frame.kind == PUSH_PROMISE);
    promises.map(|frame| u32::from_be_bytes(frame.payload[..4].try_into().expect("four bytes"))).collect()
}

/// Connects and makes a request for which the app promises one more.
fn with_a_promise(announced: &[(u16, u32)]) -> (Peer, Server) {
    let (mut peer, mut server) = Peer::connect_with(&Settings::default(), announced, promising(1, |_| {}));
    let frames = peer.round_trip(&mut server, &peer::get(1));
    assert_eq!(promised(&frames), [2]);
    (peer, server)
}

fn lives(peer: &mut Peer, server: &mut Server, id: u32) {
    let frames = peer.round_trip(server, &peer::get(id));
    assert!(frames.iter().all(|frame| frame.kind != GOAWAY), "{frames:?}");
    server.answer(id, 200, b"ok");
    let frames = peer.read(server);
    assert_eq!(of_stream(&frames, id)[0].status(), 200);
}

#[test]
fn a_client_that_takes_pushes_gets_the_promise_and_the_response() {
    let mut pair = Pair::new(Box::new(|hands, event| match event {
        Event::Request { key, head: request, .. } => {
            assert!(request.view().takes_pushes);
            assert!(promise(hands, *key, request));
            answer(hands, *key, &head(200, &[]), Bytes::from_static(b"page"));
        }
        Event::Pushed { key, head: request, .. } => {
            assert!(!request.view().takes_pushes);
            assert!(!promise(hands, *key, request), "a pushed stream promises nothing");
            answer(
                hands,
                *key,
                &head(200, &[("content-type", "text/css")]),
                Bytes::from(vec![b'x'; 300_000]),
            );
        }
        _ => {}
    }));
    let (mut response, _) = pair.begin(get("/page"), true);
    let mut promises = response.push_promises();
    let (request, pushed) =
        pair.run(promises.push_promise()).expect("a promise").expect("a good promise").into_parts();
    assert_eq!(request.uri(), "https://example.com/style.css?v=1");
    assert_eq!(
        (request.method().as_str(), &request.headers()["accept"]),
        ("GET", &"text/css".parse().unwrap())
    );
    let (css, page) = pair.run(async {
        let mut css = pushed.await.unwrap().into_body();
        let css = read_body(&mut css).await.unwrap();
        (css, read_body(response.await.unwrap().body_mut()).await.unwrap())
    });
    assert_eq!((css.len(), &page[..]), (300_000, &b"page"[..]));
    assert_eq!(
        pair.server.take_seen()[..2],
        [
            Seen::Request(1, String::from("GET /page"), false),
            Seen::Pushed(2, String::from("GET /style.css?v=1"))
        ]
    );
}

#[test]
fn a_client_that_declines_hears_of_none() {
    for announced in [&[(ENABLE_PUSH, 0)][..], &[(MAX_CONCURRENT, 0)]] {
        let (mut peer, mut server) =
            Peer::connect_with(&Settings::default(), announced, promising(1, |could| assert!(!could)));
        assert!(promised(&peer.round_trip(&mut server, &peer::get(1))).is_empty());
        lives(&mut peer, &mut server, 3);
    }
    let (mut peer, mut server) = with_a_promise(&[]);
    let decline = [&ENABLE_PUSH.to_be_bytes()[..], &0u32.to_be_bytes()].concat();
    let frames = peer.round_trip(&mut server, &[frame(SETTINGS, 0, 0, &decline), peer::get(3)].concat());
    assert!(promised(&frames).is_empty(), "it may do so at any time");
}

#[test]
fn a_promise_can_follow_the_head_and_not_the_body() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    let key = server.key(1);
    let request = some_request();
    server.turn(|hands| {
        assert!(!hands.connection.send_head(key, &head(200, &[]), false).unwrap());
        assert!(promise(hands, key, &request));
        hands.connection.send_data(hands.now, key, Bytes::from_static(b"first"), false).unwrap();
        assert!(!promise(hands, key, &request), "the body has begun");
    });
    let kinds: Vec<u8> = peer.read(&mut server).iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [HEADERS, PUSH_PROMISE, DATA]);
    assert_eq!(server.take_seen()[1], Seen::Pushed(2, String::from("GET /style.css?v=1")));
}

#[test]
fn no_more_are_open_than_the_client_lets() {
    let (mut peer, mut server) =
        Peer::connect_with(&Settings::default(), &[(MAX_CONCURRENT, 2)], promising(3, |_| {}));
    assert_eq!(promised(&peer.round_trip(&mut server, &peer::get(1))), [2, 4]);
    server.answer(2, 200, b"x");
    assert_eq!(of_stream(&peer.read(&mut server), 2).last().unwrap().flags, END_STREAM);
    assert_eq!(promised(&peer.round_trip(&mut server, &peer::get(3))), [6], "one is over");
    peer.round_trip(&mut server, &cancel(4));
    assert_eq!(promised(&peer.round_trip(&mut server, &peer::get(5))), [8], "another is over");
}

#[test]
fn no_more_are_under_way_than_the_servers_own_limit() {
    let (mut peer, mut server) = Peer::connect(promising(20, |_| {}));
    let first = promised(&peer.round_trip(&mut server, &peer::get(1))).len();
    let second = promised(&peer.round_trip(&mut server, &peer::get(3))).len();
    assert_eq!((first, second), (20, 12));
}

#[test]
fn a_promised_stream_that_the_client_resets_is_told_and_harms_nothing() {
    // Before the response, in it, and when the response has been passed to h2.
    let (mut peer, mut server) = with_a_promise(&[]);
    server.take_seen();
    peer.round_trip(&mut server, &cancel(2));
    assert_eq!(server.take_seen(), [Seen::Reset(2)]);
    lives(&mut peer, &mut server, 3);

    let (mut peer, mut server) = with_a_promise(&[(INITIAL_WINDOW, 1000)]);
    server.answer(2, 200, &[b'x'; 5000]);
    assert_eq!(peer::body_len(&peer.read(&mut server), 2), 1000);
    server.take_seen();
    peer.round_trip(&mut server, &cancel(2));
    lives(&mut peer, &mut server, 3);

    let (mut peer, mut server) = with_a_promise(&[]);
    server.answer(2, 200, b"x");
    peer.round_trip(&mut server, &cancel(2));
    lives(&mut peer, &mut server, 3);
}

#[test]
fn a_reset_that_crosses_the_head_of_the_response_does_not_cost_the_connection() {
    for words in [cancel(2), window_update(2, 10)] {
        let (mut peer, mut server) = with_a_promise(&[]);
        peer.send(&words);
        // The server has not read it when the response comes.
        server.answer(2, 200, b"x");
        let frames = peer.read(&mut server);
        assert_eq!(of_stream(&frames, 2)[0].kind, HEADERS);
        lives(&mut peer, &mut server, 3);
    }
}

#[test]
fn a_reset_of_a_stream_that_is_yet_to_be_promised_does_not_cost_the_connection() {
    let (mut peer, mut server) = Peer::connect(promising(1, |could| assert!(could)));
    for id in [1, 3, 5] {
        // It arrives between the app's promise and the next read.
        peer.io.send_late(&cancel(id + 1));
        peer.round_trip(&mut server, &peer::get(id));
    }
    let pushed =
        server.take_seen().into_iter().filter(|seen| matches!(seen, Seen::Pushed(..) | Seen::Reset(_)));
    let path = String::from("GET /style.css?v=1");
    let begun_and_ended = |id| [Seen::Pushed(id, path.clone()), Seen::Reset(id)];
    assert_eq!(pushed.collect::<Vec<_>>(), [2, 4, 6].map(begun_and_ended).concat());
    assert!(server.ended.is_none());
    lives(&mut peer, &mut server, 7);
}

#[test]
fn a_reset_of_the_request_takes_its_promises_along_or_leaves_them() {
    let (mut peer, mut server) = Peer::connect(promising(1, |_| {}));
    for n in 0..40 {
        let id = 2 * n + 1;
        peer.io.send_late(&cancel(id));
        let frames = peer.round_trip(&mut server, &peer::get(id));
        for pushed in promised(&frames) {
            server.answer(pushed, 200, b"x");
        }
        peer.read(&mut server);
    }
    assert!(server.ended.is_none());
    lives(&mut peer, &mut server, 101);
}

#[test]
fn a_response_that_the_client_no_longer_lets_open_is_reset() {
    let (mut peer, mut server) = with_a_promise(&[]);
    let none = [&MAX_CONCURRENT.to_be_bytes()[..], &0u32.to_be_bytes()].concat();
    peer.round_trip(&mut server, &frame(SETTINGS, 0, 0, &none));
    server.answer(2, 200, b"x");
    let frames = peer.read(&mut server);
    let about = of_stream(&frames, 2);
    assert_eq!((about.len(), about[0].kind, about[0].code()), (1, RST_STREAM, CANCEL));
    lives(&mut peer, &mut server, 3);
}

#[test]
fn a_pushed_request_that_fails_is_reset_and_not_answered() {
    let (mut peer, mut server) = with_a_promise(&[]);
    let key = server.key(2);
    server.turn(|hands| hands.connection.fail(key, Fault::AppFailed));
    let frames = peer.read(&mut server);
    let about = of_stream(&frames, 2);
    assert_eq!((about.len(), about[0].kind, about[0].code()), (1, RST_STREAM, INTERNAL_ERROR));
    lives(&mut peer, &mut server, 3);
}

#[test]
fn trailers_of_a_pushed_response_whose_head_waits_for_the_socket_follow_it() {
    let (mut peer, mut server) =
        Peer::connect_narrow(4 << 10, &[(INITIAL_WINDOW, 1 << 20)], promising(1, |_| {}));
    peer.round_trip(&mut server, &[window_update(0, 1 << 20), peer::get(1)].concat());
    let (page, pushed) = (server.key(1), server.key(2));
    server.turn(|hands| answer(hands, page, &head(200, &[]), Bytes::from(vec![0; 300_000])));
    server.turn(|hands| {
        assert_eq!(hands.connection.send_head(pushed, &head(200, &[]), false), Ok(false));
        let trailers = head(0, &[("checksum", "1")]);
        assert_eq!(hands.connection.send_trailers(hands.now, pushed, &trailers), Ok(true));
    });
    let frames = peer.read(&mut server);
    let about: Vec<_> =
        of_stream(&frames, 2).iter().map(|frame| (frame.kind, frame.flags & END_STREAM)).collect();
    assert_eq!(about, [(HEADERS, 0), (HEADERS, END_STREAM)]);
    lives(&mut peer, &mut server, 3);
}

#[test]
fn nothing_is_promised_while_the_socket_is_full() {
    let (mut peer, mut server) = Peer::connect_narrow(4 << 10, &[], silent());
    peer.round_trip(&mut server, &[peer::get(1), peer::get(3)].concat());
    let (key, other) = (server.key(1), server.key(3));
    server.turn(|hands| {
        hands.connection.send_head(other, &head(200, &[]), false).unwrap();
        let body = Bytes::from(vec![b'x'; 30_000]);
        hands.connection.send_data(hands.now, other, body, false).unwrap();
    });
    let request = some_request();
    server.turn(|hands| assert!(!promise(hands, key, &request)));
    assert!(promised(&peer.read(&mut server)).is_empty());
    server.turn(|hands| assert!(promise(hands, key, &request)));
    assert_eq!(promised(&peer.read(&mut server)), [2]);
}

#[test]
fn a_promise_that_waits_for_the_socket_is_kept_and_may_be_reset() {
    let wide = [(INITIAL_WINDOW, 1 << 20)];
    for fails in [false, true] {
        let (mut peer, mut server) = Peer::connect_narrow(4 << 10, &wide, silent());
        peer.round_trip(&mut server, &window_update(0, 1 << 20));
        let ids: Vec<u32> = (0..10).map(|n| 2 * n + 1).collect();
        for &id in &ids {
            peer.round_trip(&mut server, &peer::get(id));
        }
        let keys: Vec<StreamKey> = ids.iter().map(|&id| server.key(id)).collect();
        server.take_seen();
        let request = some_request();
        let (last, others) = keys.split_last().unwrap();
        server.turn(|hands| {
            for &key in others {
                hands.connection.send_head(key, &head(200, &[]), false).unwrap();
                let body = Bytes::from(vec![b'x'; 20_000]);
                hands.connection.send_data(hands.now, key, body, false).unwrap();
            }
            hands.connection.send_head(*last, &head(200, &[]), false).unwrap();
            assert!(promise(hands, *last, &request));
        });
        let path = String::from("GET /style.css?v=1");
        assert_eq!(server.take_seen(), [Seen::Pushed(2, path)]);
        if fails {
            // The stream that the promise was made on.
            server.turn(|hands| hands.connection.fail(*last, Fault::AppFailed));
        }
        peer.send(&[cancel(2), peer::get(101)].concat());
        let frames = peer.read(&mut server);
        let expected = [Seen::Reset(2), Seen::Request(101, String::from("GET /"), false)];
        let seen: Vec<_> =
            server.take_seen().into_iter().filter(|seen| !matches!(seen, Seen::Sent(..))).collect();
        assert_eq!(seen, expected);
        assert!(server.ended.is_none());
        assert_eq!(promised(&frames), [2]);
        lives(&mut peer, &mut server, 103);
    }
}

#[test]
fn fields_of_a_connection_are_not_promised() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    let (key, request) = (server.key(1), some_request());
    for name in [&b"connection"[..], b"content-length", b"te", b"a b"] {
        let promised = request.promised(b"/", [(name, &b"1"[..])].into_iter());
        server.turn(|hands| assert!(hands.connection.push(key, promised).is_err()));
    }
    lives(&mut peer, &mut server, 3);
}

fn some_request() -> RequestHead {
    use hcrs_http::{Endpoints, RequestLine, Scheme, Version};
    let line = RequestLine {
        version: Version::Http2,
        scheme: Scheme::Https,
        method: b"GET",
        path: b"/",
        query: b"",
    };
    let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
    head.push_field(b"host", b"a");
    head
}

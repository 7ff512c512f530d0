//! Responses: few writes, as much as the window allows, and the errors of apps.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hcrs_h2::{Event, Sent, ServerFields, Settings};
use hcrs_http::{Fault, Field};
use http::{HeaderValue, Method};

use crate::client::{self, Pair, both, read_body};
use crate::peer::{self, DATA, END_STREAM, INITIAL_WINDOW, INTERNAL_ERROR, Peer, RST_STREAM};
use crate::server::{App, Seen, answer, head, page, silent};

/// A window that no response of these tests fills.
const WIDE: u32 = 64 << 20;

/// Returns an app that sends one large body on each stream.
fn download(len: usize) -> App {
    page(vec![7; len])
}

/// Returns the bytes that were taken of one stream's response, and whether it is done, by its events.
fn sent(seen: &[Seen], id: u32) -> (usize, usize) {
    let (mut bytes, mut dones) = (0, 0);
    for seen in seen {
        if let Seen::Sent(stream, len, done) = seen
            && *stream == id
        {
            bytes += len;
            dones += usize::from(*done);
        }
    }
    (bytes, dones)
}

#[test]
fn the_responses_of_all_ready_streams_leave_in_few_writes() {
    let (mut peer, mut server) = Peer::connect(page(vec![7; 1024]));
    let requests: Vec<u8> = (0..64).flat_map(|n| peer::get(1 + 2 * n)).collect();
    let before = peer.io.writes_seen();
    let frames = peer.round_trip(&mut server, &requests);
    assert_eq!(
        frames.iter().filter(|frame| frame.flags & END_STREAM != 0).count(),
        63,
        "64 KiB are the window"
    );
    peer.round_trip(&mut server, &peer::window_update(0, 1 << 20));
    let writes = peer.io.writes_seen() - before;
    assert!(writes <= 4, "{writes} writes for 64 responses");
}

#[test]
fn answers_given_between_two_reads_leave_in_one_write() {
    let (mut peer, mut server) = Peer::connect(silent());
    let requests: Vec<u8> = (0..32).flat_map(|n| peer::get(1 + 2 * n)).collect();
    peer.round_trip(&mut server, &requests);
    let before = peer.io.writes_seen();
    let keys: Vec<_> = (0..32).map(|n| server.key(1 + 2 * n)).collect();
    server.turn(|hands| {
        for key in keys {
            answer(hands, key, &head(200, &[]), Bytes::from_static(&[7; 1024]));
        }
    });
    assert_eq!(peer.io.writes_seen() - before, 1);
    assert_eq!(peer.read(&mut server).len(), 64);
}

#[test]
fn streams_of_one_turn_may_share_a_head() {
    let mut pair = Pair::new(silent());
    let mut responses: Vec<_> = (0..4).map(|_| pair.begin(client::get("/"), true).0).collect();
    pair.run(std::future::ready(()));
    let keys: Vec<_> = (0..4).map(|n| pair.server.key(1 + 2 * n)).collect();
    let shared = head(200, &[("x-a", "1"), ("content-length", "2")]);
    let other = head(404, &[("x-a", "2")]);
    pair.server.turn(|hands| {
        // The length is checked for each of them.
        answer(hands, keys[0], &shared, Bytes::from_static(b"ab"));
        answer(hands, keys[1], &shared.clone(), Bytes::from_static(b"cd"));
        answer(hands, keys[2], &other.clone(), Bytes::new());
        hands.connection.send_head(keys[3], &shared, false).unwrap();
        let sent = hands.connection.send_data(hands.now, keys[3], Bytes::from_static(b"abc"), true);
        assert_eq!(sent.map(|_| ()), Err(Fault::AppFailed));
    });
    for (response, expected) in responses.drain(..3).zip([(200, "1"), (200, "1"), (404, "2")]) {
        let (parts, _) = pair.run(response).unwrap().into_parts();
        assert_eq!((parts.status.as_u16(), parts.headers["x-a"].to_str().unwrap()), expected);
    }
}

#[test]
fn a_body_longer_than_the_window_waits_and_goes_on() {
    let mut pair = Pair::new(silent());
    let (response, _) = pair.begin(client::get("/"), true);
    pair.run(std::future::ready(()));
    let key = pair.server.key(1);
    let body = Bytes::from((0..1_000_000u32).map(|n| n as u8).collect::<Vec<u8>>());
    let mut given = 0;
    pair.server.turn(|hands| {
        hands.connection.send_head(key, &head(200, &[]), false).unwrap();
        for piece in [body.slice(..300_000), body.slice(300_000..)] {
            let end = piece.len() > 300_000;
            let sent = hands.connection.send_data(hands.now, key, piece, end).unwrap();
            assert!(!sent.done);
            given += sent.len;
        }
    });
    assert_eq!(given, 65_535, "the window that every client begins with");
    let received = pair.run(async { read_body(&mut response.await.unwrap().into_body()).await.unwrap() });
    assert_eq!(received, body);
    let (bytes, dones) = sent(&pair.server.take_seen(), 1);
    assert_eq!((given + bytes, dones), (1_000_000, 1));
    assert_eq!(pair.server.open_streams(), 0);
}

#[test]
fn h2_is_never_given_more_than_the_window_and_one_send_buffer() {
    // The connection's window is wide open; the streams' are, too; the socket is not.
    let (mut peer, mut server) = Peer::connect_narrow(8 << 10, &[(INITIAL_WINDOW, WIDE)], download(10 << 20));
    peer.round_trip(&mut server, &peer::window_update(0, WIDE));
    peer.send(&peer::get(1));
    let held = allocation_counter::measure(|| {
        server.settle();
    });
    let (bytes, _) = sent(&server.take_seen(), 1);
    assert!(bytes <= 256 << 10, "{bytes} bytes were taken of which the client has read none");
    assert!(held.bytes_max <= 256 << 10, "{} bytes are held", held.bytes_max);
    assert!(server.is_blocked, "the socket takes no more");
    // The response goes on with the socket, and h2 never holds more.
    let held = allocation_counter::measure(|| {
        for _ in 0..100 {
            peer.io.take();
            server.settle();
        }
    });
    assert!(held.bytes_max <= 128 << 10, "{} bytes are held", held.bytes_max);
}

#[test]
fn many_downloads_over_a_full_socket_are_held_back_and_come_whole() {
    const STREAMS: u32 = 20;
    const LEN: usize = 400_000;
    let (mut peer, mut server) =
        Peer::connect_narrow(32 << 10, &[(INITIAL_WINDOW, WIDE)], page(vec![7; LEN]));
    peer.round_trip(&mut server, &peer::window_update(0, WIDE));
    let ids: Vec<u32> = (0..STREAMS).map(|n| 1 + 2 * n).collect();
    peer.send(&ids.iter().flat_map(|&id| peer::get(id)).collect::<Vec<u8>>());
    let held = allocation_counter::measure(|| {
        server.settle();
    });
    assert!(held.bytes_max <= 512 << 10, "{} bytes are held of all of them", held.bytes_max);
    // One reset in between, while some of its bytes are held.
    let frames = peer.round_trip(&mut server, &peer::cancel(ids[3]));
    for &id in ids.iter().filter(|&&id| id != ids[3]) {
        assert_eq!(peer::body_len(&frames, id), LEN, "stream {id}");
    }
    assert_eq!(server.open_streams(), 0);
}

#[test]
fn a_client_that_opens_no_window_is_given_little() {
    let (mut peer, mut server) =
        Peer::connect_with(&Settings::default(), &[(INITIAL_WINDOW, 0)], download(100_000));
    let requests: Vec<u8> = (0..100).flat_map(|n| peer::get(1 + 2 * n)).collect();
    let frames = peer.round_trip(&mut server, &requests);
    assert_eq!(frames.iter().map(|frame| frame.payload.len()).filter(|&len| len > 100).count(), 0);
    assert_eq!(server.connection.stalled_since(server.now).len(), 100);
    assert_eq!(server.connection.take_stalls(), 100);
    let start = server.now;
    server.wait(30);
    // One byte of window is progress, and starts the wait anew.
    let frames = peer.round_trip(&mut server, &peer::window_update(1, 1));
    assert_eq!(peer::body_len(&frames, 1), 1);
    assert_eq!(server.connection.stalled_since(start).len(), 99);
    assert_eq!(server.connection.take_stalls(), 1);
    assert_eq!(server.connection.stalled_since(server.now).len(), 100);
}

#[test]
fn a_response_that_stalls_again_waits_once() {
    let piece = |len| Bytes::from(vec![0; len]);
    let mut first = None;
    let (mut peer, mut server) = Peer::connect_with(
        &Settings::default(),
        &[(INITIAL_WINDOW, 0)],
        Box::new(move |hands, event| match event {
            Event::Request { key, .. } if key.id == 1 => {
                let key = *first.insert(*key);
                hands.connection.send_head(key, &head(200, &[]), false).unwrap();
                hands.connection.send_data(hands.now, key, piece(100), false).unwrap();
            }
            // By now the window allows that, and the connection has not been polled.
            Event::Request { .. } => {
                let key = first.expect("the first request");
                for (len, taken) in [(50, 150), (100, 50)] {
                    let sent = hands.connection.send_data(hands.now, key, piece(len), false);
                    assert_eq!(sent, Ok(Sent { len: taken, done: false }));
                }
            }
            _ => {}
        }),
    );
    peer.round_trip(&mut server, &peer::get(1));
    peer.round_trip(&mut server, &[peer::window_update(1, 200), peer::get(3)].concat());
    assert_eq!(server.connection.stalled_since(server.now), [server.key(1)]);
}

#[test]
fn a_stalled_response_does_not_stop_another() {
    let mut pair = Pair::new(silent());
    let (slow, _) = pair.begin(client::get("/slow"), true);
    pair.run(std::future::ready(()));
    let key = pair.server.key(1);
    pair.server.turn(|hands| answer(hands, key, &head(200, &[]), Bytes::from(vec![7; 40_000])));
    // Its window of the connection is taken, but for 25 535 bytes.
    let slow = pair.run(slow).unwrap();
    let (quick, _) = pair.begin(client::get("/quick"), true);
    pair.run(std::future::ready(()));
    let key = pair.server.key(3);
    pair.server.turn(|hands| answer(hands, key, &head(200, &[]), Bytes::from(vec![8; 1_000_000])));
    let body = pair.run(async { read_body(&mut quick.await.unwrap().into_body()).await.unwrap() });
    assert_eq!(body.len(), 1_000_000);
    drop(slow);
}

#[test]
fn what_the_window_holds_back_of_two_streams_comes_whole() {
    let mut pair = Pair::new(download(300_000));
    let (one, _) = pair.begin(client::get("/1"), true);
    let (other, _) = pair.begin(client::get("/2"), true);
    let len = async |response: h2::client::ResponseFuture| {
        read_body(&mut response.await.unwrap().into_body()).await.unwrap().len()
    };
    let lens = pair.run(both(len(one), len(other)));
    assert_eq!(lens, (300_000, 300_000));
    assert_eq!(pair.server.open_streams(), 0);
}

#[test]
fn pieces_that_wait_keep_their_order_and_an_empty_end_ends() {
    let mut pair = Pair::new(silent());
    let (response, _) = pair.begin(client::get("/"), true);
    pair.run(std::future::ready(()));
    let key = pair.server.key(1);
    pair.server.turn(|hands| {
        hands.connection.send_head(key, &head(200, &[]), false).unwrap();
        for n in 0..100u8 {
            let piece = Bytes::from(vec![n; 1000]);
            hands.connection.send_data(hands.now, key, piece, false).unwrap();
        }
        assert!(!hands.connection.send_data(hands.now, key, Bytes::new(), true).unwrap().done);
    });
    let body = pair.run(async { read_body(&mut response.await.unwrap().into_body()).await.unwrap() });
    let expected: Vec<u8> = (0..100u8).flat_map(|n| [n; 1000]).collect();
    assert_eq!(body, expected);
    assert_eq!(sent(&pair.server.take_seen(), 1).1, 1);
}

#[test]
fn an_empty_body_ends_with_an_empty_frame_or_with_the_head() {
    let (mut peer, mut server) = Peer::connect(page(""));
    let frames = peer.round_trip(&mut server, &peer::get(1));
    assert_eq!((frames[1].kind, frames[1].flags, frames[1].payload.len()), (DATA, END_STREAM, 0));
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    let key = server.key(1);
    server.turn(|hands| assert_eq!(hands.connection.send_head(key, &head(404, &[]), true), Ok(true)));
    let frames = peer.read(&mut server);
    assert_eq!((frames.len(), frames[0].flags & END_STREAM), (1, END_STREAM));
}

#[test]
fn a_response_without_a_body_on_the_wire_drops_what_the_app_sends() {
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
        let mut pair = Pair::new(Box::new(move |hands, event| {
            if let Event::Request { key, .. } = event {
                answer(hands, *key, &head(status, &[("content-length", "5")]), Bytes::from_static(b"hello"));
            }
        }));
        let mut request = client::get("/");
        *request.method_mut() = method.clone();
        let (response, body) = pair.fetch(request).unwrap();
        assert_eq!((response.status().as_u16(), body.len()), (status, 0));
        let length = response.headers().get("content-length");
        assert_eq!(length.is_some(), status != 204, "RFC 9110 §8.6: none beside 204");
        assert_eq!(pair.server.open_streams(), 0);
    }
}

#[test]
fn the_server_adds_its_fields_to_answers_of_its_own_too() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    let alt_svc = Some([HeaderValue::from_static("clear")].into());
    let server_fields =
        ServerFields { date: None, server: Some(HeaderValue::from_static("hcrs-h2")), alt_svc };
    let key = server.key(1);
    let mut turn = server.connection.begin_turn(&server_fields);
    turn.fail(key, Fault::QueueFull);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(turn.poll_event(&mut cx, server.now).is_pending());
    assert!(turn.end(&mut cx).is_ready());
    let frames = peer.read(&mut server);
    assert_eq!((frames[0].status(), frames[0].flags & END_STREAM), (503, END_STREAM));
}

#[test]
fn a_fault_before_the_head_is_answered_with_its_status() {
    let table = [
        (Fault::BodyTimeout, 408),
        (Fault::AppFailed, 500),
        (Fault::WorkerLost, 502),
        (Fault::QueueTimeout, 503),
    ];
    for (fault, status) in table {
        let mut pair = Pair::new(Box::new(move |hands, event| {
            if let Event::Request { key, .. } = event {
                let own = Field { name: b"x-request-id", value: b"4242" };
                hands.connection.fail_with(*key, fault, Some(own));
            }
        }));
        let (response, body) = pair.fetch(client::get("/")).unwrap();
        assert_eq!((response.status().as_u16(), body.len()), (status, 0));
        assert_eq!(response.headers()["content-length"], "0");
        assert_eq!(response.headers()["x-request-id"], "4242");
        assert_eq!(response.headers().contains_key("retry-after"), status == 503);
        assert_eq!(pair.server.open_streams(), 0);
    }
}

#[test]
fn a_body_is_refused_while_it_arrives_and_the_connection_lives() {
    let mut pair = Pair::new(Box::new(|hands, event| match event {
        Event::Request { key, head, .. } if !head.has_body() => {
            answer(hands, *key, &crate::server::head(200, &[]), Bytes::from_static(b"ok"));
        }
        Event::Data { key, .. } => hands.connection.fail(*key, Fault::BodyTimeout),
        _ => {}
    }));
    for _ in 0..5 {
        let (response, mut body) = pair.begin(client::post("/upload"), false);
        body.send_data(Bytes::from(vec![0; 1 << 20]), false).unwrap();
        assert_eq!(pair.run(response).unwrap().status(), 408);
        // Bytes in flight are read first.
        let resets = std::iter::repeat_with(|| {
            pair.server.wait(1);
            pair.server.turn(|_| {});
            pair.run(std::future::ready(()));
            body.poll_reset(&mut Context::from_waker(Waker::noop()))
        });
        let reset = resets.take(200).find(Poll::is_ready).expect("the stream is reset");
        assert!(matches!(reset, Poll::Ready(Ok(h2::Reason::NO_ERROR))), "{reset:?}");
    }
    assert_eq!(pair.fetch(client::get("/")).unwrap().1, b"ok");
}

#[test]
fn a_fault_after_the_head_resets_the_stream_with_its_code() {
    for (fault, code) in [(Fault::AppFailed, INTERNAL_ERROR), (Fault::WriteStalled, peer::CANCEL)] {
        let (mut peer, mut server) =
            Peer::connect_with(&Settings::default(), &[(INITIAL_WINDOW, 10)], silent());
        peer.round_trip(&mut server, &peer::get(1));
        let key = server.key(1);
        server.turn(|hands| {
            hands.connection.send_head(key, &head(200, &[]), false).unwrap();
            hands.connection.send_data(hands.now, key, Bytes::from(vec![0; 100_000]), false).unwrap();
        });
        assert_eq!(peer::body_len(&peer.read(&mut server), 1), 10);
        let key = server.key(1);
        server.turn(|hands| hands.connection.fail(key, fault));
        let frames = peer.read(&mut server);
        assert_eq!((frames.len(), frames[0].kind, frames[0].code()), (1, RST_STREAM, code));
        assert_eq!(server.open_streams(), 0);
        assert!(server.connection.stalled_since(server.now).is_empty());
    }
}

#[test]
fn what_was_sent_before_a_fault_leaves_before_the_reset() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    let key = server.key(1);
    server.turn(|hands| {
        hands.connection.send_head(key, &head(200, &[]), false).unwrap();
        hands.connection.send_data(hands.now, key, Bytes::from_static(b"first"), false).unwrap();
        hands.connection.fail(key, Fault::AppFailed);
    });
    let frames = peer.read(&mut server);
    assert_eq!((frames[0].status(), peer::body_len(&frames, 1)), (200, 5));
    let last = frames.last().unwrap();
    assert_eq!((frames.len(), last.kind, last.code()), (3, RST_STREAM, INTERNAL_ERROR));
    assert_eq!(server.open_streams(), 0);
}

#[test]
fn a_full_socket_delays_a_reset_until_what_was_sent_before_has_left() {
    let (mut peer, mut server) = Peer::connect_narrow(8 << 10, &[(INITIAL_WINDOW, WIDE)], silent());
    peer.round_trip(&mut server, &peer::get(1));
    let key = server.key(1);
    let mut taken = 0;
    server.turn(|hands| {
        hands.connection.send_head(key, &head(200, &[]), false).unwrap();
        let body = Bytes::from(vec![7; 60_000]);
        taken = hands.connection.send_data(hands.now, key, body, false).unwrap().len;
        hands.connection.fail(key, Fault::AppFailed);
    });
    assert!(server.is_blocked && taken > 16 << 10, "{taken} bytes were taken");
    let frames = peer.read(&mut server);
    assert_eq!(peer::body_len(&frames, 1), taken);
    assert_eq!(frames.last().unwrap().kind, RST_STREAM);
}

#[test]
fn an_app_that_breaks_its_own_length_fails_and_the_client_is_reset() {
    // More than announced, less than announced, and a head alone.
    let table: [&[(&'static [u8], bool)]; 3] =
        [&[(b"abc", false), (b"def", false)], &[(b"abc", true)], &[(b"abc", false), (b"", true)]];
    for pieces in table {
        let (mut peer, mut server) = Peer::connect(silent());
        peer.round_trip(&mut server, &peer::get(1));
        let key = server.key(1);
        server.turn(|hands| {
            hands.connection.send_head(key, &head(200, &[("content-length", "5")]), false).unwrap();
            let outcomes: Vec<_> = pieces
                .iter()
                .map(|&(piece, end)| {
                    hands.connection.send_data(hands.now, key, Bytes::from_static(piece), end)
                })
                .collect();
            assert_eq!(outcomes.last(), Some(&Err(Fault::AppFailed)));
            hands.connection.fail(key, Fault::AppFailed);
        });
        let last = peer.read(&mut server).pop().unwrap();
        assert_eq!((last.kind, last.code()), (RST_STREAM, INTERNAL_ERROR));
    }
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    let key = server.key(1);
    server.turn(|hands| {
        let short = head(200, &[("content-length", "5")]);
        assert_eq!(hands.connection.send_head(key, &short, true), Err(Fault::AppFailed));
        hands.connection.fail(key, Fault::AppFailed);
    });
    assert_eq!(peer.read(&mut server)[0].status(), 500, "no head was sent, so the status can still be");
}

#[test]
fn a_second_head_is_refused_and_nonsense_leaves_the_stream_as_it_was() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    let key = server.key(1);
    server.turn(|hands| {
        let nonsense = head(200, &[("a b", "1")]);
        assert_eq!(hands.connection.send_head(key, &nonsense, false), Err(Fault::AppFailed));
        assert_eq!(hands.connection.send_head(key, &head(404, &[]), false), Ok(false));
        assert_eq!(hands.connection.send_head(key, &head(404, &[]), false), Err(Fault::AppFailed));
        let sent = hands.connection.send_data(hands.now, key, Bytes::from_static(b"ok"), true);
        assert_eq!(sent, Ok(Sent { len: 2, done: true }));
    });
    assert_eq!(peer.read(&mut server)[0].status(), 404);
}

#[test]
fn fields_that_mean_nothing_in_http2_are_left_out() {
    let mut pair = Pair::new(Box::new(|hands, event| {
        if let Event::Request { key, .. } = event {
            let fields =
                [("connection", "close"), ("transfer-encoding", "chunked"), ("te", "gzip"), ("x-a", "1")];
            answer(hands, *key, &head(200, &fields), Bytes::from_static(b"ok"));
        }
    }));
    let (response, body) = pair.fetch(client::get("/")).unwrap();
    assert_eq!(body, b"ok");
    let names: Vec<&str> = response.headers().keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-a"]);
}

#[test]
fn data_before_a_head_is_an_error_of_the_app() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    for end in [false, true] {
        let key = server.key(1);
        server.turn(|hands| {
            let piece = Bytes::from_static(b"early");
            let outcome = hands.connection.send_data(hands.now, key, piece, end);
            assert_eq!(outcome, Err(Fault::AppFailed));
        });
    }
    let key = server.key(1);
    server.turn(|hands| hands.connection.fail(key, Fault::AppFailed));
    assert_eq!(peer.read(&mut server)[0].status(), 500);
}

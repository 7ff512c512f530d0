//! The wake-ups of a connection's task: none without need, and none missing.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use hcrs_h2::{BodyRoom, PREFACE, ServerFields, Settings};
use hcrs_http::{Endpoints, Fault, Scheme};

use crate::peer::{self, ACK, GOAWAY, INITIAL_WINDOW, PING, Peer, RST_STREAM, window_update};
use crate::pipe::pipe;
use crate::server::{Seen, Wakes, answer, head, page, silent};

#[test]
fn a_request_that_is_answered_at_once_takes_one_poll() {
    let (mut peer, mut server) = Peer::connect(page(vec![7; 1024]));
    for n in 0..10 {
        peer.send(&peer::get(2 * n + 1));
        assert_eq!(server.settle(), 1);
        assert_eq!(peer.read(&mut server).len(), 2);
    }
}

#[test]
fn a_request_and_its_answer_later_take_one_poll_each() {
    let (mut peer, mut server) = Peer::connect(silent());
    for n in 0..10 {
        peer.send(&peer::get(2 * n + 1));
        assert_eq!(server.settle(), 1);
        let key = server.key(2 * n + 1);
        server.turn(|hands| answer(hands, key, &head(200, &[]), Bytes::from_static(&[7; 1024])));
        assert!(!server.is_woken(), "all was sent in that poll");
        assert_eq!(peer.read(&mut server).len(), 2);
    }
}

#[test]
fn the_socket_is_read_until_it_is_empty_and_not_for_each_request() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    let requests: Vec<u8> = (0..64).flat_map(|n| peer::get(2 * n + 1)).collect();
    let before = peer.io.reads_seen();
    peer.round_trip(&mut server, &requests);
    assert_eq!(server.take_seen().len(), 64);
    let reads = peer.io.reads_seen() - before;
    assert!(reads <= 4, "{reads} reads");
}

#[test]
fn an_upload_takes_one_poll_for_each_flight_and_one_for_each_release() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    peer.round_trip(&mut server, &peer::post(1));
    for _ in 0..10 {
        peer.send(&peer::data(1, &[0; 10_000]));
        assert_eq!(server.settle(), 1);
    }
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &[peer::post(1), peer::data(1, &[0; 16_384]).repeat(3)].concat());
    peer.round_trip(&mut server, &peer::data(1, &[0; 16_384]).repeat(2));
    let key = server.key(1);
    server.turn(|hands| hands.connection.release(key, 5 * 16_384));
    assert!(!server.is_woken());
    assert!(!peer.read(&mut server).is_empty(), "the window is open again");
}

#[test]
fn a_window_that_opens_takes_one_poll() {
    let (mut peer, mut server) =
        Peer::connect_with(&Settings::default(), &[(INITIAL_WINDOW, 1000)], page(vec![7; 100_000]));
    peer.round_trip(&mut server, &peer::get(1));
    for _ in 0..10 {
        peer.send(&window_update(1, 5000));
        assert_eq!(server.settle(), 1);
        assert_eq!(peer::body_len(&peer.read(&mut server), 1), 5000);
    }
}

#[test]
fn what_arrives_after_the_last_look_is_seen() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    for n in 0..10 {
        let (first, late) = (4 * n + 1, 4 * n + 3);
        server.take_seen();
        peer.io.send_late(&peer::get(late));
        let frames = peer.round_trip(&mut server, &peer::get(first));
        assert_eq!((peer::body_len(&frames, first), peer::body_len(&frames, late)), (2, 2));
        assert_eq!(server.take_seen().len(), 2);
    }
    assert_eq!(server.settle(), 0);
}

#[test]
fn a_preface_that_comes_late_wakes_the_handshake() {
    let (ours, theirs) = pipe();
    let woken = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let (settings, endpoints) = (Settings::default(), Rc::new(Endpoints::default()));
    let room = BodyRoom::new(settings.thread_room);
    let mut handshake = pin!(hcrs_h2::handshake(theirs, &settings, Scheme::Http, endpoints, &room));
    for part in PREFACE.chunks(10) {
        assert!(handshake.as_mut().poll(&mut cx).is_pending());
        woken.take();
        ours.send(part);
        assert!(woken.take() > 0);
    }
    assert!(matches!(handshake.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));

    let (ours, theirs) = pipe();
    let endpoints = Rc::new(Endpoints::default());
    let mut handshake = pin!(hcrs_h2::handshake(theirs, &settings, Scheme::Http, endpoints, &room));
    ours.send_late(PREFACE);
    assert!(handshake.as_mut().poll(&mut cx).is_pending());
    assert!(woken.take() > 0, "it came while the handshake was polled");
}

#[test]
fn what_arrives_while_a_connection_closes_wakes_the_task() {
    let (mut peer, mut server) = Peer::connect(silent());
    let woken = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    server.connection.graceful_shutdown();
    assert!(server.connection.poll_close(&mut cx, server.now).is_pending());
    let goodbye = peer.io.take();
    woken.take();
    peer.send(&peer::frame(PING, ACK, 0, &goodbye[goodbye.len() - 8..]));
    assert!(woken.take() > 0);
    assert!(server.connection.poll_close(&mut cx, server.now).is_ready());
}

#[test]
fn what_is_done_between_turns_wakes_the_task() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &[peer::get(1), peer::get(3), peer::get(5)].concat());
    let (unanswered, begun) = (server.key(1), server.key(3));
    server.turn(|hands| assert_eq!(hands.connection.send_head(begun, &head(200, &[]), false), Ok(false)));
    peer.read(&mut server);
    assert!(!server.is_woken());
    server.connection.fail(unanswered, Fault::WorkerLost);
    assert!(server.is_woken());
    assert_eq!(peer.read(&mut server)[0].status(), 502);
    server.connection.fail(begun, Fault::WorkerLost);
    assert!(server.is_woken());
    assert_eq!(peer.read(&mut server)[0].kind, RST_STREAM);
    server.connection.graceful_shutdown();
    assert!(server.is_woken());
    assert_eq!(peer.read(&mut server)[0].kind, GOAWAY);
}

#[test]
fn a_turn_that_does_not_poll_to_its_end_is_followed_by_another() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &[peer::get(1), peer::get(3), peer::get(5)].concat());
    let fields = ServerFields::default();
    for (id, is_ended) in [(1, true), (3, false)] {
        assert!(!server.is_woken());
        let (key, waker) = (server.key(id), server.waker());
        let mut turn = server.connection.begin_turn(&fields);
        turn.send_head(key, &head(200, &[]), true).unwrap();
        if is_ended {
            assert!(turn.end(&mut Context::from_waker(&waker)).is_ready());
        } else {
            drop(turn);
        }
        assert!(server.is_woken(), "there may be more to read");
        assert_eq!(peer.read(&mut server)[0].status(), 200);
    }
    let (key, waker) = (server.key(5), server.waker());
    let cx = &mut Context::from_waker(&waker);
    let mut turn = server.connection.begin_turn(&fields);
    assert!(turn.poll_event(cx, server.now).is_pending());
    turn.send_head(key, &head(200, &[]), true).unwrap();
    assert!(turn.end(cx).is_ready());
    assert!(!server.is_woken(), "it was sent after the last poll, and written at the end");
    assert_eq!(peer.read(&mut server)[0].status(), 200);
}

#[test]
fn a_client_that_sends_without_end_gets_its_share_and_others_their_turn() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::post(1));
    peer.send(&peer::data(1, &[0; 16_000]).repeat(8));
    server.take_seen();
    server.turn(|_| {});
    let received = |seen: Vec<Seen>| -> usize {
        seen.iter().map(|seen| if let Seen::Data(_, len) = seen { *len } else { 0 }).sum()
    };
    let first = received(server.take_seen());
    assert!((32_000..=96_000).contains(&first), "{first} bytes in one turn");
    assert!(server.is_woken());
    server.settle();
    assert_eq!(first + received(server.take_seen()), 128_000);
}

#[test]
fn a_socket_that_always_asks_to_be_polled_again_does_not_hold_the_thread() {
    let (mut peer, mut server) = Peer::connect(silent());
    // As tokio does once a task has used up its budget: pending, and woken at once.
    peer.io.be_restless(true);
    peer.send(&peer::get(1));
    let start = Instant::now();
    server.turn(|_| {});
    server.turn(|_| {});
    assert!(server.is_woken(), "it is polled again, but not within the same turn for ever");
    assert!(start.elapsed().as_secs() < 5);
    peer.io.be_restless(false);
    server.settle();
    assert_eq!(server.take_seen().len(), 1);
}

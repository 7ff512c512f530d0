//! Connections that the server ends.

use hcrs_h2::Ended;
use hcrs_http::Fault;

use crate::client::{self, Pair, read_body};
use crate::peer::{self, ACK, ENHANCE_YOUR_CALM, GOAWAY, NO_ERROR, PING, Peer};
use crate::server::{Seen, silent};

#[test]
fn a_graceful_shutdown_lets_open_streams_end() {
    let mut pair = Pair::new(silent());
    let (response, _) = pair.begin(client::get("/"), true);
    pair.run(std::future::ready(()));
    pair.server.turn(|hands| hands.connection.graceful_shutdown());
    pair.run(std::future::ready(()));
    assert!(pair.server.ended.is_none(), "a stream is open");
    pair.server.answer(1, 200, b"the last one");
    let body = pair.run(async { read_body(&mut response.await.unwrap().into_body()).await.unwrap() });
    assert_eq!(body, b"the last one");
    pair.run(std::future::ready(()));
    assert!(matches!(pair.server.ended, Some(Ended::Closed)), "{:?}", pair.server.ended);
}

#[test]
fn a_graceful_shutdown_serves_what_was_on_its_way_and_refuses_later_streams() {
    let (mut peer, mut server) = Peer::connect(silent());
    server.turn(|hands| hands.connection.graceful_shutdown());
    server.settle();
    let first = peer.read(&mut server);
    assert_eq!((first[0].kind, first[0].code()), (GOAWAY, NO_ERROR));
    assert_eq!(&first[0].payload[..4], [0x7f, 0xff, 0xff, 0xff], "nothing is refused yet");
    let probe = first.iter().find(|frame| frame.kind == PING).expect("a PING that measures the way");
    let pong = peer::frame(PING, ACK, 0, &probe.payload);
    // This request crossed the GOAWAY.
    let frames = peer.round_trip(&mut server, &[peer::get(1), pong].concat());
    assert_eq!(server.take_seen(), [Seen::Request(1, "GET /".into(), false)]);
    assert_eq!((frames[0].kind, &frames[0].payload[..4]), (GOAWAY, &[0, 0, 0, 1][..]));
    peer.round_trip(&mut server, &peer::get(3));
    assert_eq!(server.take_seen(), [], "the client has had the GOAWAY");
    server.answer(1, 200, b"ok");
    assert_eq!(peer::body_len(&peer.read(&mut server), 1), 2);
    assert!(matches!(server.ended, Some(Ended::Closed)));
    assert!(peer.io.is_closed());
}

#[test]
fn an_idle_connection_closes_as_soon_as_the_client_has_answered() {
    let mut pair = Pair::new(silent());
    pair.server.turn(|hands| hands.connection.graceful_shutdown());
    pair.run(std::future::ready(()));
    assert!(matches!(pair.server.ended, Some(Ended::Closed)));
}

#[test]
fn an_abrupt_shutdown_says_why_and_closes() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    server.connection.abrupt_shutdown(Fault::TooManyFrames);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(server.connection.poll_close(&mut cx, server.now).is_ready());
    let frames = peer.read(&mut server);
    assert_eq!((frames[0].kind, frames[0].code()), (GOAWAY, ENHANCE_YOUR_CALM));
    assert!(peer.io.is_closed());
}

#[test]
fn a_goodbye_waits_for_a_socket_that_is_full() {
    let (mut peer, mut server) = Peer::connect_narrow(64, &[], silent());
    // Unread answers leave less room than GOAWAY takes.
    peer.send(&peer::frame(PING, 0, 0, &[0; 8]).repeat(3));
    server.settle();
    server.connection.abrupt_shutdown(Fault::HeadTimeout);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut goodbye = Vec::new();
    for _ in 0..10 {
        if server.connection.poll_close(&mut cx, server.now).is_ready() {
            break;
        }
        goodbye.extend(peer.io.take());
    }
    goodbye.extend(peer.io.take());
    assert_eq!((goodbye.len(), goodbye[3 * 17 + 3]), (4 * 17, GOAWAY));
    assert!(peer.io.is_closed());
}

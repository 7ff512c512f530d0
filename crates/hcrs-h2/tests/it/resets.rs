//! Streams that end early, at the client's wish or by its fault, and the limit on their number.

use bytes::Bytes;
use hcrs_h2::{Event, Sent, Settings};
use hcrs_http::Fault;

use crate::client::{self, Pair};
use crate::peer::{
    self, ENHANCE_YOUR_CALM, INITIAL_WINDOW, PRIORITY, Peer, REFUSED_STREAM, RST_STREAM, goodbye,
};
use crate::server::{Seen, answer, ended_calm, head, page, silent};

#[test]
fn a_cancelled_request_is_a_reset_at_once() {
    let mut pair = Pair::new(silent());
    let (response, _) = pair.begin(client::get("/"), true);
    pair.run(std::future::ready(()));
    pair.server.take_seen();
    drop(response);
    pair.run(std::future::ready(()));
    assert_eq!(pair.server.take_seen(), [Seen::Reset(1)]);
    assert_eq!(pair.server.open_streams(), 0);
}

#[test]
fn a_reset_is_told_whatever_the_stream_is_doing() {
    // A body arrives; a response is on its way; it waits for the window; both.
    for (uploads, head_sent, waits) in
        [(true, false, false), (false, true, false), (false, true, true), (true, true, true)]
    {
        let (mut peer, mut server) =
            Peer::connect_with(&Settings::default(), &[(INITIAL_WINDOW, 10)], silent());
        peer.send(&if uploads { peer::post(1) } else { peer::get(1) });
        peer.read(&mut server);
        let key = server.key(1);
        server.turn(|hands| {
            if head_sent {
                hands.connection.send_head(key, &head(200, &[]), false).unwrap();
            }
            if waits {
                let body = Bytes::from(vec![0; 100_000]);
                hands.connection.send_data(hands.now, key, body, false).unwrap();
            }
        });
        peer.read(&mut server);
        server.take_seen();
        assert_eq!(peer.round_trip(&mut server, &peer::cancel(1)), []);
        let seen = server.take_seen();
        assert_eq!(seen, [Seen::Reset(1)], "upload {uploads}, head {head_sent}, waits {waits}");
        assert_eq!(server.open_streams(), 0);
        assert!(server.connection.stalled_since(server.now).is_empty());
    }
}

#[test]
fn a_reset_of_a_response_without_a_body_on_the_wire_is_told_too() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    let key = server.key(1);
    server.turn(|hands| assert_eq!(hands.connection.send_head(key, &head(204, &[]), false), Ok(false)));
    server.take_seen();
    peer.round_trip(&mut server, &peer::cancel(1));
    assert_eq!(server.take_seen(), [Seen::Reset(1)]);
}

#[test]
fn what_the_app_does_after_a_reset_is_dropped() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    peer.round_trip(&mut server, &peer::cancel(1));
    let key = server.key(1);
    server.turn(|hands| {
        let connection = &mut *hands.connection;
        assert_eq!(connection.send_head(key, &head(200, &[]), false), Ok(true));
        let sent = connection.send_data(hands.now, key, Bytes::from_static(b"late"), false);
        assert_eq!(sent, Ok(Sent { len: 4, done: true }));
        connection.release(key, 10);
        connection.fail(key, Fault::AppFailed);
    });
    assert_eq!(peer.read(&mut server), []);
}

#[test]
fn an_answer_that_crosses_a_reset_is_dropped() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    server.take_seen();
    // The reset waits in the socket, unread.
    peer.send(&peer::cancel(1));
    let key = server.key(1);
    server.turn(|hands| answer(hands, key, &head(200, &[]), Bytes::from(vec![0; 100_000])));
    peer.read(&mut server);
    assert_eq!(server.take_seen().last(), Some(&Seen::Reset(1)));
    assert_eq!(server.open_streams(), 0);
}

#[test]
fn a_place_that_is_used_again_never_mixes_two_streams() {
    let (mut peer, mut server) = Peer::connect(Box::new(|hands, event| {
        // The first stream is failed with its body half delivered.
        if let Event::Data { key, .. } = event {
            hands.connection.fail(*key, Fault::BodyTimeout);
        }
    }));
    peer.send(&[peer::post(1), peer::data(1, b"a"), peer::data(1, b"b")].concat());
    peer.send(&[peer::cancel(1), peer::get(3), peer::post(5), peer::data(5, b"c")].concat());
    peer.read(&mut server);
    let seen = server.take_seen();
    let of = |id: u32| -> Vec<&Seen> {
        seen.iter()
            .filter(|seen| match seen {
                Seen::Request(of, ..)
                | Seen::Data(of, _)
                | Seen::Trailers(of, _)
                | Seen::End(of)
                | Seen::Sent(of, ..)
                | Seen::Reset(of)
                | Seen::Pushed(of, _)
                | Seen::Refused(of, _) => *of == id,
            })
            .collect()
    };
    assert_eq!(of(3), [&Seen::Request(3, "GET /".into(), false)]);
    assert_eq!(of(5), [&Seen::Request(5, "POST /".into(), true), &Seen::Data(5, 1)]);

    // The next stream has the place of the one that is over, but not its key.
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::get(1));
    let old = server.key(1);
    peer.round_trip(&mut server, &peer::cancel(1));
    peer.round_trip(&mut server, &peer::get(3));
    assert_eq!(server.key(3).slot, old.slot);
    assert_ne!(server.key(3), old);
    assert_eq!(server.take_seen()[1..], [Seen::Reset(1), Seen::Request(3, "GET /".into(), false)]);
    server.turn(|hands| {
        // Calls with the old stream's key do not affect the new one.
        assert_eq!(hands.connection.send_head(old, &head(404, &[]), true), Ok(true));
        let sent = hands.connection.send_data(hands.now, old, Bytes::from_static(b"old"), true);
        assert_eq!(sent, Ok(Sent { len: 3, done: true }));
        hands.connection.fail(old, Fault::AppFailed);
    });
    server.answer(3, 200, b"three");
    let frames = peer.read(&mut server);
    assert_eq!(frames[0].status(), 200);
    assert_eq!(peer::body_len(&frames, 3), 5);
}

#[test]
fn rapid_resets_end_the_connection_after_the_burst_and_not_before() {
    let settings = Settings { reset_burst: 50, reset_refill: 10, ..Settings::default() };
    let (mut peer, mut server) = Peer::connect_with(&settings, &[], silent());
    let cancel = |peer: &mut Peer, server: &mut _, n: u32| {
        let id = 2 * n + 1;
        peer.round_trip(server, &peer::get(id));
        peer.round_trip(server, &peer::cancel(id))
    };
    for n in 0..50 {
        assert_eq!(cancel(&mut peer, &mut server, n), []);
    }
    server.wait(2);
    for n in 50..70 {
        assert_eq!(cancel(&mut peer, &mut server, n), [], "two seconds forgive twenty");
    }
    assert!(server.ended.is_none());
    let frames = cancel(&mut peer, &mut server, 70);
    assert_eq!(goodbye(&frames), Some(ENHANCE_YOUR_CALM));
    assert_eq!(ended_calm(&server), Some(Fault::TooManyResets));
    assert!(peer.io.is_closed());
}

#[test]
fn each_answered_request_forgives_a_reset() {
    let settings = Settings { reset_burst: 10, reset_refill: 1, ..Settings::default() };
    let (mut peer, mut server) = Peer::connect_with(&settings, &[], silent());
    let mut ids = (0..).map(|n| 2 * n + 1);
    for _ in 0..200 {
        let (answered, cancelled) = (ids.next().unwrap(), ids.next().unwrap());
        peer.round_trip(&mut server, &peer::get(answered));
        server.answer(answered, 200, b"whole");
        peer.round_trip(&mut server, &peer::get(cancelled));
        peer.round_trip(&mut server, &peer::cancel(cancelled));
        assert!(server.ended.is_none());
    }
    for _ in 0..=10 {
        let cancelled = ids.next().unwrap();
        peer.round_trip(&mut server, &peer::get(cancelled));
        peer.round_trip(&mut server, &peer::cancel(cancelled));
    }
    assert_eq!(ended_calm(&server), Some(Fault::TooManyResets));
}

#[test]
fn an_honest_client_may_cancel_a_hundred_at_once() {
    let (mut peer, mut server) = Peer::connect(silent());
    for round in 0..4 {
        let ids = || (0..100).map(move |n| 200 * round + 2 * n + 1);
        let (requests, cancels): (Vec<u8>, Vec<u8>) =
            (ids().flat_map(peer::get).collect(), ids().flat_map(peer::cancel).collect());
        server.take_seen();
        match round {
            0 | 1 => {
                peer.round_trip(&mut server, &requests);
                assert_eq!(peer.round_trip(&mut server, &cancels), []);
                assert_eq!(server.take_seen().len(), 200);
            }
            // The server was busy, and reads all of it at once.
            _ => {
                assert_eq!(peer.round_trip(&mut server, &[requests, cancels].concat()), []);
                assert_eq!(server.take_seen(), [], "the app never sees what was cancelled before it began");
            }
        }
    }
    assert_eq!(server.open_streams(), 0);
    assert!(server.ended.is_none());
}

#[test]
fn requests_and_resets_in_one_flight_never_reach_the_app() {
    let (mut peer, mut server) = Peer::connect(silent());
    let flight: Vec<u8> =
        (0..3000).flat_map(|n| [peer::get(2 * n + 1), peer::cancel(2 * n + 1)].concat()).collect();
    let frames = peer.round_trip(&mut server, &flight);
    assert_eq!(goodbye(&frames), Some(ENHANCE_YOUR_CALM));
    assert!(server.ended.is_some());
    assert_eq!(server.take_seen(), []);
}

#[test]
fn a_stream_that_the_client_has_h2_reset_is_over_at_once_and_counts() {
    // CVE-2025-8671: no RST_STREAM of its own, but frames that have the server send one.
    let too_much = |id| peer::window_update(id, (1 << 31) - 1);
    let on_itself = |id: u32| peer::frame(PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[0]].concat());
    let settings = Settings { reset_burst: 20, ..Settings::default() };
    for offence in [&too_much as &dyn Fn(u32) -> Vec<u8>, &on_itself] {
        let (mut peer, mut server) = Peer::connect_with(&settings, &[], silent());
        for n in 0..20 {
            let id = 2 * n + 1;
            peer.round_trip(&mut server, &peer::get(id));
            server.take_seen();
            let frames = peer.round_trip(&mut server, &offence(id));
            assert_eq!((frames.len(), frames[0].kind, frames[0].id), (1, RST_STREAM, id));
            assert_eq!(server.take_seen(), [Seen::Reset(id)]);
            assert_eq!(server.open_streams(), 0);
        }
        peer.round_trip(&mut server, &peer::get(41));
        let frames = peer.round_trip(&mut server, &offence(41));
        assert_eq!(goodbye(&frames), Some(ENHANCE_YOUR_CALM));
        assert_eq!(ended_calm(&server), Some(Fault::TooManyResets));
    }
}

#[test]
fn streams_beyond_the_limit_are_refused_and_the_connection_lives() {
    let settings = Settings { max_concurrent_streams: 10, ..Settings::default() };
    let (mut peer, mut server) = Peer::connect_with(&settings, &[], silent());
    let requests: Vec<u8> = (0..15).flat_map(|n| peer::get(2 * n + 1)).collect();
    let frames = peer.round_trip(&mut server, &requests);
    let refused: Vec<(u8, u32, u32)> =
        frames.iter().map(|frame| (frame.kind, frame.id, frame.code())).collect();
    let expected: Vec<_> = (10..15).map(|n| (RST_STREAM, 2 * n + 1, REFUSED_STREAM)).collect();
    assert_eq!(refused, expected);
    assert_eq!(server.open_streams(), 10);
    server.answer(1, 200, b"ok");
    peer.read(&mut server);
    assert_eq!(peer.round_trip(&mut server, &peer::get(31)), [], "one is over, so another may begin");
    assert_eq!(server.take_seen().last(), Some(&Seen::Request(31, "GET /".into(), false)));
}

#[test]
fn refusals_without_end_end_the_connection() {
    let settings = Settings { max_concurrent_streams: 1, ..Settings::default() };
    let (mut peer, mut server) = Peer::connect_with(&settings, &[], silent());
    let mut goodbyes = None;
    for n in 0..2000 {
        let frames = peer.round_trip(&mut server, &peer::get(2 * n + 1));
        goodbyes = goodbye(&frames);
        if server.ended.is_some() {
            break;
        }
    }
    assert_eq!(goodbyes, Some(ENHANCE_YOUR_CALM));
}

#[test]
fn a_client_that_goes_away_ends_the_connection() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    peer.round_trip(&mut server, &peer::post(1));
    peer.io.close();
    server.settle();
    assert!(server.ended.is_some());
}

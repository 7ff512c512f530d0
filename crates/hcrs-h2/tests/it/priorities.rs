//! Priorities of RFC 9218: what waits is sent by its urgency, and the errors of the frame that changes it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use hcrs_h2::{Event, Settings};
use hcrs_http::Fault;

use crate::peer::{
    self, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, Frame, HEADERS, INITIAL_WINDOW,
    PRIORITY_UPDATE, PROTOCOL_ERROR, Peer, SETTINGS, goodbye,
};
use crate::server::{App, Server, answer, ended_calm, head, page, silent};

/// A window that no response of these tests fills.
const WIDE: u32 = 64 << 20;

/// Most bytes of a body in one frame.
const FRAME: usize = 16_384;

const NO_RFC7540_PRIORITIES: u16 = 0x9;

fn get(id: u32, priority: &str) -> Vec<u8> {
    let block = peer::request("GET", &[("priority", priority)]);
    peer::frame(HEADERS, END_HEADERS | END_STREAM, id, &block)
}

fn priority_update(id: u32, priority: &str) -> Vec<u8> {
    peer::frame(PRIORITY_UPDATE, 0, 0, &[&id.to_be_bytes()[..], priority.as_bytes()].concat())
}

/// Returns the streams that body bytes are of, in their order.
fn order(frames: &[Frame]) -> Vec<u32> {
    let bodies = frames.iter().filter(|frame| frame.kind == DATA && !frame.payload.is_empty());
    bodies.map(|frame| frame.id).collect()
}

/// Returns the streams in the order in which their bodies have ended.
fn ends(frames: &[Frame]) -> Vec<u32> {
    frames.iter().filter(|frame| frame.flags & END_STREAM != 0).map(|frame| frame.id).collect()
}

/// A client whose window for the whole connection is used up, but whose streams' are wide.
fn without_window(app: App) -> (Peer, Server) {
    let (mut peer, mut server) =
        Peer::connect_with(&Settings::default(), &[(INITIAL_WINDOW, WIDE)], page(vec![7; 65_535]));
    peer.round_trip(&mut server, &peer::get(1));
    server.set_app(app);
    (peer, server)
}

#[test]
fn the_settings_announce_that_older_priorities_are_ignored() {
    let (ours, theirs) = crate::pipe::pipe();
    ours.send(hcrs_h2::PREFACE);
    ours.send(&peer::frame(SETTINGS, 0, 0, &[]));
    let mut server = Server::new(theirs, &Settings::default(), silent());
    server.settle();
    let first = ours.take();
    let len = usize::from(first[2]);
    let (entries, []) = first[9..9 + len].as_chunks::<6>() else { panic!("whole entries") };
    assert!(entries.contains(&[0, NO_RFC7540_PRIORITIES as u8, 0, 0, 0, 1]), "{entries:?}");
}

#[test]
fn what_waits_is_sent_by_urgency() {
    let (mut peer, mut server) = without_window(page(vec![7; 40_000]));
    for (id, priority) in [(3, "u=7"), (5, ""), (7, "u=1"), (9, "u=0"), (11, "u=6, i")] {
        assert_eq!(order(&peer.round_trip(&mut server, &get(id, priority))), []);
    }
    let frames = peer.round_trip(&mut server, &peer::window_update(0, WIDE));
    assert_eq!(ends(&frames), [9, 7, 5, 11, 3]);
    // All but the share of the one that has waited longest is in order.
    assert_eq!(order(&frames), [9, 9, 9, 7, 7, 7, 5, 5, 5, 11, 3, 11, 11, 3, 3]);
}

#[test]
fn without_a_priority_responses_are_sent_one_after_the_other_to_clients_that_know_priorities() {
    let in_turns = [3, 5, 7, 3, 5, 7, 3, 5, 7];
    let in_order = [3, 3, 3, 5, 5, 5, 7, 7, 7];
    let setting = peer::frame(SETTINGS, 0, 0, &[0, NO_RFC7540_PRIORITIES as u8, 0, 0, 0, 1]);
    let refused = peer::frame(SETTINGS, 0, 0, &[0, NO_RFC7540_PRIORITIES as u8, 0, 0, 0, 0]);
    for (sign, expected) in [
        (Vec::new(), in_turns),
        (refused, in_turns),
        (setting, in_order),
        (priority_update(99, "u=1"), in_order),
        (priority_update(1, "u=1"), in_order),
    ] {
        let (mut peer, mut server) = without_window(page(vec![7; 3 * FRAME]));
        peer.round_trip(&mut server, &sign);
        let requests: Vec<u8> = [3, 5, 7].into_iter().flat_map(peer::get).collect();
        peer.round_trip(&mut server, &requests);
        let frames = peer.round_trip(&mut server, &peer::window_update(0, WIDE));
        assert_eq!(order(&frames), expected, "{sign:?}");
    }
}

#[test]
fn incremental_responses_take_turns() {
    let (mut peer, mut server) = without_window(page(vec![7; 2 * FRAME]));
    let requests: Vec<u8> = [3, 5, 7].into_iter().flat_map(|id| get(id, "i")).collect();
    peer.round_trip(&mut server, &requests);
    let frames = peer.round_trip(&mut server, &peer::window_update(0, WIDE));
    assert_eq!(order(&frames), [3, 5, 7, 3, 5, 7]);
}

#[test]
fn a_response_that_comes_later_overtakes_what_waits() {
    let (mut peer, mut server) = without_window(page(vec![7; 20 * FRAME]));
    peer.round_trip(&mut server, &get(3, "u=4, i"));
    let frames = peer.round_trip(&mut server, &peer::window_update(0, 2 * FRAME as u32));
    assert_eq!(order(&frames), [3, 3]);
    server.set_app(page(vec![7; 2 * FRAME]));
    peer.round_trip(&mut server, &get(5, "u=0"));
    let frames = peer.round_trip(&mut server, &peer::window_update(0, 3 * FRAME as u32));
    assert_eq!(order(&frames), [5, 5, 3]);
}

/// Returns an app that sends pieces, each once the one before it was taken.
fn in_pieces(piece: usize, count: usize) -> App {
    let left = Rc::new(RefCell::new(HashMap::new()));
    Box::new(move |hands, event| {
        let key = match event {
            Event::Request { key, .. } => {
                hands.connection.send_head(*key, &head(200, &[]), false).expect("a good head");
                left.borrow_mut().insert(*key, count);
                *key
            }
            Event::Sent { key, done: false, .. } => *key,
            _ => return,
        };
        let mut left = left.borrow_mut();
        let left = left.get_mut(&key).expect("a stream that began");
        while *left > 0 {
            *left -= 1;
            let sent = hands
                .connection
                .send_data(hands.now, key, Bytes::from(vec![7; piece]), *left == 0)
                .expect("a good body");
            if sent.len < piece {
                break;
            }
        }
    })
}

#[test]
fn the_next_piece_of_an_urgent_response_is_not_behind_others() {
    let (mut peer, mut server) = without_window(in_pieces(FRAME, 5));
    peer.round_trip(&mut server, &[get(3, "u=5"), get(5, "u=2")].concat());
    let frames = peer.round_trip(&mut server, &peer::window_update(0, WIDE));
    assert_eq!(order(&frames), [5, 5, 5, 5, 5, 3, 3, 3, 3, 3]);
}

#[test]
fn a_frame_changes_the_priority_of_a_response_that_waits() {
    let (mut peer, mut server) = without_window(page(vec![7; 10 * FRAME]));
    peer.round_trip(&mut server, &[get(3, "u=1"), get(5, "u=2"), get(7, "u=2")].concat());
    let next = |peer: &mut Peer, server: &mut Server| {
        server.wait(1);
        order(&peer.round_trip(server, &peer::window_update(0, 3 * FRAME as u32)))
    };
    assert_eq!(next(&mut peer, &mut server), [3, 3, 3]);
    let update = [priority_update(7, "u=0"), priority_update(3, "")].concat();
    peer.round_trip(&mut server, &update);
    assert_eq!(next(&mut peer, &mut server), [7, 7, 7]);
    // A malformed value is the default: no error, as the request's field would be none either.
    peer.round_trip(&mut server, &priority_update(7, "u=0, \"x"));
    assert_eq!(next(&mut peer, &mut server), [5, 5, 3], "a share is of the one that has waited longest");
    assert_eq!(next(&mut peer, &mut server), [5, 5, 5]);
}

#[test]
fn a_frame_for_a_stream_that_has_not_begun_counts_more_than_its_field() {
    let (mut peer, mut server) = without_window(page(vec![7; FRAME]));
    let updates = [priority_update(7, "u=0"), priority_update(5, "u=6"), priority_update(7, "u=2")].concat();
    peer.round_trip(&mut server, &updates);
    let requests = [get(3, "u=4"), get(5, "u=1"), get(7, "u=5"), get(9, "u=3")].concat();
    peer.round_trip(&mut server, &requests);
    let frames = peer.round_trip(&mut server, &peer::window_update(0, WIDE));
    assert_eq!(order(&frames), [7, 9, 3, 5]);
}

#[test]
fn the_field_of_a_response_changes_the_priority_of_its_request() {
    let app: App = Box::new(|hands, event| {
        if let Event::Request { key, .. } = event {
            let fields: &[(&str, &str)] = match key.id {
                3 => &[("Priority", "u=0")],
                5 => &[("priority", "u=9, i=?0")],
                7 | 9 => &[("priority", "u=1"), ("priority", "i")],
                _ => &[],
            };
            answer(hands, *key, &head(200, fields), Bytes::from(vec![7; 2 * FRAME]));
        }
    });
    let (mut peer, mut server) = without_window(app);
    let requests: Vec<u8> = [3, 5, 7, 9, 11].into_iter().flat_map(|id| get(id, "u=4, i")).collect();
    peer.round_trip(&mut server, &requests);
    let frames = peer.round_trip(&mut server, &peer::window_update(0, WIDE));
    assert_eq!(order(&frames), [3, 3, 7, 9, 7, 9, 11, 5, 11, 5]);
}

#[test]
fn a_response_that_waits_for_more_urgent_ones_has_not_stalled() {
    let (mut peer, mut server) = without_window(page(vec![7; 1 << 20]));
    peer.round_trip(&mut server, &[get(3, "u=5"), get(5, "u=1")].concat());
    let (low, high) = (server.key(3), server.key(5));
    let start = server.now;
    assert_eq!(server.connection.stalled_since(start), [high, low], "nothing was sent");
    for _ in 0..5 {
        server.wait(10);
        let window = peer::window_update(0, FRAME as u32);
        assert_eq!(order(&peer.round_trip(&mut server, &window)), [5]);
        assert_eq!(server.connection.stalled_since(start), []);
    }
    let last = server.now;
    server.wait(30);
    assert_eq!(server.connection.stalled_since(last), [high, low], "the client has opened no window since");
}

#[test]
fn a_response_whose_own_window_is_used_up_stalls_while_others_are_sent() {
    let settings = [(INITIAL_WINDOW, 10)];
    let (mut peer, mut server) = Peer::connect_with(&Settings::default(), &settings, page(vec![7; 1 << 20]));
    peer.round_trip(&mut server, &[get(1, "u=1"), get(3, "u=5")].concat());
    let (high, start) = (server.key(1), server.now);
    for _ in 0..3 {
        server.wait(10);
        assert_eq!(order(&peer.round_trip(&mut server, &peer::window_update(3, 1000))), [3]);
    }
    assert_eq!(server.connection.stalled_since(start), [high]);
}

#[test]
fn no_response_starves() {
    let (mut peer, mut server) = without_window(page(vec![7; 1 << 20]));
    peer.round_trip(&mut server, &[get(3, "u=0"), get(5, "u=7")].concat());
    let frames = peer.round_trip(&mut server, &peer::window_update(0, 36 * FRAME as u32));
    let of_last = order(&frames).iter().filter(|id| **id == 5).count();
    assert_eq!(of_last, 4, "an eighth");
}

#[test]
fn frames_that_are_none_end_the_connection() {
    let with_id = |id: u32| peer::frame(PRIORITY_UPDATE, 0, 0, &id.to_be_bytes());
    let table = [
        ("on a stream", peer::frame(PRIORITY_UPDATE, 0, 1, &[0, 0, 0, 1]), PROTOCOL_ERROR),
        ("for the connection", with_id(0), PROTOCOL_ERROR),
        ("for a promise that was not made", with_id(2), PROTOCOL_ERROR),
        ("too short", peer::frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 1]), FRAME_SIZE_ERROR),
        ("empty", peer::frame(PRIORITY_UPDATE, 0, 0, &[]), FRAME_SIZE_ERROR),
        (
            "longer than a frame may be",
            peer::frame(PRIORITY_UPDATE, 0, 0, &vec![0; 16_385]),
            FRAME_SIZE_ERROR,
        ),
        ("no setting", peer::frame(SETTINGS, 0, 0, &[0, 9, 0, 0, 0, 2]), PROTOCOL_ERROR),
    ];
    for (name, frame, code) in table {
        let (mut peer, mut server) = Peer::connect(silent());
        peer.round_trip(&mut server, &peer::get(1));
        assert_eq!(goodbye(&peer.round_trip(&mut server, &frame)), Some(code), "{name}");
    }
}

#[test]
fn frames_for_streams_that_are_over_and_reserved_bits_are_no_offence() {
    let (mut peer, mut server) = Peer::connect(page("ok"));
    peer.round_trip(&mut server, &peer::get(1));
    let reserved = peer::frame(PRIORITY_UPDATE, 0xff, 0, &[0x80, 0, 0, 3, b'i']);
    assert_eq!(peer.round_trip(&mut server, &[priority_update(1, "u=0"), reserved].concat()), []);
    assert_eq!(peer.round_trip(&mut server, &peer::get(3))[0].status(), 200);
}

#[test]
fn streams_that_have_not_begun_are_bounded_by_the_streams_that_may_be_open() {
    let settings = Settings { max_concurrent_streams: 10, ..Settings::default() };
    let (mut peer, mut server) = Peer::connect_with(&settings, &[], silent());
    peer.round_trip(&mut server, &peer::get(1));
    let updates: Vec<u8> = (0..9).flat_map(|n| priority_update(101 + 2 * n, "u=1")).collect();
    assert_eq!(peer.round_trip(&mut server, &updates.repeat(3)), [], "the same streams again and again");
    // Streams that were skipped no longer count.
    assert_eq!(peer.round_trip(&mut server, &peer::get(105)), []);
    let frames = peer.round_trip(&mut server, &[priority_update(201, ""), priority_update(203, "")].concat());
    assert_eq!(frames, [], "eight and two that are open");
    let frames = peer.round_trip(&mut server, &priority_update(205, ""));
    assert_eq!(goodbye(&frames), Some(PROTOCOL_ERROR));
}

#[test]
fn a_flood_ends_the_connection_in_bounded_memory() {
    let settings = Settings { frame_burst: 2000, frame_refill: 1, ..Settings::default() };
    let (mut peer, mut server) = Peer::connect_with(&settings, &[(INITIAL_WINDOW, 0)], page(vec![7; 1000]));
    let requests: Vec<u8> = (0..50).flat_map(|n| peer::get(1 + 2 * n)).collect();
    peer.round_trip(&mut server, &requests);
    let frame =
        |n: u32| priority_update(1 + 2 * (n % 100), if n.is_multiple_of(3) { "u=0" } else { "u=7, i" });
    let mut code = None;
    let held = allocation_counter::measure(|| {
        for burst in 0..30 {
            let flight: Vec<u8> = (0..100).flat_map(|n| frame(7 * n + burst)).collect();
            code = goodbye(&peer.round_trip(&mut server, &flight));
            if server.ended.is_some() {
                break;
            }
        }
    });
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    assert_eq!(ended_calm(&server), Some(Fault::TooManyFrames));
    assert!(held.bytes_max < 512 << 10, "{} bytes", held.bytes_max);
}

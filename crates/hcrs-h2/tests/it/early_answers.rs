//! Responses that are over before their requests' bodies are.

use std::time::Duration;

use hcrs_h2::Settings;

use crate::peer::{
    self, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, NO_ERROR, Peer, RST_STREAM, WINDOW_UPDATE,
};
use crate::server::{Seen, page, silent};

#[test]
fn an_early_answer_turns_the_rest_of_the_body_away_and_the_connection_lives() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &[peer::post(1), peer::data(1, &[0; 1000])].concat());
    server.answer(1, 200, b"enough");
    let frames = peer.read(&mut server);
    let kinds: Vec<u8> = frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [HEADERS, DATA], "what is on its way comes first");
    assert!(server.connection.unwanted_until(server.now).is_some());
    // Bytes that the client had already sent are dropped silently, and so are bytes after the reset.
    assert_eq!(peer.round_trip(&mut server, &peer::data(1, &[0; 16_384])), []);
    server.wait(2);
    server.turn(|_| {});
    let frames = peer.read(&mut server);
    assert_eq!((frames.len(), frames[0].kind, frames[0].code()), (1, RST_STREAM, NO_ERROR));
    assert_eq!(server.connection.unwanted_until(server.now), None);
    let late = [peer::data(1, &[0; 16_384]), peer::last_data(1, b"end")].concat();
    assert_eq!(peer.round_trip(&mut server, &late), []);
    peer.round_trip(&mut server, &peer::get(3));
    server.answer(3, 200, b"ok");
    assert_eq!(peer::body_len(&peer.read(&mut server), 3), 2);
}

#[test]
fn a_body_that_ends_after_its_answer_causes_no_reset() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &[peer::post(1), peer::data(1, &[0; 1000])].concat());
    server.answer(1, 200, b"enough");
    peer.read(&mut server);
    assert_eq!(peer.round_trip(&mut server, &peer::last_data(1, &[0; 1000])), []);
    assert_eq!(server.connection.unwanted_until(server.now), None);
    assert_eq!(server.take_seen()[1..], [Seen::Data(1, 1000)]);
}

#[test]
fn uploads_that_are_answered_early_never_use_the_connection_up() {
    // Each client goes on until its window is full, and does not look at what was answered.
    const ROUNDS: u32 = 30;
    let window = Settings::default().stream_window as usize;
    let (mut peer, mut server) = Peer::connect(page("enough"));
    for round in 0..ROUNDS {
        let ids: Vec<u32> = (0..100).map(|n| 200 * round + 2 * n + 1).collect();
        peer.round_trip(&mut server, &ids.iter().flat_map(|&id| peer::post(id)).collect::<Vec<u8>>());
        for &id in &ids {
            let frames = peer.round_trip(&mut server, &peer::data(id, &[0; 16_384]).repeat(window / 16_384));
            assert!(peer::of_stream(&frames, id).iter().all(|frame| frame.kind == WINDOW_UPDATE));
        }
        server.wait(1);
        server.turn(|_| {});
        let frames = peer.read(&mut server);
        assert_eq!(frames.len(), ids.len(), "once they have stopped");
        assert!(frames.iter().all(|frame| (frame.kind, frame.code()) == (RST_STREAM, NO_ERROR)));
    }
    assert!(server.ended.is_none(), "{:?}", server.ended);
    let last = peer.round_trip(&mut server, &peer::get(200 * ROUNDS + 1));
    assert_eq!(peer::body_len(&last, 200 * ROUNDS + 1), 6);
}

#[test]
fn a_body_that_goes_on_after_its_answer_is_read() {
    let (mut peer, mut server) = Peer::connect(silent());
    // The app has left some of it unread.
    peer.round_trip(&mut server, &[peer::post(1), peer::data(1, &[0; 16_384]).repeat(7)].concat());
    let mut window = Settings::default().stream_window as usize - 7 * 16_384;
    server.answer(1, 200, b"enough");
    let answered = peer.read(&mut server);
    let opened = |frames: &[Frame]| -> usize {
        let updates = frames.iter().filter(|frame| (frame.id, frame.kind) == (1, WINDOW_UPDATE));
        updates.map(|frame| frame.code() as usize).sum()
    };
    window += opened(&answered);
    for _ in 0..200 {
        assert!(window >= 16_384, "{window}");
        let frames = peer.round_trip(&mut server, &peer::data(1, &[0; 16_384]));
        window = window - 16_384 + opened(&frames);
        assert!(frames.iter().all(|frame| frame.kind == WINDOW_UPDATE));
        server.now += Duration::from_millis(20);
    }
    assert_eq!(peer.round_trip(&mut server, &peer::last_data(1, b"end")), []);
    assert_eq!(server.connection.unwanted_until(server.now), None);
    assert!(server.ended.is_none(), "{:?}", server.ended);
}

#[test]
fn a_body_that_goes_on_for_ever_is_turned_away_once_nothing_more_can_be_on_its_way() {
    let (mut peer, mut server) = Peer::connect(silent());
    peer.round_trip(&mut server, &peer::post(1));
    server.answer(1, 200, b"enough");
    peer.read(&mut server);
    // The client sends on, but no further than the window allows once the time is over.
    for _ in 0..14 {
        server.now += Duration::from_millis(400);
        let frames = peer.round_trip(&mut server, &peer::data(1, &[0; 1000]));
        if frames.iter().any(|frame| frame.kind == RST_STREAM) {
            let late = peer::data(1, &[0; 1000]).repeat(5);
            assert_eq!(peer.round_trip(&mut server, &late), []);
            assert!(server.ended.is_none());
            return;
        }
    }
    panic!("the stream was never reset");
}

#[test]
fn what_comes_too_late_is_no_offence_however_often() {
    let (mut peer, mut server) = Peer::connect(page("enough"));
    for round in 0..50 {
        let ids: Vec<u32> = (0..100).map(|n| 200 * round + 2 * n + 1).collect();
        peer.round_trip(&mut server, &ids.iter().flat_map(|&id| peer::post(id)).collect::<Vec<u8>>());
        // The client's frames are in flight for longer than the server waits.
        server.wait(2);
        server.turn(|_| {});
        peer.read(&mut server);
        for id in ids {
            assert_eq!(peer.round_trip(&mut server, &peer::data(id, b"late")), []);
        }
        assert!(server.ended.is_none(), "{:?}", server.ended);
    }
    let last = peer.round_trip(&mut server, &peer::get(20_001));
    assert_eq!(peer::body_len(&last, 20_001), 6);
}

#[test]
fn early_answers_to_a_hundred_uploads_leave_the_connection_open() {
    let (mut peer, mut server) = Peer::connect(page("enough"));
    let late = peer::data(1, &[0; 1000]);
    for round in 0..20 {
        let ids: Vec<u32> = (0..100).map(|n| 200 * round + 2 * n + 1).collect();
        let begins: Vec<u8> = ids.iter().flat_map(|&id| peer::post(id)).collect();
        peer.round_trip(&mut server, &begins);
        for id in ids {
            let mut late = late.clone();
            late[5..9].copy_from_slice(&id.to_be_bytes());
            let frames = peer.round_trip(&mut server, &late);
            assert!(
                frames.iter().all(|frame| frame.kind == WINDOW_UPDATE),
                "the client may not have heard yet"
            );
        }
        server.wait(2);
        server.turn(|_| {});
        let frames = peer.read(&mut server);
        let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM).count();
        assert_eq!(resets, 100, "and now it hears that its bodies are not wanted");
    }
    assert!(server.ended.is_none(), "{:?}", server.ended);
    let frames = peer.round_trip(
        &mut server,
        &peer::frame(HEADERS, END_HEADERS | END_STREAM, 9001, &peer::request("GET", &[])),
    );
    assert_eq!(peer::body_len(&frames, 9001), 6);
}

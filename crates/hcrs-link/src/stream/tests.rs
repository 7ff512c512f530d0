//! Streams: what they accept, send and owe.

use proptest::prelude::*;

use super::*;
use crate::outbox::HeadTooLongError;
use crate::{FrameHeader, HEADER_LEN, HeadKind, PIECE_COST};
use crate::{HINT_LEN_MAX, INTERIM_MAX, WINDOW_LEFT_BY_HINTS};

/// A frame's name, whether it has END, and its bytes.
type Frame = (&'static str, bool, Vec<u8>);

/// Takes all frames of an outbox.
fn drain(out: &mut Outbox) -> Vec<Frame> {
    let (bytes, _) = out.take_all();
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((header, payload)) = FrameHeader::split(rest).unwrap() {
        let name = FromWorker::parse(&header, payload).unwrap().name();
        frames.push((name, header.is_end(), payload.to_vec()));
        rest = &rest[HEADER_LEN + payload.len()..];
    }
    frames
}

fn request(has_body: bool) -> Request<'static> {
    let stream = StreamId::new(7).unwrap();
    Request { stream, slot: 0, head: &[], has_body, expects_continue: false, takes_files: true }
}

fn new(has_body: bool) -> Stream<Vec<u8>> {
    Stream::new(&request(has_body))
}

fn start(stream: &mut Stream<Vec<u8>>, out: &mut Outbox, length: Option<u64>) {
    let head = out.push_head::<HeadTooLongError>(HeadKind::Response, stream.id(), 200, |_, _| Ok(()));
    stream.start(head.unwrap(), length);
}

fn started(out: &mut Outbox) -> Stream<Vec<u8>> {
    let mut stream = new(false);
    start(&mut stream, out, None);
    stream
}

fn text(text: &[u8], end: bool) -> Frame {
    ("Message", end, text.to_vec())
}

#[test]
fn a_request_without_body_gives_one_message_and_then_waits() {
    let mut out = Outbox::default();
    let mut stream = new(false);
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Body { piece: vec![], more: false });
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Wait);
    assert!(out.is_empty());
    stream.reset(&mut out);
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Disconnect);
}

#[test]
fn a_body_has_the_length_that_was_announced() {
    let mut out = Outbox::default();
    let mut stream = new(false);
    start(&mut stream, &mut out, Some(5));
    assert_eq!(stream.count(2, false), Ok(()));
    assert_eq!(stream.count(4, false), Err("longer"));
    assert_eq!(stream.count(2, true), Err("shorter"));
    assert_eq!(stream.count(3, true), Ok(()));
}

#[test]
fn trailers_leave_after_the_body_and_end_the_stream() {
    for waits in [false, true] {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        stream.announce_trailers();
        let body = vec![b'x'; if waits { RESPONSE_WINDOW as usize - 2 * PIECE_COST } else { 1 }];
        let more = vec![b'y'; usize::from(waits)];
        stream.body(body, false, &mut out);
        let body = if waits { [more, vec![b'z'; PIECE_COST]].concat() } else { vec![] };
        assert_eq!(stream.body(body, true, &mut out), if waits { Stalled::Window } else { Stalled::No });
        assert_eq!(stream.phase(), Phase::Trailers);
        stream.trailers(b"block".to_vec(), &mut out);
        assert_eq!(stream.phase(), Phase::Closed);
        if waits {
            assert!(drain(&mut out).iter().all(|(name, _, _)| *name != "Trailers"));
            stream.credit(PIECE_COST as u32 * 3);
            while stream.pump(&mut out) == Stalled::No && !stream.is_flushed() {}
        }
        let frames = drain(&mut out);
        assert_eq!(frames.last().unwrap(), &("Trailers", false, b"block".to_vec()));
        assert!(frames.iter().all(|(_, end, _)| !end), "the trailers are the end");
        assert!(!stream.finish(&mut out), "the response is complete");
    }
}

#[test]
fn a_response_without_an_end_is_complete_when_nothing_of_it_is_missing() {
    for (length, bodiless, is_complete) in
        [(Some(3), false, true), (Some(4), false, false), (None, false, false), (None, true, true)]
    {
        let mut out = Outbox::default();
        let mut stream = new(false);
        start(&mut stream, &mut out, length);
        if bodiless {
            stream.set_bodiless();
        } else {
            stream.count(3, false).unwrap();
            stream.body(b"abc".to_vec(), false, &mut out);
        }
        assert_eq!(stream.finish(&mut out), !is_complete);
        let frames = drain(&mut out);
        let ends = frames.iter().filter(|(_, end, _)| *end).count();
        let has_failed = frames.iter().any(|(name, _, _)| *name == "AppFailed");
        assert_eq!((ends, has_failed), (usize::from(is_complete), !is_complete), "{frames:?}");
    }
}

#[test]
fn a_complete_body_that_waits_for_the_window_carries_the_end() {
    let mut out = Outbox::default();
    let mut stream = new(false);
    let body = vec![b'x'; RESPONSE_WINDOW as usize + 1];
    start(&mut stream, &mut out, Some(body.len() as u64));
    stream.count(body.len() as u64, false).unwrap();
    assert_eq!(stream.body(body, false, &mut out), Stalled::Window);
    assert!(!stream.finish(&mut out) && !stream.is_flushed());
    assert!(drain(&mut out).iter().all(|(_, end, _)| !end));
    stream.credit(PIECE_COST as u32 * 10);
    while stream.pump(&mut out) == Stalled::No && !stream.is_flushed() {}
    let frames = drain(&mut out);
    assert!(frames.last().is_some_and(|(_, end, _)| *end), "{frames:?}");
}

#[test]
fn an_app_that_has_received_the_disconnect_need_not_answer() {
    for has_received in [false, true] {
        let mut out = Outbox::default();
        let mut stream = new(false);
        stream.next(MESSAGE_MAX, &mut out);
        stream.half_close();
        if has_received {
            assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Disconnect);
        }
        assert_eq!((stream.has_disconnected(), stream.finish(&mut out)), (has_received, !has_received));
        assert_eq!(drain(&mut out)[0].0, if has_received { "Done" } else { "AppFailed" });
    }
}

fn file(len: u64) -> FileOut {
    let descriptor = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    FileOut { descriptor, offset: 0, len }
}

#[test]
fn a_file_leaves_in_its_turn_when_the_window_has_room_for_its_share() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    for _ in 0..RESPONSE_WINDOW as usize / FILE_COST {
        assert_eq!(stream.file(file(5), false, &mut out), Stalled::No);
    }
    drain(&mut out);
    assert_eq!(stream.file(file(5), true, &mut out), Stalled::Window);
    assert!(stream.has_file() && !stream.is_flushed());
    assert!(drain(&mut out).iter().all(|(name, _, _)| *name != "File"));
    stream.credit(FILE_COST as u32 - 1);
    assert_eq!(stream.pump(&mut out), Stalled::Window);
    stream.credit(1);
    assert_eq!(stream.pump(&mut out), Stalled::No);
    let frames = drain(&mut out);
    assert_eq!((frames.len(), frames[0].0, frames[0].1), (1, "File", true));
    assert!(stream.is_flushed() && !stream.finish(&mut out));
}

fn file_of(bytes: &[u8], offset: u64) -> FileOut {
    let file = file(bytes.len() as u64 - offset);
    rustix::io::write(&file.descriptor, bytes).unwrap();
    FileOut { offset, ..file }
}

#[test]
fn a_file_that_the_edge_does_not_take_is_read_here() {
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let mut out = Outbox::default();
    let mut stream = Stream::<Vec<u8>>::new(&Request { takes_files: false, ..request(false) });
    start(&mut stream, &mut out, None);
    let mut stalled = stream.file(file_of(&bytes, 1000), true, &mut out);
    let (mut seen, mut ends) = (Vec::new(), 0);
    loop {
        for (name, end, payload) in drain(&mut out) {
            assert!(name == "Response" || name == "Data" && payload.len() <= DATA_MAX);
            seen.extend_from_slice(if name == "Data" { &payload } else { &[] });
            ends += usize::from(end);
        }
        if stream.is_flushed() {
            break;
        }
        if stalled == Stalled::Window {
            stream.credit(10_000);
        }
        stalled = stream.pump(&mut out);
    }
    assert!(seen == bytes[1000..] && ends == 1);
    assert!(!stream.finish(&mut out));
}

#[test]
fn a_file_behind_other_bytes_is_read_here() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    assert_eq!(stream.body(b"head".to_vec(), false, &mut out), Stalled::No);
    assert_eq!(stream.file(file_of(b"of a file", 0), true, &mut out), Stalled::No);
    let frames = drain(&mut out);
    assert_eq!(frames[1..], [("Data", false, b"head".to_vec()), ("Data", true, b"of a file".to_vec())]);
}

#[test]
fn a_file_that_has_shrunk_fails_the_response() {
    let mut out = Outbox::default();
    let mut stream = Stream::<Vec<u8>>::new(&Request { takes_files: false, ..request(false) });
    start(&mut stream, &mut out, None);
    let file = FileOut { len: 200, ..file_of(&[7; 100], 0) };
    assert_eq!(stream.file(file, true, &mut out), Stalled::No);
    assert_eq!(drain(&mut out).last().unwrap().0, "AppFailed");
    assert!(stream.is_flushed() && !stream.finish(&mut out) && out.is_empty());
}

#[test]
fn a_response_without_its_announced_trailers_is_unfinished() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    stream.announce_trailers();
    assert_eq!(stream.body(b"x".to_vec(), true, &mut out), Stalled::No);
    assert!(stream.finish(&mut out));
    assert_eq!(drain(&mut out).last().unwrap().0, "AppFailed");
}

#[test]
fn hints_above_the_limit_are_left_out() {
    let mut out = Outbox::default();
    let mut stream = new(false);
    for _ in 0..=INTERIM_MAX {
        stream.interim(b"head", &mut out);
    }
    assert_eq!(drain(&mut out), vec![("Interim", false, b"head".to_vec()); usize::from(INTERIM_MAX)]);
}

#[test]
fn hints_leave_half_of_the_window_to_the_response() {
    let mut out = Outbox::default();
    let mut stream = new(false);
    stream.set_pushes(16);
    for _ in 0..16 {
        stream.interim(&vec![0; HINT_LEN_MAX - 1000], &mut out);
        stream.promise(&vec![0; 1000], &mut out);
    }
    let sent: usize = drain(&mut out).iter().map(|(_, _, bytes)| piece_cost(bytes.len())).sum();
    assert!(sent <= RESPONSE_WINDOW as usize - WINDOW_LEFT_BY_HINTS, "{sent}");
    assert!(stream.window.left() >= WINDOW_LEFT_BY_HINTS);
}

#[test]
fn a_client_that_closed_its_side_still_gets_the_response() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    stream.half_close();
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Body { piece: vec![], more: false });
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Disconnect);
    assert_eq!(stream.body(b"still".to_vec(), true, &mut out), Stalled::No);
    assert_eq!(drain(&mut out).last().unwrap(), &("Data", true, b"still".to_vec()));
}

#[test]
fn the_first_demand_for_a_body_is_told_once() {
    let mut out = Outbox::default();
    for (expects_continue, expected) in [(true, vec![("AwaitsBody", false, vec![])]), (false, vec![])] {
        let mut stream = Stream::<Vec<u8>>::new(&Request { expects_continue, ..request(true) });
        assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Wait);
        assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Wait);
        assert_eq!(drain(&mut out), expected);
    }
}

#[test]
fn pieces_are_merged_cut_and_credited() {
    let mut out = Outbox::default();
    let mut stream = new(true);
    stream.arrive(&vec![1; 30_000], false).unwrap();
    stream.arrive(&vec![2; 30_000], false).unwrap();
    let Next::Body { piece, more: true } = stream.next(40_000, &mut out) else { panic!("a piece is due") };
    assert_eq!(piece.len(), 40_000);
    assert_eq!(drain(&mut out), [("Credit", false, 40_000u32.to_le_bytes().to_vec())]);
    stream.arrive(&[], true).unwrap();
    let Next::Body { piece, more: false } = stream.next(40_000, &mut out) else { panic!("the rest is due") };
    assert_eq!(piece.len(), 20_000);
}

#[test]
fn more_than_the_window_or_after_the_end_breaks_the_link() {
    let mut stream = new(true);
    assert!(stream.arrive(&vec![0; REQUEST_WINDOW as usize + 1], false).is_err());
    stream.arrive(b"x", true).unwrap();
    assert!(stream.arrive(b"y", false).is_err());
}

#[test]
fn an_empty_last_message_ends_at_the_head() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    assert_eq!(stream.body(vec![], true, &mut out), Stalled::No);
    let frames = drain(&mut out);
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].0, frames[0].1), ("Response", true));
    assert!(!stream.finish(&mut out));
    assert!(out.is_empty());
}

#[test]
fn a_failed_app_takes_its_head_back() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    assert!(stream.finish(&mut out));
    assert_eq!(drain(&mut out), [("AppFailed", false, vec![])]);
}

#[test]
fn after_a_reset_the_end_of_the_task_is_told_once() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    let _frames = drain(&mut out);
    stream.reset(&mut out);
    assert_eq!(stream.body(vec![1], true, &mut out), Stalled::No);
    assert!(!stream.finish(&mut out));
    assert!(!stream.finish(&mut out));
    assert_eq!(drain(&mut out), [("Done", false, vec![])]);
}

proptest! {
    #[test]
    fn a_body_leaves_whole_within_its_window_and_ends_once(
        pieces in proptest::collection::vec(0usize..200_000, 1..6),
        credits in proptest::collection::vec(1u32..90_000, 1..4),
    ) {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        let (mut sent, mut spent, mut ends, mut allowed) = (0usize, 0, 0, RESPONSE_WINDOW as usize);
        let mut credits = credits.iter().cycle();
        let total: usize = pieces.iter().sum();
        let last = pieces.len() - 1;
        for (at, len) in pieces.into_iter().enumerate() {
            let mut stalled = stream.body(vec![at as u8; len], at == last, &mut out);
            loop {
                for (name, end, payload) in drain(&mut out) {
                    prop_assert!(payload.len() <= DATA_MAX || name != "Data");
                    sent += if name == "Data" { payload.len() } else { 0 };
                    let is_piece = name == "Data" && !payload.is_empty();
                    spent += if is_piece { piece_cost(payload.len()) } else { 0 };
                    ends += usize::from(end);
                }
                prop_assert!(spent <= allowed);
                if stream.is_flushed() {
                    break;
                }
                if stalled == Stalled::Window {
                    let credit = *credits.next().unwrap();
                    allowed += credit as usize;
                    stream.credit(credit);
                }
                stalled = stream.pump(&mut out);
            }
        }
        prop_assert_eq!((sent, ends), (total, 1));
        prop_assert!(!stream.finish(&mut out));
    }
}

#[test]
fn messages_end_with_their_last_piece_and_the_close_comes_behind_them() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    drain(&mut out);
    let long = vec![7; RESPONSE_WINDOW as usize + 10];
    assert!(stream.message_at_once(MessageKind::Text, &[], &mut out));
    assert!(!stream.message_at_once(MessageKind::Binary, &long, &mut out), "the window does not take it");
    assert_eq!(stream.message(MessageKind::Binary, long, &mut out), Stalled::Window);
    assert_eq!(stream.close(4000, "bye", &mut out), Stalled::Window);
    stream.finish_websocket(&mut out);
    let first = drain(&mut out);
    assert_eq!(first[0], text(b"", true));
    assert!(first[1..].iter().all(|(name, end, _)| (*name, *end) == ("Message", false)));
    stream.credit(RESPONSE_WINDOW);
    while stream.pump(&mut out) == Stalled::No && !stream.is_flushed() {}
    let rest = drain(&mut out);
    assert_eq!(rest[0], text(&[7; 10 + 2 * PIECE_COST], true));
    assert_eq!(rest[1], ("Close", false, b"bye".to_vec()));
    assert_eq!(rest[2], ("Done", false, vec![]));
    assert_eq!(rest.len(), 3);
}

#[test]
fn messages_without_bytes_use_the_window_up() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    let sent =
        (0..RESPONSE_WINDOW).take_while(|_| stream.message_at_once(MessageKind::Text, &[], &mut out)).count();
    assert_eq!(sent, RESPONSE_WINDOW as usize / PIECE_COST);
    assert_eq!(stream.message(MessageKind::Text, vec![], &mut out), Stalled::Window);
    stream.credit(PIECE_COST as u32);
    assert_eq!(stream.pump(&mut out), Stalled::No);
    assert!(stream.is_flushed());
}

#[test]
fn the_end_of_a_websockets_task_is_told_although_its_client_goes_while_that_waits() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    assert_eq!(stream.message(MessageKind::Text, vec![0; 1 << 20], &mut out), Stalled::Window);
    stream.finish_websocket(&mut out);
    drain(&mut out);
    stream.reset(&mut out);
    assert_eq!(drain(&mut out), [("Done", false, vec![])]);
    stream.finish_websocket(&mut out);
    assert!(stream.is_flushed() && out.is_empty());
}

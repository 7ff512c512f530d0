//! What a stream takes, sends and owes.

use hcrs_link::{FrameHeader, HEADER_LEN};
use proptest::prelude::*;

use super::*;

type Frame = (Kind, u8, Vec<u8>);

/// The frames of an outbox, which is emptied through a socket pair.
fn drain(out: &mut Outbox) -> Vec<Frame> {
    use std::io::Read;
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    while out.write_to(&near).is_err() {
        let _would_block = far.read_to_end(&mut bytes);
    }
    drop(near);
    far.read_to_end(&mut bytes).unwrap();
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((header, payload)) = FrameHeader::split(rest).unwrap() {
        frames.push((header.kind, header.flags, payload.to_vec()));
        rest = &rest[HEADER_LEN + payload.len()..];
    }
    frames
}

fn started(out: &mut Outbox) -> Stream<Vec<u8>> {
    let mut stream = Stream::new(7, false);
    stream.start(out.push_head::<()>(7, 200, |_, _| Ok(())).unwrap(), None);
    stream
}

#[test]
fn a_request_without_body_gives_one_message_and_then_waits() {
    let mut out = Outbox::default();
    let mut stream = Stream::<Vec<u8>>::new(7, false);
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Body { piece: vec![], more: false });
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Wait);
    assert!(out.is_empty());
    stream.reset();
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Disconnect);
}

#[test]
fn a_body_has_the_length_that_was_announced() {
    let mut out = Outbox::default();
    let mut stream = Stream::<Vec<u8>>::new(7, false);
    stream.start(out.push_head::<()>(7, 200, |_, _| Ok(())).unwrap(), Some(5));
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
        let body = vec![b'x'; if waits { RESPONSE_WINDOW as usize + 1 } else { 1 }];
        assert_eq!(stream.body(body, true, &mut out), if waits { Stalled::Window } else { Stalled::No });
        assert_eq!(stream.phase(), Phase::Trailers);
        stream.trailers(b"block".to_vec(), &mut out);
        assert_eq!(stream.phase(), Phase::Closed);
        if waits {
            assert!(drain(&mut out).iter().all(|(kind, flags, _)| (*kind, *flags) != (Kind::Trailers, END)));
            stream.credit(1);
            assert_eq!(stream.pump(&mut out), Stalled::No);
        }
        let frames = drain(&mut out);
        assert_eq!(frames.last().unwrap(), &(Kind::Trailers, END, b"block".to_vec()));
        assert_eq!(frames.iter().filter(|(_, flags, _)| flags & END != 0).count(), 1);
        assert!(!stream.finish(&mut out), "the response is complete");
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
    let body = vec![b'x'; RESPONSE_WINDOW as usize - FILE_COST + 1];
    assert_eq!(stream.body(body, false, &mut out), Stalled::No);
    assert_eq!(stream.file(file(5), true, &mut out), Stalled::Window);
    assert!(stream.has_file() && !stream.is_flushed());
    assert!(drain(&mut out).iter().all(|(kind, _, _)| *kind != Kind::File));
    stream.credit(1);
    assert_eq!(stream.pump(&mut out), Stalled::No);
    let frames = drain(&mut out);
    assert_eq!((frames.len(), frames[0].0, frames[0].1), (1, Kind::File, END));
    assert!(stream.is_flushed() && !stream.finish(&mut out));
}

#[test]
fn a_response_without_its_announced_trailers_is_unfinished() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    stream.announce_trailers();
    assert_eq!(stream.body(b"x".to_vec(), true, &mut out), Stalled::No);
    assert!(stream.finish(&mut out));
    assert_eq!(drain(&mut out).last().unwrap().0, Kind::Reset);
}

#[test]
fn hints_above_the_limit_are_left_out() {
    let mut out = Outbox::default();
    let mut stream = Stream::<Vec<u8>>::new(7, false);
    for _ in 0..=INTERIM_MAX {
        stream.interim(b"head", &mut out);
    }
    assert_eq!(drain(&mut out), vec![(Kind::Interim, 0, b"head".to_vec()); usize::from(INTERIM_MAX)]);
}

#[test]
fn a_client_that_closed_its_side_still_gets_the_response() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    stream.half_close();
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Body { piece: vec![], more: false });
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Disconnect);
    assert_eq!(stream.body(b"still".to_vec(), true, &mut out), Stalled::No);
    assert_eq!(drain(&mut out).last().unwrap(), &(Kind::Data, END, b"still".to_vec()));
}

#[test]
fn the_first_demand_for_a_body_is_told_once() {
    let mut out = Outbox::default();
    let mut stream = Stream::<Vec<u8>>::new(7, true);
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Wait);
    assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Wait);
    assert_eq!(drain(&mut out), [(Kind::Credit, 0, vec![0; 4])]);
}

#[test]
fn pieces_are_merged_cut_and_credited() {
    let mut out = Outbox::default();
    let mut stream = Stream::<Vec<u8>>::new(7, true);
    stream.arrive(&vec![1; 30_000], false).unwrap();
    stream.arrive(&vec![2; 30_000], false).unwrap();
    let Next::Body { piece, more: true } = stream.next(40_000, &mut out) else { panic!("a piece is due") };
    assert_eq!(piece.len(), 40_000);
    assert_eq!(drain(&mut out), [(Kind::Credit, 0, 40_000u32.to_le_bytes().to_vec())]);
    stream.arrive(&[], true).unwrap();
    let Next::Body { piece, more: false } = stream.next(40_000, &mut out) else { panic!("the rest is due") };
    assert_eq!(piece.len(), 20_000);
}

#[test]
fn more_than_the_window_or_after_the_end_breaks_the_link() {
    let mut stream = Stream::<Vec<u8>>::new(7, true);
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
    assert_eq!((frames[0].0, frames[0].1), (Kind::Response, END));
    assert!(!stream.finish(&mut out));
    assert!(out.is_empty());
}

#[test]
fn a_failed_app_takes_its_head_back() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    assert!(stream.finish(&mut out));
    assert_eq!(drain(&mut out), [(Kind::Reset, 0, vec![])]);
}

#[test]
fn after_a_reset_the_end_of_the_task_is_told_once() {
    let mut out = Outbox::default();
    let mut stream = started(&mut out);
    let _frames = drain(&mut out);
    stream.reset();
    assert_eq!(stream.body(vec![1], true, &mut out), Stalled::No);
    assert!(!stream.finish(&mut out));
    assert!(!stream.finish(&mut out));
    assert_eq!(drain(&mut out), [(Kind::Done, 0, vec![])]);
}

proptest! {
    #[test]
    fn a_body_leaves_whole_within_its_window_and_ends_once(
        pieces in proptest::collection::vec(0usize..200_000, 1..6),
        credits in proptest::collection::vec(1u32..90_000, 1..4),
    ) {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        let (mut sent, mut ends, mut allowed) = (0usize, 0, RESPONSE_WINDOW as usize);
        let mut credits = credits.iter().cycle();
        let total: usize = pieces.iter().sum();
        let last = pieces.len() - 1;
        for (at, len) in pieces.into_iter().enumerate() {
            let mut stalled = stream.body(vec![at as u8; len], at == last, &mut out);
            loop {
                for (kind, flags, payload) in drain(&mut out) {
                    prop_assert!(payload.len() <= DATA_MAX || kind != Kind::Data);
                    sent += if kind == Kind::Data { payload.len() } else { 0 };
                    ends += usize::from(flags & END);
                }
                prop_assert!(sent <= allowed);
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
    assert!(stream.message_at_once(Kind::Text, &[], &mut out));
    assert!(!stream.message_at_once(Kind::Binary, &long, &mut out), "the window does not take it");
    assert_eq!(stream.message(Kind::Binary, long, &mut out), Stalled::Window);
    assert_eq!(stream.close(4000, "bye", &mut out), Stalled::Window);
    stream.finish_websocket(&mut out);
    let first = drain(&mut out);
    assert_eq!(first[0], (Kind::Text, END, vec![]));
    assert!(first[1..].iter().all(|(kind, flags, _)| (*kind, *flags) == (Kind::Binary, 0)));
    stream.credit(100);
    while stream.pump(&mut out) == Stalled::No && !stream.is_flushed() {}
    let rest = drain(&mut out);
    assert_eq!(rest[0], (Kind::Binary, END, vec![7; 10]));
    assert_eq!(rest[1], (Kind::Close, 0, [&4000u16.to_le_bytes()[..], b"bye"].concat()));
    assert_eq!(rest[2], (Kind::Done, 0, vec![]));
    assert_eq!(rest.len(), 3);
}

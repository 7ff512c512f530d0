//! What follows from the bytes of a client, however they are cut, and whatever they are.

use proptest::prelude::*;

use super::acts::{Act, BLOCKS, PRIORITIES, any_act};
use super::*;
use crate::frame::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, RST_STREAM, WINDOW_UPDATE};

fn bytes_of(acts: &[Act]) -> Vec<u8> {
    let (mut bytes, mut next) = (frame(SETTINGS, 0, 0, &[]), 1);
    for act in acts {
        bytes.extend(match act {
            Act::Request { body, block } => {
                next += 2;
                let flags = if *body { END_HEADERS } else { END_HEADERS | END_STREAM };
                frame(HEADERS, flags, next - 2, BLOCKS[*block])
            }
            Act::Data { stream, len, end } => {
                frame(DATA, u8::from(*end), begun(next, *stream).unwrap_or(1), &vec![7; *len % 300])
            }
            Act::Trailers { stream } => {
                let id = begun(next, *stream).unwrap_or(1);
                frame(HEADERS, END_HEADERS | END_STREAM, id, b"\x00\x01a\x01b")
            }
            Act::Reset { stream } => frame(RST_STREAM, 0, begun(next, *stream).unwrap_or(1), &[0, 0, 0, 8]),
            Act::Update { stream, by } => frame(WINDOW_UPDATE, 0, *stream, &by.to_be_bytes()),
            Act::Prioritize { stream, priority } => priority_update(*stream, PRIORITIES[*priority]),
            Act::Ping => frame(PING, 0, 0, &[0; 8]),
            Act::AckSettings => frame(SETTINGS, ACK, 0, &[]),
            Act::Any { kind, flags, stream, payload } => frame(*kind, *flags, *stream, payload),
            Act::Wait(_) => frame(PRIORITY, 0, 3, &[0; 5]),
            Act::Window(_) | Act::Push(_) | Act::TableSize(_) | Act::App { .. } => Vec::new(),
        });
    }
    bytes
}

/// Returns all that follows from bytes in these pieces, in a form that can be compared.
fn outcome(bytes: &[u8], cuts: &[usize]) -> (String, Vec<u8>) {
    let room = BodyRoom::new(settings().thread_room);
    let (mut protocol, now) = (protocol(&room), Instant::now());
    let (mut rest, mut cuts) = (bytes, cuts.iter().cycle());
    let mut error = None;
    while !rest.is_empty() && error.is_none() {
        let cut = cuts.next().map_or(rest.len(), |&cut| cut.min(rest.len()));
        let (piece, after) = rest.split_at(cut);
        rest = after;
        error = protocol.receive(piece, now).err();
    }
    let events: Vec<Event> = std::iter::from_fn(|| protocol.next_event()).collect();
    protocol.end_turn();
    (format!("{error:?} {events:?}"), written(&mut protocol))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_the_input_has_the_same_outcome(
        acts in proptest::collection::vec(any_act(), 1..40),
        cuts in proptest::collection::vec(1usize..60, 1..30),
    ) {
        let bytes = bytes_of(&acts);
        prop_assert_eq!(outcome(&bytes, &cuts), outcome(&bytes, &[bytes.len()]));
    }

    #[test]
    fn nonsense_ends_in_an_error_or_in_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let settings = frame(SETTINGS, 0, 0, &[]);
        let _outcome = outcome(&[&settings[..], &bytes].concat(), &[7]);
        let _outcome = outcome(&bytes, &[64]);
    }
}

#[test]
fn skipped_numbers_are_bounded() {
    let room = BodyRoom::new(settings().thread_room);
    let (mut protocol, now) = (protocol(&room), Instant::now());
    protocol.receive(&frame(SETTINGS, 0, 0, &[]), now).unwrap();
    for n in 0..MAX_STREAMS + 50 {
        let refused = protocol.receive(&frame(HEADERS, END_HEADERS | END_STREAM, 1 + 8 * n, BLOCKS[0]), now);
        assert!(protocol.skipped.len() <= SKIPS_REMEMBERED);
        if refused.is_err() {
            return;
        }
    }
    panic!("so many refused streams exceed the budget");
}

//! Properties that hold for every input, however it is split.

use hcrs_ws::{Compression, DeflateTerms, Event, MessageKind, Settings};
use proptest::prelude::*;

use crate::driver::{
    BINARY, CONTINUATION, Client, FIN, NO_TAKEOVER, RSV1, Seen, Server, TAKEOVER, TEXT, fragments, frame,
    packing,
};

/// Limits that are small enough to be reached.
fn tight() -> Settings {
    Settings { max_message_size: 60, max_fragments: 4, ..Settings::default() }
}

/// Returns bytes that a client may send, in rare cases bytes that are refused.
fn piece_of_wire() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => "\\PC{0,20}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..140),
    ];
    let packed = "\\PC{0,40}".prop_map(|text| Client::new(NO_TAKEOVER).pack(text.as_bytes()));
    prop_oneof![
        6 => (prop_oneof![Just(TEXT), Just(BINARY)], payload.clone(), 1usize..30)
            .prop_map(|(opcode, payload, size)| fragments(opcode, &payload, size)),
        4 => (packed, 1usize..30).prop_map(|(payload, size)| fragments(RSV1 | TEXT, &payload, size)),
        4 => (0x9u8..=0xa, proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(opcode, payload)| frame(FIN | opcode, &payload)),
        1 => (any::<u8>(), payload).prop_map(|(first, payload)| frame(first, &payload)),
        1 => proptest::collection::vec(any::<u8>(), 0..20)
            .prop_map(|payload| frame(FIN | RSV1 | TEXT, &payload)),
        1 => proptest::collection::vec(any::<u8>(), 0..8).prop_map(|payload| frame(FIN | 0x8, &payload)),
        1 => Just(frame(CONTINUATION, b"")),
        1 => proptest::collection::vec(any::<u8>(), 0..10),
    ]
}

/// Splits `wire` into pieces of the lengths given, again and again.
fn cut<'a>(wire: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = wire;
    for &length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Returns events and frames of a connection that reads `pieces`.
fn run(settings: &Settings, deflate: Option<DeflateTerms>, pieces: &[&[u8]]) -> (Vec<Seen>, Vec<u8>) {
    let mut server = Server::with(settings, deflate);
    let seen = pieces.iter().flat_map(|piece| server.feed(piece)).collect();
    (seen, server.out)
}

fn terms() -> impl Strategy<Value = DeflateTerms> {
    (9u8..=15, 9u8..=15, any::<bool>(), any::<bool>()).prop_map(|(server, client, ours, theirs)| {
        DeflateTerms {
            server_max_window_bits: server,
            client_max_window_bits: client,
            server_context_takeover: ours,
            client_context_takeover: theirs,
        }
    })
}

/// Messages with repeats in them and between them.
fn message() -> impl Strategy<Value = String> {
    ("[a-d]{1,6}", 0usize..600, "\\PC{0,30}").prop_map(|(word, times, rest)| word.repeat(times) + &rest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_split_of_the_input_gives_the_same_events_and_answers(
        wire in proptest::collection::vec(piece_of_wire(), 1..8),
        lengths in proptest::collection::vec(1usize..50, 1..6),
        is_tight: bool,
        is_packed: bool,
    ) {
        let wire = wire.concat();
        let settings = if is_tight { tight() } else { Settings::default() };
        let deflate = is_packed.then_some(NO_TAKEOVER);
        let whole = run(&settings, deflate, &[&wire]);
        prop_assert_eq!(&whole, &run(&settings, deflate, &cut(&wire, &lengths)));
        prop_assert_eq!(&whole, &run(&settings, deflate, &cut(&wire, &[1])));
    }

    #[test]
    fn a_pause_anywhere_loses_and_repeats_nothing(
        wire in proptest::collection::vec(piece_of_wire(), 1..8),
        lengths in proptest::collection::vec(1usize..50, 1..6),
        pauses in proptest::collection::vec(any::<bool>(), 1..6),
    ) {
        let wire = wire.concat();
        let is_control = |seen: &Seen| matches!(seen, Seen::Event(Event::Ping(_) | Event::Pong(_)));
        let (whole, _) = run(&Settings::default(), Some(NO_TAKEOVER), &[&wire]);
        let mut server = Server::with(&Settings::default(), Some(NO_TAKEOVER));
        let mut seen = Vec::new();
        for (piece, is_paused) in cut(&wire, &lengths).into_iter().zip(pauses.iter().cycle()) {
            seen.extend(if *is_paused { server.feed_paused(piece) } else { server.feed(piece) });
        }
        seen.extend(server.feed(b""));
        // Pings overtake messages, and may so escape a failure; otherwise the order is kept.
        let (control, rest): (Vec<Seen>, Vec<Seen>) = seen.into_iter().partition(is_control);
        let (whole_control, whole_rest): (Vec<Seen>, Vec<Seen>) = whole.into_iter().partition(is_control);
        prop_assert_eq!(rest, whole_rest);
        prop_assert_eq!(&control[..whole_control.len()], whole_control);
    }

    #[test]
    fn no_input_makes_it_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..400),
        length in 1usize..400,
        is_tight: bool,
    ) {
        let settings = if is_tight { tight() } else { Settings::default() };
        for deflate in [None, Some(TAKEOVER), Some(NO_TAKEOVER)] {
            run(&settings, deflate, &cut(&noise, &[length]));
            let packed = frame(FIN | RSV1 | BINARY, &noise);
            run(&settings, deflate, &cut(&packed, &[length]));
        }
    }

    #[test]
    fn what_is_sent_is_what_the_client_reads(
        messages in proptest::collection::vec((message(), any::<bool>(), 1usize..2000), 1..6),
        terms in proptest::option::of(terms()),
        level in 1u8..=9,
        mem_level in 1u8..=9,
    ) {
        let settings = packing(&Compression { level, mem_level, ..Compression::default() });
        let mut server = Server::with(&settings, terms);
        let mut client = Client::new(terms.unwrap_or(NO_TAKEOVER));
        for (text, is_whole, size) in &messages {
            if *is_whole {
                server.send(MessageKind::Text, text.as_bytes());
            } else {
                for piece in text.as_bytes().chunks(*size) {
                    let out = &mut server.out;
                    server.connection.write_fragment(MessageKind::Text, piece, false, out).unwrap();
                }
                server.connection.write_fragment(MessageKind::Text, b"", true, &mut server.out).unwrap();
            }
            prop_assert_eq!(client.message(&server.sent()), text.as_bytes());
        }
    }

    #[test]
    fn what_the_client_compresses_is_what_is_read(
        messages in proptest::collection::vec((message(), 1usize..500), 1..6),
        terms in terms(),
        length in 1usize..300,
    ) {
        let mut server = Server::with(&Settings::default(), Some(terms));
        let mut client = Client::new(terms);
        for (text, size) in &messages {
            let wire = fragments(RSV1 | TEXT, &client.pack(text.as_bytes()), *size);
            let seen: Vec<Seen> = wire.chunks(length).flat_map(|piece| server.feed(piece)).collect();
            prop_assert_eq!(seen, [crate::driver::saw_text(text)]);
        }
    }
}

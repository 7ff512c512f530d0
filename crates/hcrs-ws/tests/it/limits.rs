//! Limits: messages beyond them are refused as soon as they are announced, and no byte counts twice.

use hcrs_ws::{Compression, Settings};

use crate::driver::{
    BINARY, CONTINUATION, Client, FIN, NO_TAKEOVER, RSV1, Seen, Server, TAKEOVER, TEXT, binary, close,
    closed_with, fragments, frame, noise, packing, pool, room, saw_binary, saw_close, saw_text, see_with,
    text,
};

const MIB: usize = 1 << 20;

fn at_most(max_message_size: usize) -> Settings {
    Settings { max_message_size, ..Settings::default() }
}

#[test]
fn a_message_may_have_as_many_bytes_as_allowed_and_no_more() {
    let settings = at_most(1000);
    let (fits, over) = ("a".repeat(1000), "a".repeat(1001));
    assert_eq!(see_with(&settings, None, &text(&fits)), [saw_text(&fits)]);
    assert_eq!(see_with(&settings, None, &text(&over)), [Seen::Failed(1009)]);
    for size in [1, 100, 999] {
        let wire = fragments(BINARY, fits.as_bytes(), size);
        assert_eq!(see_with(&settings, None, &wire), [saw_binary(fits.as_bytes())]);
        let wire = fragments(BINARY, over.as_bytes(), size);
        assert_eq!(see_with(&settings, None, &wire), [Seen::Failed(1009)]);
    }
    // Bytes are counted, not characters, and each message by itself.
    let euros = "\u{20ac}".repeat(333);
    let wire = [text(&euros), text(&euros), text(&"\u{20ac}".repeat(334))].concat();
    assert_eq!(see_with(&settings, None, &wire), [saw_text(&euros), saw_text(&euros), Seen::Failed(1009)]);
    assert_eq!(see_with(&at_most(0), None, &text("")), [saw_text("")]);
    assert_eq!(see_with(&at_most(0), None, &text("a")), [Seen::Failed(1009)]);
}

#[test]
fn the_announced_length_is_enough_to_refuse() {
    let mut server = Server::new();
    assert!(server.feed(b"\x82\xff\0\0\0\0\x01\0\0").is_empty());
    assert_eq!(server.feed(b"\x01"), [Seen::Failed(1009)], "16 MiB and one byte");
    let mut server = Server::new();
    assert!(server.feed(b"\x82\xff\0\0\0\0\x01\0\0\0\0\0\0\0").is_empty(), "16 MiB");
    let mut server = Server::new();
    assert_eq!(server.feed(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"), [Seen::Failed(1009)]);
    // Together with the fragments before.
    let mut server = Server::with(&at_most(100), None);
    assert!(server.feed(&frame(TEXT, &[b'a'; 60])).is_empty());
    assert_eq!(server.feed(b"\x80\xa9"), [Seen::Failed(1009)]);
}

#[test]
fn large_messages_pass_in_one_frame_and_in_small_ones() {
    let payload = noise(4 * MIB);
    let mut server = Server::new();
    assert_eq!(server.feed(&binary(&payload)), [saw_binary(&payload)]);
    let wire = binary(&payload);
    let seen: Vec<Seen> = wire.chunks(1000).flat_map(|piece| server.feed(piece)).collect();
    assert_eq!(seen, [saw_binary(&payload)]);
    // As some clients send it: pieces of 64 bytes, all alike, and an empty frame at the end.
    let mut wire = fragments(BINARY, &payload, 64);
    let last = wire.len() - frame(FIN | CONTINUATION, &[0; 64]).len();
    wire[last] = CONTINUATION;
    wire.extend(frame(FIN | CONTINUATION, b""));
    let seen: Vec<Seen> = wire.chunks(65536).flat_map(|piece| server.feed(piece)).collect();
    assert_eq!(seen, [saw_binary(&payload)], "65 537 fragments");
}

#[test]
fn a_message_has_a_bounded_number_of_fragments() {
    let settings = Settings { max_fragments: 3, ..Settings::default() };
    assert_eq!(see_with(&settings, None, &fragments(TEXT, b"abc", 1)), [saw_text("abc")]);
    assert_eq!(see_with(&settings, None, &fragments(TEXT, b"abcd", 1)), [Seen::Failed(1008)]);
    let empty = [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(3)].concat();
    assert_eq!(see_with(&settings, None, &empty), [Seen::Failed(1008)]);
}

/// Returns `len` bytes that compress a thousandfold.
fn bomb(len: usize) -> Vec<u8> {
    let packed = Client::new(TAKEOVER).pack(&vec![b'a'; len]);
    assert!(packed.len() < len / 500, "{} bytes", packed.len());
    packed
}

#[test]
fn a_compressed_message_is_refused_while_it_is_inflated() {
    for terms in [TAKEOVER, NO_TAKEOVER] {
        let settings = Settings { max_message_size: 100_000, ..packing(&Compression::default()) };
        let fits = "a".repeat(100_000);
        let wire = frame(FIN | RSV1 | TEXT, &bomb(100_000));
        assert_eq!(see_with(&settings, Some(terms), &wire), [saw_text(&fits)]);
        let wire = frame(FIN | RSV1 | TEXT, &bomb(100_001));
        assert_eq!(see_with(&settings, Some(terms), &wire), [Seen::Failed(1009)]);

        // Long before its end: some tenths of what inflates to 10 MiB.
        let wire = frame(FIN | RSV1 | TEXT, &bomb(10 * MIB));
        let mut server = Server::with(&settings, Some(terms));
        let read = wire.iter().position(|byte| !server.feed(&[*byte]).is_empty()).expect("fails");
        assert!(read < wire.len() / 10, "{read} of {}", wire.len());
        assert_eq!(closed_with(&server.sent()), 1009);
    }
}

#[test]
fn what_is_not_compressed_does_not_escape_the_limit_nor_what_inflates_to_nothing() {
    let settings = Settings { max_message_size: 1000, ..packing(&Compression::default()) };
    let mut server = Server::with(&settings, Some(TAKEOVER));
    assert_eq!(server.feed(&binary(&[0; 1001])), [Seen::Failed(1009)]);

    // Empty blocks without end.
    let empty_blocks = b"\x00\x00\x00\xff\xff".repeat(2000);
    let mut server = Server::with(&settings, Some(TAKEOVER));
    let mut seen = server.feed(&frame(RSV1 | BINARY, &empty_blocks));
    let mut sent = 0;
    while seen.is_empty() {
        sent += empty_blocks.len();
        assert!(sent < 4 * MIB, "still read");
        seen = server.feed(&frame(CONTINUATION, &empty_blocks));
    }
    assert_eq!(seen, [Seen::Failed(1009)]);
}

#[test]
fn what_does_not_compress_may_be_as_large_as_allowed() {
    let settings = Settings { max_message_size: MIB, ..packing(&Compression::default()) };
    let payload = noise(MIB);
    let packed = Client::new(NO_TAKEOVER).pack(&payload);
    assert!(packed.len() > MIB);
    let mut server = Server::with(&settings, Some(NO_TAKEOVER));
    assert_eq!(server.feed(&frame(FIN | RSV1 | BINARY, &packed)), [saw_binary(&payload)]);
}

#[test]
fn a_refused_message_can_still_be_answered_with_a_close() {
    let mut server = Server::with(&at_most(10), None);
    assert_eq!(server.feed(&[text("more than ten"), close(1000, "")].concat()), [Seen::Failed(1009)]);
    let sent = server.sent();
    assert_eq!((sent.len(), closed_with(&sent)), (1, 1009));
    let mut server = Server::with(&at_most(10), None);
    assert_eq!(server.feed(&close(1000, "reasons do not count")), [saw_close(1000, "reasons do not count")]);
}

#[test]
fn what_a_connections_websockets_hold_together_is_bounded_and_small_messages_always_pass() {
    let settings =
        Settings { max_message_size: MIB, connection_room: 4 * MIB, ..packing(&Compression::default()) };
    let (pool, room) = (pool(&settings), room(&settings));
    let mut servers: Vec<Server> =
        (0..100).map(|_| Server::in_room(&settings, Some(NO_TAKEOVER), &pool, &room)).collect();
    // Each sends a first fragment that inflates to a thousand times as much.
    let bomb = frame(RSV1 | BINARY, &Client::new(NO_TAKEOVER).pack(&vec![0; MIB]));
    let mut failed = 0;
    for server in &mut servers {
        let seen = server.feed(&bomb);
        if seen == [Seen::Failed(1009)] {
            assert_eq!(closed_with(&server.sent()), 1009);
            failed += 1;
        } else {
            assert_eq!(seen, []);
        }
        assert!(room.taken() <= 4 * MIB, "{}", room.taken());
    }
    assert_eq!(failed, 96);
    let mut quiet = Server::in_room(&settings, None, &pool, &room);
    let small = vec![7; 60_000];
    let wire = fragments(BINARY, &small, 1000);
    let seen: Vec<Seen> = wire.chunks(500).flat_map(|piece| quiet.feed(piece)).collect();
    assert_eq!(seen, [saw_binary(&small)]);
    // A message that ends, is given up, or goes with its connection makes room.
    let mut held = servers.into_iter().filter(|server| server.connection.unfinished().is_some());
    let mut ends = held.next().unwrap();
    assert_eq!(ends.feed(&frame(FIN | CONTINUATION, b"")), [saw_binary(&vec![0; MIB])]);
    let mut stalls = held.next().unwrap();
    assert_eq!(stalls.connection.give_up_message().code, 1008);
    stalls.connection.write_replies(&mut stalls.out);
    assert_eq!(closed_with(&stalls.sent()), 1008);
    drop(held);
    assert_eq!(room.taken(), 0);
}

#[test]
fn an_unfinished_message_says_how_far_it_has_come() {
    let mut server = Server::new();
    assert_eq!(server.connection.unfinished(), None);
    server.feed(&frame(TEXT, b"abc"));
    assert_eq!(server.connection.unfinished(), Some(3));
    server.feed(&frame(CONTINUATION, b"defg")[..8]);
    assert_eq!(server.connection.unfinished(), Some(5));
    server.feed(&frame(CONTINUATION, b"defg")[8..]);
    assert_eq!(server.connection.unfinished(), Some(7));
    server.feed(&frame(FIN | CONTINUATION, b""));
    assert_eq!(server.connection.unfinished(), None);
}

//! permessage-deflate (RFC 7692 §7.2): every form that a compressed message may have.

use std::rc::Rc;

use hcrs_ws::{Compression, DeflateTerms, Event, MessageKind, Settings};

use crate::driver::{
    BINARY, CONTINUATION, Client, FIN, Frame, NO_TAKEOVER, RSV1, Seen, Server, TAKEOVER, TEXT, fails_at,
    fragments, frame, noise, packing, ping, pool, sample, saw_binary, saw_ping, saw_text, see_with,
};

const PACKED_TEXT: u8 = RSV1 | TEXT;

fn see_packed(terms: DeflateTerms, wire: &[u8]) -> Vec<Seen> {
    see_with(&Settings::default(), Some(terms), wire)
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3() {
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    // One block; the same in two fragments.
    assert_eq!(see_packed(TAKEOVER, &frame(FIN | PACKED_TEXT, hello)), [saw_text("Hello")]);
    assert_eq!(see_packed(TAKEOVER, &fragments(PACKED_TEXT, hello, 3)), [saw_text("Hello")]);
    // The second message refers to the first one's.
    let twice = [frame(FIN | PACKED_TEXT, hello), frame(FIN | PACKED_TEXT, b"\xf2\x00\x11\x00\x00")].concat();
    assert_eq!(see_packed(TAKEOVER, &twice), [saw_text("Hello"), saw_text("Hello")]);
    assert_eq!(see_packed(NO_TAKEOVER, &twice), [saw_text("Hello"), Seen::Failed(1007)]);
    // A block without compression.
    let stored = b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00";
    assert_eq!(see_packed(TAKEOVER, &frame(FIN | PACKED_TEXT, stored)), [saw_text("Hello")]);
    // A block that is marked as the last.
    let last = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    assert_eq!(see_packed(TAKEOVER, &frame(FIN | PACKED_TEXT, last)), [saw_text("Hello")]);
    // Two blocks.
    let two = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
    assert_eq!(see_packed(TAKEOVER, &frame(FIN | PACKED_TEXT, two)), [saw_text("Hello")]);
    // An empty message.
    assert_eq!(see_packed(TAKEOVER, &frame(FIN | PACKED_TEXT, b"\x00")), [saw_text("")]);
}

#[test]
fn messages_go_on_after_a_last_block() {
    let last = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    // The byte behind it may be missing, as some compressors end there.
    for payload in [&last[..], &last[..7]] {
        for terms in [TAKEOVER, NO_TAKEOVER] {
            let wire = [
                fragments(PACKED_TEXT, payload, 2),
                frame(FIN | PACKED_TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
                fragments(PACKED_TEXT, &[&last[..7], payload].concat(), 20),
            ];
            let seen = see_packed(terms, &wire.concat());
            assert_eq!(seen, [saw_text("Hello"), saw_text("Hello"), saw_text("HelloHello")], "{payload:x?}");
        }
    }
}

#[test]
fn compressed_and_plain_messages_alternate() {
    let mut client = Client::new(TAKEOVER);
    let wire = [
        frame(FIN | PACKED_TEXT, &client.pack(b"packed")),
        frame(FIN | TEXT, b"plain"),
        frame(FIN | PACKED_TEXT, &client.pack(b"packed")),
        frame(FIN | BINARY, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        frame(FIN | RSV1 | BINARY, &client.pack(b"\xff")),
    ];
    assert_eq!(
        see_packed(TAKEOVER, &wire.concat()),
        [
            saw_text("packed"),
            saw_text("plain"),
            saw_text("packed"),
            saw_binary(b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
            saw_binary(b"\xff"),
        ]
    );
}

#[test]
fn control_frames_come_between_compressed_fragments() {
    let wire = [
        frame(PACKED_TEXT, b"\xf2\x48\xcd"),
        ping(b"not compressed"),
        frame(CONTINUATION, b""),
        frame(FIN | CONTINUATION, b"\xc9\xc9\x07\x00"),
    ];
    assert_eq!(see_packed(TAKEOVER, &wire.concat()), [saw_ping(b"not compressed"), saw_text("Hello")]);
}

#[test]
fn the_bit_stands_only_on_the_first_frame_of_a_message() {
    for terms in [None, Some(TAKEOVER)] {
        for opcode in [0x8, 0x9, 0xa] {
            assert_eq!(fails_at(terms, &frame(FIN | RSV1 | opcode, b"")), Some((1, 1002)));
        }
        let wire = [frame(TEXT, b"a"), frame(FIN | RSV1 | CONTINUATION, b"b")].concat();
        assert_eq!(fails_at(terms, &wire), Some((8, 1002)));
    }
    let wire = [frame(PACKED_TEXT, b"\xf2"), frame(FIN | RSV1 | CONTINUATION, b"\x48")].concat();
    assert_eq!(fails_at(Some(TAKEOVER), &wire), Some((8, 1002)));
    assert_eq!(fails_at(None, &frame(FIN | PACKED_TEXT, b"\x00")), Some((1, 1002)));
    for bits in [0x20, 0x10, 0x60, 0x50, 0x70] {
        assert_eq!(fails_at(Some(TAKEOVER), &frame(FIN | bits | TEXT, b"\x00")), Some((1, 1002)));
    }
}

#[test]
fn inflated_text_is_utf8() {
    let mut client = Client::new(NO_TAKEOVER);
    let euros = "\u{20ac}".repeat(20_000);
    let packed = client.pack(euros.as_bytes());
    assert_eq!(see_packed(NO_TAKEOVER, &fragments(PACKED_TEXT, &packed, 5)), [saw_text(&euros)]);
    for bad in [&b"abc\xff"[..], b"\xe2\x82", b"\xed\xa0\x80"] {
        let packed = client.pack(bad);
        assert_eq!(see_packed(NO_TAKEOVER, &frame(FIN | PACKED_TEXT, &packed)), [Seen::Failed(1007)]);
        let seen = see_packed(NO_TAKEOVER, &frame(FIN | RSV1 | BINARY, &packed));
        assert_eq!(seen, [saw_binary(bad)]);
    }
}

#[test]
fn what_is_not_deflate_fails() {
    for payload in [
        // A block of the reserved type; a stored one whose length does not match; a reference to nothing.
        &b"\x07"[..],
        b"\x00\x05\x00\x00\x00Hello\x00",
        b"\xf2\x00\x11\x00\x00",
        // Messages that end within a block.
        b"\xf2\x48\xcd",
        b"\x00\x05\x00\xfa\xff\x48\x65",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f",
        b"\x00\x00",
    ] {
        for terms in [TAKEOVER, NO_TAKEOVER] {
            let seen = see_packed(terms, &frame(FIN | RSV1 | BINARY, payload));
            assert_eq!(seen, [Seen::Failed(1007)], "{payload:x?}");
        }
    }
}

#[test]
fn a_tail_that_was_left_in_is_no_fault() {
    // As a compressor leaves it that ends a fragmented message with an empty fragment, or is careless.
    let wire = [
        frame(PACKED_TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff"),
        frame(FIN | CONTINUATION, b""),
        frame(FIN | PACKED_TEXT, b"\xf2\x00\x11\x00\x00\x00\x00\xff\xff"),
        frame(FIN | PACKED_TEXT, b""),
        frame(FIN | PACKED_TEXT, b"\xf2\x00\x11\x00\x00"),
    ];
    let seen = see_packed(TAKEOVER, &wire.concat());
    assert_eq!(seen, [saw_text("Hello"), saw_text("Hello"), saw_text(""), saw_text("Hello")]);
}

#[test]
fn every_agreed_window_and_effort_goes_both_ways() {
    let text = sample(40_000);
    for bits in 9..=15 {
        for takeover in [false, true] {
            for level in [1, 2, 4, 6, 9] {
                let mem_level = 10 - level;
                let terms = DeflateTerms {
                    server_max_window_bits: bits,
                    client_max_window_bits: bits,
                    server_context_takeover: takeover,
                    client_context_takeover: takeover,
                };
                let settings = packing(&Compression { level, mem_level, ..Compression::default() });
                let mut server = Server::with(&settings, Some(terms));
                let mut client = Client::new(terms);
                for len in [0, 1, 16, 300, 4096, 40_000, 300, 0, 5000] {
                    server.send(MessageKind::Text, &text.as_bytes()[..len]);
                    let frames = server.sent();
                    assert_eq!(frames.len(), 1);
                    assert_eq!(client.message(&frames), &text.as_bytes()[..len], "{terms:?} {level} {len}");
                    if len > 1000 {
                        assert!(frames[0].payload.len() < len / 2, "{terms:?} {level} {len}");
                    }
                    let packed = client.pack(&text.as_bytes()[..len]);
                    let seen = server.feed(&fragments(PACKED_TEXT, &packed, 1000));
                    assert_eq!(seen, [saw_text(&text[..len])], "{terms:?} {level} {len}");
                }
            }
        }
    }
}

#[test]
fn a_client_with_the_smallest_window_is_understood() {
    let terms = DeflateTerms { client_max_window_bits: 8, ..TAKEOVER };
    let text = sample(5000);
    let mut client = Client::new(terms);
    let mut server = Server::with(&packing(&Compression::default()), Some(terms));
    for _ in 0..3 {
        let seen = server.feed(&frame(FIN | PACKED_TEXT, &client.pack(text.as_bytes())));
        assert_eq!(seen, [saw_text(&text)]);
    }
}

#[test]
fn fragments_to_the_client_are_one_compressed_message() {
    let text = sample(3000);
    for terms in [TAKEOVER, NO_TAKEOVER] {
        let mut server = Server::with(&packing(&Compression::default()), Some(terms));
        let mut client = Client::new(terms);
        for size in [1, 700, 3000] {
            let Server { connection, out, .. } = &mut server;
            for piece in text.as_bytes().chunks(size) {
                connection.write_fragment(MessageKind::Text, piece, false, out).unwrap();
            }
            connection.write_fragment(MessageKind::Text, b"", false, out).unwrap();
            connection.write_fragment(MessageKind::Text, b"", true, out).unwrap();
            let frames = server.sent();
            assert_eq!(frames[0].first, PACKED_TEXT);
            assert_eq!(frames.last().unwrap().first, FIN | CONTINUATION);
            assert_eq!(client.message(&frames), text.as_bytes(), "{terms:?} by {size}");

            // And with data in the last one.
            let Server { connection, out, .. } = &mut server;
            connection.write_fragment(MessageKind::Text, b"a", false, out).unwrap();
            connection.write_fragment(MessageKind::Text, text.as_bytes(), true, out).unwrap();
            assert_eq!(client.message(&server.sent())[1..], *text.as_bytes());
        }
    }
}

#[test]
fn short_messages_and_those_that_do_not_shrink_are_sent_as_they_are() {
    let settings = Settings::default();
    let min = settings.compression.clone().unwrap().min_size;
    let mut server = Server::with(&settings, Some(NO_TAKEOVER));
    let text = sample(min);
    server.send(MessageKind::Text, &text.as_bytes()[..min - 1]);
    server.send(MessageKind::Text, text.as_bytes());
    server.send(MessageKind::Binary, &noise(5000));
    let firsts: Vec<u8> = server.sent().iter().map(|frame| frame.first).collect();
    assert_eq!(firsts, [FIN | TEXT, FIN | PACKED_TEXT, FIN | BINARY]);
}

#[test]
fn an_empty_message_is_one_byte() {
    let mut server = Server::with(&packing(&Compression::default()), Some(TAKEOVER));
    let mut client = Client::new(TAKEOVER);
    for _ in 0..3 {
        server.send(MessageKind::Text, b"");
        let frames = server.sent();
        assert!(frames[0].payload.len() <= 1, "{frames:?}");
        assert_eq!(client.message(&frames), b"");
        server.send(MessageKind::Text, b"full");
        assert_eq!(client.message(&server.sent()), b"full");
    }
}

#[test]
fn context_takeover_makes_repeats_small_until_it_is_shed() {
    let text = sample(400);
    let mut client = Client::new(TAKEOVER);
    let mut server = Server::with(&packing(&Compression::default()), Some(TAKEOVER));
    let mut send = |server: &mut Server| {
        server.send(MessageKind::Text, text.as_bytes());
        let frames = server.sent();
        assert_eq!(client.message(&frames), text.as_bytes());
        frames[0].payload.len()
    };
    let (first, second) = (send(&mut server), send(&mut server));
    assert!(second < first / 4, "{first}, then {second}");
    server.connection.shed_context();
    assert_eq!(send(&mut server), first);
    assert_eq!(send(&mut server), second);
}

#[test]
fn contexts_are_kept_up_to_a_number() {
    let settings = packing(&Compression { max_contexts: 1, ..Compression::default() });
    let pool = pool(&settings);
    let text = sample(400);
    let mut sizes = Vec::new();
    let mut send = |server: &mut Server, client: &mut Client| {
        server.send(MessageKind::Text, text.as_bytes());
        let frames = server.sent();
        assert_eq!(client.message(&frames), text.as_bytes());
        sizes.push(frames[0].payload.len());
    };
    let mut first = Server::in_pool(&settings, Some(TAKEOVER), &pool);
    let mut second = Server::in_pool(&settings, Some(TAKEOVER), &pool);
    let (mut client_of_first, mut client_of_second) = (Client::new(TAKEOVER), Client::new(TAKEOVER));
    send(&mut first, &mut client_of_first);
    send(&mut second, &mut client_of_second);
    send(&mut first, &mut client_of_first);
    send(&mut second, &mut client_of_second);
    drop(first);
    send(&mut second, &mut client_of_second);
    send(&mut second, &mut client_of_second);
    let [whole, small] = [sizes[0], sizes[2]];
    assert!(small < whole);
    assert_eq!(sizes, [whole, whole, small, whole, whole, small]);
    drop(second);
    assert_eq!(Rc::strong_count(&pool), 1);
}

#[test]
fn messages_under_way_do_not_mix_in_a_pool() {
    let settings = packing(&Compression::default());
    let pool = pool(&settings);
    let mut servers: Vec<Server> =
        (0..8).map(|_| Server::in_pool(&settings, Some(NO_TAKEOVER), &pool)).collect();
    let texts: Vec<String> = (0..8).map(|n| format!("{n}{}", sample(2000 + n))).collect();
    let packed: Vec<Vec<u8>> =
        texts.iter().map(|text| Client::new(NO_TAKEOVER).pack(text.as_bytes())).collect();
    for _ in 0..2 {
        for (server, packed) in servers.iter_mut().zip(&packed) {
            assert!(server.feed(&frame(PACKED_TEXT, &packed[..100])).is_empty());
            server.connection.write_fragment(MessageKind::Text, b"begun ", false, &mut server.out).unwrap();
        }
        for ((server, packed), text) in servers.iter_mut().zip(&packed).zip(&texts) {
            assert_eq!(server.feed(&frame(FIN | CONTINUATION, &packed[100..])), [saw_text(text)]);
            server
                .connection
                .write_fragment(MessageKind::Text, text.as_bytes(), true, &mut server.out)
                .unwrap();
            let message = Client::new(NO_TAKEOVER).message(&server.sent());
            assert_eq!(message, format!("begun {text}").as_bytes());
        }
    }
}

#[test]
fn what_takes_long_to_inflate_gives_others_a_turn() {
    let len = 8 << 20;
    let data: Vec<u8> = (0..len).map(|n: u32| (n / 5000) as u8).collect();
    let wire = frame(FIN | RSV1 | BINARY, &Client::new(NO_TAKEOVER).pack(&data));
    let settings = packing(&Compression::default());
    let pool = pool(&settings);
    let mut server = Server::in_pool(&settings, Some(NO_TAKEOVER), &pool);
    // The share of a turn is that of all connections, however little each inflates.
    let mut other = Server::in_pool(&settings, Some(NO_TAKEOVER), &pool);
    let small = frame(FIN | PACKED_TEXT, &Client::new(NO_TAKEOVER).pack(b"small"));
    server.input.extend_from_slice(&wire);
    let mut turns = 0;
    let message = loop {
        match server.connection.poll_event(&mut server.input).unwrap() {
            Some(Event::Yield) => {
                other.input.extend_from_slice(&small);
                assert_eq!(other.connection.poll_event(&mut other.input), Ok(Some(Event::Yield)));
                assert_eq!(server.connection.poll_event(&mut server.input), Ok(Some(Event::Yield)));
                pool.begin_turn();
                assert_eq!(other.feed(b""), [saw_text("small")]);
                turns += 1;
            }
            Some(Event::Binary(message)) => break message,
            other => panic!("{other:?} after {turns} turns"),
        }
    };
    assert_eq!(message, data);
    assert!((7..=32).contains(&turns), "256 KiB to some more than 1 MiB in a turn: {turns}");
}

#[test]
fn data_is_read_over_once_this_end_has_closed_whatever_it_inflates_to() {
    let mut server = Server::with(&packing(&Compression::default()), Some(TAKEOVER));
    assert!(server.feed(&frame(PACKED_TEXT, b"\xf2\x48")).is_empty());
    server.connection.write_close(1000, "", &mut server.out).unwrap();
    assert!(server.feed(&frame(FIN | CONTINUATION, b"\xff\xff\xff\xff")).is_empty());
    assert!(server.feed(&frame(FIN | PACKED_TEXT, b"\x07")).is_empty());
    assert_eq!(server.sent(), [Frame { first: 0x88, payload: vec![3, 232] }]);
}

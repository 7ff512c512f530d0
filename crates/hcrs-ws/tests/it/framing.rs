//! Frames (RFC 6455 §5): lengths, masks, reserved bits and opcodes, control frames, fragments.

use std::time::{Duration, Instant};

use hcrs_ws::{MessageKind, Settings};

use crate::driver::{
    BINARY, CLOSE, CONTINUATION, FIN, Frame, KEY, PING, PONG, Seen, Server, TEXT, binary, fails_at,
    fragments, frame, ping, pong_frame, saw_binary, saw_ping, saw_pong, saw_text, see, text,
};

const FAILED: Seen = Seen::Failed(1002);

#[test]
fn the_examples_of_rfc_6455_section_5_7() {
    assert_eq!(see(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [saw_text("Hello")]);

    let mut server = Server::new();
    server.send(MessageKind::Text, b"Hello");
    assert_eq!(server.out, b"\x81\x05Hello");
    server.out.clear();
    let Server { connection, out, .. } = &mut server;
    connection.write_fragment(MessageKind::Text, b"Hel", false, out).unwrap();
    connection.write_fragment(MessageKind::Text, b"lo", true, out).unwrap();
    assert_eq!(out, b"\x01\x03Hel\x80\x02lo");

    // A masked pong with the same payload.
    assert_eq!(see(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [saw_pong(b"Hello")]);

    server.out.clear();
    server.send(MessageKind::Binary, &[7; 256]);
    assert_eq!(server.out[..4], *b"\x82\x7e\x01\x00");
    server.out.clear();
    server.send(MessageKind::Binary, &vec![7; 65536]);
    assert_eq!(server.out[..10], *b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
}

#[test]
fn messages_of_every_class_of_length_go_both_ways() {
    for len in [0, 1, 125, 126, 127, 128, 4096, 4097, 65535, 65536, 100_000] {
        let payload = "*".repeat(len);
        let mut server = Server::new();
        assert_eq!(server.feed(&text(&payload)), [saw_text(&payload)]);
        assert_eq!(server.feed(&binary(payload.as_bytes())), [saw_binary(payload.as_bytes())]);
        assert!(server.input.is_empty());
        server.send(MessageKind::Text, payload.as_bytes());
        server.send(MessageKind::Binary, payload.as_bytes());
        let frames = server.sent();
        assert_eq!(frames.iter().map(|frame| frame.first).collect::<Vec<_>>(), [FIN | TEXT, FIN | BINARY]);
        assert!(frames.iter().all(|frame| frame.payload == payload.as_bytes()));
    }
    let payload = "*".repeat(300);
    assert_eq!(see(&text(&payload)), [saw_text(&payload)]);
}

#[test]
fn what_is_not_masked_is_refused_with_its_second_byte() {
    for wire in [&b"\x81\x05Hello"[..], b"\x82\x7e\x01\x00", b"\x89\x00", b"\x88\x00"] {
        assert_eq!(see(wire), [FAILED]);
        assert_eq!(fails_at(None, wire), Some((2, 1002)));
    }
}

#[test]
fn a_key_of_zeros_is_a_key() {
    assert_eq!(see(b"\x81\x82\0\0\0\0hi"), [saw_text("hi")]);
}

#[test]
fn reserved_bits_are_refused_with_the_first_byte() {
    for bits in 1..8 {
        for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
            let wire = [text("before"), frame(FIN | (bits << 4) | opcode, b"x"), ping(b"")].concat();
            assert_eq!(see(&wire), [saw_text("before"), FAILED], "{bits:03b} {opcode:x}");
            assert_eq!(fails_at(None, &wire), Some((text("before").len() + 1, 1002)));
        }
    }
}

#[test]
fn reserved_opcodes_are_refused_with_the_first_byte() {
    for opcode in (3..8).chain(11..16) {
        for first in [opcode, FIN | opcode] {
            let wire = [text("before"), frame(first, b""), ping(b"")].concat();
            assert_eq!(see(&wire), [saw_text("before"), FAILED], "{first:x}");
            assert_eq!(fails_at(None, &wire), Some((text("before").len() + 1, 1002)));
        }
    }
}

#[test]
fn lengths_have_their_shortest_form_and_at_most_63_bits() {
    for (wire, at) in [
        (&b"\x81\xfe\x00\x7d"[..], 4),
        (b"\x81\xfe\x00\x00", 4),
        (b"\x81\xff\x00\x00\x00\x00\x00\x00\x00\x05", 10),
        (b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff", 10),
        (b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", 10),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10),
    ] {
        assert_eq!(see(wire), [FAILED], "{wire:x?}");
        assert_eq!(fails_at(None, wire), Some((at, 1002)), "{wire:x?}");
    }
}

#[test]
fn each_ping_is_answered_with_its_payload_and_in_order() {
    let mut server = Server::new();
    let payloads: Vec<Vec<u8>> =
        vec![vec![], b"Hello".to_vec(), vec![0, 255, 254, 253, 252], vec![0xfe; 125], b"last".to_vec()];
    let wire: Vec<u8> = payloads.iter().flat_map(|payload| ping(payload)).collect();
    let seen = server.feed(&wire);
    assert_eq!(seen, payloads.iter().map(|payload| saw_ping(payload)).collect::<Vec<_>>());
    assert_eq!(server.sent(), payloads.iter().map(|payload| pong_frame(payload)).collect::<Vec<_>>());
}

#[test]
fn only_the_latest_of_several_pings_is_answered_when_writing_was_held_up() {
    let mut server = Server::new();
    server.input.extend([ping(b"1"), ping(b"2"), ping(b"3")].concat());
    while server.connection.poll_event(&mut server.input).unwrap().is_some() {}
    assert!(server.connection.write_replies(&mut server.out));
    assert_eq!(server.sent(), [pong_frame(b"3")]);
    assert!(!server.connection.write_replies(&mut server.out), "once");
    assert!(server.out.is_empty());
}

#[test]
fn unsolicited_pongs_are_no_failure() {
    let wire = [frame(FIN | PONG, b""), frame(FIN | PONG, b"unasked"), ping(b"x")].concat();
    assert_eq!(see(&wire), [saw_pong(b""), saw_pong(b"unasked"), saw_ping(b"x")]);
}

#[test]
fn control_frames_have_at_most_125_bytes_and_one_fragment() {
    for opcode in [CLOSE, PING, PONG] {
        assert_eq!(fails_at(None, &frame(FIN | opcode, &[0xfe; 126])), Some((2, 1002)));
        assert_eq!(fails_at(None, &[FIN | opcode, 0xff]), Some((2, 1002)));
        assert_eq!(fails_at(None, &frame(opcode, b"fragment")), Some((1, 1002)));
    }
}

#[test]
fn fragments_become_one_message_with_pings_between_them() {
    for size in [1, 2, 5, 7, 100] {
        assert_eq!(see(&fragments(TEXT, b"fragmented", size)), [saw_text("fragmented")]);
        assert_eq!(see(&fragments(BINARY, b"fragmented", size)), [saw_binary(b"fragmented")]);
    }
    let wire = [
        frame(TEXT, b"one "),
        ping(b"in between"),
        frame(CONTINUATION, b""),
        frame(FIN | PONG, b""),
        frame(FIN | CONTINUATION, b"message"),
        text("another"),
    ];
    assert_eq!(
        see(&wire.concat()),
        [saw_ping(b"in between"), saw_pong(b""), saw_text("one message"), saw_text("another")]
    );
    // The answer does not wait for the message's end.
    let mut server = Server::new();
    server.feed(&wire[..2].concat());
    assert_eq!(server.sent(), [pong_frame(b"in between")]);
}

#[test]
fn empty_fragments_are_an_empty_message() {
    let wire = [frame(TEXT, b""), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, b"")].concat();
    assert_eq!(see(&wire), [saw_text("")]);
    assert_eq!(see(&[frame(BINARY, b""), frame(FIN | CONTINUATION, b"x")].concat()), [saw_binary(b"x")]);
}

#[test]
fn fragments_come_in_order() {
    for (wire, at) in [
        (vec![frame(FIN | CONTINUATION, b"of nothing")], 1),
        (vec![frame(CONTINUATION, b"of nothing")], 1),
        (vec![text("whole"), frame(FIN | CONTINUATION, b"of nothing")], 12),
        (vec![frame(TEXT, b"begun"), text("new")], 12),
        (vec![frame(TEXT, b"begun"), frame(BINARY, b"new")], 12),
        (vec![frame(TEXT, b"begun"), frame(FIN | CONTINUATION, b""), frame(FIN | CONTINUATION, b"")], 18),
    ] {
        let wire = wire.concat();
        assert_eq!(fails_at(None, &wire), Some((at, 1002)), "{wire:x?}");
        assert_eq!(see(&wire).last(), Some(&FAILED));
    }
}

#[test]
fn nothing_is_read_after_a_failure() {
    let mut server = Server::new();
    assert_eq!(server.feed(&[frame(0x83, b""), text("after"), ping(b"")].concat()), [FAILED]);
    assert!(server.feed(&text("later")).is_empty());
    assert!(server.input.is_empty());
    let sent = server.sent();
    assert_eq!(sent.len(), 1, "one Close frame and no pong: {sent:?}");
    assert_eq!(&sent[0].payload[2..], b"reserved opcode");
}

#[test]
fn fragments_to_the_client_may_have_any_length() {
    let pings = Settings { ping_interval: Some(Duration::from_secs(30)), ..Settings::default() };
    let mut server = Server::with(&pings, None);
    let Server { connection, out, .. } = &mut server;
    connection.write_fragment(MessageKind::Binary, b"", false, out).unwrap();
    connection.tick(Instant::now(), true, out).unwrap();
    connection.write_fragment(MessageKind::Binary, &[1; 300], false, out).unwrap();
    connection.write_fragment(MessageKind::Binary, b"", true, out).unwrap();
    connection.write_fragment(MessageKind::Text, b"whole", true, out).unwrap();
    let of = |first, payload: &[u8]| Frame { first, payload: payload.to_vec() };
    assert_eq!(
        server.sent(),
        [
            of(BINARY, b""),
            of(FIN | PING, &1u64.to_be_bytes()),
            of(CONTINUATION, &[1; 300]),
            of(FIN | CONTINUATION, b""),
            of(FIN | TEXT, b"whole"),
        ]
    );
}

#[test]
fn every_phase_of_the_key_is_followed_where_input_is_cut() {
    let payload: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let wire = binary(&payload);
    assert_eq!(wire[4..8], KEY);
    for size in [1, 3, 5, 11, 4095, 4097] {
        let mut server = Server::new();
        let seen: Vec<Seen> = wire.chunks(size).flat_map(|piece| server.feed(piece)).collect();
        assert_eq!(seen, [saw_binary(&payload)], "by {size}");
    }
}

//! Text is UTF-8 (RFC 6455 §8.1); other bytes are refused at the first one that shows it.

use hcrs_ws::{MessageKind, SendError};

use crate::driver::{
    BINARY, CONTINUATION, FIN, Seen, Server, TEXT, binary, fails_at, fragments, frame, saw_binary, saw_text,
    see,
};

/// Bytes of a frame of fewer than 126 before its payload.
const HEADER: usize = 6;

const FAILED: Seen = Seen::Failed(1007);

const VALID: &[&str] = &[
    "",
    "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!",
    "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}",
    "\0",
    "\u{80}",
    "\u{7f}",
    "\u{7ff}",
    "\u{800}",
    "\u{d7ff}",
    "\u{e000}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{fffe}",
    "\u{10000}",
    "\u{10ffff}",
    "\u{1fffe}\u{10fffe}",
];

const INVALID: &[&[u8]] = &[
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    b"\xc0\x20",
    b"\xe0\x20",
    b"\xf0\x20",
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    // Longer than need be.
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf",
    b"\xfc\x80\x80\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80",
    // Surrogates, alone and in pairs.
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    // Beyond Unicode.
    b"\xf4\x90\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfd\xbf\xbf\xbf\xbf\xbf",
    // Cut.
    b"\xc2",
    b"\xe1\xbd",
    b"\xf0\x90\x80",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce",
];

#[test]
fn valid_text_passes_however_it_is_cut() {
    for valid in VALID {
        for size in 1..=valid.len().max(1) {
            assert_eq!(
                see(&fragments(TEXT, valid.as_bytes(), size)),
                [saw_text(valid)],
                "{valid:?} by {size}"
            );
        }
    }
}

#[test]
fn invalid_text_fails_however_it_is_cut() {
    for invalid in INVALID {
        for size in 1..=invalid.len() {
            assert_eq!(see(&fragments(TEXT, invalid, size)), [FAILED], "{invalid:x?} by {size}");
        }
    }
}

#[test]
fn binary_messages_hold_anything() {
    for invalid in INVALID {
        assert_eq!(see(&binary(invalid)), [saw_binary(invalid)]);
        assert_eq!(see(&fragments(BINARY, invalid, 1)), [saw_binary(invalid)]);
    }
}

#[test]
fn text_fails_with_the_first_byte_that_cannot_belong_to_it() {
    let good = "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes();
    let bad = [good, b"\xf4\x90\x80\x80", b"edited"].concat();
    let (seen, failed) = (good.len() + 1, good.len() + 2);
    // In one frame, its rest still to come.
    assert_eq!(fails_at(None, &frame(FIN | TEXT, &bad)), Some((HEADER + failed, 1007)));
    // In three, the fault in the middle one; and cut just inside the bad character.
    for cut in [good.len(), seen] {
        let wire = [frame(TEXT, &bad[..cut]), frame(CONTINUATION, &bad[cut..failed])].concat();
        let until = HEADER + cut + HEADER + (failed - cut);
        assert_eq!(fails_at(None, &wire), Some((until, 1007)), "cut at {cut}");
    }
}

#[test]
fn blocks_that_a_vector_reads_at_once_hide_no_fault() {
    for at in 0..200 {
        let mut text = vec![b'a'; 256];
        text[at] = 0xff;
        assert_eq!(fails_at(None, &frame(TEXT, &text)), Some((8 + at + 1, 1007)), "at {at}");
        let mut server = Server::new();
        assert_eq!(server.feed(&frame(FIN | TEXT, &text)), [FAILED], "at {at}");
    }
}

#[test]
fn a_character_cut_at_the_end_fails_only_with_the_last_frame() {
    let mut server = Server::new();
    assert!(server.feed(&frame(TEXT, b"\xf0\x9f")).is_empty());
    assert!(server.feed(&frame(CONTINUATION, b"")).is_empty());
    assert!(server.feed(&frame(CONTINUATION, b"\x98")).is_empty());
    assert_eq!(server.feed(&frame(FIN | CONTINUATION, b"")), [FAILED]);
}

#[test]
fn text_to_the_client_is_checked_too() {
    let mut server = Server::new();
    let Server { connection, out, .. } = &mut server;
    for invalid in INVALID {
        assert_eq!(connection.write_message(MessageKind::Text, invalid, out), Err(SendError::NotUtf8));
        assert_eq!(connection.write_fragment(MessageKind::Text, invalid, true, out), Err(SendError::NotUtf8));
    }
    assert!(out.is_empty());
    connection.write_fragment(MessageKind::Text, b"\xe2\x82", false, out).unwrap();
    assert_eq!(connection.write_fragment(MessageKind::Text, b"", true, out), Err(SendError::NotUtf8));
    assert_eq!(connection.write_fragment(MessageKind::Text, b"x", false, out), Err(SendError::NotUtf8));
    connection.write_fragment(MessageKind::Text, b"\xac", true, out).unwrap();
    assert_eq!(out, b"\x01\x02\xe2\x82\x80\x01\xac");
}

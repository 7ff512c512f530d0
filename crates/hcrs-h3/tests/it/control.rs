//! The control streams, QPACK's streams and the streams of unknown types.

use hcrs_h3::Settings;

use crate::frames::{
    CANCEL_PUSH, DATA, Frame, GOAWAY, GREASE, HEADERS, MAX_PUSH_ID, PRIORITY_UPDATE_PUSH, PUSH_PROMISE,
    SETTINGS, control, frame, get, read_frames, settings, take_varint, varint,
};
use crate::server::{CONTROL, Server, page, silent};

/// The server's control stream, that of its decoder, and streams of the client that are free.
const SERVER_CONTROL: u64 = 3;
const REPORTS: u64 = 7;
const SECOND: u64 = 6;
const THIRD: u64 = 10;

/// Returns the code that the connection is closed with when the client sends this on its control stream, in
/// one piece and byte by byte.
fn after(bytes: &[u8]) -> Option<String> {
    let closed = |piece| {
        let mut server = Server::silent_client(&Settings::default(), silent());
        server.wire.piece = piece;
        server.send(CONTROL, bytes);
        server.closed_with()
    };
    let (whole, cut) = (closed(usize::MAX), closed(1));
    assert_eq!(whole, cut, "{bytes:x?}");
    whole
}

#[test]
fn the_first_bytes_are_the_settings() {
    let mut server = Server::new(silent());
    let bytes = server.wire.take(SERVER_CONTROL);
    let mut rest = &bytes[..];
    assert_eq!(take_varint(&mut rest), Some(0), "a control stream");
    // QPACK_MAX_TABLE_CAPACITY, MAX_FIELD_SECTION_SIZE, ENABLE_CONNECT_PROTOCOL
    assert_eq!(
        read_frames(rest),
        (vec![Frame::Settings(vec![(0x1, 4096), (0x6, 65_536), (0x8, 1)])], vec![])
    );
    let mut server = Server::with(&Settings { extended_connect: false, ..Settings::default() }, silent());
    let bytes = server.wire.take(SERVER_CONTROL);
    assert_eq!(read_frames(&bytes[1..]).0, [Frame::Settings(vec![(0x1, 4096), (0x6, 65_536)])]);
}

#[test]
fn the_settings_wait_for_a_client_that_allows_no_stream_yet() {
    let mut server = Server::silent_client(&Settings::default(), page("ok"));
    server.wire.unis_allowed = 0;
    server.request(0, &get("/"));
    assert_eq!(server.response(0).0, 200);
    server.wire.unis_allowed = 1;
    server.settle();
    assert!(!server.wire.take(SERVER_CONTROL).is_empty());
}

#[test]
fn settings_and_frames_of_unknown_types_are_ignored() {
    let good = [
        control(&[(0x6, 1 << 20), (0x1, 4096), (0x7, 16), (0x8, 1), (0x33, 1), (0x21 + 0x1f * 3, 7)]),
        frame(GREASE, b"grease"),
        frame(0x4d, &[0; 5000]),
        frame(MAX_PUSH_ID, &varint(7)),
        frame(MAX_PUSH_ID, &varint(7)),
    ]
    .concat();
    assert_eq!(after(&good), None);
    let mut server = Server::silent_client(&Settings::default(), silent());
    assert!(server.connection.awaits_settings());
    server.send(CONTROL, &good);
    assert!(!server.connection.awaits_settings());
}

#[test]
fn the_first_frame_of_the_client_is_its_settings_and_there_are_no_second_ones() {
    for first in [frame(GREASE, b""), frame(GOAWAY, &[0]), frame(DATA, b""), frame(MAX_PUSH_ID, &[0])] {
        let code = after(&[varint(0), first].concat());
        assert_eq!(code.as_deref(), Some("H3_MISSING_SETTINGS"));
    }
    let twice = [control(&[]), settings(&[])].concat();
    assert_eq!(after(&twice).as_deref(), Some("H3_FRAME_UNEXPECTED"));
}

#[test]
fn settings_have_a_form() {
    let bad: [(&[(u64, u64)], &str); 9] = [
        (&[(0x6, 1), (0x6, 1)], "H3_SETTINGS_ERROR"),
        (&[(0x0, 1)], "H3_SETTINGS_ERROR"),
        (&[(0x2, 0)], "H3_SETTINGS_ERROR"),
        (&[(0x3, 1)], "H3_SETTINGS_ERROR"),
        (&[(0x4, 1)], "H3_SETTINGS_ERROR"),
        (&[(0x5, 1)], "H3_SETTINGS_ERROR"),
        (&[(0x8, 2)], "H3_SETTINGS_ERROR"),
        (&[(0x33, 2)], "H3_SETTINGS_ERROR"),
        (&[(GREASE, 1), (GREASE, 2)], "H3_SETTINGS_ERROR"),
    ];
    for (entries, code) in bad {
        assert_eq!(after(&control(entries)).as_deref(), Some(code), "{entries:?}");
    }
    for payload in [&[0x6][..], &[0x6, 0x40]] {
        let code = after(&[varint(0), frame(SETTINGS, payload)].concat());
        assert_eq!(code.as_deref(), Some("H3_FRAME_ERROR"));
    }
    let long = [varint(0), frame(SETTINGS, &[0; 5000])].concat();
    assert_eq!(after(&long[..20]).as_deref(), Some("H3_EXCESSIVE_LOAD"));
}

#[test]
fn frames_of_requests_and_of_http2_are_not_for_the_control_stream() {
    for kind in [DATA, HEADERS, PUSH_PROMISE, 0x2, 0x6, 0x8, 0x9] {
        let code = after(&[control(&[]), frame(kind, &[0])].concat());
        assert_eq!(code.as_deref(), Some("H3_FRAME_UNEXPECTED"), "{kind:#x}");
    }
}

#[test]
fn numbers_of_pushes_only_go_one_way() {
    type Frames = &'static [(u64, u64)];
    let table: [(Frames, Option<&str>); 8] = [
        (&[(MAX_PUSH_ID, 1), (MAX_PUSH_ID, 5)], None),
        (&[(MAX_PUSH_ID, 5), (MAX_PUSH_ID, 1)], Some("H3_ID_ERROR")),
        (&[(GOAWAY, 1), (GOAWAY, 2)], Some("H3_ID_ERROR")),
        (&[(CANCEL_PUSH, 0)], Some("H3_ID_ERROR")),
        (&[(MAX_PUSH_ID, 5), (CANCEL_PUSH, 3)], Some("H3_ID_ERROR")),
        (&[(PRIORITY_UPDATE_PUSH, 0)], Some("H3_ID_ERROR")),
        (&[(GOAWAY, 1)], Some("H3_NO_ERROR")),
        (&[], None),
    ];
    for (frames, code) in table {
        let frames = frames.iter().flat_map(|&(kind, id)| frame(kind, &varint(id)));
        let bytes: Vec<u8> = control(&[]).into_iter().chain(frames).collect();
        // A client that goes away closes an idle connection before its next byte is read.
        let closed = {
            let mut server = Server::silent_client(&Settings::default(), silent());
            server.send(CONTROL, &bytes);
            server.closed_with()
        };
        assert_eq!(closed.as_deref(), code);
    }
    for kind in [GOAWAY, MAX_PUSH_ID, CANCEL_PUSH, PRIORITY_UPDATE_PUSH] {
        let code = after(&[control(&[]), frame(kind, &[])].concat());
        assert_eq!(code.as_deref(), Some("H3_FRAME_ERROR"), "{kind:#x}");
    }
    for kind in [GOAWAY, MAX_PUSH_ID, CANCEL_PUSH] {
        let code = after(&[control(&[]), frame(kind, &[0, 0])].concat());
        assert_eq!(code.as_deref(), Some("H3_FRAME_ERROR"), "{kind:#x}");
    }
}

#[test]
fn a_stream_that_both_ends_need_stays_open_and_is_one() {
    for (kind, content) in [(0x0, settings(&[])), (0x2, vec![0x20]), (0x3, vec![0x41])] {
        let bytes = [varint(kind), content.clone()].concat();
        let begin = |server: &mut Server, id| server.send(id, &bytes);
        let mut finished = Server::silent_client(&Settings::default(), silent());
        begin(&mut finished, SECOND);
        assert_eq!(finished.closed_with(), None);
        finished.wire.finish_request(SECOND);
        finished.settle();
        assert_eq!(finished.closed_with().as_deref(), Some("H3_CLOSED_CRITICAL_STREAM"), "{kind}");
        let mut reset = Server::silent_client(&Settings::default(), silent());
        begin(&mut reset, SECOND);
        reset.wire.reset_request(SECOND);
        reset.settle();
        assert_eq!(reset.closed_with().as_deref(), Some("H3_CLOSED_CRITICAL_STREAM"), "{kind}");
        let mut twice = Server::silent_client(&Settings::default(), silent());
        begin(&mut twice, SECOND);
        begin(&mut twice, THIRD);
        assert_eq!(twice.closed_with().as_deref(), Some("H3_STREAM_CREATION_ERROR"), "{kind}");
    }
    let mut server = Server::new(silent());
    server.wire.stop_response(SERVER_CONTROL);
    server.settle();
    assert_eq!(server.closed_with().as_deref(), Some("H3_CLOSED_CRITICAL_STREAM"));
}

#[test]
fn a_client_pushes_nothing() {
    let mut server = Server::new(silent());
    server.send(SECOND, &varint(0x1));
    assert_eq!(server.closed_with().as_deref(), Some("H3_STREAM_CREATION_ERROR"));
}

#[test]
fn streams_of_unknown_types_are_stopped_and_harm_nothing() {
    let mut server = Server::new(page("ok"));
    for (at, kind) in [0x21, 0x54, 0x4d4d, (1 << 62) - 1].into_iter().enumerate() {
        let id = SECOND + 4 * at as u64;
        for byte in varint(kind) {
            server.send(id, &[byte]);
        }
        assert_eq!(server.wire.stopped_with(id), Some(0x103), "{kind:#x}");
    }
    // One that ends before its type is known is no error.
    let id = SECOND + 16;
    server.wire.finish_request(id);
    server.settle();
    server.send(id + 4, &[0x40]);
    server.wire.reset_request(id + 4);
    server.settle();
    server.request(0, &get("/"));
    assert_eq!(server.response(0).0, 200);
}

#[test]
fn instructions_that_cannot_be_end_the_connection() {
    let table: [(&[u8], Option<&str>); 13] = [
        // The encoder's: capacities, one that is too large, insertions without capacity, a duplicate of nothing.
        (&[0x2, 0x20, 0x3f, 0xe1, 0x1f], None),
        (&[0x2, 0x3f, 0xe1, 0x1f, 0xc0, 0x01, b'a', 0x00], None),
        (&[0x2, 0x3f, 0xe2, 0x1f], Some("QPACK_ENCODER_STREAM_ERROR")),
        (&[0x2, 0xc0, 0x00], Some("QPACK_ENCODER_STREAM_ERROR")),
        (&[0x2, 0x41, b'a', 0x00], Some("QPACK_ENCODER_STREAM_ERROR")),
        (&[0x2, 0x00], Some("QPACK_ENCODER_STREAM_ERROR")),
        // The decoder's: streams that are cancelled, an acknowledged section, counted insertions.
        (&[0x3, 0x40, 0x7f, 0x00, 0x7f, 0x80, 0x80, 0x01, 0x41], None),
        (&[0x3, 0x84], Some("QPACK_DECODER_STREAM_ERROR")),
        (&[0x3, 0xff, 0x01], Some("QPACK_DECODER_STREAM_ERROR")),
        (&[0x3, 0x00], Some("QPACK_DECODER_STREAM_ERROR")),
        (&[0x3, 0x01], Some("QPACK_DECODER_STREAM_ERROR")),
        (&[0x3, 0x7f, 0x00, 0x01], Some("QPACK_DECODER_STREAM_ERROR")),
        (
            &[0x3, 0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
            Some("QPACK_DECODER_STREAM_ERROR"),
        ),
    ];
    for (bytes, code) in table {
        for piece in [1, usize::MAX] {
            let mut server = Server::new(silent());
            server.wire.piece = piece;
            server.send(SECOND, bytes);
            assert_eq!(server.closed_with().as_deref(), code, "{bytes:x?}");
        }
    }
}

#[test]
fn a_request_may_refer_to_what_was_acknowledged() {
    let mut server = Server::new(page("ok"));
    server.wire.take(SERVER_CONTROL);
    // A table of 4096 bytes with `:authority: a`.
    server.send(SECOND, &[0x2, 0x3f, 0xe1, 0x1f, 0xc0, 0x01, b'a']);
    assert_eq!(server.wire.take(REPORTS), [0x3, 0x01], "one insertion is here");
    // :method GET, :scheme https, :path /, and the entry
    let request = frame(HEADERS, &[0x02, 0x00, 0xd1, 0xd7, 0xc1, 0x80]);
    server.request(0, &request);
    assert_eq!(server.response(0).0, 200);
    assert_eq!(server.wire.take(REPORTS), [0x80], "the section of stream 0 was decoded");
    // A request that is cut off may have had sections that are lost.
    server.send(4, &request[..3]);
    server.wire.reset_request(4);
    server.settle();
    assert_eq!(server.wire.take(REPORTS), [0x44]);
    // So may one that is reset because it is malformed, and a body that is turned away.
    server.send(8, &frame(HEADERS, &[0x02, 0x00, 0x80]));
    assert_eq!((server.wire.reset_with(8), server.wire.take(REPORTS)), (Some(0x10e), vec![0x88, 0x48]));
    server.send(12, &request);
    server.wait(600);
    assert_eq!((server.wire.stopped_with(12), server.wire.take(REPORTS)), (Some(0x100), vec![0x8c, 0x4c]));
    server.wire.stop_response(REPORTS);
    server.settle();
    assert_eq!(server.closed_with().as_deref(), Some("H3_CLOSED_CRITICAL_STREAM"));
}

#[test]
fn a_client_that_inserts_nothing_hears_nothing_of_it() {
    let mut server = Server::new(page("ok"));
    server.request(0, &get("/"));
    server.send(4, &get("/")[..3]);
    server.wire.reset_request(4);
    server.settle();
    assert_eq!(server.wire.take(REPORTS), []);
}

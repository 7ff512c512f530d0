//! What costs a client little and a server much: the answers, in bounded memory.

use hcrs_h3::{Ended, Settings};
use hcrs_http::Fault;

use crate::frames::{GREASE, MAX_PUSH_ID, data, frame, get, headers, request, varint};
use crate::server::{CONTROL, Server, page, silent};

/// Most memory that a flood may cost one connection, in bytes. The wire of the tests has its own share.
const FLAT: u64 = 768 << 10;

fn settings() -> Settings {
    Settings { frame_burst: 2000, frame_refill: 100, reset_burst: 50, reset_refill: 5, ..Settings::default() }
}

/// Has `act` done up to `count` times. Returns the number of times after which the connection ended.
fn flood(server: &mut Server, count: u64, mut act: impl FnMut(&mut Server, u64)) -> Option<u64> {
    for n in 0..count {
        act(server, n);
        server.settle();
        if server.ended.is_some() {
            assert_eq!(server.closed_with().as_deref(), Some("H3_EXCESSIVE_LOAD"));
            return Some(n);
        }
    }
    None
}

#[test]
fn frames_without_progress_end_the_connection_after_the_burst_and_not_before() {
    let floods = [
        ("unknown", CONTROL, frame(GREASE, b"grease")),
        ("MAX_PUSH_ID", CONTROL, frame(MAX_PUSH_ID, &varint(1))),
        ("PRIORITY_UPDATE", CONTROL, frame(0xf0700, &[&varint(0)[..], b"u=1"].concat())),
        ("unknown of a request", 0, frame(GREASE, b"")),
        ("empty DATA", 0, data(b"")),
    ];
    for (name, id, bytes) in floods {
        let mut server = Server::with(&settings(), silent());
        server.send(0, &request("POST", "/", &[]));
        let flight = bytes.repeat(100);
        let act = |server: &mut Server, _| server.wire.send(id, &flight);
        assert_eq!(flood(&mut server, 19, act), None, "{name}");
        server.wait(10_000);
        assert_eq!(flood(&mut server, 10, act), None, "{name}: ten seconds forgive a thousand");
        let held = allocation_counter::measure(|| {
            assert!(flood(&mut server, 12, act).is_some(), "{name}");
        });
        assert_eq!(server.ended, Some(Ended::Fault(Fault::TooManyFrames)), "{name}");
        assert!(held.bytes_max < FLAT, "{name}: {} bytes", held.bytes_max);
    }
}

#[test]
fn an_unknown_frame_counts_by_its_length_and_is_not_kept() {
    let mut server = Server::with(&settings(), silent());
    server.send(CONTROL, &[varint(GREASE), varint(16 << 20)].concat());
    assert_eq!(server.ended, None);
    let piece = vec![7; 64 << 10];
    let held = allocation_counter::measure(|| {
        for _ in 0..256 {
            server.send(CONTROL, &piece);
        }
    });
    assert!(held.bytes_max < FLAT, "{} bytes", held.bytes_max);
    assert_eq!(server.ended, None);
    server.send(CONTROL, &[varint(GREASE), varint(1 << 50)].concat());
    assert_eq!(server.ended, Some(Ended::Fault(Fault::TooManyFrames)));
}

#[test]
fn rapid_resets_end_the_connection_after_the_burst() {
    for answers in [false, true] {
        let app = || if answers { page("ok") } else { silent() };
        let mut server = Server::with(&settings(), app());
        let ended = flood(&mut server, 200, |server, n| {
            server.wire.send(4 * n, &request("POST", "/", &[]));
            server.wire.reset_request(4 * n);
        });
        // Requests that are reset in the flight that begins them never reach the app.
        assert_eq!(ended, Some(50), "answers: {answers}");
        assert_eq!(server.ended, Some(Ended::Fault(Fault::TooManyResets)));
    }
    let mut server = Server::with(&settings(), silent());
    let ended = flood(&mut server, 200, |server, n| {
        server.request(4 * n, &get("/"));
        server.wire.stop_response(4 * n);
    });
    assert_eq!(ended, Some(50));
}

#[test]
fn answered_requests_forgive_resets() {
    let mut server = Server::with(&settings(), page("ok"));
    let ended = flood(&mut server, 200, |server, n| {
        server.request(8 * n, &get("/"));
        server.send(8 * n + 4, &get("/")[..3]);
        server.wire.reset_request(8 * n + 4);
    });
    assert_eq!(ended, None);
}

#[test]
fn malformed_requests_without_end_end_the_connection() {
    let mut server = Server::with(&settings(), silent());
    let ended = flood(&mut server, 200, |server, n| server.request(4 * n, &headers(&[])));
    assert_eq!(ended, Some(50));
}

#[test]
fn unidirectional_streams_without_end_end_the_connection() {
    let mut server = Server::with(&settings(), silent());
    let ended = flood(&mut server, 5000, |server, n| server.wire.send(6 + 4 * n, &[0x21, 0, 0]));
    assert_eq!(ended, Some(2000));
    // Streams that never say their type, all at once.
    let mut server = Server::with(&settings(), silent());
    for n in 0..64 {
        server.wire.send(6 + 4 * n, &[0x40]);
    }
    server.settle();
    assert!(server.wire.stopped_with(6 + 4 * 60).is_some() && server.wire.stopped_with(6).is_none());
}

#[test]
fn heads_that_never_end_hold_bounded_memory() {
    let mut server = Server::with(&settings(), silent());
    let long = "v".repeat(120_000);
    let bytes = request("GET", "/", &[("x-a", &long)]);
    let held = allocation_counter::measure(|| {
        for n in 0..100 {
            server.send(4 * n, &bytes[..bytes.len() - 1]);
            if server.ended.is_some() {
                break;
            }
        }
    });
    assert_eq!(server.closed_with().as_deref(), Some("H3_EXCESSIVE_LOAD"));
    assert!(held.bytes_max < 8 << 20, "{} bytes", held.bytes_max);
}

#[test]
fn a_section_that_grows_when_decoded_is_bounded() {
    // Each of its bytes is a field of the static table with some fifty bytes.
    let mut section = vec![0, 0];
    section.resize(100_000, 0xfa);
    let mut server = Server::with(&settings(), silent());
    let held = allocation_counter::measure(|| server.request(0, &frame(0x1, &section)));
    assert!(held.bytes_max < 1 << 20, "{} bytes", held.bytes_max);
    assert_eq!(server.closed_with().as_deref(), Some("H3_EXCESSIVE_LOAD"));
}

#[test]
fn a_body_in_tiny_frames_is_no_offence() {
    let mut server = Server::with(&settings(), page("ok"));
    server.send(0, &request("POST", "/", &[]));
    for _ in 0..50 {
        server.send(0, &data(b"a").repeat(1000));
    }
    assert_eq!(server.ended, None);
}

#[test]
fn a_connection_at_rest_holds_no_buffers() {
    let mut server = Server::with(&settings(), page("ok"));
    let upload = |server: &mut Server, id, len| {
        server.request(id, &[request("POST", "/", &[]), data(&vec![7; len])].concat());
        server.take_seen();
        server.wire.forget(id);
    };
    upload(&mut server, 0, 1);
    // The buffer of the thread is there already.
    let mut other = Server::with(&settings(), page("ok"));
    upload(&mut other, 0, 200_000);
    let held = allocation_counter::measure(|| upload(&mut server, 4, 200_000));
    assert!(held.bytes_current < 1000, "{} bytes stay", held.bytes_current);
}

#[test]
fn a_connection_that_has_served_much_is_as_small_as_at_first() {
    let mut server = Server::with(&settings(), page("ok"));
    let serve = |server: &mut Server, from: u64| {
        for n in from..from + 200 {
            server.request(4 * n, &[request("POST", "/", &[]), data(&[7; 1000])].concat());
            server.take_seen();
            server.wire.forget(4 * n);
        }
    };
    serve(&mut server, 0);
    // The keys that the test keeps are all that is left of the streams.
    let held = allocation_counter::measure(|| serve(&mut server, 200));
    assert!(held.bytes_current <= 512 * 16, "{} bytes stay", held.bytes_current);
}

#[test]
fn instructions_without_requests_end_the_connection() {
    let mut server = Server::with(&settings(), page("ok"));
    server.send(6, &[0x2, 0x3f, 0xe1, 0x1f, 0xc0, 0x01, b'a']);
    // A few for each request are no offence.
    let ended = flood(&mut server, 500, |server, n| {
        server.wire.send(6, &[0x00].repeat(60));
        server.request(4 * n, &get("/"));
        server.wire.take(7);
    });
    assert_eq!(ended, None);
    let held = allocation_counter::measure(|| {
        let ended = flood(&mut server, 500, |server, _| {
            server.wire.send(6, &[0x00].repeat(60));
            server.wire.take(7);
        });
        assert!(ended.is_some());
    });
    assert!(held.bytes_max < FLAT, "{} bytes", held.bytes_max);
}

#[test]
fn reports_that_no_client_takes_end_the_connection() {
    let mut server = Server::with(&settings(), page("ok"));
    server.wire.uni_window = 0;
    server.send(6, &[0x2, 0x3f, 0xe1, 0x1f, 0xc0, 0x01, b'a']);
    let request = frame(0x1, &[0x02, 0x00, 0xd1, 0xd7, 0xc1, 0x80]);
    let ended = flood(&mut server, 40_000, |server, n| server.request(4 * n, &request));
    assert!(ended.is_some_and(|after| after > 2000), "{ended:?}");
}

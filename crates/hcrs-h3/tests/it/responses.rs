//! Responses: what leaves, as much as the transport takes, and the errors of apps.

use bytes::Bytes;
use hcrs_h3::{Sent, ServerFields, Settings};
use hcrs_http::{Fault, Field};
use http::HeaderValue;

use crate::frames::{Frame, GREASE, data, frame, get, request};
use crate::server::{Seen, Server, answer, head, page, silent, status};

const INTERNAL_ERROR: u64 = 0x102;
const REQUEST_CANCELLED: u64 = 0x10c;

fn sent(len: usize, done: bool) -> Sent {
    Sent { len, done }
}

/// Returns the fields of the only HEADERS frame among others.
fn fields(frames: &[Frame]) -> Vec<(&str, &str)> {
    let heads = frames
        .iter()
        .filter_map(|frame| if let Frame::Headers(fields) = frame { Some(fields) } else { None });
    let mut heads: Vec<_> = heads.collect();
    assert_eq!(heads.len(), 1);
    heads.remove(0).iter().map(|(name, value)| (&name[..], &value[..])).collect()
}

#[test]
fn fields_leave_as_the_static_table_has_them_or_as_literals() {
    let mut server = Server::new(silent());
    let given = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("content-type", "text/html"),
        ("set-cookie", "a=1"),
        ("X-Frame-Options", "sameorigin"),
        ("vary", "origin"),
        ("content-length", "2"),
        ("date", "today"),
        ("access-control-allow-headers", "*"),
        ("connection", "close"),
        ("x-empty", ""),
    ];
    for (at, status) in [200, 103 + 400, 299, 404, 999].into_iter().enumerate() {
        let id = 4 * at as u64;
        server.request(id, &get("/"));
        let key = server.key(id);
        server.turn(|turn, now| answer(turn, now, key, &head(status, &given), "ab".into()));
        let frames = server.frames(id);
        let line = status.to_string();
        let kept = given.iter().filter(|(name, _)| *name != "connection");
        let kept = kept.map(|(name, value)| (name.to_ascii_lowercase(), *value));
        let expected: Vec<(String, &str)> =
            [(":status".to_owned(), &*line)].into_iter().chain(kept).collect();
        let got: Vec<_> = fields(&frames).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(got, expected);
        assert_eq!(frames[1..], [Frame::Data(b"ab".into())]);
    }
}

#[test]
fn the_server_adds_its_fields_to_answers_of_its_own_too() {
    let mut server = Server::new(page("ok"));
    server.fields = ServerFields {
        date: Some(HeaderValue::from_static("today")),
        server: Some(HeaderValue::from_static("hcrs")),
        alt_svc: Some([HeaderValue::from_static("h3=\":1\"")].into()),
    };
    server.request(0, &get("/"));
    let frames = server.frames(0);
    assert_eq!(
        fields(&frames),
        [(":status", "200"), ("date", "today"), ("server", "hcrs"), ("alt-svc", "h3=\":1\"")]
    );
    server.request(4, &get("/a#b"));
    let frames = server.frames(4);
    assert_eq!(fields(&frames)[..2], [(":status", "400"), ("content-length", "0")]);
    assert!(fields(&frames).contains(&("server", "hcrs")));
}

#[test]
fn streams_of_one_turn_may_share_a_head() {
    let mut server = Server::new(silent());
    for n in 0..4 {
        server.request(4 * n, &get("/"));
    }
    let keys: Vec<_> = (0..4).map(|n| server.key(4 * n)).collect();
    let shared = head(200, &[("x-a", "1"), ("content-length", "2")]);
    server.turn(|turn, now| {
        answer(turn, now, keys[0], &shared, Bytes::from_static(b"ab"));
        answer(turn, now, keys[1], &shared.clone(), Bytes::from_static(b"cd"));
        answer(turn, now, keys[2], &head(404, &[("x-a", "2")]), Bytes::new());
        answer(turn, now, keys[3], &shared, Bytes::from_static(b"ef"));
    });
    let all: Vec<_> = (0..4).map(|n| server.response(4 * n)).collect();
    assert_eq!(all[0], (200, b"ab".to_vec()));
    assert_eq!(all[1], (200, b"cd".to_vec()));
    assert_eq!(all[2], (404, vec![]));
    assert_eq!(all[3], (200, b"ef".to_vec()));
}

#[test]
fn a_body_longer_than_the_window_waits_and_goes_on() {
    let mut server = Server::new(silent());
    server.wire.window = 30_000;
    server.request(0, &get("/"));
    server.take_seen();
    let key = server.key(0);
    server.turn(|turn, now| {
        assert_eq!(turn.send_head(key, &head(200, &[]), false), Ok(false));
        let first = turn.send_data(now, key, vec![7; 100_000].into(), false).unwrap();
        assert!((29_900..30_000).contains(&first.len) && !first.done, "{first:?}");
        assert_eq!(turn.send_data(now, key, "the end".into(), true), Ok(sent(0, false)));
    });
    let (began, mut taken) = (server.now, 0);
    assert_eq!((server.connection.take_stalls(), server.connection.take_stalls()), (1, 0));
    assert_eq!(server.connection.stalled_since(began), [key]);
    let mut all = server.wire.take(0);
    while !server.wire.is_finished(0) {
        server.wire.widen(0, 20_000);
        server.wait(1);
        all.extend(server.wire.take(0));
        match server.take_seen()[..] {
            [Seen::Sent(0, len, done)] => {
                taken += len;
                assert_eq!(done, server.wire.is_finished(0));
            }
            ref other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.connection.stalled_since(server.now), []);
    assert!(taken > 70_000);
    let (frames, rest) = crate::frames::read_frames(&all);
    assert!(rest.is_empty());
    assert_eq!(frames[1..], [Frame::Data(vec![7; 100_000]), Frame::Data(b"the end".into())]);
}

#[test]
fn every_cut_of_what_the_transport_takes_gives_the_same_response() {
    let whole = {
        let mut server = Server::new(page("hello"));
        server.request(0, &get("/"));
        server.wire.take(0)
    };
    for window in 0..whole.len() {
        let mut server = Server::new(page("hello"));
        server.wire.window = window;
        server.request(0, &get("/"));
        assert_eq!(server.wire.take(0), whole[..window]);
        assert!(!server.wire.is_finished(0));
        server.wire.widen(0, 1);
        server.settle();
        server.wire.widen(0, 1000);
        server.settle();
        assert_eq!(server.wire.take(0), whole[window..]);
        assert!(server.wire.is_finished(0));
        let taken = server.take_seen().iter().filter(|seen| matches!(seen, Seen::Sent(0, _, true))).count();
        assert_eq!(taken, 1, "the app hears once that it is done, window {window}");
    }
}

#[test]
fn a_response_that_is_not_taken_can_be_reset_although_its_app_is_done() {
    let mut server = Server::new(silent());
    server.wire.window = 5;
    server.request(0, &get("/"));
    let key = server.key(0);
    server.turn(|turn, _| assert_eq!(turn.send_head(key, &head(200, &[]), true), Ok(true)));
    server.turn(|turn, _| {
        assert_eq!(turn.send_head(key, &head(200, &[]), true), Ok(true), "it is over for the app");
    });
    // The head has a few bytes more than the client takes.
    let mut server = Server::new(silent());
    server.wire.window = 1;
    server.request(0, &get("/a#b"));
    let stalled = server.connection.stalled_since(server.now);
    assert_eq!(stalled.len(), 1);
    server.connection.fail(stalled[0], Fault::WriteStalled);
    server.settle();
    assert_eq!(server.wire.reset_with(0), Some(REQUEST_CANCELLED));
    assert_eq!(server.connection.stalled_since(server.now), []);
}

#[test]
fn responses_without_a_body_on_the_wire_drop_what_the_app_sends() {
    let mut server = Server::new(silent());
    for (id, method, code) in [(0, "HEAD", 200), (4, "GET", 204), (8, "GET", 304)] {
        server.request(id, &request(method, "/", &[]));
        let key = server.key(id);
        server.turn(|turn, now| {
            assert_eq!(turn.send_head(key, &head(code, &[("content-length", "5")]), false), Ok(false));
            assert_eq!(turn.send_data(now, key, "dropped".into(), false), Ok(sent(7, false)));
        });
        assert_eq!((status(&heads(&mut server, id)[0]), server.wire.is_finished(id)), (code, true));
        server.turn(|turn, now| assert_eq!(turn.send_data(now, key, Bytes::new(), true), Ok(sent(0, true))));
        assert!(server.wire.take(id).is_empty());
    }
}

/// Returns the heads that came on a stream, which has no other frames.
fn heads(server: &mut Server, id: u64) -> Vec<Vec<(String, String)>> {
    let head = |frame| if let Frame::Headers(fields) = frame { fields } else { panic!("{frame:?}") };
    server.frames(id).into_iter().map(head).collect()
}

#[test]
fn hints_come_before_the_head_and_trailers_behind_the_body() {
    let mut server = Server::new(silent());
    server.request(0, &get("/"));
    let key = server.key(0);
    let hints = head(103, &[("link", "</a.css>; rel=preload")]);
    server.turn(|turn, now| {
        turn.send_interim(key, &hints).unwrap();
        turn.send_interim(key, &hints).unwrap();
        assert_eq!(turn.send_interim(key, &head(102, &[])), Err(Fault::AppFailed));
        assert_eq!(turn.send_head(key, &head(200, &[]), false), Ok(false));
        assert_eq!(turn.send_interim(key, &hints), Err(Fault::AppFailed));
        assert_eq!(turn.send_data(now, key, "ab".into(), false), Ok(sent(2, false)));
        assert_eq!(turn.send_trailers(now, key, &head(0, &[("content-length", "1")])), Err(Fault::AppFailed));
        assert_eq!(turn.send_trailers(now, key, &head(0, &[("Checksum", "1")])), Ok(true));
    });
    let frames = server.frames(0);
    let names: Vec<_> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Headers(fields) => fields[0].1.clone(),
            Frame::Data(_) => "data".to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["103", "103", "200", "data", "1"]);
    assert!(server.wire.is_finished(0));
    // Trailers without a field are the end alone.
    server.request(4, &get("/"));
    let key = server.key(4);
    server.turn(|turn, now| {
        assert_eq!(turn.send_head(key, &head(200, &[]), false), Ok(false));
        assert_eq!(turn.send_trailers(now, key, &head(0, &[])), Ok(true));
    });
    assert_eq!(server.response(4), (200, vec![]));
}

#[test]
fn hints_that_no_client_takes_are_dropped_in_the_end() {
    let mut server = Server::new(silent());
    server.wire.window = 0;
    server.request(0, &get("/"));
    let (key, link) = (server.key(0), "</a.css>; rel=preload; ".repeat(40));
    let hints = head(103, &[("link", &link)]);
    let held = allocation_counter::measure(|| {
        for _ in 0..1000 {
            server.turn(|turn, _| turn.send_interim(key, &hints).unwrap());
        }
    });
    assert!(held.bytes_max < 300 << 10, "{} bytes", held.bytes_max);
}

#[test]
fn a_stream_that_takes_no_more_is_reported_to_the_app() {
    let mut server = Server::new(silent());
    server.request(0, &get("/"));
    server.take_seen();
    let key = server.key(0);
    server.wire.end_silently(0);
    server.turn(|turn, _| assert_eq!(turn.send_head(key, &head(200, &[]), false), Ok(false)));
    server.settle();
    assert_eq!(server.take_seen(), [Seen::Reset(0)]);
}

#[test]
fn a_fault_before_the_head_is_answered_with_its_status() {
    let mut server = Server::new(silent());
    server.request(0, &get("/"));
    server.send(4, &request("POST", "/", &[]));
    let (first, second) = (server.key(0), server.key(4));
    let own = Field { name: b"X-Request-ID", value: b"7" };
    server.connection.fail_with(first, Fault::QueueFull, Some(own));
    server.connection.fail(second, Fault::BodyTooLarge);
    server.settle();
    let frames = server.frames(0);
    let expected = [(":status", "503"), ("content-length", "0"), ("retry-after", "1"), ("x-request-id", "7")];
    assert_eq!(fields(&frames), expected);
    assert_eq!(server.response(4).0, 413);
    // Its body goes on, and is dropped.
    server.send(4, &data(b"more"));
    assert_eq!(server.wire.untaken(4), 0);
}

#[test]
fn a_fault_after_the_head_resets_both_directions_with_its_code() {
    for (fault, code) in [(Fault::AppFailed, INTERNAL_ERROR), (Fault::WriteStalled, REQUEST_CANCELLED)] {
        let mut server = Server::new(silent());
        server.send(0, &request("POST", "/", &[]));
        let key = server.key(0);
        server.turn(|turn, now| {
            assert_eq!(turn.send_head(key, &head(200, &[]), false), Ok(false));
            assert_eq!(turn.send_data(now, key, "ab".into(), false), Ok(sent(2, false)));
            turn.fail(key, fault);
        });
        assert_eq!((server.wire.reset_with(0), server.wire.stopped_with(0)), (Some(code), Some(code)));
        server.take_seen();
        server.settle();
        assert_eq!(server.take_seen(), [], "the app knows");
    }
}

#[test]
fn an_app_that_breaks_its_own_rules_fails() {
    let mut server = Server::new(silent());
    server.request(0, &get("/"));
    let key = server.key(0);
    server.turn(|turn, now| {
        assert_eq!(turn.send_data(now, key, "early".into(), false), Err(Fault::AppFailed));
        assert_eq!(turn.send_trailers(now, key, &head(0, &[])), Err(Fault::AppFailed));
        assert_eq!(turn.send_head(key, &head(99, &[]), false), Err(Fault::AppFailed));
        assert_eq!(turn.send_head(key, &head(200, &[("a b", "1")]), false), Err(Fault::AppFailed));
        assert_eq!(turn.send_head(key, &head(200, &[("content-length", "5")]), true), Err(Fault::AppFailed));
        assert_eq!(turn.send_head(key, &head(200, &[("content-length", "5")]), false), Ok(false));
        assert_eq!(turn.send_head(key, &head(200, &[]), false), Err(Fault::AppFailed));
        assert_eq!(turn.send_data(now, key, "123456".into(), false), Err(Fault::AppFailed));
        turn.fail(key, Fault::AppFailed);
    });
    assert_eq!(server.wire.reset_with(0), Some(INTERNAL_ERROR));
    server.request(4, &get("/"));
    let key = server.key(4);
    server.turn(|turn, now| {
        assert_eq!(turn.send_head(key, &head(200, &[("content-length", "5")]), false), Ok(false));
        assert_eq!(turn.send_data(now, key, "1234".into(), true), Err(Fault::AppFailed));
        turn.fail(key, Fault::AppFailed);
    });
    assert_eq!(server.wire.reset_with(4), Some(INTERNAL_ERROR));
}

#[test]
fn a_download_that_no_client_takes_holds_no_more_than_the_app_has_given() {
    let mut server = Server::with(&Settings::default(), silent());
    server.wire.window = 1000;
    for n in 0..100 {
        server.request(4 * n, &get("/"));
    }
    let plain = head(200, &[]);
    let held = allocation_counter::measure(|| {
        for n in 0..100 {
            let key = server.key(4 * n);
            let body = Bytes::from_static(&[7; 16 << 10]);
            server.turn(|turn, now| {
                turn.send_head(key, &plain, false).unwrap();
                turn.send_data(now, key, body, false).unwrap();
            });
        }
    });
    assert!(held.bytes_max < 400 << 10, "{} bytes", held.bytes_max);
}

#[test]
fn frames_of_unknown_types_may_follow_a_request_that_was_answered() {
    let mut server = Server::new(page("ok"));
    server.send(0, &request("POST", "/", &[]));
    server.request(0, &frame(GREASE, b"abc"));
    assert_eq!(server.response(0), (200, b"ok".to_vec()));
    assert!(server.wire.is_over(0));
}

//! The order of responses (RFC 9218).

use bytes::Bytes;

use crate::frames::{PRIORITY_UPDATE, frame, get, request, varint};
use crate::server::{CONTROL, Seen, Server, head, silent};

fn update(id: u64, value: &str) -> Vec<u8> {
    frame(PRIORITY_UPDATE, &[&varint(id)[..], value.as_bytes()].concat())
}

#[test]
fn the_field_of_a_request_orders_its_response() {
    let mut server = Server::new(silent());
    server.request(0, &get("/"));
    for (id, value) in [(4, "u=1"), (8, "u=5, i"), (12, "i"), (16, "nonsense;;"), (20, "u=1")] {
        server.request(id, &request("GET", "/", &[("priority", value)]));
    }
    let ranks: Vec<_> = (0..6).map(|n| server.wire.priority(4 * n)).collect();
    assert!(ranks[1] > 0 && ranks[2] < 0 && ranks[0] == 0 && ranks[3] == 0, "{ranks:?}");
    assert_eq!(ranks[4], 0, "a malformed field is the default");
    assert!(ranks[1] > ranks[5] && ranks[5] > 0, "one after the other: {ranks:?}");
}

#[test]
fn a_frame_changes_the_order_and_wins_over_the_field() {
    let mut server = Server::new(silent());
    server.send(CONTROL, &update(4, "u=6"));
    server.send(CONTROL, &update(4, "u=7"));
    for id in [0, 4] {
        server.request(id, &request("GET", "/", &[("priority", "u=1")]));
    }
    assert!(server.wire.priority(0) > 0 && server.wire.priority(4) < 0);
    server.send(CONTROL, &update(4, "u=0"));
    assert!(server.wire.priority(4) > server.wire.priority(0));
    // The app has the last word, on what it names.
    let key = server.key(4);
    server.turn(|turn, _| {
        assert_eq!(turn.send_head(key, &head(200, &[("Priority", "u=7")]), false), Ok(false));
    });
    assert!(server.wire.priority(4) < 0);
    // A stream that is over is none of its concern.
    server.turn(|turn, now| {
        turn.send_data(now, key, "ok".into(), true).unwrap();
    });
    server.send(CONTROL, &update(4, "u=0"));
    assert_eq!(server.ended, None);
}

#[test]
fn frames_name_requests_within_reach() {
    for (id, is_good) in [(0, true), (396, true), (400, false), (1, false), (2, false), (3, false)] {
        let mut server = Server::new(silent());
        server.send(CONTROL, &update(id, "u=1"));
        let expected = if is_good { None } else { Some("H3_ID_ERROR") };
        assert_eq!(server.closed_with().as_deref(), expected, "{id}");
    }
    let mut server = Server::new(silent());
    server.send(CONTROL, &frame(PRIORITY_UPDATE, b""));
    assert_eq!(server.closed_with().as_deref(), Some("H3_FRAME_ERROR"));
}

/// Returns a connection on which each stream has a body of 256 KiB that waits for the connection's window.
fn downloads(priorities: &[&str]) -> Server {
    let mut server = Server::new(silent());
    server.wire.connection_window = 0;
    for (at, priority) in priorities.iter().enumerate() {
        let id = 4 * at as u64;
        server.request(id, &request("GET", "/", &[("priority", priority)]));
        let key = server.key(id);
        server.turn(|turn, now| {
            turn.send_head(key, &head(200, &[]), false).expect("a good head");
            turn.send_data(now, key, Bytes::from(vec![7; 256 << 10]), false).expect("a good body");
        });
    }
    server.take_seen();
    server
}

/// Opens the window of the connection in steps. Returns the bytes of each stream that were taken.
fn taken(server: &mut Server, count: usize, steps: usize, step: usize) -> Vec<usize> {
    let mut taken = vec![0; count];
    for _ in 0..steps {
        server.wire.widen_connection(step);
        server.wait(1000);
        for seen in server.take_seen() {
            match seen {
                Seen::Sent(id, len, false) => taken[id as usize / 4] += len,
                other => panic!("{other:?}"),
            }
        }
    }
    taken
}

#[test]
fn the_window_of_the_connection_is_shared_by_responses_of_the_same_rank() {
    let mut server = downloads(&["", "i", "", ""]);
    // Steps that are smaller than a turn, and larger ones.
    for step in [1500, 100_000] {
        let taken = taken(&mut server, 4, if step == 1500 { 80 } else { 5 }, step);
        let (least, most) = (taken.iter().min(), taken.iter().max());
        // Each gets a part of 16 KiB in its turn.
        assert!(most.unwrap() - least.unwrap() <= 3 * (16 << 10), "{taken:?}");
    }
}

#[test]
fn the_most_urgent_response_has_the_window_of_the_connection() {
    let mut server = downloads(&["u=5", "u=1", "u=1"]);
    assert_eq!(taken(&mut server, 3, 4, 10_000)[0], 0);
    let before = server.now;
    let all = taken(&mut server, 3, 10, 10_000);
    assert!(all[0] == 0 && all[2] == 0 && all[1] > 95_000, "{all:?}");
    // Those that wait for others have not stalled, and all have once the client takes nothing.
    assert_eq!(server.connection.stalled_since(before).len(), 0);
    let since = server.now;
    server.wait(5000);
    assert_eq!(server.connection.stalled_since(since).len(), 3);
}

//! The end of a connection: GOAWAY in two steps, and what is served meanwhile.

use hcrs_h3::{Ended, Settings};
use hcrs_http::Fault;

use crate::frames::{DATA, Frame, GOAWAY, control, frame, get, read_frames, request};
use crate::server::{CONTROL, Server, head, page, silent};

const SERVER_CONTROL: u64 = 3;
const REQUEST_REJECTED: u64 = 0x10b;
/// The greatest number of a request stream.
const LAST: u64 = (1 << 62) - 4;

/// Returns the GOAWAY frames since the last call.
fn goaways(server: &mut Server) -> Vec<Frame> {
    read_frames(&server.wire.take(SERVER_CONTROL)).0
}

/// Returns a connection whose control stream has been read so far.
fn connected(app: crate::server::App) -> Server {
    let mut server = Server::new(app);
    server.wire.take(SERVER_CONTROL);
    server
}

#[test]
fn a_graceful_shutdown_serves_what_was_on_its_way_and_rejects_later_requests() {
    let mut server = connected(silent());
    server.request(0, &get("/"));
    server.connection.graceful_shutdown();
    server.settle();
    assert_eq!(goaways(&mut server), [Frame::GoAway(LAST)]);
    let due = server.connection.due_at(server.now).expect("a second step");
    server.request(4, &get("/crossing"));
    assert_eq!(server.take_seen().len(), 2);
    server.now = due;
    server.settle();
    assert_eq!(goaways(&mut server), [Frame::GoAway(8)]);
    assert_eq!(server.connection.due_at(server.now), None);
    server.request(8, &get("/late"));
    assert_eq!((server.take_seen(), server.wire.reset_with(8)), (vec![], Some(REQUEST_REJECTED)));
    for id in [0, 4] {
        assert_eq!(server.ended, None);
        let key = server.key(id);
        server.turn(|turn, now| crate::server::answer(turn, now, key, &head(200, &[]), "ok".into()));
        server.settle();
    }
    assert_eq!(server.ended, Some(Ended::Closed));
    assert_eq!(server.closed_with().as_deref(), Some("H3_NO_ERROR"));
}

#[test]
fn the_transport_is_closed_once_the_client_has_acknowledged_all() {
    let mut server = connected(page("ok"));
    server.wire.acknowledges = false;
    server.request(0, &get("/"));
    server.connection.graceful_shutdown();
    server.wait(1000);
    server.wait(1000);
    assert_eq!(goaways(&mut server), [Frame::GoAway(LAST), Frame::GoAway(4)]);
    assert_eq!(server.ended, None);
    server.wire.acknowledge(0);
    server.settle();
    assert_eq!(server.ended, Some(Ended::Closed));
}

#[test]
fn a_client_that_stops_reading_acknowledged_nothing_and_is_not_waited_for() {
    let mut server = connected(page("ok"));
    server.wire.acknowledges = false;
    server.request(0, &get("/"));
    server.connection.final_shutdown();
    server.settle();
    assert_eq!((goaways(&mut server), server.ended), (vec![Frame::GoAway(4)], None));
    server.wire.stop_response(0);
    server.settle();
    assert_eq!(server.ended, Some(Ended::Closed));
}

#[test]
fn a_final_shutdown_waits_for_what_was_sent_alone() {
    let mut server = connected(silent());
    server.request(0, &get("/"));
    server.wire.window = 2;
    server.request(4, &get("/"));
    let key = server.key(4);
    server.turn(|turn, _| assert_eq!(turn.send_head(key, &head(200, &[]), true), Ok(true)));
    server.connection.final_shutdown();
    server.settle();
    assert_eq!((goaways(&mut server), server.ended), (vec![Frame::GoAway(8)], None));
    server.wire.widen(4, 100);
    server.settle();
    assert_eq!(server.ended, Some(Ended::Closed));
    assert!(server.wire.is_finished(4));
}

#[test]
fn an_abrupt_shutdown_closes_with_the_code_of_its_fault() {
    let mut server = connected(silent());
    server.request(0, &get("/"));
    server.connection.abrupt_shutdown(Fault::DrainTimeout);
    server.settle();
    assert_eq!(server.ended, Some(Ended::Closed));
    assert_eq!(server.closed_with().as_deref(), Some("H3_REQUEST_CANCELLED"));
}

#[test]
fn a_shutdown_turns_unwanted_bodies_away() {
    let mut server = connected(page("early"));
    server.send(0, &request("POST", "/", &[]));
    server.connection.graceful_shutdown();
    server.settle();
    assert_eq!(server.wire.stopped_with(0), Some(0x100));
    server.send(4, &request("POST", "/", &[]));
    assert_eq!(server.wire.stopped_with(4), Some(0x100));
}

#[test]
fn a_client_that_goes_away_ends_the_connection_once_its_requests_have() {
    let mut server = connected(silent());
    server.request(0, &get("/"));
    server.send(CONTROL, &frame(GOAWAY, &[0]));
    assert_eq!(server.ended, None);
    let key = server.key(0);
    server.turn(|turn, now| crate::server::answer(turn, now, key, &head(200, &[]), "ok".into()));
    server.settle();
    assert_eq!(server.ended, Some(Ended::Closed));
}

#[test]
fn a_connection_is_closed_by_polls_alone() {
    let mut server = connected(silent());
    server.wire.acknowledges = false;
    server.request(0, &get("/"));
    server.connection.fail(server.key(0), Fault::DrainTimeout);
    server.connection.final_shutdown();
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    assert!(server.connection.poll_close(&mut server.wire, cx, server.now).is_pending());
    assert_eq!(server.response(0).0, 503);
    server.wire.acknowledge(0);
    server.wire.report(&mut server.connection);
    assert!(server.connection.poll_close(&mut server.wire, cx, server.now).is_ready());
}

#[test]
fn what_was_read_at_the_end_leaves_nothing_behind() {
    let settings = Settings::default();
    let mut server = Server::silent_client(&settings, silent());
    server.send(CONTROL, &control(&[]));
    server.send(0, &[request("POST", "/", &[]), frame(DATA, &[7; 1000])].concat());
    assert_eq!(server.room.taken(), 1000);
    let room = std::rc::Rc::clone(&server.room);
    drop(server);
    assert_eq!(room.taken(), 0);
}

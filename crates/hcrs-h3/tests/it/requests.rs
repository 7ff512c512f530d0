//! Requests: their events, and the errors of clients on their streams.

use crate::frames::{data, get, headers, request};
use crate::server::{Seen, Server, page, silent};

#[test]
fn a_request_is_answered() {
    let mut server = Server::new(page("hello"));
    server.request(0, &get("/a?b"));
    assert_eq!(server.take_seen(), [Seen::Request(0, "GET /a?b".into(), false)]);
    assert_eq!(server.response(0), (200, b"hello".to_vec()));
    assert!(server.wire.is_over(0));
}

#[test]
fn a_body_follows_its_request_and_ends() {
    let mut server = Server::new(silent());
    server.send(0, &request("POST", "/", &[]));
    server.send(0, &[data(b"ab"), data(b"c")].concat());
    server.request(0, &headers(&[("checksum", "1")]));
    let expected = [Seen::Request(0, "POST /".into(), true), Seen::Data(0, b"abc".into()), Seen::End(0)];
    assert_eq!(server.take_seen(), expected);
}

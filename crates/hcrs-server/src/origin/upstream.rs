//! Answers requests by other HTTP servers (`upstream` of a route).
//!
//! Over HTTP/1.1 each connection has a task and no request has one: a request is written by the task that sends it, and
//! its connection does the rest (`http1.rs`). HTTP/2 is spoken by `hyper`, over which each request has a task
//! (`http2.rs`), as has one that waits for a connection (`job.rs`).
//!
//! ```text
//! exchange ─► job ─► body ─► http1, http2 ─► upstream
//! exchange ◄──────────────── http1, http2 ◄─ upstream
//! ```
//!
//! Both directions are bounded by the windows of the exchange: the client's window opens by the bytes that the
//! connection to the upstream has taken, and the upstream is read as the client takes the response.
//!
//! The decisions are in files without sockets and clocks: `balance.rs`, `health.rs`, `retry.rs`, and the heads in
//! `target.rs`, `forwarded.rs` and `request_head.rs`; HTTP/1.1 itself is `hcrs-h1`.

mod balance;
mod body;
mod check;
mod connect;
mod deadline;
mod forwarded;
mod frames;
mod group;
mod health;
mod http1;
mod http2;
mod io;
mod job;
mod request_head;
mod retry;
mod server;
mod target;
mod transport;
mod tunnel;

use std::rc::Rc;

use hcrs_forwarded::Forwarding;
use hcrs_http::Endpoints;
use hcrs_link::StreamId;
use hcrs_metrics::Counters;

pub(crate) use group::{Group, Upstreams};
use job::Job;

use crate::clock;
use crate::exchange::Exchange;

/// The facts about a request that its exchange does not have.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The addresses of the client's connection.
    pub endpoints: Rc<Endpoints>,
    /// The fields by which it describes other clients, if it is a trusted proxy.
    pub believed: Option<Forwarding>,
    /// The part of the path's normal form that is removed.
    pub stripped: Vec<u8>,
    /// Whether the request asks for a WebSocket.
    pub is_tunnel: bool,
    /// Whether it does so by an extended CONNECT.
    pub is_extended_connect: bool,
}

/// Sends the request of an exchange to one of the upstreams.
pub(crate) fn submit(exchange: &Rc<Exchange>, group: Rc<Group>, arrival: Arrival, metrics: &Rc<Counters>) {
    let job = Job::new(exchange, group, arrival, metrics);
    let only = StreamId::new(1).expect("invariant: one is a number");
    // First, so that what has arrived of the body leaves with the head.
    exchange.begin(Rc::<Job>::clone(&job), only);
    job.send(clock::now());
}

//! Answers requests by other HTTP servers (`upstream` of a route).
//!
//! Each request has a task, which takes a connection (`server.rs`), sends the request, and passes the response to the
//! exchange (`serve.rs`). The protocols are spoken by `hyper`, whose connections have tasks of their own.
//!
//! ```text
//! exchange ─► stream ─► body ─► hyper ─► upstream
//! exchange ◄─────────── serve ◄─ hyper ◄─ upstream
//! ```
//!
//! Both directions are bounded by the windows of the exchange: the client's window opens by the bytes that the
//! connection to the upstream has taken, and the upstream is read as the client takes the response.
//!
//! The decisions are in files without sockets and clocks: `balance.rs`, `health.rs`, `retry.rs`, and the heads in
//! `target.rs`, `forwarded.rs`, `request_head.rs` and `response_head.rs`.

mod balance;
mod body;
mod check;
mod connect;
mod deadline;
mod forwarded;
mod frames;
mod group;
mod health;
mod io;
mod request_head;
mod response_head;
mod retry;
mod serve;
mod server;
mod stream;
mod target;
mod tunnel;

use std::rc::Rc;

use hcrs_http::Endpoints;
use hcrs_link::StreamId;
use hcrs_metrics::Counters;
use tokio::task::spawn_local;

pub(crate) use group::{Group, Upstreams};
use serve::Job;
use stream::Stream;

use crate::exchange::Exchange;

/// The facts about a request that its exchange does not have.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The addresses of the client's connection.
    pub endpoints: Rc<Endpoints>,
    /// Whether it is a trusted proxy.
    pub is_trusted: bool,
    /// The part of the path's normal form that is removed.
    pub stripped: Vec<u8>,
    /// Whether the request asks for a WebSocket.
    pub is_tunnel: bool,
    /// Whether it does so by an extended CONNECT.
    pub is_extended_connect: bool,
}

/// Sends the request of an exchange to one of the upstreams.
pub(crate) fn submit(exchange: &Rc<Exchange>, group: Rc<Group>, arrival: Arrival, metrics: &Rc<Counters>) {
    let has_body = exchange.with_head(|head| head.is_some_and(|head| head.has_body));
    let stream = Stream::new(has_body || arrival.is_tunnel, metrics);
    let Arrival { endpoints, is_trusted, stripped, is_tunnel, is_extended_connect } = arrival;
    let job = Job {
        exchange: Rc::clone(exchange),
        stream: Rc::clone(&stream),
        group,
        endpoints,
        is_trusted,
        stripped,
        is_tunnel,
        is_extended_connect,
    };
    stream.set_task(spawn_local(job.run()).abort_handle());
    let only = StreamId::new(1).expect("invariant: one is a number");
    exchange.begin(stream, only);
}

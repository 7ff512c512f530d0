//! Drives a client's connection: what the client sends becomes exchanges, and what exchanges put out is sent.
//!
//! Each protocol has its driver; what all drivers need stands beside them.

pub(crate) mod h1;
pub(crate) mod h2;
mod in_flight;
mod lifecycle;
#[cfg(test)]
mod tests;

use std::future::Future as _;
use std::task::Context;

use in_flight::InFlight;

/// Has the task run again once other tasks have run and sockets were looked at.
fn run_again(cx: &mut Context<'_>) {
    // Its first poll sees to that; a waker that is woken at once would come before what has arrived for others.
    let _pending = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}

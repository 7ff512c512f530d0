//! Drives a client's connection: bytes from the client become exchanges, and the output of exchanges is sent.
//!
//! Each protocol has its own driver; the code that all drivers need is beside them.

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod h3;
mod in_flight;
mod lifecycle;
mod multiplexed;
mod streams;
#[cfg(test)]
mod tests;

use std::future::Future as _;
use std::task::Context;

use in_flight::InFlight;

/// Wakes the task again once other tasks have run and sockets were polled.
pub(crate) fn run_again(cx: &mut Context<'_>) {
    // Its first poll defers the wake; waking the waker directly would run this task before those that have
    // new data.
    let _pending = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}

//! Drives a client's connection: what the client says becomes exchanges, what the exchanges say goes out.
//!
//! Each protocol has its driver; what both need stands here.

pub(crate) mod h1;
pub(crate) mod h2;
mod in_flight;
#[cfg(test)]
mod tests;

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use in_flight::InFlight;

/// How often the deadlines of a connection with something under way are looked at: a deadline may be missed by
/// as much. An idle connection sleeps until its own.
const LOOK: Duration = Duration::from_secs(1);

/// Has the task run again once other tasks have run and sockets were looked at.
fn run_again(cx: &mut Context<'_>) {
    // Its first poll sees to that; a waker that is woken at once would come before what has arrived for others.
    let _pending = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}

/// The one timer of a connection: it is set for the next look at the deadlines, not for each of them.
#[derive(Debug)]
struct Look {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
}

impl Look {
    fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(at.into())), at }
    }

    /// Ready once when it is time to look.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }

    /// Something is under way, whose deadlines nobody has looked at when the connection was idle.
    fn no_later_than(&mut self, at: Instant) {
        if self.at > at {
            self.set(at);
        }
    }

    fn set(&mut self, at: Instant) {
        self.at = at;
        self.sleep.as_mut().reset(at.into());
    }
}

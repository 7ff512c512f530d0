//! The orderly end of a link: no more requests, then those in flight finish, then `Drain`.

use std::time::Duration;

use hcrs_http::Fault;
use hcrs_link::FromEdge;
use hcrs_ws::close_code;

use super::{Life, Link};
use crate::exchange::Origin as _;

/// The exchanges that were cut off in a worker.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The number of requests whose response was not complete.
    pub requests: usize,
    /// The number of WebSockets that were closed.
    pub websockets: usize,
}

impl Link {
    /// Notifies the worker, once, that it will end because of the signal with this number.
    pub(crate) fn send_stopping(&self, signal: u16) {
        if matches!(self.life.get(), Life::Starting | Life::Ready) {
            self.push(&FromEdge::Stopping { signal });
        }
    }

    /// Stops taking requests.
    pub(crate) fn retire(&self) {
        if matches!(self.life.get(), Life::Starting | Life::Ready) {
            self.life.set(Life::Retired);
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        matches!(self.life.get(), Life::Retired | Life::Drained | Life::Orphaned | Life::Lost)
    }

    /// Waits until no client waits for the worker any more. Call it after [`Link::retire`].
    pub(crate) async fn quiet(&self) {
        let is_busy = || self.streams.borrow().iter().any(|entry| entry.exchange.is_some());
        while is_busy() {
            self.changed.notified().await;
        }
    }

    /// Ends the exchanges in flight as the worker's death would, and resets their streams at the worker.
    pub(crate) fn cut(&self) -> Cut {
        let mut total = Cut::default();
        let mut streams = self.streams.borrow_mut();
        let cut: Vec<_> =
            streams.iter_mut().filter_map(|(stream, entry)| Some((stream, entry.exchange.take()?))).collect();
        drop(streams);
        for (stream, exchange) in cut {
            if exchange.is_open_websocket() {
                total.websockets += 1;
                self.send_close(stream, close_code::SERVICE_RESTART, "");
            } else {
                total.requests += 1;
            }
            exchange.fail(Fault::RetireTimeout);
            self.push(&FromEdge::Reset { stream, cancel: false });
        }
        total
    }

    /// Sends `Drain`: the worker finishes what the app still does within the time that is `left`, runs its
    /// lifespan shutdown and exits, once all its links have sent it.
    pub(crate) fn send_drain(&self, left: Duration) {
        self.retire();
        if self.life.get() == Life::Retired {
            self.life.set(Life::Drained);
            let left_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            self.push(&FromEdge::Drain { left_ms });
        }
    }
}

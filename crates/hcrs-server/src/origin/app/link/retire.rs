//! The end of a link in order: no more requests, then what is under way, then `Drain`.

use std::time::Duration;

use hcrs_http::Fault;
use hcrs_link::FromEdge;
use hcrs_ws::close_code;

use super::{Life, Link};
use crate::exchange::Origin as _;

/// What was cut off in a worker.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Requests that had not been answered to their end.
    pub requests: usize,
    /// WebSockets that were closed.
    pub websockets: usize,
}

impl Link {
    /// Tells a worker that was not told yet that it is to end, for a signal of this number.
    pub(crate) fn send_stopping(&self, signal: u16) {
        if matches!(self.life.get(), Life::Starting | Life::Ready) {
            self.push(&FromEdge::Stopping { signal });
        }
    }

    /// Takes no more requests.
    pub(crate) fn retire(&self) {
        if matches!(self.life.get(), Life::Starting | Life::Ready) {
            self.life.set(Life::Retired);
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        matches!(self.life.get(), Life::Retired | Life::Drained | Life::Orphaned | Life::Lost)
    }

    /// Waits until nobody waits for the worker any more; to be called after [`Link::retire`].
    pub(crate) async fn quiet(&self) {
        let is_busy = || self.streams.borrow().iter().any(|entry| entry.exchange.is_some());
        while is_busy() {
            self.stir.notified().await;
        }
    }

    /// Ends what is under way as the worker's death would, and tells it so.
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
            self.push(&FromEdge::Reset { stream });
        }
        total
    }

    /// Tells the worker to finish what the app still does within the time that is `left`, to run its lifespan shutdown and to
    /// exit, once all its links have said so.
    pub(crate) fn send_drain(&self, left: Duration) {
        self.retire();
        if self.life.get() == Life::Retired {
            self.life.set(Life::Drained);
            let left_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            self.push(&FromEdge::Drain { left_ms });
        }
    }
}

//! The end of a link in order: no more requests, then what is under way, then `Drain`.

use hcrs_exchange::Fault;
use hcrs_link::FromEdge;
use hcrs_ws::close_code;

use super::{Life, Link};

impl Link {
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
    pub(crate) fn cut(&self) {
        let mut streams = self.streams.borrow_mut();
        let cut: Vec<_> =
            streams.iter_mut().filter_map(|(stream, entry)| Some((stream, entry.exchange.take()?))).collect();
        drop(streams);
        for (stream, exchange) in cut {
            if exchange.is_open_websocket() {
                self.send_close(stream, close_code::SERVICE_RESTART, "");
            }
            exchange.fail(Fault::WorkerLost);
            self.push(&FromEdge::Reset { stream });
        }
    }

    /// Tells the worker to run its lifespan shutdown and to exit once all its links have said so.
    pub(crate) fn send_drain(&self) {
        self.retire();
        if self.life.get() == Life::Retired {
            self.life.set(Life::Drained);
            self.push(&FromEdge::Drain);
        }
    }
}

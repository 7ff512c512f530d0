//! The link as the origin of its exchanges: what they send to the worker.

use hcrs_link::{FromEdge, MessageKind, StreamId};
use hcrs_metrics::Stall;

use super::Link;
use crate::exchange::Origin;
#[cfg(test)]
use crate::model::planted::{self, Planted};

impl Origin for Link {
    fn has_room(&self, stream: StreamId) -> bool {
        let has_room = self.out.borrow().has_room();
        if !has_room {
            self.starved.borrow_mut().push_back(stream);
            self.note_stall(Stall::Link);
        }
        has_room
    }

    fn note_stall(&self, stall: Stall) {
        self.stalls.of(stall).increment();
    }

    fn send_data(&self, stream: StreamId, bytes: &[u8], end: bool) {
        self.push(&FromEdge::Data { stream, bytes, end });
    }

    fn send_credit(&self, stream: StreamId, amount: u32) {
        self.push(&FromEdge::Credit { stream, amount });
    }

    fn send_message(&self, stream: StreamId, kind: MessageKind, bytes: &[u8], end: bool) {
        self.push(&FromEdge::Message { stream, kind, bytes, end });
    }

    fn send_close(&self, stream: StreamId, code: u16, reason: &str) {
        self.push(&FromEdge::Close { stream, code, reason: reason.as_bytes() });
    }

    fn send_half_close(&self, stream: StreamId) {
        self.push(&FromEdge::HalfClose { stream });
    }

    fn abandon(&self, stream: StreamId) {
        self.end(stream, false);
    }

    fn cancel(&self, stream: StreamId) {
        self.end(stream, true);
    }

    fn give_up(&self, stream: StreamId) -> bool {
        let is_withdrawn = self.streams.borrow_mut().withdraw(&self.claims, stream).is_some();
        if is_withdrawn {
            self.restore_quota();
            self.push(&FromEdge::Reset { stream, cancel: false });
        }
        is_withdrawn
    }
}

impl Link {
    /// Resumes bodies that have waited for room.
    pub(super) fn feed_starved(&self) {
        let mut left = self.starved.borrow().len();
        while left > 0 && self.out.borrow().has_room() {
            left -= 1;
            let Some(stream) = self.starved.borrow_mut().pop_front() else { return };
            let exchange = self.streams.borrow().get(stream).and_then(|entry| entry.exchange.clone());
            if let Some(exchange) = exchange {
                exchange.resume_body(stream);
            }
        }
    }

    /// Ends the edge's interest in the stream. With `cancel`, the app's task is cancelled.
    fn end(&self, stream: StreamId, cancel: bool) {
        {
            let mut streams = self.streams.borrow_mut();
            let mut is_withdrawn = || streams.withdraw(&self.claims, stream).is_some();
            #[cfg(test)]
            let mut is_withdrawn = || !planted::is(Planted::GoneBegun) && is_withdrawn();
            if is_withdrawn() {
                self.restore_quota();
            } else {
                let Some(entry) = streams.get_mut(stream) else { return };
                entry.count = entry.exchange.take().and_then(|exchange| exchange.take_count());
            }
        }
        // Sent even for a withdrawn request: a worker that has read it and keeps it for later can then drop
        // it.
        self.push(&FromEdge::Reset { stream, cancel });
    }
}

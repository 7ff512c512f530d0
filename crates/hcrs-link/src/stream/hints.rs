//! Hints beside a response: interim heads and promised requests. They are dropped where a limit is reached.

use super::Stream;
use crate::credit::{WINDOW_LEFT_BY_HINTS, piece_cost};
use crate::from_worker::{FromWorker, HINT_LEN_MAX, INTERIM_MAX};
use crate::outbox::Outbox;

impl<B: AsRef<[u8]>> Stream<B> {
    /// Sends an interim head. Drops it if a limit is reached, since it is only a hint.
    pub fn interim(&mut self, head: &[u8], out: &mut Outbox) {
        if self.interims < INTERIM_MAX && self.spend_on_hint(head) {
            self.interims += 1;
            out.push(&FromWorker::Interim { stream: self.id, head });
        }
    }

    /// Sets the number of requests that may be promised to the client, in a protocol that has pushes.
    pub fn set_pushes(&mut self, pushes: u8) {
        self.pushes = Some(pushes);
    }

    /// Whether the protocol has pushes.
    pub fn knows_pushes(&self) -> bool {
        self.pushes.is_some()
    }

    /// Asks the edge to promise a request to the client. Drops it if a limit is reached, since it is only a
    /// hint.
    pub fn promise(&mut self, promise: &[u8], out: &mut Outbox) {
        if self.pushes.is_some_and(|left| left > 0) && self.spend_on_hint(promise) {
            self.pushes = self.pushes.map(|left| left - 1);
            out.push(&FromWorker::Push { stream: self.id, promise });
        }
    }

    fn spend_on_hint(&mut self, hint: &[u8]) -> bool {
        let cost = piece_cost(hint.len());
        let is_modest = hint.len() <= HINT_LEN_MAX && self.window.left() >= WINDOW_LEFT_BY_HINTS + cost;
        !self.gone && is_modest && self.window.spend(cost)
    }
}

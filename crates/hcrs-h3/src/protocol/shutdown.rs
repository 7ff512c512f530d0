//! The end of a connection: GOAWAY in two steps, and what is waited for (RFC 9114 §5.2).

use std::time::{Duration, Instant};

use super::Protocol;
use super::control;
use hcrs_mux::{Owner, StreamKey};

use crate::error::ErrorCode;
use crate::stream::Sending;
use crate::transport::Transport;

/// Least time between the two GOAWAY frames of a shutdown, in which requests cross the first.
const LEAVE_LEAST: Duration = Duration::from_millis(100);

/// The time between the two GOAWAY frames, in round trips.
const LEAVE_ROUND_TRIPS: u32 = 3;

/// The stage of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// GOAWAY has announced the end. Requests that cross it are still served, until the instant.
    Announced(Option<Instant>),
    /// GOAWAY has named the first request that is not served.
    Last(u64),
    /// The same, and only what was sent is waited for.
    Final(u64),
    /// The transport is closed with the code.
    Now(ErrorCode),
}

impl Protocol {
    /// Announces the end of the connection. Streams that are open may end.
    pub(crate) fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced(None);
            self.control.goaway(control::LAST_ID);
            for key in std::mem::take(&mut self.unwanted) {
                self.turn_away(key);
            }
        }
    }

    /// Names the first request that is not served, once those that crossed the announcement are here.
    pub(super) fn leave_step(&mut self, io: &mut dyn Transport, now: Instant) {
        match self.leaving {
            Leaving::Announced(None) => {
                let wait = (io.rtt() * LEAVE_ROUND_TRIPS).max(LEAVE_LEAST);
                self.leaving = Leaving::Announced(Some(now + wait));
            }
            Leaving::Announced(Some(until)) if now >= until => {
                self.leaving = Leaving::Last(self.next_id);
                self.control.goaway(self.next_id);
            }
            _ => {}
        }
    }

    /// Names the first request that is not served, and ends the connection as soon as the client has what was
    /// sent.
    pub(crate) fn leave_finally(&mut self) {
        match self.leaving {
            Leaving::No | Leaving::Announced(_) => {
                self.leaving = Leaving::Final(self.next_id);
                self.control.goaway(self.next_id);
            }
            Leaving::Last(limit) => self.leaving = Leaving::Final(limit),
            Leaving::Final(_) | Leaving::Now(_) => {}
        }
    }

    /// Closes the transport in the next turn.
    pub(crate) fn leave_now(&mut self, code: ErrorCode) {
        if !self.is_closed() {
            self.leaving = Leaving::Now(code);
            self.events.clear();
        }
    }

    /// Whether nothing is left to be done before the transport may be closed.
    pub(super) fn is_over(&self) -> bool {
        if !self.finishing.is_empty() {
            return false;
        }
        match self.leaving {
            Leaving::No | Leaving::Announced(_) => self.control.peer_leaves && self.streams.is_empty(),
            Leaving::Last(_) => self.streams.is_empty(),
            Leaving::Final(_) => self.streams.iter().all(|(_, stream)| stream.sending != Sending::Last),
            Leaving::Now(_) => true,
        }
    }

    /// Returns the instant at which a turn has to poll for events even if nothing is reported.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        let next = |key: &StreamKey| match &self.streams.get(*key)?.owner {
            Owner::Connection(unwanted) => Some(unwanted.next(now)),
            Owner::App => None,
        };
        let leaves = match self.leaving {
            Leaving::Announced(until) => Some(until.unwrap_or(now)),
            _ => None,
        };
        self.unwanted.iter().filter_map(next).chain(leaves).min()
    }
}

//! The deadlines of a connection and of its streams.

use std::task::{Context, Poll};
use std::time::Instant;

use hcrs_http::Fault;

use super::{Connection, Controls, Driver, Ended, Shutdown};
use crate::drive::lifecycle::{Overdue, TICK};
use crate::state::{FIRST_REQUEST, Phase};

impl Driver {
    /// Checks the deadlines if they are due, and sets the next check.
    pub(super) fn poll_deadlines<C: Connection>(
        &mut self,
        connection: &mut C,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Poll<Ended> {
        self.client.admitted.mailbox.rest();
        let controls = connection.controls();
        self.lifecycle.await_head(controls.awaits_head(), now);
        let due_at = controls.due_at(now);
        if due_at.is_some() {
            self.lifecycle.rest(now);
        }
        if self.is_busy(controls, now) {
            self.lifecycle.check_no_later_than(due_at.unwrap_or(now + TICK).min(now + TICK));
        }
        while self.lifecycle.poll(cx).is_ready() {
            match self.check_deadlines(connection, now) {
                Ok(next) => self.lifecycle.check_again_at(next, now),
                Err(ended) => return Poll::Ready(ended),
            }
        }
        Poll::Pending
    }

    /// Whether the thread is draining and nothing has been in flight for a while: the client does not close
    /// the connection.
    fn may_close_in_drain(&self, now: Instant) -> bool {
        self.client.admitted.shared.phase() >= Phase::Finishing
            && self.streams.len() == 0
            && !self.lifecycle.is_waiting()
            && self.lifecycle.idle_for(now) >= FIRST_REQUEST
    }

    /// Whether anything is in flight that has a deadline of its own; otherwise only the keep-alive timeout
    /// counts.
    fn is_busy<C: Controls>(&self, controls: &C, now: Instant) -> bool {
        let is_ending = !matches!(self.shutdown, Shutdown::No);
        let has_streams =
            self.streams.len() > 0 || controls.due_at(now).is_some() || controls.oldest_head().is_some();
        has_streams || self.lifecycle.is_waiting() || is_ending
    }

    /// Ends what has passed its deadline. Returns when to check again.
    fn check_deadlines<C: Connection>(&mut self, connection: &mut C, now: Instant) -> Result<Instant, Ended> {
        let settings = self.client.admitted.shared.kept_settings();
        let settings = &settings.connection;
        match self.shutdown {
            Shutdown::Abrupt(fault, until) if now >= until => return Err(Ended::Fault(fault)),
            Shutdown::Final(until) if now >= until => return Err(Ended::Closed),
            Shutdown::Graceful(until) if now >= until && self.streams.len() == 0 => {
                return Err(Ended::Closed);
            }
            Shutdown::Graceful(_) if self.may_close_in_drain(now) => {
                self.close_finally(connection.controls(), now);
                return Ok(now);
            }
            _ => {}
        }
        match self.lifecycle.overdue(settings, now) {
            Some(Overdue::Head(fault)) => {
                self.close_abruptly(connection.controls(), fault, now);
                return Ok(now);
            }
            Some(Overdue::Socket(fault)) => return Err(Ended::Fault(fault)),
            None => {}
        }
        let controls = connection.controls();
        if let Some(before) = now.checked_sub(settings.write_timeout) {
            for key in controls.stalled_since(before) {
                self.fail(controls, key, Fault::WriteStalled, now);
            }
        }
        if let Some(before) = now.checked_sub(settings.head_timeout)
            && controls.oldest_head().is_some_and(|since| since <= before)
        {
            controls.refuse_heads(before);
        }
        let mut next = controls.due_at(now).unwrap_or(now + TICK).min(now + TICK);
        for slot in self.streams.slots() {
            let Some(key) = self.streams.key_at(slot) else { continue };
            let Some(in_flight) = self.streams.get_mut(key) else { continue };
            if let Some(at) = in_flight.exchange.tick(now) {
                next = next.min(at);
            }
            if in_flight.is_body_overdue(settings.body_timeout, now) {
                self.fail(controls, key, Fault::BodyTimeout, now);
            } else if in_flight.is_overdue(now) {
                in_flight.exchange.time_out();
                self.fail(controls, key, Fault::RequestTimeout, now);
            } else if let Some(deadline) = in_flight.exchange.deadline() {
                next = next.min(deadline);
            }
        }
        if self.is_busy(controls, now) {
            let is_hungry = self.streams.iter().any(|in_flight| in_flight.exchange.is_hungry());
            connection.look_after(is_hungry, now);
            return Ok(next);
        }
        if self.lifecycle.idle_for(now) >= settings.keep_alive_timeout {
            // GOAWAY first, so that a client knows that a request in transit was not processed.
            self.close_gracefully(connection.controls(), now);
            return Ok(now + TICK);
        }
        Ok(self.lifecycle.idle_until(settings.keep_alive_timeout))
    }
}

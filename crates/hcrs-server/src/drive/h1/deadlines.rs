//! The deadlines of a connection, and its end in a drain.

use std::task::{Context, Poll};
use std::time::Instant;

use hcrs_h1::Awaits;
use hcrs_http::Fault;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Driver, End, Stage};
use crate::drive::lifecycle::{Overdue, TICK};
use crate::exchange::send_file::SendFile;
use crate::hangup::Hangup;
use crate::state::{FIRST_REQUEST, Phase};

impl<T: AsyncRead + AsyncWrite + SendFile + Hangup + Unpin> Driver<T> {
    /// Whether the thread is draining and the connection has nothing in flight and nothing to wait for:
    /// neither a first request nor the next one of a busy client.
    pub(super) fn may_close_in_drain(&self, now: Instant) -> bool {
        let is_waited_for = self.requests == 0 || self.lifecycle.idle_for(now) < FIRST_REQUEST;
        let is_over = match self.client.admitted.shared.phase() {
            Phase::Serving => false,
            Phase::Draining => !is_waited_for,
            Phase::Finishing | Phase::Cut => true,
        };
        // The rest of an unwanted body is not awaited either.
        let is_idle = self.connection.is_idle() || self.connection.response_ended();
        is_over && self.stage != Stage::Closing && self.in_flight.is_none() && is_idle
    }

    /// Checks the deadlines if they are due, and sets the next check.
    pub(super) fn poll_deadlines(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), End>> {
        // All output so far was seen, or waits for room in the socket.
        self.client.admitted.mailbox.clear();
        if let Some(in_flight) = &self.in_flight {
            in_flight.exchange.note_seen();
        }
        self.client.admitted.mailbox.rest();
        if self.is_busy() {
            self.lifecycle.check_no_later_than(now + TICK);
        }
        while self.lifecycle.poll(cx).is_ready() {
            let next = self.check_deadlines(now)?;
            self.lifecycle.check_again_at(next, now);
        }
        Poll::Pending
    }

    /// Whether anything is in flight that has a deadline of its own; otherwise only the keep-alive timeout
    /// counts.
    fn is_busy(&self) -> bool {
        let is_skipping = self.connection.response_ended();
        self.in_flight.is_some() || self.lifecycle.is_waiting() || is_skipping
    }

    /// Ends what has passed its deadline. Returns when to check again.
    fn check_deadlines(&mut self, now: Instant) -> Result<Instant, End> {
        let settings = self.client.admitted.shared.kept_settings();
        let settings = &settings.connection;
        match self.lifecycle.overdue(settings, now) {
            Some(Overdue::Head(fault)) => {
                self.fail(fault, now);
                self.lifecycle.await_head(false, now);
            }
            Some(Overdue::Socket(fault)) => return Err(End::Fault(fault)),
            None => {}
        }
        if let Some(in_flight) = &self.in_flight
            && self.connection.awaits() == Awaits::Body
            && in_flight.is_body_overdue(settings.body_timeout, now)
        {
            self.fail(Fault::BodyTimeout, now);
        }
        if let Some(in_flight) = &self.in_flight
            && in_flight.is_overdue(now)
        {
            in_flight.exchange.time_out();
            self.fail(Fault::RequestTimeout, now);
        }
        let mut next = now + TICK;
        if let Some(deadline) = self.in_flight.as_ref().and_then(|in_flight| in_flight.exchange.deadline()) {
            next = next.min(deadline);
        }
        if let Some(in_flight) = &self.in_flight
            && in_flight.exchange.is_unbegun()
            && !self.wants_input()
            && self.io.has_hung_up()
        {
            in_flight.exchange.note_hangup(now);
        }
        if let Some(in_flight) = &self.in_flight
            && let Some(at) = in_flight.exchange.tick(now)
        {
            next = next.min(at);
        }
        let is_skipping = self.in_flight.is_none() && self.connection.response_ended();
        let is_idle_too_long = self.lifecycle.idle_for(now) >= settings.keep_alive_timeout;
        if is_skipping && is_idle_too_long {
            self.stage = Stage::Closing;
        }
        if self.stage == Stage::Closing {
            self.client.admitted.mailbox.wake();
        }
        if self.is_busy() {
            return Ok(next);
        }
        if is_idle_too_long {
            self.stage = Stage::Closing;
            self.client.admitted.mailbox.wake();
            return Ok(now + TICK);
        }
        Ok(self.lifecycle.idle_until(settings.keep_alive_timeout))
    }
}

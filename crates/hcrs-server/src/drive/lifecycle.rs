//! The deadlines of a connection of any protocol: the instants that they count from, and the timer that
//! checks them.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hcrs_http::Fault;
use tokio::time::Sleep;

use crate::settings::ConnectionSettings;

/// How often the deadlines of a connection with something in flight are checked; they may fire up to this
/// late. An idle connection sleeps until its own deadline.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// The shortest time between two checks.
const LEAST: Duration = Duration::from_millis(1);

/// Whether the protocol of a connection can continue behind an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// The end of the exchange is known to both ends.
    Intact,
    /// The response was cut off, or the start of the next request is unknown: only the end of the connection
    /// ends the exchange.
    Lost,
}

/// Whether a connection ends with a fault: as the fault table has it, and where its framing is lost.
pub(super) fn ends_connection(fault: Fault, framing: Framing) -> bool {
    fault.closes_connection() || framing == Framing::Lost
}

/// A deadline of the whole connection that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// That of a head, whose fault is answered.
    Head(Fault),
    /// That of the socket, which takes no bytes: the connection ends without an answer.
    Socket(Fault),
}

/// The deadlines of a connection.
#[derive(Debug)]
pub(super) struct Lifecycle {
    timer: Pin<Box<Sleep>>,
    /// When the timer fires.
    at: Instant,
    /// When the connection became idle.
    idle_since: Instant,
    /// When the client began the head that is awaited.
    head_since: Option<Instant>,
    /// When the socket stopped taking bytes, while some are unsent.
    unsent_since: Option<Instant>,
}

impl Lifecycle {
    /// Returns the deadlines of a connection that begins now.
    pub(super) fn new(settings: &ConnectionSettings, now: Instant) -> Self {
        let at = now + settings.keep_alive_timeout.min(TICK);
        Self {
            timer: Box::pin(tokio::time::sleep_until(at.into())),
            at,
            idle_since: now,
            head_since: None,
            unsent_since: None,
        }
    }

    /// Notes that nothing is in flight at `now`.
    pub(super) fn rest(&mut self, now: Instant) {
        self.idle_since = now;
    }

    /// Notes whether the client has begun a head and has not finished it.
    pub(super) fn await_head(&mut self, is_awaited: bool, now: Instant) {
        if is_awaited {
            self.head_since.get_or_insert(now);
        } else {
            self.head_since = None;
        }
    }

    /// Returns when the client began the head that is awaited.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.head_since
    }

    /// Notes that the socket takes nothing.
    pub(super) fn block_writing(&mut self, now: Instant) {
        self.unsent_since.get_or_insert(now);
    }

    /// Notes that the socket has taken bytes, or that none are left.
    pub(super) fn unblock_writing(&mut self) {
        self.unsent_since = None;
    }

    /// Whether a head or the socket is awaited, either of which has a deadline of its own.
    pub(super) fn is_waiting(&self) -> bool {
        self.head_since.is_some() || self.unsent_since.is_some()
    }

    /// Returns how long nothing has been in flight.
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since)
    }

    /// Returns when the connection will have been idle for `limit`.
    pub(super) fn idle_until(&self, limit: Duration) -> Instant {
        self.idle_since + limit
    }

    /// Returns the deadline that has passed, if one has.
    pub(super) fn overdue(&self, settings: &ConnectionSettings, now: Instant) -> Option<Overdue> {
        let passed = |since: Option<Instant>, limit| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        if passed(self.unsent_since, settings.write_timeout) {
            return Some(Overdue::Socket(Fault::WriteStalled));
        }
        passed(self.head_since, settings.head_timeout).then_some(Overdue::Head(Fault::HeadTimeout))
    }

    /// Ready when the deadlines are to be checked. Call [`Lifecycle::check_again_at`] afterwards.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(cx)
    }

    /// Sets the next check.
    fn check_at(&mut self, at: Instant) {
        self.at = at;
        self.timer.as_mut().reset(at.into());
    }

    /// Sets the next check after one at `now`.
    pub(super) fn check_again_at(&mut self, at: Instant, now: Instant) {
        self.check_at(at.max(now + LEAST));
    }

    /// Moves the next check forward to `at`, if it is later, because an idle connection has something in
    /// flight now.
    pub(super) fn check_no_later_than(&mut self, at: Instant) {
        if self.at > at {
            self.check_at(at);
        }
    }
}

//! Request bodies that still arrive although their streams were answered. They are dropped while the client
//! sends, within a limit, and only then is the stream reset (RFC 9113 §8.1).
//!
//! Some clients read no response before they have sent their body (httpx), and some lose a response that a
//! reset follows at once (curl 7.88, which stops by itself and waits for the reset). So the window is opened
//! meanwhile.

use std::time::{Duration, Instant};

/// Time for which the client's window is opened for an unwanted body. Its stream counts as open meanwhile.
const OPEN: Duration = Duration::from_secs(5);

/// Time without a byte after which an unwanted body is over. The client has had the response for that long.
const QUIET: Duration = Duration::from_millis(500);

/// The times of an unwanted body, unset until it is first looked at.
#[derive(Debug, Default)]
pub struct Unwanted(Option<Times>);

#[derive(Debug, Clone, Copy)]
struct Times {
    /// When the body was first looked at.
    since: Instant,
    /// The last arrival of a byte.
    last: Instant,
}

impl Unwanted {
    /// Notes that bytes have arrived. Returns whether the window is still opened for them.
    pub fn arrive(&mut self, now: Instant) -> bool {
        let times = self.0.get_or_insert(Times { since: now, last: now });
        times.last = now;
        now.saturating_duration_since(times.since) < OPEN
    }

    /// Whether the body has to be turned away, if the client's window `has_room`.
    pub fn is_over(&mut self, now: Instant, has_room: bool) -> bool {
        let times = self.0.get_or_insert(Times { since: now, last: now });
        let passed = |since, limit| now.saturating_duration_since(since) >= limit;
        passed(times.last, QUIET)
            || passed(times.since, OPEN + QUIET)
            || passed(times.since, OPEN) && !has_room
    }

    /// Returns the next instant at which a deadline passes.
    pub fn next(&self, now: Instant) -> Instant {
        let Some(times) = self.0 else { return now };
        [times.since + OPEN, times.since + OPEN + QUIET]
            .into_iter()
            .filter(|at| *at > now)
            .fold(times.last + QUIET, Instant::min)
    }
}

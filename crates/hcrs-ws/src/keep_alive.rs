//! The server's pings, and the client's time to answer.

use std::time::{Duration, Instant};

/// The error for a client that has sent no byte in the time for a pong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no pong in time")]
pub struct PongMissing;

/// A duration that is longer than any connection, so that sums of times stay within range.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The pings of one connection, of which at most one is unanswered.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    interval: Duration,
    timeout: Duration,
    /// The number of the last ping, which is its payload.
    sent: u64,
    /// When the next ping is due; `None` means at once.
    due: Option<Instant>,
    /// Until when the last ping may be unanswered; `None` if it is answered.
    deadline: Option<Instant>,
    /// Bytes have arrived since the deadline was set.
    heard: bool,
}

/// The result of a tick.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    /// The payload of a ping that is to be sent.
    pub(crate) ping: Option<[u8; 8]>,
    /// When the next tick is due.
    pub(crate) next: Instant,
}

impl KeepAlive {
    pub(crate) fn new(interval: Duration, timeout: Duration) -> Self {
        let (interval, timeout) = (interval.min(LONGEST), timeout.min(LONGEST));
        Self { interval, timeout, sent: 0, due: None, deadline: None, heard: false }
    }

    /// Notes that bytes have arrived.
    pub(crate) fn hear(&mut self) {
        self.heard = true;
    }

    /// Handles a pong's payload; only that of the last ping counts.
    pub(crate) fn on_pong(&mut self, payload: &[u8]) {
        if payload == self.sent.to_be_bytes() {
            self.deadline = None;
        }
    }

    /// Checks the deadlines. No pong is missed while the server does not read.
    pub(crate) fn tick(&mut self, now: Instant, is_reading: bool) -> Result<Tick, PongMissing> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            if is_reading && !self.heard {
                return Err(PongMissing);
            }
            self.allow_time(now);
        }
        let ping = (self.deadline.is_none() && self.due.is_none_or(|due| due <= now)).then(|| {
            self.sent += 1;
            self.due = Some(now + self.interval);
            self.allow_time(now);
            self.sent.to_be_bytes()
        });
        let due = self.due.filter(|&due| due > now);
        let next = self.deadline.into_iter().chain(due).min().unwrap_or(now);
        Ok(Tick { ping, next })
    }

    fn allow_time(&mut self, now: Instant) {
        self.deadline = Some(now + self.timeout);
        self.heard = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(20);

    fn ping(number: u64, next: Instant) -> Tick {
        Tick { ping: Some(number.to_be_bytes()), next }
    }

    fn quiet(next: Instant) -> Tick {
        Tick { ping: None, next }
    }

    #[test]
    fn pings_at_once_and_then_each_interval() {
        let start = Instant::now();
        let mut pings = KeepAlive::new(INTERVAL, TIMEOUT);
        assert_eq!(pings.tick(start, true), Ok(ping(1, start + TIMEOUT)));
        pings.on_pong(&1u64.to_be_bytes());
        assert_eq!(pings.tick(start + TIMEOUT / 2, true), Ok(quiet(start + INTERVAL)));
        assert_eq!(pings.tick(start + INTERVAL, true), Ok(ping(2, start + INTERVAL + TIMEOUT)));
    }

    #[test]
    fn silence_is_found_at_the_deadline_and_not_before() {
        let start = Instant::now();
        let mut pings = KeepAlive::new(INTERVAL, TIMEOUT);
        pings.tick(start, true).unwrap();
        let just_before = start + TIMEOUT.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(pings.tick(just_before, true), Ok(quiet(start + TIMEOUT)));
        assert_eq!(pings.tick(start + TIMEOUT, true), Err(PongMissing));
    }

    #[test]
    fn a_pong_with_another_payload_is_no_answer_but_bytes_extend_the_time() {
        let start = Instant::now();
        let mut pings = KeepAlive::new(INTERVAL, TIMEOUT);
        pings.tick(start, true).unwrap();
        pings.on_pong(b"");
        pings.on_pong(&0u64.to_be_bytes());
        pings.on_pong(&2u64.to_be_bytes());
        pings.hear();
        assert_eq!(pings.tick(start + TIMEOUT, true), Ok(quiet(start + INTERVAL)));
        assert_eq!(pings.tick(start + INTERVAL, true), Ok(quiet(start + TIMEOUT * 2)), "one at a time");
        assert_eq!(pings.tick(start + TIMEOUT * 2, true), Err(PongMissing));
    }

    #[test]
    fn who_is_not_read_is_not_found_dead() {
        let start = Instant::now();
        let mut pings = KeepAlive::new(INTERVAL, TIMEOUT);
        pings.tick(start, true).unwrap();
        assert!(pings.tick(start + TIMEOUT, false).is_ok());
        assert!(pings.tick(start + TIMEOUT * 2, false).is_ok());
        assert_eq!(pings.tick(start + TIMEOUT * 3, true), Err(PongMissing));
    }

    #[test]
    fn an_interval_shorter_than_the_timeout_waits_for_the_pong() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pings = KeepAlive::new(second, TIMEOUT);
        assert_eq!(pings.tick(start, true), Ok(ping(1, start + second)));
        assert_eq!(pings.tick(start + second, true), Ok(quiet(start + TIMEOUT)));
        pings.on_pong(&1u64.to_be_bytes());
        assert_eq!(pings.tick(start + second * 2, true), Ok(ping(2, start + second * 3)));
    }

    #[test]
    fn times_without_end_are_in_range() {
        let start = Instant::now();
        let mut pings = KeepAlive::new(Duration::MAX, Duration::MAX);
        assert_eq!(pings.tick(start, true), Ok(ping(1, start + LONGEST)));
    }
}

//! Whether a server is up, by how its requests end. No clocks, no sockets: the caller gives the time.

use std::time::{Duration, Instant};

/// How long a server is left alone after its first failure; each further one doubles it.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest time that a server is left alone.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The number of failures in a row by which a server that accepts connections is down.
const FAILURES_MAX: u32 = 3;

/// A failure of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It cannot be connected to.
    Unreachable,
    /// It broke off, was late or sent what is no response.
    Broken,
}

/// A change of a server's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is down now.
    Down,
    /// It is up again.
    Up,
}

/// The health of a server.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The number of failures since the last success.
    failures: u32,
    down: Option<Down>,
    /// Whether the last check has failed: only another check says that it is up.
    fails_checks: bool,
}

/// The state of a server that is down.
#[derive(Debug, Clone, Copy)]
struct Down {
    /// When the next request is tried.
    until: Instant,
    backoff: Duration,
    /// Whether a request was sent to it since the last failure.
    is_tried: bool,
}

impl Health {
    /// Whether requests are sent to the server, or one may be tried.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        !self.fails_checks && self.down.is_none_or(|down| down.until <= now)
    }

    /// Notes that a request is sent to the server. While it is down, no other one is tried until it has had time.
    pub(super) fn note_try(&mut self, now: Instant) {
        if let Some(down) = &mut self.down {
            down.until = now + down.backoff;
            down.is_tried = true;
        }
    }

    /// Notes a success.
    pub(super) fn succeed(&mut self) -> Option<Change> {
        self.failures = 0;
        self.down.take().filter(|_| !self.fails_checks).map(|_| Change::Up)
    }

    /// Notes the outcome of a check.
    pub(super) fn check(&mut self, has_passed: bool) -> Option<Change> {
        let was_up = !self.fails_checks && self.down.is_none();
        self.fails_checks = !has_passed;
        if has_passed {
            self.failures = 0;
            self.down = None;
        }
        match (was_up, has_passed) {
            (true, false) => Some(Change::Down),
            (false, true) => Some(Change::Up),
            _ => None,
        }
    }

    /// Notes a failure.
    pub(super) fn fail(&mut self, failure: Failure, now: Instant) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        if let Some(down) = &mut self.down {
            // Requests that were sent before it was down fail together, which is one failure.
            if std::mem::take(&mut down.is_tried) {
                down.backoff = (down.backoff * 2).min(BACKOFF_MAX);
            }
            down.until = now + down.backoff;
            return None;
        }
        if failure == Failure::Broken && self.failures < FAILURES_MAX {
            return None;
        }
        self.down = Some(Down { until: now + BACKOFF_MIN, backoff: BACKOFF_MIN, is_tried: false });
        (!self.fails_checks).then_some(Change::Down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_be_reached_is_left_alone_for_longer_and_longer() {
        let start = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.fail(Failure::Unreachable, start), Some(Change::Down));
        let (mut now, mut pauses) = (start, Vec::new());
        for _ in 0..7 {
            let until =
                now + (1..200).map(Duration::from_secs).find(|&pause| health.is_up(now + pause)).unwrap();
            pauses.push((until - now).as_secs());
            now = until;
            health.note_try(now);
            assert!(!health.is_up(now), "one request at a time is tried");
            assert_eq!(health.fail(Failure::Unreachable, now), None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(health.succeed(), Some(Change::Up));
        assert!(health.is_up(now));
        assert_eq!(health.succeed(), None);
    }

    #[test]
    fn failures_of_requests_count_in_a_row() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..5 {
            assert_eq!(health.fail(Failure::Broken, now), None);
            assert_eq!(health.fail(Failure::Broken, now), None);
            assert_eq!(health.succeed(), None);
        }
        let changes: Vec<_> = (0..4).map(|_| health.fail(Failure::Broken, now)).collect();
        assert_eq!(changes, [None, None, Some(Change::Down), None]);
        assert!(health.is_up(now + BACKOFF_MIN), "failures of one moment are one");
    }

    #[test]
    fn only_a_check_ends_what_a_check_has_found() {
        let now = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.check(true), None);
        assert_eq!(health.check(false), Some(Change::Down));
        assert_eq!(health.fail(Failure::Unreachable, now), None);
        assert_eq!((health.check(false), health.succeed()), (None, None));
        assert!(!health.is_up(now + 10 * BACKOFF_MAX));
        assert_eq!(health.check(true), Some(Change::Up));
        assert!(health.is_up(now));
        assert_eq!(health.fail(Failure::Unreachable, now), Some(Change::Down));
        assert_eq!(health.check(true), Some(Change::Up));
    }

    #[test]
    fn any_schedule_of_successes_and_failures_leaves_a_server_that_may_be_tried_in_time() {
        let start = Instant::now();
        let (mut health, mut now, mut seed) = (Health::default(), start, 7_u64);
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            now += Duration::from_millis(seed >> 53);
            let is_well = |health: &Health| health.down.is_none() && !health.fails_checks;
            let was_up = is_well(&health);
            let change = match (seed >> 40) % 7 {
                5 => health.check(false),
                6 => health.check(true),
                0 => health.succeed(),
                1 => health.fail(Failure::Broken, now),
                2 => health.fail(Failure::Unreachable, now),
                _ => {
                    health.note_try(now);
                    None
                }
            };
            let is_up = is_well(&health);
            let expected = match (was_up, is_up) {
                (true, false) => Some(Change::Down),
                (false, true) => Some(Change::Up),
                _ => None,
            };
            assert_eq!(change, expected, "each change is reported once");
            assert_eq!(health.is_up(now + BACKOFF_MAX), !health.fails_checks);
        }
    }
}

//! How long a worker's place stays empty after the worker in it has died.

use std::time::Duration;

/// A worker that served for so long did not die of how it was started.
const LONG: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The memory of one place. It never gives up: the edge serves, and the fault may be gone by the next try.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// The time until the next start, after a worker that was ready for `served`, or never.
    ///
    /// A death after long service, or the first in a while of a worker that was ready, is made good at once.
    pub(super) fn after_death(&mut self, served: Option<Duration>) -> Duration {
        if served.is_some_and(|served| served >= LONG) {
            self.next = None;
        }
        let delay = match (self.next, served) {
            (None, Some(_)) => Duration::ZERO,
            (None, None) => FIRST,
            (Some(next), _) => next,
        };
        self.next = Some((delay * 2).clamp(FIRST, LONGEST));
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_after_long_service_is_made_good_at_once() {
        let mut backoff = Backoff::default();
        for _ in 0..3 {
            assert_eq!(backoff.after_death(Some(LONG)), Duration::ZERO);
        }
    }

    #[test]
    fn crashes_in_a_row_are_made_good_ever_more_slowly() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..9).map(|_| backoff.after_death(Some(Duration::ZERO)).as_millis()).collect();
        assert_eq!(delays, [0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.after_death(Some(LONG)), Duration::ZERO);
    }

    #[test]
    fn a_worker_that_cannot_start_waits_from_the_first_time_on() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after_death(None), FIRST);
        assert_eq!(backoff.after_death(None), FIRST * 2);
    }
}

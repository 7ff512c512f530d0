//! How long a worker's place stays empty after the worker in it has died.

use std::time::Duration;

/// A worker that served for so long did not die of how it was started.
const LONG: Duration = Duration::from_secs(10);

/// The first pause.
const FIRST: Duration = Duration::from_millis(500);

/// The longest pause after a worker that could not even start: the next one costs its start, and serves nobody.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest pause after a worker that has served. What kills it comes from a client, perhaps, who can do so as often
/// as he likes; all others wait meanwhile.
const LONGEST_AFTER_SERVICE: Duration = Duration::from_secs(1);

/// The memory of one place. It never gives up: the edge serves, and the fault may be gone by the next try.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// The time until the next start, after a worker that was ready for `served`, or never. `others_serve`, or are
    /// about to: without them a worker that has served is made good at once, as nothing is saved by a pause in which
    /// nobody serves.
    ///
    /// A death after long service, or the first in a while of a worker that was ready, is made good at once.
    pub(super) fn after_death(&mut self, served: Option<Duration>, others_serve: bool) -> Duration {
        if served.is_some_and(|served| served >= LONG) {
            self.next = None;
        }
        let longest = if served.is_some() { LONGEST_AFTER_SERVICE } else { LONGEST };
        let delay = match (self.next, served) {
            (None, Some(_)) => Duration::ZERO,
            (Some(_), Some(_)) if !others_serve => Duration::ZERO,
            (None, None) => FIRST,
            (Some(next), _) => next.min(longest),
        };
        self.next = Some((delay * 2).clamp(FIRST, longest));
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEFLY: Option<Duration> = Some(Duration::ZERO);

    fn delays<const N: usize>(mut next: impl FnMut() -> Duration) -> [u128; N] {
        std::array::from_fn(|_| next().as_millis())
    }

    #[test]
    fn a_crash_after_long_service_is_made_good_at_once() {
        let mut backoff = Backoff::default();
        assert_eq!(delays(|| backoff.after_death(Some(LONG), true)), [0, 0, 0]);
    }

    #[test]
    fn crashes_in_a_row_of_workers_that_served_cost_a_second_each_at_most() {
        let mut backoff = Backoff::default();
        assert_eq!(delays(|| backoff.after_death(BRIEFLY, true)), [0, 500, 1000, 1000, 1000]);
        assert_eq!(backoff.after_death(Some(LONG), true), Duration::ZERO);
    }

    #[test]
    fn the_last_place_does_not_wait_while_nobody_serves() {
        let mut backoff = Backoff::default();
        assert_eq!(delays(|| backoff.after_death(BRIEFLY, false)), [0, 0, 0, 0]);
        assert_eq!(backoff.after_death(BRIEFLY, true), FIRST, "others serve again");
        assert_eq!(backoff.after_death(BRIEFLY, false), Duration::ZERO);
    }

    #[test]
    fn a_worker_that_cannot_start_waits_ever_longer_whoever_serves() {
        let mut backoff = Backoff::default();
        assert_eq!(
            delays(|| backoff.after_death(None, false)),
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
        assert_eq!(backoff.after_death(BRIEFLY, true), LONGEST_AFTER_SERVICE, "the fault was mended");
        assert_eq!(backoff.after_death(None, true), LONGEST_AFTER_SERVICE);
        assert_eq!(backoff.after_death(None, true), LONGEST_AFTER_SERVICE * 2);
    }
}

//! The pause between the death of a worker and the start of the next one in its slot.

use std::time::Duration;

/// The time of service after which a worker's death is not attributed to its start.
const LONG: Duration = Duration::from_secs(10);

/// The first pause.
const FIRST: Duration = Duration::from_millis(500);

/// The longest pause after a worker that never became ready: another start costs as much and serves no
/// client.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest pause after a worker that has served. The cause may be a request, which its client may repeat
/// at will; all other clients wait meanwhile.
const LONGEST_AFTER_SERVICE: Duration = Duration::from_secs(1);

/// The backoff of one slot. It never gives up: the edge serves, and the fault may be gone by the next
/// attempt.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// Returns the pause before the next start, after a worker that was ready for `served`, or never.
    /// `others_serve`: other workers serve or are starting. Without them a worker that has served is replaced
    /// at once, because a pause would only leave clients without a server.
    ///
    /// After long service, or after the first death in a while of a worker that was ready, there is no pause.
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
    fn the_last_slot_does_not_wait_while_no_worker_serves() {
        let mut backoff = Backoff::default();
        assert_eq!(delays(|| backoff.after_death(BRIEFLY, false)), [0, 0, 0, 0]);
        assert_eq!(backoff.after_death(BRIEFLY, true), FIRST, "others serve again");
        assert_eq!(backoff.after_death(BRIEFLY, false), Duration::ZERO);
    }

    #[test]
    fn a_worker_that_cannot_start_waits_ever_longer_whatever_the_others_do() {
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

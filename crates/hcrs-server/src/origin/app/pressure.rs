//! Detects that more requests arrive than the workers can serve. No I/O and no clock.
//!
//! A queue that is served in the order of arrival fails under lasting overload: every request waits for nearly
//! as long as its client does, and workers begin those whose clients are about to leave. So the dispatch is
//! *under pressure* once requests have waited for longer than a target throughout two windows. Then the newest
//! request is served first, workers are sent few requests ahead, and those that have waited for longer than
//! the target are refused, except as many as the workers can begin within the queue timeout besides the
//! requests that arrive meanwhile. A burst that the workers can begin within the queue timeout is therefore
//! answered as a whole, and while no worker begins anything, nothing is refused before its deadline.
//!
//! ```text
//! calm ──a request has waited for the target──► rising ──two windows──► pressure
//!   ▲            none has any more                │                        │
//!   └─────────────────────────────────────────────┴──the queue is empty────┘
//! ```

use std::time::{Duration, Instant};

/// The target is this part of the queue timeout: how long a request may wait before it counts as late.
const TARGET_PART: u32 = 20;

/// A window lasts at least this part of the queue timeout.
const WINDOW_PART: u32 = 10;

/// The number of requests that workers have begun at the end of a window, at least. Fewer say little about
/// their rate.
const BEGUN_MIN: u64 = 4;

/// The time that the requests last which a worker is sent ahead under pressure, if there is more than one: it
/// bridges the time until the dispatch notices that they were begun.
const AHEAD: Duration = Duration::from_millis(25);

/// The number of requests for each link that are kept under pressure, however long they have waited, so that
/// workers have something to begin while nothing arrives.
const KEPT_PER_LINK: usize = 4;

/// The requests of an edge thread since it began.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// The number that have arrived.
    pub arrived: u64,
    /// The number that workers have begun.
    pub begun: u64,
}

/// The beginning of a window, in which requests are counted.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    before: Counts,
}

/// The rates of a window that is complete.
#[derive(Debug, Clone, Copy)]
struct Rates {
    /// The number of waiting requests that can be begun within the queue timeout, besides those that arrive.
    spare: usize,
    /// The number of requests that workers begin within [`AHEAD`].
    ahead: usize,
}

#[derive(Debug, Clone, Copy)]
enum Level {
    Calm,
    /// A request has waited for longer than the target at each look since the window before the current one
    /// began, or since the current one did.
    Rising {
        window: Window,
        former: Option<Rates>,
    },
    Pressure {
        window: Window,
        former: Rates,
        last: Rates,
    },
}

/// The measure of how many requests arrive and are begun, and the consequences.
#[derive(Debug)]
pub(crate) struct Pressure {
    queue_timeout: Duration,
    level: Level,
    begun: u64,
    /// When the count of begun requests had last changed.
    progress_at: Option<Instant>,
    looked_at: Option<Instant>,
}

impl Pressure {
    pub(crate) fn new(queue_timeout: Duration) -> Self {
        Self { queue_timeout, level: Level::Calm, begun: 0, progress_at: None, looked_at: None }
    }

    /// Returns how long a request may wait before it counts as late.
    pub(crate) fn target(&self) -> Duration {
        self.queue_timeout / TARGET_PART
    }

    fn window(&self) -> Duration {
        self.queue_timeout / WINDOW_PART
    }

    /// Whether more requests arrive than the workers can serve.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.level, Level::Pressure { .. })
    }

    /// Returns the number of requests that a worker may be sent ahead, over each of `links` links.
    pub(crate) fn ahead(&self, links: usize) -> usize {
        match self.level {
            Level::Pressure { last, .. } => last.ahead.div_ceil(links.max(1)).max(1),
            Level::Calm | Level::Rising { .. } => usize::MAX,
        }
    }

    /// Returns the number of requests that go on waiting although they are late; `None` if all do.
    pub(crate) fn kept(&self, now: Instant, links: usize) -> Option<usize> {
        let has_progress =
            self.progress_at.is_some_and(|at| now.saturating_duration_since(at) < self.window());
        match self.level {
            // One window alone may have had a burst, or a worker that was replaced.
            Level::Pressure { former, last, .. } if has_progress => {
                Some(former.spare.max(last.spare).max(links * KEPT_PER_LINK))
            }
            Level::Calm | Level::Rising { .. } | Level::Pressure { .. } => None,
        }
    }

    /// Looks at the number of requests that have arrived and were begun, the arrival of the oldest request
    /// that no worker has begun, and whether requests `wait` in the queue. Returns whether the pressure has
    /// begun or a window under pressure has ended, so that [`Pressure::ahead`] may have changed.
    pub(crate) fn look(&mut self, now: Instant, counts: Counts, oldest: Option<Instant>, wait: bool) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        if self.looked_at.replace(now).is_some_and(|at| since(at) > self.window()) {
            self.level = Level::Calm;
        }
        if counts.begun != self.begun {
            self.begun = counts.begun;
            self.progress_at = Some(now);
        }
        let is_late = oldest.is_some_and(|arrived| since(arrived) >= self.target());
        let fresh = Window { began: now, before: counts };
        let (level, has_changed) = match self.level {
            Level::Calm if is_late => (Level::Rising { window: fresh, former: None }, false),
            Level::Rising { .. } if !is_late => (Level::Calm, false),
            Level::Pressure { .. } if !wait => (Level::Calm, false),
            // The first window begins with the first request that a worker begins, because before that all of
            // them may have been blocked, or there was none.
            Level::Rising { window, former: None } if counts.begun == window.before.begun => {
                (Level::Rising { window: fresh, former: None }, false)
            }
            Level::Rising { window, former } => match (self.rates(window, fresh), former) {
                (Some(last), None) => (Level::Rising { window: fresh, former: Some(last) }, false),
                (Some(last), Some(former)) => (Level::Pressure { window: fresh, former, last }, true),
                (None, _) => (self.level, false),
            },
            Level::Pressure { window, last, .. } => match self.rates(window, fresh) {
                Some(next) => (Level::Pressure { window: fresh, former: last, last: next }, true),
                None => (self.level, false),
            },
            Level::Calm => (Level::Calm, false),
        };
        self.level = level;
        has_changed
    }

    /// Returns the rates between the beginnings of two windows; `None` if the first is not over.
    fn rates(&self, first: Window, second: Window) -> Option<Rates> {
        let lasted = second.began.saturating_duration_since(first.began);
        let begun = second.before.begun - first.before.begun;
        if lasted < self.window() || begun < BEGUN_MIN {
            return None;
        }
        let arrived = second.before.arrived - first.before.arrived;
        let within = |count: u64, time: Duration| {
            let count = u128::from(count) * time.as_nanos() / lasted.as_nanos().max(1);
            usize::try_from(count).unwrap_or(usize::MAX)
        };
        Some(Rates {
            spare: within(begun.saturating_sub(arrived), self.queue_timeout),
            ahead: within(begun, AHEAD).saturating_add(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const TICK: Duration = Duration::from_millis(10);

    /// A queue that is served in the order of arrival, of which nothing is refused.
    struct Queue {
        pressure: Pressure,
        now: Instant,
        counts: Counts,
        waiting: std::collections::VecDeque<Instant>,
    }

    impl Queue {
        fn new() -> Self {
            let now = crate::clock::now();
            let waiting = std::collections::VecDeque::new();
            Self { pressure: Pressure::new(TIMEOUT), now, counts: Counts::default(), waiting }
        }

        fn arrive(&mut self, count: u64) {
            self.counts.arrived += count;
            self.waiting.extend((0..count).map(|_| self.now));
        }

        /// Lets time pass, in each tick of which some requests arrive and some are begun.
        fn run(&mut self, time: Duration, arrive: u64, begin: u64) {
            for _ in 0..time.as_millis() / TICK.as_millis() {
                self.now += TICK;
                self.arrive(arrive);
                for _ in 0..begin {
                    self.counts.begun += u64::from(self.waiting.pop_front().is_some());
                }
                let (oldest, waits) = (self.waiting.front().copied(), !self.waiting.is_empty());
                self.pressure.look(self.now, self.counts, oldest, waits);
            }
        }

        fn kept(&self) -> Option<usize> {
            self.pressure.kept(self.now, 2)
        }
    }

    #[test]
    fn lasting_overload_is_pressure_and_keeps_few() {
        let mut queue = Queue::new();
        queue.run(Duration::from_secs(2), 2, 1);
        assert!(!queue.pressure.is_on(), "not before the end of two windows");
        assert_eq!((queue.kept(), queue.pressure.ahead(2)), (None, usize::MAX));
        queue.run(Duration::from_millis(1200), 2, 1);
        assert_eq!((queue.pressure.is_on(), queue.kept()), (true, Some(2 * KEPT_PER_LINK)));
        assert_eq!(queue.pressure.ahead(2), 2, "of 100 requests a second, 25 ms and one more for two links");
        queue.waiting.clear();
        queue.run(TICK, 0, 1);
        assert!(!queue.pressure.is_on(), "none waits any more");
    }

    #[test]
    fn a_load_that_the_workers_can_serve_is_no_pressure() {
        let mut queue = Queue::new();
        queue.run(Duration::from_secs(20), 2, 2);
        assert!(!queue.pressure.is_on());
    }

    #[test]
    fn a_burst_that_is_begun_within_the_timeout_is_kept_as_a_whole() {
        let mut queue = Queue::new();
        queue.arrive(950);
        for _ in 0..95 {
            queue.run(Duration::from_millis(100), 0, 1);
            assert!(queue.kept().is_none_or(|kept| kept >= queue.waiting.len()));
        }
        assert!(queue.waiting.is_empty());
    }

    #[test]
    fn nothing_is_refused_while_no_worker_begins_anything() {
        let mut queue = Queue::new();
        queue.run(Duration::from_secs(9), 2, 0);
        assert!(!queue.pressure.is_on());
        queue.run(Duration::from_secs(4), 2, 1);
        assert!(queue.kept().is_some());
        queue.run(Duration::from_millis(1100), 2, 0);
        assert_eq!(queue.kept(), None);
    }

    #[test]
    fn what_has_waited_while_a_worker_was_replaced_is_kept() {
        let mut queue = Queue::new();
        queue.run(Duration::from_millis(2500), 1, 0);
        // The rest of a worker's window would look like too little.
        queue.run(Duration::from_secs(3), 1, 2);
        assert!(queue.waiting.is_empty() || queue.kept().is_none_or(|kept| kept >= queue.waiting.len()));
    }

    #[test]
    fn a_pause_of_the_looks_is_calm() {
        let mut queue = Queue::new();
        queue.run(Duration::from_secs(4), 2, 1);
        assert!(queue.pressure.is_on());
        queue.now += Duration::from_secs(60);
        queue.waiting.clear();
        queue.arrive(500);
        queue.run(TICK, 0, 1);
        assert!(!queue.pressure.is_on());
    }
}

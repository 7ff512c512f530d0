//! The replacement of workers that are old or large (`max_worker_age`, `max_worker_rss`). No I/O and no
//! clock: the supervisor passes in the time and the sizes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hcrs_metrics::RestartCause;

use super::Supervisor;
use super::usage::Usage;
use super::worker::random_up_to;
use crate::AppSettings;
use crate::origin::app::WorkerId;

/// How often the memory of the workers is looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// A limit is lowered by up to this share, by chance, so that workers which were started together are not
/// replaced together.
const JITTER_PERCENT: u64 = 10;

/// The limits of all workers of an app.
#[derive(Debug)]
pub(super) struct Recycling {
    age: Option<Duration>,
    resident: Option<u64>,
    workers: BTreeMap<WorkerId, Limits>,
    looked: Instant,
}

/// The limits of one worker that has not reached them.
#[derive(Debug, Clone, Copy)]
struct Limits {
    until: Option<Instant>,
    resident: Option<u64>,
}

impl Recycling {
    /// Returns the limits that an app has for its workers.
    pub(super) fn of(app: &AppSettings, now: Instant) -> Self {
        Self::new(app.max_worker_age, app.max_worker_rss, now)
    }

    /// Sets the limits of workers that become ready from now on.
    pub(super) fn set_limits(&mut self, app: &AppSettings) {
        (self.age, self.resident) = (app.max_worker_age, app.max_worker_rss);
    }

    /// Returns the limits of workers that may become as old as `age` and as large as `resident` bytes.
    fn new(age: Option<Duration>, resident: Option<u64>, now: Instant) -> Self {
        Self { age, resident, workers: BTreeMap::new(), looked: now }
    }

    /// Adds a worker that is ready. `chance` returns a number from 0 to its argument.
    pub(super) fn add(&mut self, id: WorkerId, now: Instant, chance: impl Fn(u64) -> u64) {
        let limits = Limits {
            until: self.age.map(|age| {
                let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                now + age.saturating_sub(Duration::from_millis(chance(millis / 100 * JITTER_PERCENT)))
            }),
            resident: self.resident.map(|bytes| bytes - chance(bytes / 100 * JITTER_PERCENT)),
        };
        if self.age.is_some() || self.resident.is_some() {
            self.workers.insert(id, limits);
        }
    }

    /// Removes a worker that has ended or is being replaced.
    pub(super) fn remove(&mut self, id: WorkerId) {
        self.workers.remove(&id);
    }

    /// Returns when the workers are to be checked.
    pub(super) fn due(&self) -> Option<Instant> {
        let looks = self.resident.filter(|_| !self.workers.is_empty()).map(|_| self.looked + PERIOD);
        looks.into_iter().chain(self.workers.values().filter_map(|limits| limits.until)).min()
    }

    /// Removes and returns the workers that have reached a limit. `resident` returns the memory of a worker.
    fn take_due(
        &mut self,
        now: Instant,
        resident: impl Fn(WorkerId) -> Option<u64>,
    ) -> Vec<(WorkerId, RestartCause)> {
        let looks = self.resident.is_some() && now >= self.looked + PERIOD;
        if looks {
            self.looked = now;
        }
        let mut due = Vec::new();
        for (&id, limits) in &self.workers {
            if limits.until.is_some_and(|until| until <= now) {
                due.push((id, RestartCause::Age));
            } else if let Some(most) = limits.resident.filter(|_| looks)
                && resident(id).is_some_and(|bytes| bytes >= most)
            {
                due.push((id, RestartCause::Rss));
            }
        }
        for (id, _) in &due {
            self.workers.remove(id);
        }
        due
    }
}

impl Supervisor<'_> {
    /// Sets the limits of a worker that has become ready.
    pub(super) fn limit(&mut self, id: WorkerId) {
        let has_embedder = self.settings.embedder.is_some();
        if let Some(pool) = self.pool_with(id).filter(|_| !has_embedder) {
            pool.recycling.add(id, Instant::now(), random_up_to);
        }
    }

    /// Replaces the workers that have reached a limit, one of each app after the other.
    pub(super) fn recycle(&mut self) {
        for pool in &mut self.pools {
            let workers = &pool.workers;
            let resident = |id| workers.get(id).and_then(|worker| Usage::of(worker.pid).resident);
            let due = pool.recycling.take_due(Instant::now(), resident);
            for (id, cause) in due {
                let worker = workers.get(id).filter(|worker| !worker.ended && !worker.is_retired());
                let Some(worker) = worker.filter(|_| !pool.replacements.concerns(id)) else { continue };
                if cause == RestartCause::Age {
                    tracing::info!("{worker} has reached max_worker_age; replacing it");
                } else {
                    let bytes = Usage::of(worker.pid).resident.unwrap_or_default();
                    tracing::info!(
                        "{worker} has {bytes} bytes of memory and reached max_worker_rss; replacing it"
                    );
                }
                self.restarts.note(cause);
                pool.replacements.want(worker.slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn workers_are_due_by_age_with_some_chance() {
        let now = Instant::now();
        let mut recycling = Recycling::new(Some(HOUR), None, now);
        recycling.add(1, now, |_| 0);
        recycling.add(2, now, |most| most);
        assert_eq!(recycling.due(), Some(now + HOUR * 9 / 10), "at most a tenth earlier");
        assert!(recycling.take_due(now + HOUR / 2, |_| None).is_empty());
        assert_eq!(recycling.take_due(now + HOUR * 9 / 10, |_| None), [(2, RestartCause::Age)]);
        assert_eq!(recycling.take_due(now + HOUR, |_| None), [(1, RestartCause::Age)]);
        assert_eq!(recycling.due(), None, "each is due once");
    }

    #[test]
    fn workers_are_due_by_their_memory_which_is_looked_at_now_and_then() {
        let now = Instant::now();
        let mut recycling = Recycling::new(None, Some(1000), now);
        assert_eq!(recycling.due(), None);
        recycling.add(1, now, |_| 0);
        recycling.add(2, now, |most| most);
        let sizes = |id| Some(if id == 1 { 999 } else { 900 });
        assert!(recycling.take_due(now, sizes).is_empty(), "too early to look");
        assert_eq!(recycling.due(), Some(now + PERIOD));
        assert_eq!(recycling.take_due(now + PERIOD, sizes), [(2, RestartCause::Rss)]);
        recycling.remove(1);
        assert_eq!(recycling.due(), None);
    }

    #[test]
    fn without_limits_nothing_is_kept() {
        let now = Instant::now();
        let mut recycling = Recycling::new(None, None, now);
        recycling.add(1, now, |_| 0);
        assert!(recycling.workers.is_empty() && recycling.due().is_none());
    }
}

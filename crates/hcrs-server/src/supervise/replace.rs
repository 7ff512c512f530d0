//! Replacement of workers while they serve: the new worker is started first, and once it is ready the old one
//! finishes what it has begun. One of each app is replaced at a time, so an app has at most one worker more than
//! configured. With `use_reloader` all are restarted together instead (`restart.rs`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hcrs_metrics::RestartCause;

use super::backoff::Backoff;
use super::{Supervisor, notify};
use crate::AppName;
use crate::origin::app::WorkerId;
use crate::thread::control::{Control, Retirement};

/// How much later than its deadline a replaced worker may begin its shutdown. No client waits for it.
const RETIRE_SLACK: Duration = Duration::from_secs(5);

/// How long a superseded worker that is still starting may take to end: one that hangs is killed, and one
/// that becomes ready at that moment ends in order.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// The slots whose workers are to be replaced, and the replacement in progress. No I/O and no clock.
#[derive(Debug, Default)]
pub(super) struct Replacements {
    /// The slots that wait, each once.
    waiting: VecDeque<usize>,
    running: Option<Running>,
    pause: Pause,
    backoff: Backoff,
    /// Whether all slots were requested and the end of that round was not reported yet.
    is_round: bool,
}

#[derive(Debug, Clone, Copy)]
enum Running {
    /// `new` is starting. The old worker serves, unless it has died meanwhile.
    Starting { slot: usize, old: Option<WorkerId>, new: WorkerId },
    /// The old worker finishes what it has begun.
    Retiring { old: WorkerId },
}

/// When the next replacement may begin.
#[derive(Debug, Default, Clone, Copy)]
enum Pause {
    #[default]
    None,
    /// Not before this time, after a replacement that failed.
    Until(Instant),
}

/// The meaning of a worker's end for its replacement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// None: its slot is empty, and no worker is starting for it.
    SlotEmpty,
    /// It was replaced, and is gone now.
    Retired,
    /// It died before its replacement, which is already starting, was ready.
    DiedBeforeHandover,
    /// It was to replace this worker, which continues to serve. Another attempt follows after the time.
    Unready(WorkerId, Duration),
}

impl Replacements {
    /// Requests a new worker in a slot.
    pub(super) fn want(&mut self, slot: usize) {
        if !self.waiting.contains(&slot) {
            self.waiting.push_back(slot);
        }
    }

    /// Requests new workers in all `slots`, without delay. One that is starting already may be out of date
    /// as well.
    pub(super) fn want_all(&mut self, slots: usize) {
        (0..slots).for_each(|slot| self.want(slot));
        self.pause = Pause::None;
        self.backoff = Backoff::default();
        self.is_round = true;
    }

    /// Cancels the request for a slot where a worker is being started anyway.
    pub(super) fn cancel(&mut self, slot: usize) {
        self.waiting.retain(|&waiting| waiting != slot);
    }

    /// Abandons the request for a slot, and the replacement that is starting for it. Its workers are to be
    /// retired.
    pub(super) fn abandon(&mut self, slot: usize) {
        self.cancel(slot);
        if matches!(self.running, Some(Running::Starting { slot: starting, .. }) if starting == slot) {
            self.running = None;
        }
    }

    /// Returns when the next replacement may begin.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        match self.pause {
            _ if self.running.is_some() || self.waiting.is_empty() => None,
            Pause::None => Some(now),
            Pause::Until(at) => Some(at),
        }
    }

    /// Returns the slot whose turn it is.
    pub(super) fn next(&self, now: Instant) -> Option<usize> {
        self.due(now).filter(|&at| at <= now).and_then(|_| self.waiting.front().copied())
    }

    /// Notes that `new` is starting in place of `old`, which serves.
    pub(super) fn begin(&mut self, slot: usize, old: WorkerId, new: WorkerId) {
        self.cancel(slot);
        self.pause = Pause::None;
        self.running = Some(Running::Starting { slot, old: Some(old), new });
    }

    /// Notes that the start of a replacement has failed. Returns the delay before the next attempt.
    pub(super) fn postpone(&mut self, now: Instant) -> Duration {
        let delay = self.backoff.after_death(None, true);
        self.pause = Pause::Until(now + delay);
        delay
    }

    /// Notes that a worker is ready. Returns the one that it replaces, which is to be retired.
    pub(super) fn ready(&mut self, id: WorkerId) -> Option<WorkerId> {
        let Some(Running::Starting { old, new, .. }) = self.running else { return None };
        if new != id {
            return None;
        }
        self.backoff = Backoff::default();
        self.running = old.map(|old| Running::Retiring { old });
        old
    }

    /// Cancels the replacement that is starting. Returns its worker, which is to end. The slot has to be
    /// requested again.
    pub(super) fn supersede(&mut self) -> Option<WorkerId> {
        let Some(Running::Starting { old, new, .. }) = self.running else { return None };
        if old.is_none() {
            // It is the only worker of its slot: it continues to start there, and is replaced later.
            self.running = None;
            return None;
        }
        self.running = Some(Running::Retiring { old: new });
        Some(new)
    }

    /// Whether a new worker is starting in place of this one, or has replaced it.
    pub(super) fn concerns(&self, id: WorkerId) -> bool {
        matches!(self.running, Some(Running::Starting { old: Some(old), .. } | Running::Retiring { old }) if old == id)
    }

    /// Notes that a worker is gone.
    pub(super) fn gone(&mut self, id: WorkerId, now: Instant) -> Loss {
        match self.running {
            Some(Running::Retiring { old }) if old == id => {
                self.running = None;
                Loss::Retired
            }
            Some(Running::Starting { slot, old: Some(old), new }) if old == id => {
                self.running = Some(Running::Starting { slot, old: None, new });
                Loss::DiedBeforeHandover
            }
            Some(Running::Starting { slot, old, new }) if new == id => {
                self.running = None;
                let Some(old) = old else { return Loss::SlotEmpty };
                self.cancel(slot);
                self.waiting.push_front(slot);
                Loss::Unready(old, self.postpone(now))
            }
            _ => Loss::SlotEmpty,
        }
    }

    /// Notes that new workers start in all slots, which is a round without replacements.
    pub(super) fn begin_round(&mut self) {
        self.is_round = true;
    }

    /// Whether a requested round of all slots is in progress.
    pub(super) fn is_round(&self) -> bool {
        self.is_round
    }

    /// Whether a requested round of all slots has finished; true once for each round.
    pub(super) fn take_finished_round(&mut self) -> bool {
        let is_over = self.is_round && self.running.is_none() && self.waiting.is_empty();
        self.is_round &= !is_over;
        is_over
    }
}

impl Supervisor<'_> {
    /// Replaces every worker of a pool, one after the other.
    fn replace_all(&mut self, at: usize, why: &str) {
        let pool = &mut self.pools[at];
        tracing::info!("Replacing all workers{} ({why})", pool.suffix());
        (0..pool.slots.len()).for_each(|_| self.restarts.note(RestartCause::Reload));
        pool.templates.renew();
        pool.replacements.want_all(pool.slots.len());
    }

    /// Replaces a worker that has reached its request quota.
    pub(super) fn replace_spent(&mut self, id: WorkerId) {
        let Some(at) = self.pool_of(id) else { return };
        let pool = &mut self.pools[at];
        let worker = pool.workers.get(id).filter(|worker| !worker.ended && !worker.is_retired());
        let Some(worker) = worker else { return };
        if !pool.replacements.concerns(id) {
            tracing::info!("{worker} has reached max_requests; replacing it");
            self.restarts.note(RestartCause::MaxRequests);
            pool.replacements.want(worker.slot);
        }
    }

    /// Replaces every worker of a pool. A replacement that is just starting is cancelled at once, because it may
    /// hang in code that has been fixed.
    pub(super) async fn renew_all(&mut self, at: usize, why: &str) {
        if self.pools[at].reload.is_some() {
            return self.restart_all(at, why).await;
        }
        if let Some(new) = self.pools[at].replacements.supersede() {
            self.retire(new).await;
        }
        self.replace_all(at, why);
    }

    /// Replaces every worker of the app with this name.
    pub(super) async fn renew_named(&mut self, app: &AppName, why: &str) {
        if let Some(at) = self.pool_named(app) {
            self.renew_all(at, why).await;
        }
    }

    /// Begins the next replacement of each pool, if it is due.
    pub(super) async fn replace_next(&mut self) {
        for at in 0..self.pools.len() {
            self.replace_next_in(at).await;
        }
    }

    async fn replace_next_in(&mut self, at: usize) {
        let now = Instant::now();
        let pool = &mut self.pools[at];
        let Some(slot) = pool.replacements.next(now) else { return };
        let Some(old) = pool.workers.occupant(slot) else {
            // The old worker has died, and the next one will be as new as a replacement.
            pool.replacements.cancel(slot);
            for start in pool.starts.iter_mut().filter(|start| start.slot == slot) {
                start.at = now;
            }
            return;
        };
        let started = self.start_worker(at, slot).await;
        let pool = &mut self.pools[at];
        match started {
            Ok(()) => pool.replacements.begin(slot, old, self.last_id),
            Err(error) => {
                let delay = pool.replacements.postpone(now).as_secs_f64();
                let app = pool.suffix();
                tracing::error!("Cannot start a worker{app}: {error}; trying again in {delay} s");
            }
        }
    }

    /// Retires the worker that a worker which has become ready replaces.
    pub(super) async fn hand_over(&mut self, id: WorkerId) {
        let Some(at) = self.pool_of(id) else { return };
        let grace = self.retire_timeout(at);
        let Some(worker) = self.pools[at].workers.get(id) else { return };
        let shown = worker.to_string();
        if worker.is_retired() {
            // The worker was superseded while it was starting, and now ends in order.
            self.pools[at].workers.retire(id, Instant::now() + grace + RETIRE_SLACK);
            return;
        }
        if self.pools[at].reload.is_some() {
            // A signal may have started it after the others were given up.
            self.explain_failure(at, None).await;
        }
        let Some(old) = self.pools[at].replacements.ready(id) else {
            self.notify(notify::State::WorkersChanged);
            tracing::info!("{shown} is ready");
            return;
        };
        self.retire(old).await;
        self.notify(notify::State::WorkersChanged);
        let old = self.worker(old).map_or(0, |old| old.pid);
        tracing::info!("{shown} is ready and replaces worker {old}");
    }

    /// Lets a worker finish what it has begun, and then end.
    pub(super) async fn retire(&mut self, id: WorkerId) {
        let Some(at) = self.pool_of(id) else { return };
        let grace = self.retire_timeout(at);
        let workers = &mut self.pools[at].workers;
        let is_ready = workers.get(id).is_some_and(|worker| worker.ready_at.is_some());
        let patience = if is_ready { grace + RETIRE_SLACK } else { GIVEN_UP };
        workers.retire(id, Instant::now() + patience);
        self.edge.send_all(|| Control::Retire(Retirement { worker: id, grace })).await;
    }

    /// Returns how long requests in flight in a replaced worker of a pool may take to finish. With
    /// `use_reloader` it is at most as long as for a stop, because the developer waits for the new code.
    fn retire_timeout(&self, at: usize) -> Duration {
        let app = &self.pools[at].app;
        if app.use_reloader {
            app.retire_timeout.min(self.settings.graceful_timeout)
        } else {
            app.retire_timeout
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling(slots: usize) -> (Replacements, Instant) {
        let mut replacements = Replacements::default();
        replacements.want_all(slots);
        (replacements, Instant::now())
    }

    #[test]
    fn one_worker_is_replaced_at_a_time() {
        let (mut all, now) = rolling(2);
        assert_eq!(all.next(now), Some(0));
        all.begin(0, 1, 3);
        assert_eq!((all.due(now), all.next(now)), (None, None), "the new one is starting");
        assert_eq!(all.ready(3), Some(1));
        assert_eq!(all.due(now), None, "the old one has not ended");
        assert_eq!(all.gone(1, now), Loss::Retired);
        assert!(!all.take_finished_round());
        assert_eq!((all.due(now), all.next(now)), (Some(now), Some(1)));
        all.begin(1, 2, 4);
        assert_eq!(all.ready(4), Some(2));
        assert_eq!(all.gone(2, now), Loss::Retired);
        assert!(all.take_finished_round());
        assert!(!all.take_finished_round(), "it is reported once");
        assert_eq!(all.due(now), None);
    }

    #[test]
    fn asking_again_while_it_runs_replaces_each_once_more() {
        let (mut all, now) = rolling(2);
        all.want_all(2);
        all.begin(0, 1, 3);
        all.want_all(2);
        all.want_all(2);
        all.ready(3);
        all.gone(1, now);
        let mut order = Vec::new();
        let (mut old, mut new) = (2, 4);
        while let Some(slot) = all.next(now) {
            order.push(slot);
            all.begin(slot, old, new);
            all.ready(new);
            all.gone(old, now);
            (old, new) = (3, 5);
        }
        assert_eq!(order, [1, 0], "the worker that was starting may be out of date, too");
    }

    #[test]
    fn a_new_worker_that_fails_leaves_the_old_one_and_is_tried_again_ever_more_slowly() {
        let (mut all, now) = rolling(1);
        let mut delays = Vec::new();
        for new in 2..5 {
            let Some(at) = all.due(now) else { panic!("it waits") };
            assert_eq!(all.next(at), Some(0));
            all.begin(0, 1, new);
            let Loss::Unready(1, delay) = all.gone(new, now) else { panic!("the old one serves") };
            assert_eq!(all.next(now), None);
            delays.push(delay.as_millis());
        }
        assert_eq!(delays, [500, 1000, 2000]);
        all.want_all(1);
        assert_eq!(all.next(now), Some(0), "a request ends the wait");
    }

    #[test]
    fn an_old_worker_that_dies_early_is_not_replaced_twice() {
        let (mut all, now) = rolling(1);
        all.begin(0, 1, 2);
        assert!(all.concerns(1) && !all.concerns(2));
        assert_eq!(all.gone(1, now), Loss::DiedBeforeHandover);
        assert_eq!(all.ready(2), None, "there is no worker to retire");
        assert!(all.take_finished_round());
        let (mut all, now) = rolling(1);
        all.begin(0, 1, 2);
        all.gone(1, now);
        assert_eq!(all.gone(2, now), Loss::SlotEmpty);
        assert!(all.take_finished_round());
    }

    #[test]
    fn what_was_starting_can_be_given_up_for_something_newer() {
        let (mut all, now) = rolling(1);
        assert_eq!(all.supersede(), None);
        all.begin(0, 1, 2);
        assert_eq!(all.supersede(), Some(2));
        all.want_all(1);
        assert_eq!(all.ready(2), None, "it comes too late");
        assert_eq!(all.due(now), None, "it has not ended");
        assert_eq!(all.gone(2, now), Loss::Retired);
        assert_eq!(all.next(now), Some(0));
        all.begin(0, 1, 3);
        all.gone(1, now);
        assert_eq!(all.supersede(), None, "it is the only one that the slot has");
        assert_eq!(all.due(now), None, "no other was requested");
        all.want_all(1);
        assert_eq!(all.next(now), Some(0), "which may hang, and is replaced then");
        all.begin(0, 3, 4);
        assert_eq!(all.ready(4), Some(3));
    }

    #[test]
    fn workers_that_die_elsewhere_are_no_replacements() {
        let (mut all, now) = rolling(2);
        all.begin(0, 1, 3);
        assert_eq!(all.gone(2, now), Loss::SlotEmpty);
        all.cancel(1);
        assert_eq!(all.ready(4), None);
        all.ready(3);
        assert_eq!(all.gone(3, now), Loss::SlotEmpty, "it dies while the old one ends");
        assert_eq!(all.gone(1, now), Loss::Retired);
        assert_eq!(all.due(now), None);
    }
}

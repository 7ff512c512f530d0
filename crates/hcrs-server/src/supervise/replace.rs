//! Workers that are replaced while they serve: the new one is started first, and when it is ready the old one
//! finishes what it has begun. One at a time, so there is never more than one worker more than configured.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Supervisor;
use super::backoff::Backoff;
use crate::origin::app::WorkerId;
use crate::thread::control::{Control, Retirement};

/// How much later than its time a worker that was replaced may begin its shutdown. Nobody waits for it.
const RETIRE_SLACK: Duration = Duration::from_secs(5);

/// How long a worker that is given up while it starts may take to end: one that hangs is not waited for, and one that gets
/// ready just now ends in order.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// The places whose workers are to be replaced, and the replacement that is under way. No I/O and no clock.
#[derive(Debug, Default)]
pub(super) struct Replacements {
    /// Each place once.
    waiting: VecDeque<usize>,
    running: Option<Running>,
    pause: Pause,
    backoff: Backoff,
    /// All places were asked for, and the end of that was not told yet.
    is_round: bool,
}

#[derive(Debug, Clone, Copy)]
enum Running {
    /// `new` is starting. The old worker serves, if it has not died meanwhile.
    Starting { place: usize, old: Option<WorkerId>, new: WorkerId },
    /// The old worker finishes what it has begun.
    Retiring { old: WorkerId },
}

/// When a replacement may begin.
#[derive(Debug, Default, Clone, Copy)]
enum Pause {
    #[default]
    None,
    /// After one that failed.
    Until(Instant),
    /// After one that failed, until somebody asks again.
    UntilAsked,
}

/// What the end of a worker means for its replacement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing: its place has nobody, and nobody is starting for it.
    PlaceEmpty,
    /// It has been replaced, and is gone now.
    Retired,
    /// It has died before its replacement was ready, which is starting already.
    DiedBeforeHandover,
    /// It was to replace this one, which goes on serving; another is tried after the time, or when asked for.
    Unready(WorkerId, Option<Duration>),
}

impl Replacements {
    /// Asks for a new worker in a place.
    pub(super) fn want(&mut self, place: usize) {
        if !self.waiting.contains(&place) {
            self.waiting.push_back(place);
        }
    }

    /// Asks for new workers in all `places`, now. What has been started before may be out of date as well.
    pub(super) fn want_all(&mut self, places: usize) {
        (0..places).for_each(|place| self.want(place));
        self.pause = Pause::None;
        self.backoff = Backoff::default();
        self.is_round = true;
    }

    /// A worker is being started in the place anyway.
    pub(super) fn drop_wish(&mut self, place: usize) {
        self.waiting.retain(|&waiting| waiting != place);
    }

    /// When the next replacement may begin.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        match self.pause {
            _ if self.running.is_some() || self.waiting.is_empty() => None,
            Pause::None => Some(now),
            Pause::Until(at) => Some(at),
            Pause::UntilAsked => None,
        }
    }

    /// The place whose turn it is.
    pub(super) fn next(&self, now: Instant) -> Option<usize> {
        self.due(now).filter(|&at| at <= now).and_then(|_| self.waiting.front().copied())
    }

    /// `new` is starting for `old`, which serves.
    pub(super) fn begin(&mut self, place: usize, old: WorkerId, new: WorkerId) {
        self.drop_wish(place);
        self.pause = Pause::None;
        self.running = Some(Running::Starting { place, old: Some(old), new });
    }

    /// The start of a replacement has failed; gives the time after which it is tried again.
    pub(super) fn put_off(&mut self, now: Instant) -> Duration {
        let delay = self.backoff.after_death(None, true);
        self.pause = Pause::Until(now + delay);
        delay
    }

    /// A worker is ready; gives the one that it replaces, which is to be retired.
    pub(super) fn ready(&mut self, id: WorkerId) -> Option<WorkerId> {
        let Some(Running::Starting { old, new, .. }) = self.running else { return None };
        if new != id {
            return None;
        }
        self.backoff = Backoff::default();
        self.running = old.map(|old| Running::Retiring { old });
        old
    }

    /// What is starting will not do any more; gives the worker, which is to end. The place has to be asked for again.
    pub(super) fn supersede(&mut self) -> Option<WorkerId> {
        let Some(Running::Starting { old, new, .. }) = self.running else { return None };
        if old.is_none() {
            // It is the only one that its place has: it goes on starting there, and is replaced as others are.
            self.running = None;
            return None;
        }
        self.running = Some(Running::Retiring { old: new });
        Some(new)
    }

    /// Whether a new worker is starting for this one, or is there already.
    pub(super) fn concerns(&self, id: WorkerId) -> bool {
        matches!(self.running, Some(Running::Starting { old: Some(old), .. } | Running::Retiring { old }) if old == id)
    }

    /// A worker is gone. With `until_asked` nothing is tried again before the next request for it.
    pub(super) fn gone(&mut self, id: WorkerId, until_asked: bool, now: Instant) -> Loss {
        match self.running {
            Some(Running::Retiring { old }) if old == id => {
                self.running = None;
                Loss::Retired
            }
            Some(Running::Starting { place, old: Some(old), new }) if old == id => {
                self.running = Some(Running::Starting { place, old: None, new });
                Loss::DiedBeforeHandover
            }
            Some(Running::Starting { place, old, new }) if new == id => {
                self.running = None;
                let Some(old) = old else { return Loss::PlaceEmpty };
                self.drop_wish(place);
                self.waiting.push_front(place);
                if until_asked {
                    self.pause = Pause::UntilAsked;
                    return Loss::Unready(old, None);
                }
                Loss::Unready(old, Some(self.put_off(now)))
            }
            _ => Loss::PlaceEmpty,
        }
    }

    /// Whether all places were asked for and all are done, once.
    pub(super) fn take_finished_round(&mut self) -> bool {
        let is_over = self.is_round && self.running.is_none() && self.waiting.is_empty();
        self.is_round &= !is_over;
        is_over
    }
}

impl Supervisor<'_> {
    /// Replaces every worker, one after the other.
    pub(super) fn replace_all(&mut self, why: &str) {
        tracing::info!("Replacing all workers ({why})");
        self.replacements.want_all(self.places.len());
    }

    /// A worker has been given more requests than it is meant to.
    pub(super) fn replace_spent(&mut self, id: WorkerId) {
        let Some(worker) = self.roster.get(id).filter(|worker| !worker.ended) else { return };
        if !self.replacements.concerns(id) {
            tracing::info!("Worker {} has reached max_requests; replacing it", worker.pid);
            self.replacements.want(worker.place);
        }
    }

    /// A file of the app has changed: everything that has loaded it is replaced.
    pub(super) async fn replace_changed(&mut self, path: &Path) {
        self.renew_all(&format!("{} has changed", path.display())).await;
    }

    /// Replaces every worker, the one that is just starting as a replacement at once: it may hang in what has been mended.
    pub(super) async fn renew_all(&mut self, why: &str) {
        if let Some(new) = self.replacements.supersede() {
            self.retire(new).await;
        }
        self.replace_all(why);
    }

    /// Begins the next replacement, if it is time to.
    pub(super) async fn replace_next(&mut self) {
        let now = Instant::now();
        let Some(place) = self.replacements.next(now) else { return };
        let Some(old) = self.roster.occupant(place) else {
            // It has died, and the next one is as new as a replacement would be.
            self.replacements.drop_wish(place);
            for (at, _) in self.starts.iter_mut().filter(|(_, waiting)| *waiting == place) {
                *at = now;
            }
            return;
        };
        match self.start_worker(place).await {
            Ok(()) => self.replacements.begin(place, old, self.last_id),
            Err(error) => {
                let delay = self.replacements.put_off(now).as_secs_f64();
                tracing::error!("Cannot start a worker: {error}; trying again in {delay} s");
            }
        }
    }

    /// A worker is ready: the one that it replaces finishes what it has begun.
    pub(super) async fn hand_over(&mut self, id: WorkerId) {
        let Some(worker) = self.roster.get(id) else { return };
        let pid = worker.pid;
        if worker.is_retired() {
            // It was given up while it was starting, and now ends in order.
            self.roster.retire(id, Instant::now() + self.retire_timeout() + RETIRE_SLACK);
            return;
        }
        let Some(old) = self.replacements.ready(id) else {
            tracing::info!("Worker {pid} is ready");
            return;
        };
        self.retire(old).await;
        let old = self.roster.get(old).map_or(0, |old| old.pid);
        tracing::info!("Worker {pid} is ready and replaces worker {old}");
    }

    /// Lets a worker finish what it has begun, and then end.
    async fn retire(&mut self, id: WorkerId) {
        let grace = self.retire_timeout();
        let is_ready = self.roster.get(id).is_some_and(|worker| worker.ready_at.is_some());
        let patience = if is_ready { grace + RETIRE_SLACK } else { GIVEN_UP };
        self.roster.retire(id, Instant::now() + patience);
        self.edge.send_all(|| Control::Retire(Retirement { worker: id, grace })).await;
    }

    /// How long what is under way in a worker that is replaced may go on. One who changes the app's files waits for the next
    /// turn, for no longer than for a stop.
    fn retire_timeout(&self) -> Duration {
        let app = self.settings.app.as_ref();
        let timeout = app.map_or(Duration::ZERO, |app| app.retire_timeout);
        if app.is_some_and(|app| app.use_reloader) {
            timeout.min(self.settings.graceful_timeout)
        } else {
            timeout
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling(places: usize) -> (Replacements, Instant) {
        let mut replacements = Replacements::default();
        replacements.want_all(places);
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
        assert_eq!(all.gone(1, false, now), Loss::Retired);
        assert!(!all.take_finished_round());
        assert_eq!((all.due(now), all.next(now)), (Some(now), Some(1)));
        all.begin(1, 2, 4);
        assert_eq!(all.ready(4), Some(2));
        assert_eq!(all.gone(2, false, now), Loss::Retired);
        assert!(all.take_finished_round());
        assert!(!all.take_finished_round(), "it is told once");
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
        all.gone(1, false, now);
        let mut order = Vec::new();
        let (mut old, mut new) = (2, 4);
        while let Some(place) = all.next(now) {
            order.push(place);
            all.begin(place, old, new);
            all.ready(new);
            all.gone(old, false, now);
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
            let Loss::Unready(1, Some(delay)) = all.gone(new, false, now) else {
                panic!("the old one serves")
            };
            assert_eq!(all.next(now), None);
            delays.push(delay.as_millis());
        }
        assert_eq!(delays, [500, 1000, 2000]);
        all.want_all(1);
        assert_eq!(all.next(now), Some(0), "who asks does not have to wait");
        all.begin(0, 1, 5);
        assert_eq!(all.gone(5, true, now), Loss::Unready(1, None));
        assert_eq!(all.due(now), None, "a change is waited for");
        all.want_all(1);
        assert_eq!(all.next(now), Some(0));
    }

    #[test]
    fn an_old_worker_that_dies_early_is_not_replaced_twice() {
        let (mut all, now) = rolling(1);
        all.begin(0, 1, 2);
        assert!(all.concerns(1) && !all.concerns(2));
        assert_eq!(all.gone(1, false, now), Loss::DiedBeforeHandover);
        assert_eq!(all.ready(2), None, "there is nobody to retire");
        assert!(all.take_finished_round());
        let (mut all, now) = rolling(1);
        all.begin(0, 1, 2);
        all.gone(1, false, now);
        assert_eq!(all.gone(2, false, now), Loss::PlaceEmpty);
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
        assert_eq!(all.gone(2, true, now), Loss::Retired);
        assert_eq!(all.next(now), Some(0));
        all.begin(0, 1, 3);
        all.gone(1, true, now);
        assert_eq!(all.supersede(), None, "it is the only one that the place has");
        assert_eq!(all.due(now), None, "nobody has asked for another");
        all.want_all(1);
        assert_eq!(all.next(now), Some(0), "which may hang, and is replaced then");
        all.begin(0, 3, 4);
        assert_eq!(all.ready(4), Some(3));
    }

    #[test]
    fn workers_that_die_elsewhere_are_nobodys_replacement() {
        let (mut all, now) = rolling(2);
        all.begin(0, 1, 3);
        assert_eq!(all.gone(2, false, now), Loss::PlaceEmpty);
        all.drop_wish(1);
        assert_eq!(all.ready(4), None);
        all.ready(3);
        assert_eq!(all.gone(3, false, now), Loss::PlaceEmpty, "it dies while the old one ends");
        assert_eq!(all.gone(1, false, now), Loss::Retired);
        assert_eq!(all.due(now), None);
    }
}

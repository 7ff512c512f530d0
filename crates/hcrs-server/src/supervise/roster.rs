//! The workers that there are, and what each of them has said and done so far. No I/O and no clock:
//! the supervisor tells it what happens, and it says when a worker is ready, gone or overdue.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::origin::app::WorkerId;

/// How long after a worker's end the edge threads may take to read its last words and to end its links.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a worker may live on after it has failed, or after a thread has lost its link.
const FAREWELL: Duration = Duration::from_secs(10);

/// One worker process.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its number.
    pub id: WorkerId,
    /// The process id.
    pub pid: u32,
    /// Which of the configured workers it is.
    pub place: usize,
    /// Why it cannot serve, in its own words.
    pub failed: Option<String>,
    /// Since when it is ready on every link.
    pub ready_at: Option<Instant>,
    /// Whether the process has ended.
    pub ended: bool,
    /// How it ended, if the system said so.
    pub status: Option<ExitStatus>,
    killed: bool,
    stage: Stage,
    ready_links: usize,
    ended_links: usize,
    deadline: Option<Instant>,
}

/// How far a worker's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It serves, or is about to.
    Serving,
    /// It gets no more requests, finishes what it has begun and is to end.
    Retired,
    /// It has nothing more to do for requests, and runs its shutdown.
    ShuttingDown,
}

impl Worker {
    /// Whether it gets no more requests and is to end.
    pub(super) fn is_retired(&self) -> bool {
        self.stage != Stage::Serving
    }

    /// What it has not done in time.
    pub(super) fn overdue_text(&self) -> &'static str {
        if self.failed.is_some() {
            "does not end after it has failed"
        } else if self.ready_at.is_none() {
            "is not ready within the startup timeout"
        } else {
            "does not end"
        }
    }
}

/// What has become of a worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing that matters.
    Nothing,
    /// It is ready on every link.
    Ready,
    /// It has said why it cannot serve.
    Failed,
    /// It has ended, and its links have.
    Gone,
}

/// All workers that have been started and are not gone.
#[derive(Debug)]
pub(super) struct Roster {
    links: usize,
    ends_are_expected: bool,
    workers: BTreeMap<WorkerId, Worker>,
}

impl Roster {
    /// An empty roster of workers with `links` links each.
    pub(super) fn new(links: usize) -> Self {
        Self { links, ends_are_expected: false, workers: BTreeMap::new() }
    }

    /// Adds a worker that has to be ready by `deadline`, if there is one.
    pub(super) fn add(&mut self, id: WorkerId, pid: u32, place: usize, deadline: Option<Instant>) {
        let worker = Worker {
            id,
            pid,
            place,
            failed: None,
            ready_at: None,
            ended: false,
            status: None,
            killed: false,
            stage: Stage::Serving,
            ready_links: 0,
            ended_links: 0,
            deadline,
        };
        self.workers.insert(id, worker);
    }

    pub(super) fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        self.workers.remove(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(&id, worker)| (id, worker))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// One more link says that the worker is ready. One that has been killed meanwhile is not.
    pub(super) fn ready(&mut self, id: WorkerId, now: Instant) -> Step {
        let Some(worker) = self.workers.get_mut(&id) else { return Step::Nothing };
        worker.ready_links += 1;
        let is_new = worker.ready_at.is_none() && worker.failed.is_none() && !worker.killed;
        if worker.ready_links < self.links || !is_new {
            return Step::Nothing;
        }
        worker.ready_at = Some(now);
        worker.deadline = None;
        Step::Ready
    }

    /// The worker says, perhaps once on each link, why it cannot serve.
    pub(super) fn failed(&mut self, id: WorkerId, why: String, now: Instant) -> Step {
        let Some(worker) = self.workers.get_mut(&id) else { return Step::Nothing };
        if worker.failed.is_some() {
            return Step::Nothing;
        }
        worker.failed = Some(why);
        worker.deadline = Some(now + FAREWELL);
        Step::Failed
    }

    /// One more link of the worker has ended.
    pub(super) fn detached(&mut self, id: WorkerId, now: Instant) -> Step {
        let Some(worker) = self.workers.get_mut(&id) else { return Step::Nothing };
        worker.ended_links += 1;
        if worker.ended {
            return if worker.ended_links >= self.links { Step::Gone } else { Step::Nothing };
        }
        if !self.ends_are_expected && !worker.is_retired() {
            worker.deadline = Some(worker.deadline.map_or(now + FAREWELL, |at| at.min(now + FAREWELL)));
        }
        Step::Nothing
    }

    /// The process is being killed; what it has said before may still arrive.
    pub(super) fn killed(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.killed = true;
        }
    }

    /// The process has ended.
    pub(super) fn exited(&mut self, id: WorkerId, status: Option<ExitStatus>, now: Instant) -> Step {
        let Some(worker) = self.workers.get_mut(&id) else { return Step::Nothing };
        worker.ended = true;
        worker.status = status;
        worker.deadline = Some(now + LAST_WORDS);
        if worker.ended_links >= self.links { Step::Gone } else { Step::Nothing }
    }

    /// From now on a link that ends is no sign that its worker is broken.
    pub(super) fn expect_ends(&mut self) {
        self.ends_are_expected = true;
    }

    /// The worker that serves in a place, or is about to, and is not to end.
    pub(super) fn occupant(&self, place: usize) -> Option<WorkerId> {
        let serves = |worker: &&Worker| {
            worker.place == place && !worker.is_retired() && !worker.ended && worker.failed.is_none()
        };
        self.workers.values().filter(serves).map(|worker| worker.id).next_back()
    }

    /// Whether a worker serves, or is about to.
    pub(super) fn is_serving(&self) -> bool {
        self.workers.values().any(|worker| !worker.is_retired() && !worker.ended && worker.failed.is_none())
    }

    /// Gives a worker that has been replaced until `deadline` to finish what it has begun.
    pub(super) fn retire(&mut self, id: WorkerId, deadline: Instant) {
        let worker = self.workers.get_mut(&id).filter(|worker| !worker.ended);
        if let Some(worker) = worker.filter(|worker| worker.stage != Stage::ShuttingDown) {
            worker.stage = Stage::Retired;
            worker.deadline = Some(deadline);
        }
    }

    /// Gives all the workers until `deadline` to finish what they have begun. Those that shut down keep their time.
    pub(super) fn retire_all(&mut self, deadline: Instant) {
        let ids: Vec<_> = self.workers.keys().copied().collect();
        for id in ids {
            self.retire(id, deadline);
        }
    }

    /// The worker says that it begins its shutdown, for which it has until `deadline`.
    pub(super) fn finished(&mut self, id: WorkerId, deadline: Instant) {
        let worker = self.workers.get_mut(&id).filter(|worker| !worker.ended);
        // It says so on each link.
        if let Some(worker) = worker.filter(|worker| worker.stage != Stage::ShuttingDown) {
            worker.stage = Stage::ShuttingDown;
            worker.deadline = Some(deadline);
        }
    }

    /// The earliest time at which a worker is overdue.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.workers.values().filter_map(|worker| worker.deadline).min()
    }

    /// A worker whose deadline has passed; it has no deadline after that.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<(WorkerId, &Worker)> {
        let overdue = |worker: &Worker| worker.deadline.is_some_and(|at| at <= now);
        let (&id, worker) = self.workers.iter_mut().find(|(_, worker)| overdue(worker))?;
        worker.deadline = None;
        Some((id, worker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: Option<ExitStatus> = None;

    fn roster(links: usize) -> (Roster, Instant) {
        let now = Instant::now();
        let mut roster = Roster::new(links);
        roster.add(1, 100, 0, Some(now + Duration::from_secs(70)));
        (roster, now)
    }

    #[test]
    fn a_worker_is_ready_when_every_link_is() {
        let (mut roster, now) = roster(2);
        assert_eq!(roster.ready(1, now), Step::Nothing);
        assert_eq!(roster.ready(1, now), Step::Ready);
        assert_eq!(roster.next_deadline(), None, "a ready worker may live as long as it likes");
        assert_eq!(roster.ready(9, now), Step::Nothing, "nobody has heard of worker 9");
    }

    #[test]
    fn a_worker_that_is_killed_while_it_starts_is_not_ready_any_more() {
        let (mut roster, now) = roster(1);
        roster.killed(1);
        assert_eq!(roster.ready(1, now), Step::Nothing, "it said so before it was killed");
        assert_eq!(roster.get(1).unwrap().ready_at, None);
        assert_eq!(roster.exited(1, STATUS, now), Step::Nothing);
        assert_eq!(roster.detached(1, now), Step::Gone);
    }

    #[test]
    fn a_failure_is_told_once_and_the_worker_has_to_go() {
        let (mut roster, now) = roster(2);
        assert_eq!(roster.failed(1, "no app".into(), now), Step::Failed);
        assert_eq!(roster.failed(1, "no app".into(), now), Step::Nothing);
        assert_eq!(roster.get(1).unwrap().failed.as_deref(), Some("no app"));
        assert!(roster.take_overdue(now).is_none());
        assert!(roster.take_overdue(now + FAREWELL).is_some());
        assert!(roster.take_overdue(now + FAREWELL).is_none(), "it is killed once");
    }

    #[test]
    fn a_worker_is_gone_when_its_process_and_its_links_are() {
        let (mut first, now) = roster(2);
        assert_eq!(first.detached(1, now), Step::Nothing);
        assert_eq!(first.exited(1, STATUS, now), Step::Nothing);
        assert_eq!(first.detached(1, now), Step::Gone);
        let (mut second, now) = roster(1);
        assert_eq!(second.detached(1, now), Step::Nothing);
        assert_eq!(second.exited(1, STATUS, now), Step::Gone);
    }

    #[test]
    fn a_thread_that_does_not_end_the_link_does_not_hold_up_the_replacement() {
        let (mut roster, now) = roster(1);
        roster.exited(1, STATUS, now);
        let (id, worker) = roster.take_overdue(now + LAST_WORDS).unwrap();
        assert_eq!((id, worker.ended), (1, true));
    }

    #[test]
    fn a_worker_may_close_its_links_before_it_ends_when_it_is_told_to_end() {
        let (mut roster, now) = roster(1);
        roster.ready(1, now);
        roster.expect_ends();
        roster.detached(1, now);
        assert_eq!(roster.next_deadline(), None);
    }

    #[test]
    fn a_worker_that_was_replaced_may_close_its_links_and_leaves_its_place_to_another() {
        let (mut roster, now) = roster(1);
        roster.ready(1, now);
        assert_eq!(roster.occupant(0), Some(1));
        assert_eq!(roster.occupant(1), None);
        let end = now + Duration::from_secs(66);
        roster.retire(1, end);
        roster.retire(9, end); // nobody has heard of it
        assert_eq!(roster.occupant(0), None);
        assert_eq!(roster.detached(1, now), Step::Nothing);
        assert_eq!(roster.next_deadline(), Some(end));
        assert_eq!(roster.exited(1, STATUS, now), Step::Gone);
    }

    #[test]
    fn the_time_of_a_shutdown_begins_when_the_worker_says_so_and_no_stop_changes_it() {
        let (mut roster, now) = roster(2);
        let after = |seconds| now + Duration::from_secs(seconds);
        roster.ready(1, now);
        roster.ready(1, now);
        roster.retire(1, after(60));
        roster.finished(1, after(80));
        roster.finished(1, after(81)); // on the other link
        roster.retire_all(after(5));
        roster.retire(1, after(6));
        assert_eq!(roster.next_deadline(), Some(after(80)));
        roster.add(2, 200, 0, None);
        roster.retire_all(after(5));
        assert_eq!(roster.next_deadline(), Some(after(5)), "this one has not said anything");
        assert_eq!(roster.occupant(0), None);
        roster.exited(1, STATUS, now);
        roster.finished(1, after(90));
        assert_eq!(
            roster.get(1).unwrap().deadline,
            Some(now + LAST_WORDS),
            "what comes late changes nothing"
        );
    }

    #[test]
    fn a_worker_that_lost_a_link_is_overdue_soon() {
        let (mut roster, now) = roster(2);
        roster.ready(1, now);
        roster.ready(1, now);
        roster.detached(1, now);
        assert_eq!(roster.next_deadline(), Some(now + FAREWELL));
        roster.retire_all(now);
        assert_eq!(roster.next_deadline(), Some(now));
    }
}

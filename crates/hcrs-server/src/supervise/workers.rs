//! The workers and their states. No I/O and no clock: the supervisor passes in what happens, and each step
//! returns whether a worker is ready, gone or overdue.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use hcrs_metrics::WorkerState;

use super::event::Change;
use crate::AppName;
use crate::origin::app::{WorkerEvent, WorkerId};

/// How long after a worker's end the edge threads may take to read its last frames and to end its links.
const LINK_DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How much longer than the shutdown timeout a worker may take from the beginning of its shutdown to its end:
/// besides the interpreter's end, it waits up to a second for tasks that the app has left running.
pub(super) const END_SLACK: Duration = Duration::from_secs(3);
/// How long a worker may take to exit after it has failed, or after a thread has lost its link.
const EXIT_GRACE: Duration = Duration::from_secs(10);

/// One worker process.
#[derive(Debug)]
pub(super) struct Worker {
    /// The app that it serves.
    pub app: AppName,
    /// The worker's number.
    pub id: WorkerId,
    /// The process id.
    pub pid: u32,
    /// The slot that it fills: the index of a configured worker of the app.
    pub slot: usize,
    /// The reason why it cannot serve, as it reported it.
    pub failed: Option<String>,
    /// When it was started.
    pub started_at: Instant,
    /// When it became ready on every link.
    pub ready_at: Option<Instant>,
    /// Whether it is killed because it hangs.
    pub has_hung: bool,
    /// Whether the process has ended.
    pub ended: bool,
    /// How the process ended, if the system reported it.
    pub status: Option<ExitStatus>,
    killed: bool,
    stage: Stage,
    ready_links: usize,
    ended_links: usize,
    deadline: Option<Instant>,
}

/// The stage of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It serves, or is starting.
    Serving,
    /// It gets no more requests, finishes those that it has begun and then ends.
    Retired,
    /// It has finished its work on requests and runs its shutdown.
    ShuttingDown,
}

impl Worker {
    /// Returns its state.
    pub(super) fn state(&self) -> WorkerState {
        match self.ready_at {
            _ if self.is_retired() || self.ended || self.failed.is_some() => WorkerState::Ending,
            Some(_) => WorkerState::Ready,
            None => WorkerState::Starting,
        }
    }

    /// Whether it gets no more requests and is to end.
    pub(super) fn is_retired(&self) -> bool {
        self.stage != Stage::Serving
    }

    /// Notes that it is ready on one more of its links. Returns true if that was the last one. One that has
    /// failed or been killed meanwhile is not ready.
    fn note_ready_link(&mut self, links: usize, now: Instant) -> bool {
        self.ready_links += 1;
        let is_new = self.ready_at.is_none() && self.failed.is_none() && !self.killed;
        if self.ready_links < links || !is_new {
            return false;
        }
        self.ready_at = Some(now);
        self.deadline = None;
        true
    }

    /// Notes why it cannot serve. Returns false if it has reported that before.
    fn note_failure(&mut self, why: String, now: Instant) -> bool {
        if self.failed.is_some() {
            return false;
        }
        self.failed = Some(why);
        self.deadline = Some(now + EXIT_GRACE);
        true
    }

    /// Notes that one more of its links has ended, which is a defect unless it `is_expected`.
    fn note_lost_link(&mut self, is_expected: bool, now: Instant) {
        self.ended_links += 1;
        if !self.ended && !is_expected && !self.is_retired() {
            let at = now + EXIT_GRACE;
            self.deadline = Some(self.deadline.map_or(at, |deadline| deadline.min(at)));
        }
    }

    /// Notes that it begins its shutdown, which has to end by `deadline`.
    fn note_shutdown(&mut self, deadline: Instant) {
        if !self.ended && self.stage != Stage::ShuttingDown {
            self.stage = Stage::ShuttingDown;
            self.deadline = Some(deadline);
        }
    }

    fn note_exit(&mut self, status: Option<ExitStatus>, now: Instant) {
        self.ended = true;
        self.status = status;
        self.deadline = Some(now + LINK_DRAIN_GRACE);
    }

    /// Describes the step that it has not done in time.
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

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Worker {}{}", self.pid, self.app.suffix())
    }
}

/// All workers of an app that have been started and are not gone.
#[derive(Debug)]
pub(super) struct Workers {
    app: AppName,
    /// The number of links of each worker.
    links: usize,
    /// How long a worker's shutdown may take.
    shutdown: Duration,
    ends_are_expected: bool,
    by_id: BTreeMap<WorkerId, Worker>,
}

impl Workers {
    /// Returns an empty list of workers of the app with `links` links each, whose shutdown may take as long as
    /// `shutdown`.
    pub(super) fn new(app: &AppName, links: usize, shutdown: Duration) -> Self {
        Self { app: app.clone(), links, shutdown, ends_are_expected: false, by_id: BTreeMap::new() }
    }

    /// Sets how long the shutdown of a worker that has not begun it may take.
    pub(super) fn set_shutdown_timeout(&mut self, shutdown: Duration) {
        self.shutdown = shutdown;
    }

    /// Adds a worker that has to be ready by `deadline`, if there is one.
    pub(super) fn add(&mut self, id: WorkerId, pid: u32, slot: usize, deadline: Option<Instant>) {
        let worker = Worker {
            app: self.app.clone(),
            id,
            pid,
            slot,
            failed: None,
            started_at: Instant::now(),
            ready_at: None,
            has_hung: false,
            ended: false,
            status: None,
            killed: false,
            stage: Stage::Serving,
            ready_links: 0,
            ended_links: 0,
            deadline,
        };
        self.by_id.insert(id, worker);
    }

    /// Sets the process id of a worker that was forked.
    pub(super) fn set_pid(&mut self, id: WorkerId, pid: u32) {
        if let Some(worker) = self.by_id.get_mut(&id) {
            worker.pid = pid;
        }
    }

    /// Notes that a worker was not forked, so that it has no links whose end is to be awaited.
    pub(super) fn has_no_links(&mut self, id: WorkerId) {
        if let Some(worker) = self.by_id.get_mut(&id) {
            worker.ended_links = self.links;
        }
    }

    pub(super) fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.by_id.get(&id)
    }

    /// Removes a worker whose process has ended.
    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        self.by_id.remove(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.by_id.iter().map(|(&id, worker)| (id, worker))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Notes an event in a worker's life. Returns what it changes for the worker as a whole.
    pub(super) fn note(&mut self, id: WorkerId, event: WorkerEvent, now: Instant) -> Option<Change> {
        let worker = self.by_id.get_mut(&id)?;
        match event {
            WorkerEvent::Ready => worker.note_ready_link(self.links, now).then_some(Change::Ready(id)),
            WorkerEvent::Failed(why) => worker.note_failure(why, now).then_some(Change::Failed(id)),
            WorkerEvent::Spent => Some(Change::Spent(id)),
            WorkerEvent::Finished => {
                worker.note_shutdown(now + self.shutdown + END_SLACK);
                None
            }
            WorkerEvent::Detached => {
                worker.note_lost_link(self.ends_are_expected, now);
                self.take_gone(id).map(Change::Gone)
            }
            WorkerEvent::Exited(status) => {
                worker.note_exit(status, now);
                self.take_gone(id).map(Change::Gone)
            }
        }
    }

    /// Removes a worker if its process and its links have ended.
    fn take_gone(&mut self, id: WorkerId) -> Option<Worker> {
        let worker = self.by_id.get(&id)?;
        if worker.ended && worker.ended_links >= self.links { self.by_id.remove(&id) } else { None }
    }

    /// Notes that the process is being killed; earlier reports of it may still arrive.
    pub(super) fn killed(&mut self, id: WorkerId) {
        if let Some(worker) = self.by_id.get_mut(&id) {
            worker.killed = true;
        }
    }

    /// Notes that the process is killed because it hangs.
    pub(super) fn hung(&mut self, id: WorkerId) {
        if let Some(worker) = self.by_id.get_mut(&id) {
            worker.has_hung = true;
        }
    }

    /// Notes that links end from now on without their worker being broken.
    pub(super) fn expect_ends(&mut self) {
        self.ends_are_expected = true;
    }

    /// Returns the worker that serves or starts in a slot and is not to end.
    pub(super) fn occupant(&self, slot: usize) -> Option<WorkerId> {
        let serves = |worker: &&Worker| {
            worker.slot == slot && !worker.is_retired() && !worker.ended && worker.failed.is_none()
        };
        self.by_id.values().filter(serves).map(|worker| worker.id).next_back()
    }

    /// Whether any worker serves or is starting.
    pub(super) fn is_serving(&self) -> bool {
        self.by_id.values().any(|worker| !worker.is_retired() && !worker.ended && worker.failed.is_none())
    }

    /// Marks a worker as replaced, with the time until `deadline` to finish what it has begun.
    pub(super) fn retire(&mut self, id: WorkerId, deadline: Instant) {
        let worker = self.by_id.get_mut(&id).filter(|worker| worker.stage != Stage::ShuttingDown);
        if let Some(worker) = worker {
            worker.stage = Stage::Retired;
            // The links of one that has ended have a deadline of their own.
            if !worker.ended {
                worker.deadline = Some(deadline);
            }
        }
    }

    /// Marks all workers as ending, with the time until `deadline` to finish what they have begun. Those that
    /// have begun their shutdown keep their deadline.
    pub(super) fn retire_all(&mut self, deadline: Instant) {
        let ids: Vec<_> = self.by_id.keys().copied().collect();
        for id in ids {
            self.retire(id, deadline);
        }
    }

    /// Returns the earliest deadline of a worker.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_id.values().filter_map(|worker| worker.deadline).min()
    }

    /// Returns a worker whose deadline has passed, and removes the deadline.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<(WorkerId, &Worker)> {
        let overdue = |worker: &Worker| worker.deadline.is_some_and(|at| at <= now);
        let (&id, worker) = self.by_id.iter_mut().find(|(_, worker)| overdue(worker))?;
        worker.deadline = None;
        Some((id, worker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHUTDOWN: Duration = Duration::from_secs(20);

    impl Workers {
        fn ready(&mut self, id: WorkerId, now: Instant) -> Option<Change> {
            self.note(id, WorkerEvent::Ready, now)
        }

        fn failed(&mut self, id: WorkerId, why: &str, now: Instant) -> Option<Change> {
            self.note(id, WorkerEvent::Failed(why.to_owned()), now)
        }

        fn detached(&mut self, id: WorkerId, now: Instant) -> Option<Change> {
            self.note(id, WorkerEvent::Detached, now)
        }

        fn exited(&mut self, id: WorkerId, now: Instant) -> Option<Change> {
            self.note(id, WorkerEvent::Exited(None), now)
        }

        fn finished(&mut self, id: WorkerId, now: Instant) {
            assert!(self.note(id, WorkerEvent::Finished, now).is_none());
        }
    }

    fn is_gone(change: Option<&Change>) -> bool {
        matches!(change, Some(Change::Gone(_)))
    }

    fn workers(links: usize) -> (Workers, Instant) {
        let now = Instant::now();
        let mut workers = Workers::new(&AppName::default(), links, SHUTDOWN);
        workers.add(1, 100, 0, Some(now + Duration::from_secs(70)));
        (workers, now)
    }

    #[test]
    fn a_worker_is_ready_when_every_link_is() {
        let (mut workers, now) = workers(2);
        assert!(workers.ready(1, now).is_none());
        assert!(matches!(workers.ready(1, now), Some(Change::Ready(1))));
        assert_eq!(workers.next_deadline(), None, "a ready worker may live as long as it likes");
        assert!(workers.ready(9, now).is_none(), "there is no worker 9");
    }

    #[test]
    fn a_worker_that_is_killed_while_it_starts_is_not_ready_any_more() {
        let (mut workers, now) = workers(1);
        workers.killed(1);
        assert!(workers.ready(1, now).is_none(), "it reported this before it was killed");
        assert_eq!(workers.get(1).unwrap().ready_at, None);
        assert!(workers.exited(1, now).is_none());
        assert!(is_gone(workers.detached(1, now).as_ref()));
    }

    #[test]
    fn a_failure_is_reported_once_and_ends_the_worker() {
        let (mut workers, now) = workers(2);
        assert!(matches!(workers.failed(1, "no app", now), Some(Change::Failed(1))));
        assert!(workers.failed(1, "no app", now).is_none());
        assert_eq!(workers.get(1).unwrap().failed.as_deref(), Some("no app"));
        assert!(workers.take_overdue(now).is_none());
        assert!(workers.take_overdue(now + EXIT_GRACE).is_some());
        assert!(workers.take_overdue(now + EXIT_GRACE).is_none(), "it is killed once");
    }

    #[test]
    fn a_worker_is_gone_when_its_process_and_its_links_are() {
        let (mut first, now) = workers(2);
        assert!(first.detached(1, now).is_none());
        assert!(first.exited(1, now).is_none());
        assert!(is_gone(first.detached(1, now).as_ref()));
        let (mut second, now) = workers(1);
        assert!(second.detached(1, now).is_none());
        assert!(is_gone(second.exited(1, now).as_ref()));
    }

    #[test]
    fn a_thread_that_does_not_end_the_link_does_not_hold_up_the_replacement() {
        let (mut workers, now) = workers(1);
        workers.exited(1, now);
        let (id, worker) = workers.take_overdue(now + LINK_DRAIN_GRACE).unwrap();
        assert_eq!((id, worker.ended), (1, true));
    }

    #[test]
    fn a_worker_that_was_stopped_may_close_its_links_before_it_ends() {
        let (mut workers, now) = workers(1);
        workers.ready(1, now);
        workers.expect_ends();
        workers.detached(1, now);
        assert_eq!(workers.next_deadline(), None);
    }

    #[test]
    fn a_worker_that_was_replaced_may_close_its_links_and_leaves_its_place_to_another() {
        let (mut workers, now) = workers(1);
        workers.ready(1, now);
        assert_eq!(workers.occupant(0), Some(1));
        assert_eq!(workers.occupant(1), None);
        let end = now + Duration::from_secs(66);
        workers.retire(1, end);
        workers.retire(9, end); // there is no such worker
        assert_eq!(workers.occupant(0), None);
        assert!(workers.detached(1, now).is_none());
        assert_eq!(workers.next_deadline(), Some(end));
        assert!(is_gone(workers.exited(1, now).as_ref()));
    }

    #[test]
    fn the_time_of_a_shutdown_begins_with_the_workers_report_and_no_stop_changes_it() {
        let (mut workers, now) = workers(2);
        let after = |seconds| now + Duration::from_secs(seconds);
        workers.ready(1, now);
        workers.ready(1, now);
        workers.retire(1, after(60));
        workers.finished(1, after(57));
        workers.finished(1, after(58)); // on the other link
        workers.retire_all(after(5));
        workers.retire(1, after(6));
        assert_eq!(workers.next_deadline(), Some(after(80)));
        workers.add(2, 200, 0, None);
        workers.retire_all(after(5));
        assert_eq!(workers.next_deadline(), Some(after(5)), "this one has not reported its shutdown");
        assert_eq!(workers.occupant(0), None);
        workers.exited(1, now);
        workers.finished(1, after(67));
        assert_eq!(
            workers.get(1).unwrap().deadline,
            Some(now + LINK_DRAIN_GRACE),
            "what comes late changes nothing"
        );
    }

    #[test]
    fn a_worker_that_lost_a_link_is_overdue_soon() {
        let (mut workers, now) = workers(2);
        workers.ready(1, now);
        workers.ready(1, now);
        workers.detached(1, now);
        assert_eq!(workers.next_deadline(), Some(now + EXIT_GRACE));
        workers.retire_all(now);
        assert_eq!(workers.next_deadline(), Some(now));
    }
}

//! The drain: requests in flight, in the edge and in the workers, finish within the graceful timeout, and the
//! rest is cut off. Then the app's shutdown runs within the shutdown timeout, which begins when a worker
//! reports its shutdown. A second signal cuts everything off at once.

use std::time::{Duration, Instant};

use super::event::Change;
use super::reap::{is_success, log_end};
use super::replace::Replacements;
use super::signals::{Grace, Stop};
use super::workers::{END_SLACK, Worker};
use super::{Supervisor, notify};
use crate::Outcome;
use crate::origin::app::WorkerId;
use crate::thread::control::{Control, Drain};

/// How much later than its deadline a thread or a worker may report that it has finished: a worker waits up
/// to a second of it for tasks that it has cancelled.
const SLACK: Duration = Duration::from_secs(2);

impl Supervisor<'_> {
    /// Returns how long requests in flight may take to finish after a signal.
    pub(super) fn grace(&self, stop: Stop) -> Duration {
        match stop.grace {
            Grace::Configured => self.settings.graceful_timeout,
            Grace::None => Duration::ZERO,
        }
    }

    /// Lets requests in flight finish within `grace`, then ends the workers and the threads. The workers are
    /// notified of the signal.
    pub(super) async fn drain(&mut self, grace: Duration, stop: Stop) -> Outcome {
        // A draining thread is the last of this process to hold its sockets.
        self.listeners.clear();
        self.quic.clear();
        self.is_open = false;
        self.update_readiness();
        self.notify(notify::State::Stopping);
        for pool in &mut self.pools {
            pool.starts.clear();
            pool.replacements = Replacements::default();
            pool.templates.close();
            pool.workers.expect_ends();
        }
        // Workers that are still starting have nothing to finish.
        self.kill_each(|worker| worker.ready_at.is_none());
        let Drained { finished, patient, until } = self.finish_requests(grace, stop).await;
        let ended_well = self.end_workers(patient, until).await;
        self.end_templates().await;
        self.edge.end().await;
        match (finished, ended_well) {
            (Finished::ThreadLost, _) => Outcome::ThreadLost,
            (Finished::CutOff, _) => Outcome::CutOff,
            (Finished::All, false) => Outcome::ShutdownFailed,
            (Finished::All, true) => Outcome::Clean,
        }
    }

    /// Lets each thread finish its requests.
    async fn finish_requests(&mut self, grace: Duration, stop: Stop) -> Drained {
        let signal = stop.number.as_raw().unsigned_abs() as u16;
        let mut until = Instant::now() + grace;
        self.edge.send_all(|| Control::Drain(Drain { until, signal })).await;
        let mut drained: Vec<_> = (0..self.edge.len()).map(|thread| !self.edge.is_alive(thread)).collect();
        let mut finished = Finished::All;
        let mut patient = true;
        let mut total = 0;
        while drained.contains(&false) {
            match self.next(Some(until + SLACK)).await {
                Change::Drained { thread, cut } => {
                    drained[thread] = true;
                    total += cut;
                    if cut > 0 {
                        finished = finished.max(Finished::CutOff);
                    }
                }
                Change::ThreadLost(thread) => {
                    drained[thread] = true;
                    finished = Finished::ThreadLost;
                }
                Change::Stop(next) if patient => {
                    let again = if next.number == stop.number { " again" } else { "" };
                    tracing::warn!("Cutting off requests in flight ({}{again})", next.name);
                    patient = false;
                    until = Instant::now();
                    self.edge.send_all(|| Control::Drain(Drain { until, signal })).await;
                }
                Change::Gone(worker) => log_end(&worker),
                Change::Due => {
                    tracing::error!("The edge has not drained in time");
                    finished = finished.max(Finished::CutOff);
                    break;
                }
                Change::Call(call) => call.refuse("the server is stopping"),
                Change::Reload(reading) => reading.refuse("the server is stopping"),
                Change::Ready(_)
                | Change::Failed(_)
                | Change::Spent(_)
                | Change::Scale(_)
                | Change::Succeed
                | Change::Succeeded
                | Change::Files(..)
                | Change::Stop(_)
                | Change::EmbedderGone => {}
            }
        }
        if total > 0 && patient {
            let requests = if total == 1 { "request was" } else { "requests were" };
            match stop.grace {
                Grace::Configured => tracing::warn!(
                    "{total} {requests} cut off: they had not finished in {} s (graceful_timeout)",
                    grace.as_secs_f64()
                ),
                Grace::None => tracing::warn!("{total} {requests} cut off ({})", stop.name),
            }
        }
        Drained { finished, patient, until }
    }

    /// Waits until the workers have run the app's shutdown. Kills those that have not begun it soon after
    /// `until`, and those that do not end. Returns whether all went well.
    async fn end_workers(&mut self, patient: bool, until: Instant) -> bool {
        if self.settings.embedder.is_some() {
            return true; // it lives on, and its app's shutdown is its own affair
        }
        self.notify(notify::State::ShuttingDown);
        let mut ended_well = true;
        let begin_by = until.max(Instant::now()) + SLACK;
        self.pools.iter_mut().for_each(|pool| pool.workers.retire_all(begin_by));
        // Each worker has its own deadline and is killed then; this limit is for one that does not end even
        // so.
        let shutdown = self.pools.iter().map(|pool| pool.app.shutdown_timeout).max().unwrap_or_default();
        let mut limit = begin_by + shutdown + END_SLACK + SLACK;
        if !patient {
            self.kill_each(|_| true);
            limit = Instant::now() + SLACK;
        }
        while !self.has_no_workers() {
            match self.next(Some(limit)).await {
                Change::Gone(worker) => {
                    ended_well &= worker.ready_at.is_none() || is_success(&worker);
                    log_end(&worker);
                }
                Change::Stop(Stop { name, .. }) => {
                    tracing::warn!("Killing the workers ({name} again)");
                    self.kill_each(|_| true);
                    limit = Instant::now() + SLACK;
                }
                Change::Due => return false,
                Change::Call(call) => call.refuse("the server is stopping"),
                Change::Reload(reading) => reading.refuse("the server is stopping"),
                Change::Ready(_)
                | Change::Failed(_)
                | Change::Spent(_)
                | Change::Scale(_)
                | Change::Succeed
                | Change::Succeeded
                | Change::Files(..)
                | Change::Drained { .. }
                | Change::ThreadLost(_)
                | Change::EmbedderGone => {}
            }
        }
        ended_well
    }

    /// Kills the workers whose deadline has passed. Returns one that had ended before, if there is one.
    pub(super) fn kill_overdue(&mut self, now: Instant) -> Option<Worker> {
        for at in 0..self.pools.len() {
            while let Some((id, worker)) = self.pools[at].workers.take_overdue(now) {
                if worker.ended {
                    return self.pools[at].workers.remove(id);
                }
                if worker.is_retired() && worker.ready_at.is_none() {
                    let (pid, app) = (worker.pid, worker.app.suffix());
                    tracing::info!("Killing worker {pid}{app}, which was superseded while it started");
                } else {
                    tracing::error!("{worker} {}; killing it", worker.overdue_text());
                }
                self.kill(id);
            }
        }
        None
    }

    pub(super) fn kill(&mut self, id: WorkerId) {
        if let Some(kill) = self.kills.remove(&id) {
            if let Some(pool) = self.pool_with(id) {
                pool.workers.killed(id);
            }
            let _ended_already = kill.send(());
        }
    }

    pub(super) fn kill_each(&mut self, which: impl Fn(&Worker) -> bool) {
        let ids: Vec<_> = self.workers().filter(|worker| which(worker)).map(|worker| worker.id).collect();
        for id in ids {
            self.kill(id);
        }
    }
}

/// The outcome of the threads' drain.
#[derive(Debug)]
struct Drained {
    finished: Finished,
    /// Whether no second signal has come.
    patient: bool,
    /// The end of the time that requests had.
    until: Instant,
}

/// How the requests ended, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Finished {
    All,
    CutOff,
    ThreadLost,
}

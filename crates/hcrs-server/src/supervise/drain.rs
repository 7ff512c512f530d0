//! The end: requests finish within the graceful timeout, then the workers within the shutdown timeout; what
//! is left is cut off. A second signal cuts at once.

use std::time::{Duration, Instant};

use super::replace::Replacements;
use super::roster::Worker;
use super::{Change, Supervisor, end_text, notify};
use crate::Outcome;
use crate::control::Control;

/// How much later than its deadline a thread or a worker may say that it has finished.
const SLACK: Duration = Duration::from_secs(2);

impl Supervisor<'_> {
    /// Finishes what is under way, for `grace` at most, then ends the workers and the threads.
    pub(super) async fn drain(&mut self, grace: Duration) -> Outcome {
        notify::tell(&self.settings, notify::State::Stopping);
        self.starts.clear();
        self.replacements = Replacements::default();
        self.roster.expect_ends();
        // What is still starting has nothing to finish.
        self.kill_each(|worker| worker.ready_at.is_none());
        let (finished, patient) = self.finish_requests(grace).await;
        let ended_well = self.end_workers(patient).await;
        self.edge.end().await;
        match (finished, ended_well) {
            (Finished::ThreadLost, _) => Outcome::ThreadLost,
            (Finished::CutOff, _) => Outcome::CutOff,
            (Finished::All, false) => Outcome::ShutdownFailed,
            (Finished::All, true) => Outcome::Clean,
        }
    }

    /// Lets each thread finish its requests; also says whether nobody has lost patience.
    async fn finish_requests(&mut self, grace: Duration) -> (Finished, bool) {
        let mut deadline = Instant::now() + grace;
        self.edge.tell_all(|| Control::Drain(deadline)).await;
        let mut drained: Vec<_> = (0..self.edge.len()).map(|thread| !self.edge.is_alive(thread)).collect();
        let mut finished = Finished::All;
        let mut patient = true;
        while drained.contains(&false) {
            match self.next(Some(deadline + SLACK)).await {
                Change::Drained(thread, in_time) => {
                    drained[thread] = true;
                    if !in_time {
                        finished = finished.max(Finished::CutOff);
                    }
                }
                Change::ThreadLost(thread) => {
                    drained[thread] = true;
                    finished = Finished::ThreadLost;
                }
                Change::Stop(signal) if patient => {
                    tracing::warn!("Cutting off what is under way ({signal} again)");
                    patient = false;
                    deadline = Instant::now();
                    self.edge.tell_all(|| Control::Drain(deadline)).await;
                }
                Change::Gone(worker) => note_end(&worker),
                Change::Due => {
                    tracing::error!("The edge has not drained in time");
                    finished = finished.max(Finished::CutOff);
                    break;
                }
                Change::Ready(_)
                | Change::Failed(_)
                | Change::Spent(_)
                | Change::Reload
                | Change::Files(_)
                | Change::Stop(_)
                | Change::CallerGone => {}
            }
        }
        if finished == Finished::CutOff && patient {
            tracing::warn!("Requests were cut off: they had not finished in {} s", grace.as_secs_f64());
        }
        (finished, patient)
    }

    /// How long a worker may take to end when nobody waits for it any more.
    pub(super) fn time_to_end(&self) -> Duration {
        self.settings.app.as_ref().map_or(Duration::ZERO, |app| {
            // First what the app still does after its responses, then its shutdown.
            self.settings.graceful_timeout + app.shutdown_timeout + SLACK
        })
    }

    /// Waits until the workers have run the app's shutdown; kills those that do not end. True if all went well.
    async fn end_workers(&mut self, patient: bool) -> bool {
        if self.settings.caller.is_some() {
            return true; // it lives on, and its app's shutdown is its own affair
        }
        let mut deadline = Instant::now() + self.time_to_end();
        let mut ended_well = true;
        self.roster.retire_all(deadline);
        if !patient {
            self.kill_each(|_| true);
            deadline = Instant::now();
        }
        while !self.roster.is_empty() {
            match self.next(Some(deadline + SLACK)).await {
                Change::Gone(worker) => {
                    ended_well &= worker.ready_at.is_none() || is_success(&worker);
                    note_end(&worker);
                }
                Change::Stop(signal) => {
                    tracing::warn!("Killing the workers ({signal} again)");
                    self.kill_each(|_| true);
                    deadline = Instant::now();
                }
                Change::Due => return false,
                Change::Ready(_)
                | Change::Failed(_)
                | Change::Spent(_)
                | Change::Reload
                | Change::Files(_)
                | Change::Drained(..)
                | Change::ThreadLost(_)
                | Change::CallerGone => {}
            }
        }
        ended_well
    }
}

/// Logs the end of a worker that was told to end, if it did not go well.
pub(super) fn note_end(worker: &Worker) {
    if worker.ready_at.is_some() && !is_success(worker) {
        tracing::error!("Worker {} {} while shutting down", worker.pid, end_text(worker));
    }
}

/// How the requests ended, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Finished {
    All,
    CutOff,
    ThreadLost,
}

fn is_success(worker: &Worker) -> bool {
    worker.status.is_some_and(|status| status.success())
}

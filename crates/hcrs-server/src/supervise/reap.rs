//! The end of a worker: its log message and its consequences.

use std::time::Instant;

use hcrs_metrics::RestartCause;

use super::replace::Loss;
use super::start::Start;
use super::workers::Worker;
use super::{Supervisor, notify, signals, worker as process};
use crate::origin::app::WorkerId;

impl Supervisor<'_> {
    /// Releases what belongs to a worker's process, which has ended, and logs the stack of its crash.
    pub(super) fn clear_up(&mut self, id: WorkerId) {
        self.kills.remove(&id);
        if let Some(pool) = self.pool_with(id) {
            pool.liveness.remove(id);
            pool.recycling.remove(id);
        }
        let crash = self.crashes.remove(&id).and_then(|file| process::crash_of(&file));
        if let (Some(stack), Some(worker)) = (crash, self.worker(id)) {
            tracing::error!(traceback = stack, "{worker} has crashed:");
        }
        if let Some(terminal) = &self.terminal {
            terminal.restore();
        }
    }

    /// Logs the end of a worker whose process and links have ended, and schedules a restart or the next
    /// replacement.
    pub(super) fn reap(&mut self, at: usize, worker: &Worker) {
        let end = end_text(worker);
        match self.pools[at].replacements.gone(worker.id, Instant::now()) {
            Loss::SlotEmpty if worker.is_retired() => log_end(worker),
            Loss::SlotEmpty => {
                let is_hang = worker.has_hung;
                self.restarts.note(if is_hang { RestartCause::Hang } else { RestartCause::Crash });
                self.schedule_restart(at, worker);
            }
            Loss::Retired => log_end(worker),
            Loss::DiedBeforeHandover => {
                tracing::error!("{worker} {end}; its replacement is starting already");
            }
            Loss::Unready(old, delay) => {
                let old = self.worker(old).map_or(0, |old| old.pid);
                tracing::error!(
                    "{worker} {end} before it was ready; worker {old} goes on serving, another is tried in {} s",
                    delay.as_secs_f64()
                );
                // Sent even after a failure, so that an app that cannot be loaded does not keep the service
                // manager waiting for the end of a reload.
                self.notify(notify::State::Ready);
            }
        }
    }

    /// Schedules another worker in the place of one that has died.
    fn schedule_restart(&mut self, at: usize, worker: &Worker) {
        let served = worker.ready_at.map(|at| at.elapsed());
        let pool = &mut self.pools[at];
        let others_serve = pool.workers.is_serving();
        let Some(slot) = pool.slots.get_mut(worker.slot) else { return log_end(worker) };
        let delay = slot.backoff.after_death(served, others_serve);
        let end = end_text(worker);
        if delay.is_zero() {
            tracing::error!("{worker} {end}; another is started");
        } else {
            tracing::error!("{worker} {end}; another is started in {} s", delay.as_secs_f64());
        }
        pool.starts.push(Start { at: Instant::now() + delay, slot: worker.slot });
        self.notify(notify::State::WorkersChanged);
    }
}

/// Logs the end of a worker that was to end, if it failed.
pub(super) fn log_end(worker: &Worker) {
    if worker.ready_at.is_some() && !is_success(worker) {
        tracing::error!("{worker} {} while shutting down", end_text(worker));
    }
}

/// Whether the worker ended with exit code 0.
pub(super) fn is_success(worker: &Worker) -> bool {
    worker.status.is_some_and(|status| status.success())
}

/// Describes how a worker ended, as in `was killed by SIGKILL`.
pub(super) fn end_text(worker: &Worker) -> String {
    worker.status.map_or_else(|| "ended".to_owned(), signals::describe)
}

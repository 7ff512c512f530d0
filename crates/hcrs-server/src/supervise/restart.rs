//! The workers' restart with `use_reloader`: when a file of the app changes, the workers that have the old code
//! get no more requests, and requests wait for the new ones. If the app cannot be served, requests are answered
//! with the reason until the next change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::replace::Replacements;
use super::start::Start;
use super::workers::Worker;
use super::{Supervisor, notify};
use crate::StartError;
use crate::origin::app::WorkerId;
use crate::thread::control::Control;

/// How long a new worker is not started because the old one in its slot has not ended. The old one may hold
/// what only one process can have, as the port of a debugger. A WebSocket or a long response may keep it longer.
const END_OF_OLD: Duration = Duration::from_secs(1);

impl Supervisor<'_> {
    /// Checks the app's files, if that is due.
    pub(super) fn look_at_files(&mut self) {
        if let Some(reload) = &mut self.reload {
            reload.look(Instant::now(), &self.sender);
        }
    }

    /// Starts a new worker in every slot. The old ones finish the requests that they have begun; others wait.
    pub(super) async fn restart_all(&mut self, why: &str) {
        self.retire_all().await;
        self.edge.send_all(|| Control::ExplainFailure(None)).await;
        self.edge.settle().await;
        // From this line on no request is answered by the old code, or with its failure.
        tracing::info!("Replacing all workers ({why})");
        self.templates.close();
        self.replacements = Replacements::default();
        self.replacements.begin_round();
        let at = Instant::now() + END_OF_OLD;
        self.starts = (0..self.slots.len()).map(|slot| Start { at, slot }).collect();
        self.slots.fill_with(Backoff::default);
        self.hasten_starts();
    }

    /// Lets slots whose old workers have ended get new ones at once.
    fn hasten_starts(&mut self) {
        let now = Instant::now();
        for start in &mut self.starts {
            if !self.workers.iter().any(|(_, worker)| worker.slot == start.slot) {
                start.at = start.at.min(now);
            }
        }
    }

    /// Whether every slot has a worker that is ready.
    pub(super) fn are_all_ready(&self) -> bool {
        (0..self.slots.len()).all(|slot| {
            let occupant = self.workers.occupant(slot).and_then(|id| self.workers.get(id));
            occupant.is_some_and(|worker| worker.ready_at.is_some())
        })
    }

    /// Takes the end of a worker. Returns whether it is to be dealt with as without `use_reloader`.
    pub(super) async fn note_end(&mut self, worker: &Worker) -> bool {
        if worker.ready_at.is_some() && !worker.is_retired() {
            return true;
        }
        if worker.is_retired() {
            self.hasten_starts();
            return true;
        }
        let why = match self.explain(worker).await {
            StartError::App(why) => why,
            other => other.to_string(),
        };
        self.give_up(&why).await;
        false
    }

    /// Ends all workers after one has reported why it cannot serve, unless that one was to end anyway.
    pub(super) async fn give_up_with(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(id).filter(|worker| !worker.is_retired()) else { return };
        let why = worker.failed.clone().unwrap_or_default();
        self.give_up(&why).await;
    }

    /// Ends all workers, because one cannot serve the app. Requests are answered with the reason until the next
    /// restart.
    pub(super) async fn give_up(&mut self, why: &str) {
        tracing::error!(
            traceback = why,
            "The app cannot be served; requests are answered with the reason until a file changes"
        );
        self.retire_all().await;
        self.kill_each(|worker| worker.ready_at.is_none());
        self.templates.close();
        self.starts.clear();
        self.replacements = Replacements::default();
        let why: Arc<str> = why.into();
        self.edge.send_all(|| Control::ExplainFailure(Some(Arc::clone(&why)))).await;
        // Sent so that the service manager does not wait for the end of a reload.
        self.notify(notify::State::Ready);
    }

    /// Retires every worker that is not to end already.
    async fn retire_all(&mut self) {
        let serving = self.workers.iter().filter(|(_, worker)| !worker.is_retired());
        let serving: Vec<_> = serving.map(|(id, _)| id).collect();
        for id in serving {
            self.retire(id).await;
        }
    }
}

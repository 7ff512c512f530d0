//! The workers' restart with `use_reloader`: when a file of the app changes, the workers that have the old code
//! get no more requests, and requests wait for the new ones. If the app cannot be served, requests are answered
//! with the reason until the next change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::pool::Pool;
use super::replace::Replacements;
use super::start::Start;
use super::workers::Worker;
use super::{Supervisor, notify};
use crate::origin::app::WorkerId;
use crate::thread::control::Control;
use crate::{AppName, StartError};

/// How long a new worker is not started because the old one in its slot has not ended. The old one may hold
/// what only one process can have, as the port of a debugger. A WebSocket or a long response may keep it longer.
const END_OF_OLD: Duration = Duration::from_secs(1);

impl Supervisor<'_> {
    /// Checks the app's files, if that is due.
    pub(super) fn look_at_files(&mut self) {
        for reload in self.pools.iter_mut().filter_map(|pool| pool.reload.as_mut()) {
            reload.look(Instant::now(), &self.sender);
        }
    }

    /// Starts a new worker in every slot of the app with this name.
    pub(super) async fn restart_named(&mut self, app: &AppName, why: &str) {
        if let Some(at) = self.pool_named(app) {
            self.restart_all(at, why).await;
        }
    }

    /// Starts a new worker in every slot of a pool. The old ones finish the requests that they have begun; others
    /// wait.
    pub(super) async fn restart_all(&mut self, at: usize, why: &str) {
        self.retire_all(at).await;
        self.explain_failure(at, None).await;
        self.edge.settle().await;
        let pool = &mut self.pools[at];
        // From this line on no request is answered by the old code, or with its failure.
        tracing::info!("Replacing all workers{} ({why})", pool.suffix());
        pool.templates.close();
        pool.replacements = Replacements::default();
        pool.replacements.begin_round();
        let at = Instant::now() + END_OF_OLD;
        pool.starts = (0..pool.slots.len()).map(|slot| Start { at, slot }).collect();
        pool.slots.iter_mut().for_each(|slot| slot.backoff = Backoff::default());
        pool.hasten_starts();
    }

    /// Has the threads answer an app's requests with the reason why it cannot be served, or by its workers.
    pub(super) async fn explain_failure(&mut self, at: usize, why: Option<Arc<str>>) {
        let pool = &mut self.pools[at];
        pool.is_given_up = why.is_some();
        let app = &pool.app.name;
        self.edge.send_all(|| Control::ExplainFailure(app.clone(), why.clone())).await;
    }

    /// Takes the end of a worker. Returns whether it is to be dealt with as without `use_reloader`.
    pub(super) async fn note_end(&mut self, at: usize, worker: &Worker) -> bool {
        if worker.ready_at.is_some() && !worker.is_retired() {
            return true;
        }
        if worker.is_retired() {
            self.pools[at].hasten_starts();
            return true;
        }
        let why = match self.explain(worker).await {
            StartError::App(why) => why,
            other => other.to_string(),
        };
        self.give_up(at, &why).await;
        false
    }

    /// Ends all workers of a pool after one has reported why it cannot serve, unless that one was to end anyway.
    pub(super) async fn give_up_with(&mut self, at: usize, id: WorkerId) {
        let Some(worker) = self.worker(id).filter(|worker| !worker.is_retired()) else { return };
        let why = worker.failed.clone().unwrap_or_default();
        self.give_up(at, &why).await;
    }

    /// Ends all workers of a pool, because one cannot serve the app. Requests are answered with the reason until
    /// the next restart.
    pub(super) async fn give_up(&mut self, at: usize, why: &str) {
        let app = self.pools[at].app.name.clone();
        let shown = if app.is_main() { "The app".to_owned() } else { format!("App {app}") };
        tracing::error!(
            traceback = why,
            "{shown} cannot be served; requests are answered with the reason until a file changes"
        );
        self.retire_all(at).await;
        self.kill_each(|worker| worker.app == app && worker.ready_at.is_none());
        let pool = &mut self.pools[at];
        pool.templates.close();
        pool.starts.clear();
        pool.replacements = Replacements::default();
        self.explain_failure(at, Some(why.into())).await;
        // Sent so that the service manager does not wait for the end of a reload.
        self.notify(notify::State::Ready);
    }

    /// Whether every slot of a pool has a worker that is ready.
    pub(super) fn are_all_ready(&self, at: usize) -> bool {
        let Pool { slots, workers, .. } = &self.pools[at];
        (0..slots.len()).all(|slot| {
            let occupant = workers.occupant(slot).and_then(|id| workers.get(id));
            occupant.is_some_and(|worker| worker.ready_at.is_some())
        })
    }

    /// Retires every worker of a pool that is not to end already.
    async fn retire_all(&mut self, at: usize) {
        let serving = self.pools[at].workers.iter().filter(|(_, worker)| !worker.is_retired());
        let serving: Vec<_> = serving.map(|(id, _)| id).collect();
        for id in serving {
            self.retire(id).await;
        }
    }
}

impl Pool {
    /// Lets slots whose old workers have ended get new ones at once.
    fn hasten_starts(&mut self) {
        let now = Instant::now();
        for start in &mut self.starts {
            if !self.workers.iter().any(|(_, worker)| worker.slot == start.slot) {
                start.at = start.at.min(now);
            }
        }
    }
}

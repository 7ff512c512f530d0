//! From the first worker's start to the first connection. The sockets listen once every worker is ready. A
//! worker that cannot serve at this point is for the operator to fix, so it ends the start. With `use_reloader`
//! the sockets listen first: requests wait for the workers, or are answered with the reason why the app cannot
//! be served.

use std::io;
use std::time::{Duration, Instant};

use super::event::Change;
use super::pool::Pool;
use super::reap::end_text;
use super::reload::Watch;
use super::workers::Worker;
use super::{Supervisor, change_of, notify, python};
use crate::thread::control::Control;
use crate::{AppName, StartError};

/// How long killed workers may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// The outcome of a start.
pub(super) enum Started {
    /// Connections are accepted.
    Serving,
    /// A signal came first.
    Stopped,
}

impl Supervisor<'_> {
    /// Starts the workers, waits until all are ready, and makes the sockets listen. With `use_reloader` they listen
    /// first, and an app that cannot be served does not end the start.
    pub(super) async fn start_up(&mut self) -> Result<Started, StartError> {
        let has_reloader = self.has_reloader();
        if has_reloader {
            self.accept_connections().await?;
        }
        if let stopped @ Started::Stopped = self.start_workers().await? {
            return Ok(stopped);
        }
        if !has_reloader {
            self.accept_connections().await?;
        }
        self.note_open();
        if let Some(predecessor) = self.predecessor.take() {
            predecessor.relieve();
        }
        if let Some(reading) = self.reloads.take_put_off() {
            self.reload(reading).await;
        }
        Ok(Started::Serving)
    }

    /// Makes the sockets listen, and announces their addresses.
    async fn accept_connections(&self) -> Result<(), StartError> {
        let addresses = self.open().await?;
        for address in &addresses {
            tracing::info!("Running on {address} (CTRL + C to quit)");
        }
        if let Some(embedder) = &self.settings.embedder {
            embedder.running(&addresses);
        }
        if let Some(on_running) = &self.settings.on_running {
            on_running.call(&addresses);
        }
        Ok(())
    }

    /// Starts a worker for each slot, and waits until all are ready.
    async fn start_workers(&mut self) -> Result<Started, StartError> {
        self.notify(notify::State::Starting);
        for at in 0..self.pools.len() {
            for slot in 0..self.pools[at].slots.len() {
                let started = self.start_worker(at, slot).await;
                started.map_err(|error| cannot_be_run(&self.pools[at], &error))?;
            }
        }
        while !(0..self.pools.len()).all(|at| self.has_started(at)) {
            let look = self.pools.iter().filter_map(|pool| pool.reload.as_ref().and_then(Watch::due)).min();
            match self.next(look).await {
                Change::Ready(id) => {
                    self.notify(notify::State::Starting);
                    if let Some(worker) = self.worker(id) {
                        tracing::debug!("{worker} is ready");
                    }
                }
                Change::Failed(id) => {
                    let Some(worker) = self.worker(id) else { continue };
                    let why = worker.failed.clone().unwrap_or_default();
                    let app = worker.app.clone();
                    self.fail_start(&app, StartError::App(app_message(&app, why))).await?;
                }
                Change::Gone(worker) if worker.is_retired() => {}
                Change::Gone(worker) => {
                    let error = self.explain(&worker).await;
                    self.fail_start(&worker.app, error).await?;
                }
                Change::Stop(_) | Change::EmbedderGone => return Ok(Started::Stopped),
                Change::ThreadLost(_) => return Err(thread_lost()),
                Change::Call(call) => call.refuse("the server is starting"),
                // They may have loaded files that have changed since.
                Change::Reload(reading) if !self.has_reloader() => self.put_off(reading),
                Change::Reload(reading) => {
                    self.reload(reading).await;
                    return Ok(Started::Serving);
                }
                Change::Files(app, Some(path)) => {
                    self.restart_named(&app, &change_of(&path)).await;
                    return Ok(Started::Serving);
                }
                Change::Due => self.look_at_files(),
                // A number of workers is changed once it has been reached.
                Change::Scale(_)
                | Change::Succeed
                | Change::Succeeded
                | Change::Spent(_)
                | Change::Drained { .. }
                | Change::Files(_, None) => {}
            }
        }
        Ok(Started::Serving)
    }

    /// Whether the workers of an app are restarted when its files change.
    fn has_reloader(&self) -> bool {
        self.pools.iter().any(|pool| pool.reload.is_some())
    }

    /// Whether the pool's workers are all ready, or were given up.
    fn has_started(&self, at: usize) -> bool {
        self.are_all_ready(at) || self.pools[at].is_given_up
    }

    /// Ends the start because an app cannot be served; with `use_reloader` its requests are answered with the
    /// reason instead.
    async fn fail_start(&mut self, app: &AppName, error: StartError) -> Result<(), StartError> {
        match (self.pool_named(app), error) {
            (Some(at), StartError::App(why)) if self.pools[at].reload.is_some() => {
                self.give_up(at, &why).await;
                Ok(())
            }
            (_, error) => Err(error),
        }
    }

    /// Makes the sockets listen, through the supervisor's handles of them, because here an error can still
    /// end the start; then lets the threads accept. Returns the addresses.
    async fn open(&self) -> Result<Vec<String>, StartError> {
        let mut addresses = Vec::new();
        for listener in &self.listeners {
            let listening = listener.listen(self.settings.backlog);
            listening.map_err(|error| StartError::Bind(listener.address.clone(), error))?;
            // An address has a socket for each thread.
            if !addresses.contains(&listener.address) {
                addresses.push(listener.address.clone());
            }
        }
        addresses.extend(self.quic.iter().map(|bound| bound.address.clone()));
        self.edge.send_all(|| Control::Accept).await;
        Ok(addresses)
    }

    /// Returns the reason why a worker ended before it was ready.
    pub(super) async fn explain(&self, worker: &Worker) -> StartError {
        if let Some(why) = &worker.failed {
            return StartError::App(app_message(&worker.app, why.clone()));
        }
        let pool = self.pool_named(&worker.app).map(|at| &self.pools[at]);
        if let Some(python) = pool.and_then(|pool| pool.python.as_ref())
            && let Some(error) = python::explain(python).await
        {
            return error;
        }
        StartError::App(format!(
            "worker {}{} {} before it was ready and reported no reason; see its output above",
            worker.pid,
            worker.app.suffix(),
            end_text(worker)
        ))
    }

    /// Kills the workers and ends the threads, after a start that failed.
    pub(super) async fn abandon(&mut self) {
        self.kill_all(Instant::now() + KILL_TIMEOUT).await;
        self.end_templates().await;
        self.edge.end().await;
    }

    /// Kills every worker and waits until they are gone.
    async fn kill_all(&mut self, until: Instant) {
        self.kill_each(|_| true);
        while !self.has_no_workers() {
            if let Change::Due = self.next(Some(until)).await {
                return;
            }
        }
    }
}

fn cannot_be_run(pool: &Pool, error: &io::Error) -> StartError {
    let python = pool.python.as_deref().unwrap_or("python".as_ref()).display();
    let folder = pool.app.chdir.as_ref().map_or(String::new(), |folder| format!(" in {}", folder.display()));
    StartError::Worker(format!("{python} cannot be run{folder}: {error}"))
}

/// Returns the reason why an app cannot be served, which names the app if it is not the main one.
fn app_message(app: &AppName, why: String) -> String {
    if app.is_main() { why } else { format!("app {app}:\n{why}") }
}

fn thread_lost() -> StartError {
    io::Error::other("a thread of the edge has ended; see the error log for the reason").into()
}

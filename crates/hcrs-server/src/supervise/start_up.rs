//! From the first worker's start to the first connection. The sockets listen once every worker is ready. A
//! worker that cannot serve at this point is for the operator to fix, so it ends the start. With `use_reloader`
//! the sockets listen first: requests wait for the workers, or are answered with the reason why the app cannot
//! be served.

use std::io;
use std::time::{Duration, Instant};

use super::event::Change;
use super::reap::end_text;
use super::reload::Watch;
use super::workers::Worker;
use super::{Supervisor, change_of, notify, python};
use crate::StartError;
use crate::thread::control::Control;

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
        if self.reload.is_some() {
            self.accept_connections().await?;
        }
        match self.start_workers().await {
            Ok(Started::Serving) => {}
            Err(StartError::App(why)) if self.reload.is_some() => self.give_up(&why).await,
            other => return other,
        }
        if self.reload.is_none() {
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
        for slot in 0..self.slots.len() {
            self.start_worker(slot).await.map_err(|error| {
                let python = self.python.as_deref().unwrap_or("python".as_ref()).display();
                StartError::Worker(format!("{python} cannot be run: {error}"))
            })?;
        }
        let mut not_ready = self.slots.len();
        while not_ready > 0 {
            let look = self.reload.as_ref().and_then(Watch::due);
            match self.next(look).await {
                Change::Ready(id) => {
                    not_ready -= 1;
                    self.notify(notify::State::Starting);
                    if let Some(worker) = self.workers.get(id) {
                        tracing::debug!("Worker {} is ready", worker.pid);
                    }
                }
                Change::Failed(id) => {
                    let why = self.workers.get(id).and_then(|worker| worker.failed.clone());
                    return Err(StartError::App(why.unwrap_or_default()));
                }
                Change::Gone(worker) => return Err(self.explain(&worker).await),
                Change::Stop(_) | Change::EmbedderGone => return Ok(Started::Stopped),
                Change::ThreadLost(_) => return Err(thread_lost()),
                Change::Call(call) => call.refuse("the server is starting"),
                // They may have loaded files that have changed since.
                Change::Reload(reading) if self.reload.is_none() => self.put_off(reading),
                Change::Reload(reading) => {
                    self.reload(reading).await;
                    return Ok(Started::Serving);
                }
                Change::Files(Some(path)) => return Ok(self.restart_early(&change_of(&path)).await),
                Change::Due => self.look_at_files(),
                // A number of workers is changed once it has been reached.
                Change::Scale(_)
                | Change::Succeed
                | Change::Succeeded
                | Change::Spent(_)
                | Change::Drained { .. }
                | Change::Files(None) => {}
            }
        }
        Ok(Started::Serving)
    }

    /// Restarts the workers before all are ready: they may hang in code that has been mended.
    async fn restart_early(&mut self, why: &str) -> Started {
        self.restart_all(why).await;
        Started::Serving
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
        self.edge.send_all(|| Control::Accept).await;
        Ok(addresses)
    }

    /// Returns the reason why a worker ended before it was ready.
    pub(super) async fn explain(&self, worker: &Worker) -> StartError {
        if let Some(why) = &worker.failed {
            return StartError::App(why.clone());
        }
        if let Some(python) = &self.python
            && let Some(error) = python::explain(python).await
        {
            return error;
        }
        StartError::App(format!(
            "worker {} {} before it was ready and reported no reason; see its output above",
            worker.pid,
            end_text(worker)
        ))
    }

    /// Kills the workers and ends the threads, after a start that failed.
    pub(super) async fn abandon(&mut self) {
        self.kill_all(Instant::now() + KILL_TIMEOUT).await;
        self.templates.end().await;
        self.edge.end().await;
    }

    /// Kills every worker and waits until they are gone.
    async fn kill_all(&mut self, until: Instant) {
        self.kill_each(|_| true);
        while !self.workers.is_empty() {
            if let Change::Due = self.next(Some(until)).await {
                return;
            }
        }
    }
}

fn thread_lost() -> StartError {
    io::Error::other("a thread of the edge has ended; see the error log for the reason").into()
}

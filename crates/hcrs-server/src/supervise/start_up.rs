//! From the first worker's start to the first connection. The sockets listen once every worker is ready. A
//! worker that cannot serve at this point is for the operator to fix, so it ends the start; with
//! `use_reloader` the next change of the app's files is awaited instead.

use std::io;
use std::time::{Duration, Instant};

use super::event::Change;
use super::reap::end_text;
use super::reload::Watch;
use super::replace::Replacements;
use super::workers::Worker;
use super::{Supervisor, notify, python};
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
    /// Starts the workers, waits until all are ready, and makes the sockets listen.
    pub(super) async fn start_up(&mut self) -> Result<Started, StartError> {
        loop {
            match self.start_workers().await {
                Ok(Started::Serving) => break,
                Err(StartError::App(why)) if self.reload.is_some() => {
                    tracing::error!(
                        traceback = why,
                        "The app cannot be served; the next change of a file starts it again"
                    );
                    if let Started::Stopped = self.wait_for_change().await? {
                        return Ok(Started::Stopped);
                    }
                }
                other => return other,
            }
        }
        let addresses = self.open().await?;
        for address in &addresses {
            tracing::info!("Running on {address} (CTRL + C to quit)");
        }
        if let Some(embedder) = &self.settings.embedder {
            embedder.running(&addresses);
        }
        self.note_open();
        if let Some(predecessor) = self.predecessor.take() {
            predecessor.relieve();
        }
        Ok(Started::Serving)
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
            match self.next(None).await {
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
                Change::Reload => self.replace_all("SIGHUP"),
                // A number of workers is changed once it has been reached.
                Change::Scale(_)
                | Change::Succeed
                | Change::Succeeded
                | Change::Spent(_)
                | Change::Drained { .. }
                | Change::Files(_)
                | Change::Due => {}
            }
        }
        Ok(Started::Serving)
    }

    /// Ends the workers, and waits until one of the app's files has changed or SIGHUP has come.
    async fn wait_for_change(&mut self) -> Result<Started, StartError> {
        self.kill_each(|_| true);
        self.replacements = Replacements::default();
        self.templates.renew();
        let mut has_changed = false;
        while !(has_changed && self.workers.is_empty()) {
            let look = self.reload.as_ref().and_then(Watch::due);
            match self.next(look).await {
                Change::Files(Some(path)) => {
                    tracing::info!("Starting again ({} has changed)", path.display());
                    has_changed = true;
                }
                Change::Reload => has_changed = true,
                Change::Due => {
                    if let Some(reload) = &mut self.reload {
                        reload.look(Instant::now(), &self.sender);
                    }
                }
                Change::Stop(_) | Change::EmbedderGone => return Ok(Started::Stopped),
                Change::ThreadLost(_) => return Err(thread_lost()),
                Change::Call(call) => call.refuse("the server is starting"),
                Change::Ready(_)
                | Change::Failed(_)
                | Change::Gone(_)
                | Change::Spent(_)
                | Change::Scale(_)
                | Change::Succeed
                | Change::Succeeded
                | Change::Drained { .. }
                | Change::Files(None) => {}
            }
        }
        Ok(Started::Serving)
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
    async fn explain(&self, worker: &Worker) -> StartError {
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

//! From the first worker's start to the first connection: the listeners open when every worker is ready, and
//! a worker that cannot serve at this point is the operator's fault to mend, so it ends the start.

use std::io;
use std::time::{Duration, Instant};

use super::roster::Worker;
use super::{Change, Supervisor, end_text, notify, python};
use crate::StartError;
use crate::bind::BoundListener;
use crate::control::Control;

/// How long workers that have been killed may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// How a start ended.
pub(super) enum Started {
    /// Connections come in.
    Serving,
    /// A signal came first.
    Stopped,
}

/// Second handles of all listening sockets, by which they are opened before the threads accept: here an
/// error can still end the start. They are closed then, so that a draining thread is the last to hold them.
pub(super) struct Doors {
    doors: Vec<BoundListener>,
    addresses: Vec<String>,
}

impl Doors {
    pub(super) fn of(listeners: &[Vec<BoundListener>]) -> io::Result<Self> {
        let doors = listeners.iter().flatten().map(BoundListener::share).collect::<io::Result<_>>()?;
        let addresses =
            listeners.first().into_iter().flatten().map(|listener| listener.address.clone()).collect();
        Ok(Self { doors, addresses })
    }

    /// Lets connections come in; gives the addresses.
    fn open(self, backlog: u32) -> Result<Vec<String>, StartError> {
        for door in &self.doors {
            door.listen(backlog).map_err(|error| StartError::Bind(door.address.clone(), error))?;
        }
        Ok(self.addresses)
    }
}

impl Supervisor<'_> {
    /// Starts the workers, waits until all are ready, and opens the doors.
    pub(super) async fn start_up(&mut self, doors: Doors) -> Result<Started, StartError> {
        for place in 0..self.places.len() {
            self.start_worker(place).await.map_err(|error| {
                let python = self.python.as_deref().unwrap_or("python".as_ref()).display();
                StartError::Worker(format!("{python} cannot be run: {error}"))
            })?;
        }
        let mut not_ready = self.places.len();
        while not_ready > 0 {
            match self.next(None).await {
                Change::Ready(id) => {
                    not_ready -= 1;
                    if let Some(worker) = self.roster.get(id) {
                        tracing::debug!("Worker {} is ready", worker.pid);
                    }
                }
                Change::Failed(id) => {
                    let why = self.roster.get(id).and_then(|worker| worker.failed.clone());
                    return Err(StartError::App(why.unwrap_or_default()));
                }
                Change::Gone(worker) => return Err(self.explain(&worker).await),
                Change::Stop(_) | Change::CallerGone => return Ok(Started::Stopped),
                Change::ThreadLost(_) => {
                    return Err(
                        io::Error::other("a thread of the edge has ended; the error log says why").into()
                    );
                }
                // They may have loaded what has changed since.
                Change::Reload => self.replace_all("SIGHUP"),
                Change::Spent(_) | Change::Drained(..) | Change::Files(_) | Change::Due => {}
            }
        }
        let addresses = self.open(doors).await?;
        for address in &addresses {
            tracing::info!("Running on {address} (CTRL + C to quit)");
        }
        if let Some(caller) = &self.settings.caller {
            caller.running(&addresses);
        }
        notify::tell(&self.settings, notify::State::Ready);
        Ok(Started::Serving)
    }

    async fn open(&self, doors: Doors) -> Result<Vec<String>, StartError> {
        let addresses = doors.open(self.settings.backlog)?;
        self.edge.tell_all(|| Control::Accept).await;
        Ok(addresses)
    }

    /// Why a worker that ended before it was ready did so.
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
            "worker {} {} before it was ready, without saying why; what it wrote may",
            worker.pid,
            end_text(worker)
        ))
    }

    /// Kills the workers and ends the threads, after a start that failed.
    pub(super) async fn abandon(&mut self) {
        self.kill_all(Instant::now() + KILL_TIMEOUT).await;
        self.edge.end().await;
    }

    /// Kills every worker and waits until they are gone.
    async fn kill_all(&mut self, until: Instant) {
        self.kill_each(|_| true);
        while !self.roster.is_empty() {
            if let Change::Due = self.next(Some(until)).await {
                return;
            }
        }
    }
}

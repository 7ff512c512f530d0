//! The start of a worker in a slot.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::event::Event;
use super::folder::Folder;
use super::{Supervisor, reload, worker};
use crate::origin::app::WorkerEvent;

/// The time that a worker may take to start in addition to the app's own startup, for the interpreter and the
/// imports.
const IMPORT_SLACK: Duration = Duration::from_secs(10);

/// A start that is to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// When it is due.
    pub at: Instant,
    /// The slot that gets a worker.
    pub slot: usize,
}

impl Supervisor<'_> {
    /// Starts the workers that are due.
    pub(super) async fn start_due(&mut self) {
        for at in 0..self.pools.len() {
            self.start_due_in(at).await;
        }
    }

    async fn start_due_in(&mut self, at: usize) {
        let now = Instant::now();
        let due: Vec<_> = self.pools[at].starts.extract_if(.., |start| start.at <= now).collect();
        for Start { slot, .. } in due {
            if self.pools[at].workers.occupant(slot).is_some() {
                continue;
            }
            if let Err(error) = self.start_worker(at, slot).await {
                let pool = &mut self.pools[at];
                let delay = pool.slots[slot].backoff.after_death(None, pool.workers.is_serving());
                tracing::error!(
                    "Cannot start a worker{}: {error}; trying again in {} s",
                    pool.suffix(),
                    delay.as_secs_f64()
                );
                pool.starts.push(Start { at: now + delay, slot });
            }
        }
    }

    /// Starts a worker in a slot of the pool at this place, and sends each thread its link to it.
    pub(super) async fn start_worker(&mut self, at: usize, slot: usize) -> io::Result<()> {
        if let Some(embedder) = self.settings.embedder.clone() {
            return self.attach_embedder(&embedder, at, slot).await;
        }
        let pool = &mut self.pools[at];
        let app = &pool.app;
        let no_python = || io::Error::new(io::ErrorKind::NotFound, "no Python interpreter was found for it");
        let python = pool.python.as_ref().ok_or_else(no_python)?;
        self.last_id += 1;
        let id = self.last_id;
        let plan = worker::Plan {
            app,
            slot,
            seat: pool.slots[slot].seat,
            proc_name: &self.settings.proc_name,
            python,
            log: &self.settings.log,
            statsd: &self.settings.statsd,
            workers: pool.slots.len(),
            threads: self.edge.len(),
            descriptors: self.descriptors,
            folder: pool.folder.as_ref().or(self.folder.as_ref()).and_then(Folder::path),
            has_terminal: self.terminal.is_some(),
            capture: self.capture.as_ref(),
        };
        let worker::Started { pid, links, process, loaded, pulse, crash, output } = if app.preload {
            let is_replacement = pool.workers.occupant(slot).is_some();
            pool.templates.start(&plan, id, is_replacement, &self.sender)?
        } else {
            worker::start(&plan, id)?
        };
        self.crashes.insert(id, crash);
        if let Some(pulse) = pulse {
            pool.liveness.add(id, pulse);
        }
        if let Some(loaded) = loaded {
            reload::listen(loaded, app.name.clone(), self.sender.clone())?;
        }
        let deadline = Instant::now() + app.startup_timeout + IMPORT_SLACK;
        pool.workers.add(id, pid, slot, Some(deadline));
        pool.replacements.cancel(slot);
        let (kill, killed) = oneshot::channel();
        self.kills.insert(id, kill);
        let events = self.sender.clone();
        tokio::spawn(async move {
            let status = worker::wait(process, output, killed).await;
            let _supervisor_gone = events.send(Event::Worker(id, WorkerEvent::Exited(status.ok()))).await;
        });
        self.edge.attach(links).await;
        Ok(())
    }
}

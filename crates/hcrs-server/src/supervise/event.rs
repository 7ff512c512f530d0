//! The events that reach the supervisor, and their meaning in view of the workers' states.

use std::path::PathBuf;
use std::time::Instant;

use super::configuration::{Reading, Requester};
use super::reload::Watch;
use super::signals::{Scale, Signal, Stop};
use super::succession::Succession;
use super::template::Forked;
use super::workers::Worker;
use super::{Supervisor, reload};
use crate::AppName;
use crate::origin::admin::Call;
use crate::origin::app::{WorkerEvent, WorkerId};
use crate::thread::control::Control;

/// An event for the supervisor.
#[derive(Debug)]
pub(super) enum Event {
    /// An event in the life of a worker.
    Worker(WorkerId, WorkerEvent),
    /// A worker was forked from its template, or could not be.
    Forked(WorkerId, Option<Forked>),
    /// A worker that hangs has reported the stacks of its threads, or could not.
    Stacks(WorkerId, Option<String>),
    /// The drain of an edge thread is over.
    Drained {
        /// The thread's number.
        thread: usize,
        /// The number of requests that were cut off.
        cut: usize,
    },
    /// An edge thread has ended.
    ThreadEnded(usize),
    /// A worker of the app has loaded a file.
    Loaded(AppName, PathBuf, reload::Stamp),
    /// The app's files were checked.
    Files(AppName, reload::Found),
    /// The operator has sent a signal.
    Signal(Signal),
    /// The configuration was read again.
    Configuration(Reading),
    /// The operator has sent a command by the admin interface.
    Call(Call),
    /// A successor serves, or cannot.
    Succession(Succession),
    /// Certificates have come by themselves.
    NewCertificates,
    /// The process that serves the app in place of workers is gone.
    EmbedderGone,
}

/// The meaning of an event, in view of the workers' states.
#[derive(Debug)]
pub(super) enum Change {
    /// A worker is ready on all links.
    Ready(WorkerId),
    /// A worker has reported why it cannot serve.
    Failed(WorkerId),
    /// A worker and its links have ended.
    Gone(Worker),
    /// A worker has reached its request quota.
    Spent(WorkerId),
    /// SIGHUP or a command of the admin interface; the configuration was read again if it can be.
    Reload(Reading),
    /// SIGTTIN, SIGTTOU or SIGWINCH.
    Scale(Scale),
    /// SIGUSR2.
    Succeed,
    /// A successor serves.
    Succeeded,
    /// The files of the app were checked, and this one has changed.
    Files(AppName, Option<PathBuf>),
    /// An edge thread has drained.
    Drained {
        /// The thread's number.
        thread: usize,
        /// The number of requests that were cut off.
        cut: usize,
    },
    /// A thread has ended by itself.
    ThreadLost(usize),
    /// SIGTERM, SIGINT or SIGQUIT.
    Stop(Stop),
    /// A command of the admin interface that changes what is served.
    Call(Call),
    /// The process that serves the app in place of workers is gone.
    EmbedderGone,
    /// The deadline of the wait has passed.
    Due,
}

impl Supervisor<'_> {
    /// Returns the next change, or [`Change::Due`] at the time `until`. Kills overdue workers meanwhile.
    pub(super) async fn next(&mut self, until: Option<Instant>) -> Change {
        loop {
            let now = Instant::now();
            self.update_readiness();
            if let Some(gone) = self.kill_overdue(now) {
                return Change::Gone(gone);
            }
            if until.is_some_and(|at| at <= now) {
                return Change::Due;
            }
            let look = self.certificates.as_mut().map(|certificates| certificates.look(now));
            let deadlines = self.pools.iter().filter_map(|pool| pool.workers.next_deadline()).min();
            let beat = self.notify_watchdog(now).await;
            let wake = until.into_iter().chain(deadlines).chain(look).chain(beat).min();
            let event = match wake {
                Some(at) => match tokio::time::timeout_at(at.into(), self.events.recv()).await {
                    Ok(event) => event,
                    Err(_elapsed) => continue,
                },
                None => self.events.recv().await,
            };
            let mut event = event.expect("invariant: the supervisor holds a sender of its events");
            match &mut event {
                Event::Worker(id, WorkerEvent::Exited(_)) => {
                    let id = *id;
                    self.edge.send_all(|| Control::Lost(id)).await;
                }
                Event::Forked(id, forked) => self.attach_forked(*id, forked.take()).await,
                _ => {}
            }
            if let Some(change) = self.take(event) {
                return change;
            }
        }
    }

    fn take(&mut self, event: Event) -> Option<Change> {
        let now = Instant::now();
        match event {
            Event::Worker(_, WorkerEvent::Detached) if self.settings.embedder.is_some() => {
                Some(Change::EmbedderGone)
            }
            Event::Worker(id, event) => {
                if let WorkerEvent::Exited(_) = event {
                    self.take_dump(id, None);
                    self.clear_up(id);
                }
                let pool = self.pool_with(id)?;
                let change = pool.workers.note(id, event, now);
                if let Some(Change::Ready(id)) = change {
                    pool.templates.ready(id);
                    self.limit(id);
                }
                change
            }
            Event::Forked(..) => None, // the edge threads have its links already
            Event::Stacks(id, stacks) => {
                self.resume_pulse(id);
                if !self.take_dump(id, stacks.as_deref()) {
                    self.kill_hung(id, stacks.as_deref());
                }
                None
            }
            Event::Call(call) => self.take_call(call),
            Event::NewCertificates => {
                if let Some(certificates) = &mut self.certificates {
                    certificates.reload();
                }
                None
            }
            Event::EmbedderGone => Some(Change::EmbedderGone),
            Event::Succession(Succession::Serves) => Some(Change::Succeeded),
            Event::Succession(Succession::Failed(status)) => {
                self.end_succession(status);
                None
            }
            Event::Loaded(app, path, found) => {
                self.watch_of(&app)?.add(path, found);
                None
            }
            Event::Files(app, found) => {
                let changed = self.watch_of(&app)?.take(found, now);
                Some(Change::Files(app, changed))
            }
            Event::Drained { thread, cut } => Some(Change::Drained { thread, cut }),
            Event::ThreadEnded(thread) => {
                let why = self.edge.ended(thread).unwrap_or_else(|| "its runtime could not go on".to_owned());
                tracing::error!("Edge thread {thread} has ended: {why}");
                Some(Change::ThreadLost(thread))
            }
            Event::Signal(Signal::Stop(stop)) => self.stops.counts(stop, now).then_some(Change::Stop(stop)),
            Event::Signal(Signal::Reload) => self.begin_reload(Requester::Signal),
            Event::Configuration(reading) => Some(self.end_reading(reading)),
            Event::Signal(Signal::Succeed) => Some(Change::Succeed),
            Event::Signal(Signal::Scale(scale)) => Some(Change::Scale(scale)),
            Event::Signal(Signal::Reopen) => {
                self.reopen_logs();
                None
            }
        }
    }

    fn watch_of(&mut self, app: &AppName) -> Option<&mut Watch> {
        self.pool_named(app).and_then(|at| self.pools[at].reload.as_mut())
    }
}

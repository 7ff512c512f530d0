//! The main thread: starts the edge threads and the workers, replaces workers that die or are due for
//! replacement, and on a signal drains the server and ends everything in order.
//!
//! All that happens arrives as an [`Event`] in one queue; [`Workers`] keeps the workers' states.

mod backoff;
mod certificates;
mod drain;
mod edge;
mod embedding;
mod folder;
mod liveness;
mod notify;
mod orphans;
mod pulse;
mod python;
mod reap;
mod reload;
mod replace;
mod signals;
mod start_up;
mod terminal;
mod watchdog;
mod worker;
mod workers;

pub use python::interpreters;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_log::{LogWriter, StatsdTarget};
use hcrs_tls::TlsConfig;
use rustix::process::Rlimit;
use tokio::sync::{mpsc, oneshot};

use self::backoff::Backoff;
use self::certificates::Certificates;
use self::edge::Edge;
use self::folder::Folder;
use self::liveness::Liveness;
use self::reload::Watch;
use self::replace::Replacements;
use self::signals::{Signal, Stop, Stops};
use self::terminal::Terminal;
use self::watchdog::Watchdog;
use self::workers::{Step, Worker, Workers};
use crate::bind::BoundListener;
use crate::origin::app::WorkerId;
use crate::thread::control::{Control, Report};
use crate::{Outcome, Settings, StartError};

/// The most events that may wait for the supervisor.
const EVENTS: usize = 256;
/// The time that a worker may take to start in addition to the app's own startup, for the interpreter and the
/// imports.
const IMPORT_SLACK: Duration = Duration::from_secs(10);

/// The parts that the supervisor starts with.
pub(crate) struct Setup<'a> {
    /// The server's settings.
    pub settings: Arc<Settings>,
    /// TLS for the listeners that speak it.
    pub tls: Option<Arc<TlsConfig>>,
    /// The bound sockets of each thread.
    pub listeners: Vec<Vec<BoundListener>>,
    /// The original limit of descriptors, which the workers get.
    pub descriptors: Option<Rlimit>,
    /// The error log, if this process reopens it.
    pub error_log: Option<&'a LogWriter>,
    /// The access log, if there is one.
    pub access_log: Option<&'a LogWriter>,
    /// The target of metrics, if there is one.
    pub statsd: Option<StatsdTarget>,
}

/// Serves until a signal stops the server. Runs on a current-thread runtime.
pub(crate) async fn serve(setup: Setup<'_>) -> Result<Outcome, StartError> {
    let (sender, events) = mpsc::channel(EVENTS);
    // First, so that no signal kills a process that has only half started.
    signals::watch(&sender)?;
    orphans::watch();
    supervise(setup, sender, events).await
}

async fn supervise(
    setup: Setup<'_>,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
) -> Result<Outcome, StartError> {
    let Setup { settings, tls, listeners, descriptors, error_log, access_log, statsd } = setup;
    let python = match &settings.app {
        Some(app) if settings.embedder.is_none() => Some(python::find(app.python.as_deref()).await?),
        _ => None,
    };
    let pending = start_up::PendingListeners::of(&listeners)?;
    let edge = Edge::start(&settings, tls.as_ref(), listeners, (access_log, statsd), &sender)?;
    let workers = embedding::slots(&settings);
    let reload = match &settings.app {
        Some(app) if app.use_reloader && settings.embedder.is_none() => {
            Some(Watch::new(&app.reload, &app.path, Instant::now()))
        }
        _ => None,
    };
    let terminal =
        settings.app.as_ref().filter(|_| settings.embedder.is_none()).and_then(Terminal::for_worker_of);
    let worker_timeout = settings.app.as_ref().map_or(Duration::ZERO, |app| app.worker_timeout);
    let mut supervisor = Supervisor {
        workers: Workers::new(edge.len()),
        kills: BTreeMap::new(),
        slots: (0..workers).map(|_| Backoff::default()).collect(),
        starts: Vec::new(),
        replacements: Replacements::default(),
        liveness: Liveness::new(worker_timeout),
        watchdog: Watchdog::new(&settings, Instant::now()),
        last_id: 0,
        stops: Stops::default(),
        logs: [error_log, access_log],
        settings,
        reload,
        certificates: tls.map(|tls| Certificates::new(tls, Instant::now())),
        python,
        descriptors,
        crashes: BTreeMap::new(),
        folder: Folder::named(std::env::var_os("PWD").as_deref()),
        terminal,
        edge,
        sender,
        events,
    };
    match supervisor.start_up(pending).await {
        Ok(start_up::Started::Serving) => {}
        Ok(start_up::Started::Stopped) => return Ok(supervisor.drain(Duration::ZERO, Stop::TERM).await),
        Err(error) => {
            supervisor.abandon().await;
            return Err(error);
        }
    }
    match supervisor.watch().await {
        End::Stop(stop) => {
            let grace = supervisor.settings.graceful_timeout;
            Ok(supervisor.drain(grace, stop).await)
        }
        End::EmbedderGone => {
            tracing::warn!("Shutting down: the process that serves the app has ended");
            Ok(supervisor.drain(Duration::ZERO, Stop::TERM).await)
        }
        End::ThreadLost => {
            // The thread's connections are lost; the others drain as for a stop.
            let grace = supervisor.settings.graceful_timeout;
            supervisor.drain(grace, Stop::TERM).await;
            Ok(Outcome::ThreadLost)
        }
    }
}

/// An event for the supervisor.
#[derive(Debug)]
enum Event {
    /// An edge thread has sent a report.
    Report(Report),
    /// An edge thread has ended.
    ThreadEnded(usize),
    /// A worker process has ended.
    WorkerExited(WorkerId, io::Result<ExitStatus>),
    /// A hung worker has reported the stacks of its threads, or could not.
    Stacks(WorkerId, Option<String>),
    /// A worker has loaded a file.
    Loaded(PathBuf, reload::Stamp),
    /// The app's files were checked.
    Files(reload::Found),
    /// The operator has sent a signal.
    Signal(Signal),
    /// The process that serves the app in place of workers is gone.
    EmbedderGone,
}

/// The meaning of an event, in view of the workers' states.
#[derive(Debug)]
enum Change {
    /// A worker is ready on all links.
    Ready(WorkerId),
    /// A worker has reported why it cannot serve.
    Failed(WorkerId),
    /// A worker and its links have ended.
    Gone(Worker),
    /// A worker has reached its request quota.
    Spent(WorkerId),
    /// SIGHUP.
    Reload,
    /// The app's files were checked, and this one has changed.
    Files(Option<PathBuf>),
    /// The thread with this number has drained; the second number counts requests that were cut off.
    Drained(usize, usize),
    /// A thread has ended by itself.
    ThreadLost(usize),
    /// SIGTERM, SIGINT or SIGQUIT.
    Stop(Stop),
    /// The process that serves the app in place of workers is gone.
    EmbedderGone,
    /// The deadline of the wait has passed.
    Due,
}

/// The reason why serving ends.
enum End {
    Stop(Stop),
    EmbedderGone,
    ThreadLost,
}

struct Supervisor<'a> {
    settings: Arc<Settings>,
    /// The certificates, if there is TLS.
    certificates: Option<Certificates>,
    /// The watched files of the app, with `use_reloader`.
    reload: Option<Watch>,
    logs: [Option<&'a LogWriter>; 2],
    /// The interpreter of the workers, if there is an app.
    python: Option<PathBuf>,
    descriptors: Option<Rlimit>,
    /// The files that workers write their stacks to if they crash.
    crashes: BTreeMap<WorkerId, OwnedFd>,
    /// The working directory of the workers, if it can change.
    folder: Option<Folder>,
    /// The terminal, if the worker is to have it.
    terminal: Option<Terminal>,
    edge: Edge,
    workers: Workers,
    /// Triggers that kill workers which have not ended.
    kills: BTreeMap<WorkerId, oneshot::Sender<()>>,
    /// The backoff of each slot, which stands for a configured worker.
    slots: Vec<Backoff>,
    /// The times at which slots get their next worker.
    starts: Vec<(Instant, usize)>,
    /// The replacements of workers that serve.
    replacements: Replacements,
    /// The pulses of the workers.
    liveness: Liveness,
    /// The watchdog, if the service manager asks for one.
    watchdog: Option<Watchdog>,
    last_id: WorkerId,
    stops: Stops,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
}

impl Supervisor<'_> {
    /// Keeps the workers alive until the server is to end.
    async fn watch(&mut self) -> End {
        loop {
            if self.replacements.take_finished_round() {
                tracing::info!("All workers have been replaced");
                notify::notify(&self.settings, notify::State::Ready);
            }
            let starts = self.starts.iter().map(|(at, _)| *at);
            let look = self.reload.as_ref().and_then(Watch::due);
            let now = Instant::now();
            let pulse = self.liveness.due(now);
            let next = starts.chain(self.replacements.due(now)).chain(look).chain(pulse).min();
            match self.next(next).await {
                Change::Ready(id) => self.hand_over(id).await,
                Change::Failed(id) => {
                    if let Some(worker) = self.workers.get(id) {
                        let why = worker.failed.as_deref().unwrap_or_default();
                        tracing::error!(traceback = why, "Worker {} cannot serve the app", worker.pid);
                    }
                }
                Change::Gone(worker) => self.reap(&worker),
                Change::Spent(id) => self.replace_spent(id),
                Change::Reload => self.renew_all("SIGHUP").await,
                Change::Files(Some(path)) => self.replace_changed(&path).await,
                Change::Due => {
                    self.check_pulses().await;
                    if let Some(reload) = &mut self.reload {
                        reload.look(Instant::now(), &self.sender);
                    }
                    self.start_due().await;
                    self.replace_next().await;
                }
                Change::Stop(stop) => {
                    tracing::info!("Shutting down ({})", stop.name);
                    return End::Stop(stop);
                }
                Change::ThreadLost(_) => return End::ThreadLost,
                Change::EmbedderGone => return End::EmbedderGone,
                Change::Files(None) | Change::Drained(..) => {}
            }
        }
    }

    /// Returns the next change, or [`Change::Due`] at the time `until`. Kills overdue workers meanwhile.
    async fn next(&mut self, until: Option<Instant>) -> Change {
        loop {
            let now = Instant::now();
            if let Some(gone) = self.kill_overdue(now) {
                return Change::Gone(gone);
            }
            if until.is_some_and(|at| at <= now) {
                return Change::Due;
            }
            let look = self.certificates.as_mut().map(|certificates| certificates.look(now));
            let beat = self.notify_watchdog(now).await;
            let wake = until.into_iter().chain(self.workers.next_deadline()).chain(look).chain(beat).min();
            let event = match wake {
                Some(at) => match tokio::time::timeout_at(at.into(), self.events.recv()).await {
                    Ok(event) => event,
                    Err(_elapsed) => continue,
                },
                None => self.events.recv().await,
            };
            let event = event.expect("invariant: the supervisor holds a sender of its events");
            if let Event::WorkerExited(id, _) = event {
                self.edge.send_all(|| Control::Lost(id)).await;
            }
            if let Some(change) = self.take(event) {
                return change;
            }
        }
    }

    fn take(&mut self, event: Event) -> Option<Change> {
        let now = Instant::now();
        let (id, step) = match event {
            Event::Report(Report::Ready(id)) => (id, self.workers.ready(id, now)),
            Event::Report(Report::Failed(id, why)) => (id, self.workers.failed(id, why, now)),
            Event::Report(Report::Detached(_)) if self.settings.embedder.is_some() => {
                return Some(Change::EmbedderGone);
            }
            Event::EmbedderGone => return Some(Change::EmbedderGone),
            Event::Report(Report::Detached(id)) => (id, self.workers.detached(id, now)),
            Event::Stacks(id, stacks) => {
                self.kill_hung(id, stacks.as_deref());
                return None;
            }
            Event::Loaded(path, found) => {
                if let Some(reload) = &mut self.reload {
                    reload.add(path, found);
                }
                return None;
            }
            Event::Files(found) => {
                return self.reload.as_mut().map(|reload| Change::Files(reload.take(found, now)));
            }
            Event::Report(Report::Spent(id)) => return Some(Change::Spent(id)),
            Event::Report(Report::Finished(id)) => {
                if let Some(app) = &self.settings.app {
                    self.workers.finished(id, now + app.shutdown_timeout + drain::END_SLACK);
                }
                return None;
            }
            Event::Report(Report::Drained(thread, cut)) => return Some(Change::Drained(thread, cut)),
            Event::ThreadEnded(thread) => {
                let why = self.edge.ended(thread).unwrap_or_else(|| "its runtime could not go on".to_owned());
                tracing::error!("Edge thread {thread} has ended: {why}");
                return Some(Change::ThreadLost(thread));
            }
            Event::WorkerExited(id, status) => {
                self.kills.remove(&id);
                self.liveness.remove(id);
                let crash = self.crashes.remove(&id).and_then(|file| worker::crash_of(&file));
                if let (Some(stack), Some(worker)) = (crash, self.workers.get(id)) {
                    tracing::error!(traceback = stack, "Worker {} has crashed:", worker.pid);
                }
                if let Some(terminal) = &self.terminal {
                    terminal.restore();
                }
                (id, self.workers.exited(id, status.ok(), now))
            }
            Event::Signal(Signal::Stop(stop)) => return self.stops.counts(now).then_some(Change::Stop(stop)),
            Event::Signal(Signal::Reload) => {
                notify::notify(&self.settings, notify::State::Reloading);
                if let Some(path) = self.folder.as_mut().and_then(Folder::follow) {
                    tracing::info!("New workers start in {}", path.display());
                }
                if let Some(certificates) = &mut self.certificates {
                    certificates.reload();
                }
                // With an embedder, the app is not started by this process.
                let has_workers = self.settings.embedder.is_none() && !self.slots.is_empty();
                if !has_workers && self.certificates.is_none() {
                    tracing::warn!("SIGHUP does nothing: there are no workers and no certificates");
                }
                if !has_workers {
                    notify::notify(&self.settings, notify::State::Ready);
                }
                return has_workers.then_some(Change::Reload);
            }
            Event::Signal(Signal::Reopen) => {
                for log in self.logs.iter().flatten() {
                    log.reopen();
                }
                return None;
            }
        };
        match step {
            Step::Nothing => None,
            Step::Ready => Some(Change::Ready(id)),
            Step::Failed => Some(Change::Failed(id)),
            Step::Gone => self.workers.remove(id).map(Change::Gone),
        }
    }

    async fn start_due(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.starts.extract_if(.., |(at, _)| *at <= now).map(|(_, slot)| slot).collect();
        for slot in due {
            if let Err(error) = self.start_worker(slot).await {
                let delay = self.slots[slot].after_death(None, self.workers.is_serving());
                tracing::error!("Cannot start a worker: {error}; trying again in {} s", delay.as_secs_f64());
                self.starts.push((now + delay, slot));
            }
        }
    }

    /// Starts a worker and sends each thread its link to it.
    async fn start_worker(&mut self, slot: usize) -> io::Result<()> {
        if let Some(embedder) = self.settings.embedder.clone() {
            return self.attach_embedder(&embedder, slot).await;
        }
        let (Some(app), Some(python)) = (&self.settings.app, &self.python) else { return Ok(()) };
        self.last_id += 1;
        let id = self.last_id;
        let plan = worker::Plan {
            app,
            python,
            log: &self.settings.log,
            statsd: &self.settings.statsd,
            threads: self.edge.len(),
            descriptors: self.descriptors,
            folder: self.folder.as_ref().and_then(Folder::path),
            has_terminal: self.terminal.is_some(),
        };
        let worker::Started { pid, links, child, loaded, pulse, crash } = worker::start(&plan, id)?;
        self.crashes.insert(id, crash);
        if let Some(pulse) = pulse {
            self.liveness.add(id, pulse);
        }
        if let Some(loaded) = loaded {
            reload::listen(loaded, self.sender.clone())?;
        }
        let deadline = Instant::now() + app.startup_timeout + IMPORT_SLACK;
        self.workers.add(id, pid, slot, Some(deadline));
        self.replacements.cancel(slot);
        let (kill, killed) = oneshot::channel();
        self.kills.insert(id, kill);
        let events = self.sender.clone();
        tokio::spawn(async move {
            let status = worker::wait(child, killed).await;
            let _supervisor_gone = events.send(Event::WorkerExited(id, status)).await;
        });
        self.edge.attach(links).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

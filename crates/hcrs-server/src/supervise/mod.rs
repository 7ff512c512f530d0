//! The main thread: starts the edge threads and the workers, replaces workers that die or are due for
//! replacement, and on a signal drains the server and ends everything in order.
//!
//! All that happens arrives as an [`Event`] in one queue (`event.rs`); [`Workers`] keeps the workers' states.

mod admin;
mod adopted;
mod backoff;
mod certificates;
mod configuration;
mod drain;
mod dump;
mod edge;
mod embedding;
mod event;
mod folder;
mod liveness;
mod notify;
mod orphans;
mod output;
mod pulse;
mod python;
mod reap;
mod recycle;
mod reload;
mod replace;
mod restart;
mod scale;
mod signals;
mod start;
mod start_up;
mod succession;
mod template;
mod terminal;
mod usage;
mod watchdog;
mod worker;
mod workers;

pub use python::interpreters;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_log::{LogWriter, StatsdTarget};
use hcrs_metrics::WorkerRestarts;
use hcrs_otlp::{Exporter, SpanTotals};
use hcrs_tls::TlsConfig;
use rustix::process::Rlimit;
use tokio::sync::{mpsc, oneshot};

use self::adopted::Adoptions;
use self::backoff::Backoff;
use self::certificates::Certificates;
use self::configuration::Reloads;
use self::dump::Dump;
use self::edge::{Edge, Outlets};
use self::event::{Change, Event};
use self::folder::Folder;
use self::liveness::Liveness;
use self::output::Capture;
use self::recycle::Recycling;
use self::reload::Watch;
use self::replace::Replacements;
use self::signals::{Stop, Stops};
use self::start::Start;
use self::succession::{StartedAs, Successor};
use self::template::Templates;
use self::terminal::Terminal;
use self::watchdog::Watchdog;
use self::workers::Workers;
use crate::bind::BoundListener;
use crate::handover::Predecessor;
use crate::origin::app::WorkerId;
use crate::origin::health::Readiness;
use crate::pid_file::PidFile;
use crate::{Outcome, Settings, StartError};

/// The most events that may wait for the supervisor.
const EVENTS: usize = 256;

/// The parts that the supervisor starts with.
pub(crate) struct Setup<'a> {
    /// The server's settings.
    pub settings: Arc<Settings>,
    /// TLS for the listeners that speak it.
    pub tls: Option<Arc<TlsConfig>>,
    /// The bound sockets of each thread.
    pub listeners: Vec<Vec<BoundListener>>,
    /// The bound socket of the admin interface, if there is one.
    pub admin: Option<BoundListener>,
    /// The server that this one succeeds, if there is one.
    pub predecessor: Option<Predecessor>,
    /// The file with the process id, if one was written.
    pub pid_file: Option<PidFile>,
    /// The original limit of descriptors, which the workers get.
    pub descriptors: Option<Rlimit>,
    /// The error log, if this process reopens it.
    pub error_log: Option<&'a LogWriter>,
    /// The access log, if there is one.
    pub access_log: Option<&'a LogWriter>,
    /// The target of metrics, if there is one.
    pub statsd: Option<StatsdTarget>,
    /// The exporter of spans, if there is one.
    pub exporter: Option<&'a Exporter>,
}

/// Serves until a signal stops the server. Runs on a current-thread runtime.
pub(crate) async fn serve(setup: Setup<'_>) -> Result<Outcome, StartError> {
    let (sender, events) = mpsc::channel(EVENTS);
    // First, so that no signal kills a process that has only half started.
    signals::watch(&sender)?;
    let forks =
        setup.settings.embedder.is_none() && setup.settings.app.as_ref().is_some_and(|app| app.preload);
    let adoptions = Adoptions::default();
    orphans::watch(forks, adoptions.clone())?;
    supervise(setup, Templates::new(adoptions), sender, events).await
}

async fn supervise(
    setup: Setup<'_>,
    templates: Templates,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
) -> Result<Outcome, StartError> {
    let Setup {
        settings,
        tls,
        listeners,
        admin,
        predecessor,
        pid_file,
        descriptors,
        error_log,
        access_log,
        statsd,
        exporter,
    } = setup;
    let python = match &settings.app {
        Some(app) if settings.embedder.is_none() => Some(python::find(app.python.as_deref()).await?),
        _ => None,
    };
    let handles = listeners.iter().flatten().map(BoundListener::share).collect::<std::io::Result<_>>()?;
    let readiness = Arc::<Readiness>::default();
    let outlets = Outlets { access_log, statsd, exporter, readiness: Arc::clone(&readiness) };
    let mut edge = Edge::start(&settings, tls.as_ref(), listeners, &outlets, &sender)?;
    if let Some(listener) = &admin {
        edge.start_admin(&settings, listener.share()?, &outlets, &sender).await?;
    }
    let workers = embedding::slots(&settings);
    let reload = Watch::of(&settings);
    let terminal =
        settings.app.as_ref().filter(|_| settings.embedder.is_none()).and_then(Terminal::for_worker_of);
    let mut supervisor = Supervisor {
        workers: Workers::new(
            edge.len(),
            settings.app.as_ref().map_or(Duration::ZERO, |app| app.shutdown_timeout),
        ),
        kills: BTreeMap::new(),
        slots: (0..workers).map(|_| Backoff::default()).collect(),
        starts: Vec::new(),
        replacements: Replacements::default(),
        recycling: Recycling::of(&settings, Instant::now()),
        liveness: Liveness::new(settings.app.as_ref().map_or(Duration::ZERO, |app| app.worker_timeout)),
        watchdog: Watchdog::new(&settings, Instant::now()),
        last_id: 0,
        stops: Stops::default(),
        capture: Capture::of(&settings.log, terminal.as_ref())?,
        folder: Folder::of(settings.chdir.as_deref()),
        logs: [error_log, access_log],
        settings,
        reload,
        certificates: tls.map(|tls| Certificates::new(tls, Instant::now())),
        python,
        descriptors,
        crashes: BTreeMap::new(),
        templates,
        terminal,
        listeners: handles,
        predecessor,
        successor: Successor::None,
        started_as: StartedAs::of_this_process().ok(),
        pid_file,
        started_at: Instant::now(),
        reloads: Reloads::default(),
        is_open: false,
        is_drained: false,
        readiness,
        restarts: WorkerRestarts::default(),
        spans: exporter.map(|exporter| Arc::clone(exporter.totals())),
        dump: Dump::default(),
        admin,
        edge,
        sender,
        events,
    };
    match supervisor.start_up().await {
        Ok(start_up::Started::Serving) => {}
        Ok(start_up::Started::Stopped) => return Ok(supervisor.drain(Duration::ZERO, Stop::TERM).await),
        Err(error) => {
            supervisor.abandon().await;
            return Err(error);
        }
    }
    match supervisor.watch().await {
        End::Stop(stop) => {
            let grace = supervisor.grace(stop);
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

/// Returns the reason for a restart because this file has changed.
fn change_of(path: &Path) -> String {
    format!("{} has changed", path.display())
}

/// The reason why serving ends.
#[derive(Debug)]
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
    /// The processes that workers are forked from, with `preload`.
    templates: Templates,
    /// The files that workers write their stacks to if they crash.
    crashes: BTreeMap<WorkerId, OwnedFd>,
    /// The working directory of the workers, if it can change.
    folder: Option<Folder>,
    /// The terminal, if the worker is to have it.
    terminal: Option<Terminal>,
    /// How the output of workers is captured, if it is.
    capture: Option<Capture>,
    edge: Edge,
    /// Handles of all sockets, until the drain.
    listeners: Vec<BoundListener>,
    /// The server that this one succeeds, until connections are accepted.
    predecessor: Option<Predecessor>,
    /// The process that is to succeed this one.
    successor: Successor,
    started_as: Option<StartedAs>,
    pid_file: Option<PidFile>,
    started_at: Instant,
    /// The reloads that have begun and not ended.
    reloads: Reloads,
    /// Whether connections are accepted.
    is_open: bool,
    /// Whether the operator wants probes to be told that the server is not ready.
    is_drained: bool,
    readiness: Arc<Readiness>,
    /// Counts the workers that were replaced, restarted or ended.
    restarts: WorkerRestarts,
    /// The numbers of the exporter of spans, if there is one.
    spans: Option<Arc<SpanTotals>>,
    dump: Dump,
    /// A handle of the admin interface's socket, if there is one.
    admin: Option<BoundListener>,
    workers: Workers,
    /// Triggers that kill workers which have not ended.
    kills: BTreeMap<WorkerId, oneshot::Sender<()>>,
    /// The backoff of each slot, which stands for a configured worker.
    slots: Vec<Backoff>,
    /// The times at which slots get their next worker.
    starts: Vec<Start>,
    /// The replacements of workers that serve.
    replacements: Replacements,
    /// The ages and sizes at which workers are replaced.
    recycling: Recycling,
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
            if (self.reload.is_none() || self.are_all_ready()) && self.replacements.take_finished_round() {
                tracing::info!("All workers have been replaced");
                self.notify(notify::State::Ready);
            }
            let starts = self.starts.iter().map(|start| start.at);
            let look = self.reload.as_ref().and_then(Watch::due);
            let now = Instant::now();
            let pulse = self.liveness.due(now);
            let limits = self.recycling.due();
            let next = starts.chain(self.replacements.due(now)).chain(look).chain(pulse).chain(limits).min();
            match self.next(next).await {
                Change::Ready(id) => self.hand_over(id).await,
                Change::Failed(id) if self.reload.is_some() => self.give_up_with(id).await,
                Change::Failed(id) => {
                    if let Some(worker) = self.workers.get(id) {
                        let why = worker.failed.as_deref().unwrap_or_default();
                        tracing::error!(traceback = why, "Worker {} cannot serve the app", worker.pid);
                    }
                }
                Change::Gone(worker) => {
                    if self.reload.is_none() || self.note_end(&worker).await {
                        self.reap(&worker);
                    }
                }
                Change::Spent(id) => self.replace_spent(id),
                Change::Reload(reading) => self.reload(reading).await,
                Change::Call(call) => self.obey(call).await,
                Change::Scale(scale) => self.scale(scale).await,
                Change::Succeed => self.begin_succession(),
                Change::Succeeded => {
                    self.hand_service_over();
                    return End::Stop(Stop::SUCCEEDED);
                }
                Change::Files(Some(path)) => self.renew_all(&change_of(&path)).await,
                Change::Due => {
                    self.check_pulses().await;
                    self.recycle();
                    self.look_at_files();
                    self.start_due().await;
                    self.replace_next().await;
                }
                Change::Stop(stop) => {
                    tracing::info!("Shutting down ({})", stop.name);
                    return End::Stop(stop);
                }
                Change::ThreadLost(_) => return End::ThreadLost,
                Change::EmbedderGone => return End::EmbedderGone,
                Change::Files(None) | Change::Drained { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;

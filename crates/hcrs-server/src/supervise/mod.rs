//! The main thread: starts the edge threads and the workers, replaces workers that die or are due for
//! replacement, and on a signal drains the server and ends everything in order.
//!
//! All that happens arrives as an [`Event`] in one queue (`event.rs`). Each app has a [`Pool`] of workers, whose states
//! are kept by `workers.rs`.

mod acme;
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
mod pool;
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
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_acme::Acme;
use hcrs_log::{LogWriter, StatsdTarget};
use hcrs_metrics::WorkerRestarts;
use hcrs_otlp::{Exporter, SpanTotals};
use hcrs_tls::TlsConfig;
use rustix::process::Rlimit;
use socket2::Socket;
use tokio::sync::{mpsc, oneshot};

use self::adopted::Adoptions;
use self::certificates::Certificates;
use self::configuration::Reloads;
use self::dump::Dump;
use self::edge::{Edge, Outlets, Sockets};
use self::event::{Change, Event};
use self::folder::Folder;
use self::output::Capture;
use self::pool::{Pool, PoolTerms, Seats, known_python};
use self::signals::{Stop, Stops};
use self::succession::{StartedAs, Successor};
use self::terminal::Terminal;
use self::watchdog::Watchdog;
use self::workers::Worker;
use crate::bind::BoundListener;
use crate::bind::udp::BoundUdp;
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
    /// The sockets for HTTP/3.
    pub quic: Vec<BoundUdp>,
    /// The bound socket of the admin interface, if there is one.
    pub admin: Option<BoundListener>,
    /// The server that this one succeeds, if there is one.
    pub predecessor: Option<Predecessor>,
    /// The way for datagrams of the predecessor's connections.
    pub to_predecessor: Option<Socket>,
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
    let forks = setup.settings.embedder.is_none() && setup.settings.apps.iter().any(|app| app.preload);
    let adoptions = Adoptions::default();
    orphans::watch(forks, adoptions.clone())?;
    supervise(setup, adoptions, sender, events).await
}

async fn supervise(
    setup: Setup<'_>,
    adoptions: Adoptions,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
) -> Result<Outcome, StartError> {
    let Setup {
        settings,
        tls,
        listeners,
        quic,
        admin,
        predecessor,
        to_predecessor,
        pid_file,
        descriptors,
        error_log,
        access_log,
        statsd,
        exporter,
    } = setup;
    let mut seats = Seats::default();
    let mut pools = Vec::with_capacity(settings.apps.len());
    let terms = PoolTerms { settings: &settings, threads: listeners.len(), adoptions: &adoptions };
    for app in &settings.apps {
        let known = known_python(app, pools.iter());
        pools.push(Pool::new(app.clone(), known, &terms, &mut seats).await?);
    }
    let handles = listeners.iter().flatten().map(BoundListener::share).collect::<std::io::Result<_>>()?;
    let readiness = Arc::<Readiness>::default();
    let outlets = Outlets { access_log, statsd, exporter, readiness: Arc::clone(&readiness) };
    let quic_handles = quic.iter().map(BoundUdp::share).collect::<std::io::Result<_>>()?;
    let sockets = Sockets { listeners, quic, to_predecessor };
    let mut edge = Edge::start(&settings, tls.as_ref(), sockets, &outlets, &sender)?;
    if let Some(listener) = &admin {
        edge.start_admin(&settings, listener.share()?, &outlets, &sender).await?;
    }
    let terminal = match &settings.apps[..] {
        [only] if settings.embedder.is_none() => Terminal::for_worker_of(only),
        _ => None,
    };
    let mut supervisor = Supervisor {
        pools,
        seats,
        adoptions,
        may_fork: settings.apps.iter().any(|app| app.preload),
        kills: BTreeMap::new(),
        watchdog: Watchdog::new(&settings, Instant::now()),
        last_id: 0,
        stops: Stops::default(),
        capture: Capture::of(&settings.log, terminal.as_ref())?,
        folder: Folder::of(settings.chdir.as_deref()),
        logs: [error_log, access_log],
        settings,
        certificates: tls.map(|tls| Certificates::new(tls, Instant::now())),
        acme: None,
        descriptors,
        crashes: BTreeMap::new(),
        terminal,
        listeners: handles,
        quic: quic_handles,
        predecessor,
        successor: Successor::None,
        from_successor: None,
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
    /// The thread that asks for certificates, once connections are accepted.
    acme: Option<Acme>,
    logs: [Option<&'a LogWriter>; 2],
    descriptors: Option<Rlimit>,
    /// The workers of the apps. Their order is that of the settings, behind which are those that are leaving.
    pools: Vec<Pool>,
    /// The numbers of all slots.
    seats: Seats,
    /// The children that are forked by others.
    adoptions: Adoptions,
    /// Whether this process adopts workers, which an app with `preload` needs.
    may_fork: bool,
    /// The files that workers write their stacks to if they crash.
    crashes: BTreeMap<WorkerId, OwnedFd>,
    /// The terminal, if the worker is to have it.
    terminal: Option<Terminal>,
    /// How the output of workers is captured, if it is.
    capture: Option<Capture>,
    /// The working directory of the server, if it can change.
    folder: Option<Folder>,
    edge: Edge,
    /// Handles of all sockets, until the drain.
    listeners: Vec<BoundListener>,
    /// Handles of the sockets for HTTP/3, until the drain.
    quic: Vec<BoundUdp>,
    /// The server that this one succeeds, until connections are accepted.
    predecessor: Option<Predecessor>,
    /// The process that is to succeed this one.
    successor: Successor,
    /// The way for datagrams that it receives and that are of connections here.
    from_successor: Option<Socket>,
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
    /// Triggers that kill workers which have not ended.
    kills: BTreeMap<WorkerId, oneshot::Sender<()>>,
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
            self.end_rounds();
            let now = Instant::now();
            let next = self.pools.iter().filter_map(|pool| pool.due(now)).min();
            match self.next(next).await {
                Change::Ready(id) => self.hand_over(id).await,
                Change::Failed(id) => self.take_failure(id).await,
                Change::Gone(worker) => self.take_end(&worker).await,
                Change::Spent(id) => self.replace_spent(id),
                Change::Reload(reading) => self.reload(reading).await,
                Change::Call(call) => self.obey(call).await,
                Change::Scale(scale) => self.scale(scale).await,
                Change::Succeed => self.begin_succession(),
                Change::Succeeded => {
                    self.hand_service_over().await;
                    return End::Stop(Stop::SUCCEEDED);
                }
                Change::Files(app, Some(path)) => self.renew_named(&app, &change_of(&path)).await,
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
                Change::Files(_, None) | Change::Drained { .. } => {}
            }
        }
    }

    /// Reports the rounds of replacements that are over, and removes the pools of apps that have left.
    fn end_rounds(&mut self) {
        for at in 0..self.pools.len() {
            let is_settled = self.pools[at].reload.is_none() || self.are_all_ready(at);
            if is_settled && self.pools[at].replacements.take_finished_round() {
                tracing::info!("All workers{} have been replaced", self.pools[at].suffix());
                if !self.is_reloading() {
                    self.notify(notify::State::Ready);
                }
            }
        }
        self.pools.retain(|pool| !pool.is_leaving || !pool.workers.is_empty());
    }

    /// Whether all workers of an app are being replaced.
    fn is_reloading(&self) -> bool {
        self.pools.iter().any(|pool| pool.replacements.is_round())
    }

    /// Takes the report of a worker that it cannot serve.
    async fn take_failure(&mut self, id: WorkerId) {
        let Some(at) = self.pool_of(id) else { return };
        if self.pools[at].reload.is_some() {
            return self.give_up_with(at, id).await;
        }
        if let Some(worker) = self.pools[at].workers.get(id) {
            let why = worker.failed.as_deref().unwrap_or_default();
            tracing::error!(traceback = why, "{worker} cannot serve the app");
        }
    }

    /// Takes the end of a worker.
    async fn take_end(&mut self, worker: &Worker) {
        let Some(at) = self.pool_named(&worker.app) else { return };
        if self.pools[at].reload.is_none() || self.note_end(at, worker).await {
            self.reap(at, worker);
        }
    }
}

#[cfg(test)]
mod tests;

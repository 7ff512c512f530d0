//! One edge thread: a current-thread runtime with its own listeners, connections and links. Nothing here is
//! shared with another edge thread.

pub(crate) mod control;

use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hcrs_metrics::ThreadSnapshot;
use hcrs_tls::TlsConfig;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, spawn_local};
use tracing::Instrument as _;

use crate::bind::BoundListener;
use crate::clock;
use crate::connection::accept;
use crate::connection::quic::{QuicListener, endpoint, succession};
use crate::exchange::piece;
use crate::origin::admin::Port;
use crate::origin::app::WorkerEvent;
use crate::origin::app::apps::App;
use crate::origin::app::link::{Cut, Link, LinkEvent};
use crate::origin::app_failure;
use crate::origin::health::Readiness;
use crate::rules::SharedRuleState;
use crate::settings::{AppName, Settings};
use crate::state::{FIRST_REQUEST, Phase, Records, ThreadState};

use control::{Control, Drain, LinkEnd, Report, Retirement};

/// The most orders that may wait for the thread.
const CONTROL_QUEUE: usize = 256;

/// How often waiting requests, the access log and metrics are checked while there are any.
const TICK: Duration = Duration::from_millis(10);

/// How long after work has begun the allocator is asked to release memory that it keeps. Further work does
/// not postpone it.
const RELEASE_DELAY: Duration = Duration::from_secs(3);

/// How long a connection that is cut off may take to write its last frame.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// The signal that workers are notified of when they are replaced.
const SIGTERM: u16 = 15;

/// The supervisor's handle of an edge thread.
#[derive(Debug)]
pub(crate) struct EdgeThread {
    /// Sends orders. The thread ends when this is dropped.
    pub control: mpsc::Sender<Control>,
    /// Joins the thread.
    pub handle: JoinHandle<()>,
}

/// The parts that an edge thread starts with.
pub(crate) struct ThreadSetup {
    /// The thread's number, which its reports carry.
    pub index: usize,
    /// The server's settings.
    pub settings: Arc<Settings>,
    /// TLS for the listeners that speak it.
    pub tls: Option<Arc<TlsConfig>>,
    /// The thread's sockets, bound and not listening yet.
    pub listeners: Vec<BoundListener>,
    /// The thread's part in the addresses for HTTP/3.
    pub quic: Vec<QuicListener>,
    /// The port that `alt-svc` names, if there is one.
    pub quic_port: Option<u16>,
    /// The supervisor's queue of reports.
    pub reports: mpsc::Sender<Report>,
    /// Where requests are recorded.
    pub records: Records,
    /// Whether requests should be sent to the server.
    pub readiness: Arc<Readiness>,
    /// The state of rules that all threads share.
    pub rules: Arc<SharedRuleState>,
    /// The way to the supervisor, if this is the thread of the admin interface.
    pub admin: Option<Port>,
}

/// Starts the thread. It accepts no connection before [`Control::Accept`].
pub(crate) fn start(setup: ThreadSetup) -> io::Result<EdgeThread> {
    let (control, orders) = mpsc::channel(CONTROL_QUEUE);
    let handle = std::thread::Builder::new().name(format!("edge-{}", setup.index)).spawn(move || {
        match Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime.block_on(run(setup, orders)),
            Err(error) => tracing::error!("Cannot start an edge thread: {error}"),
        }
    })?;
    Ok(EdgeThread { control, handle })
}

async fn run(setup: ThreadSetup, mut orders: mpsc::Receiver<Control>) {
    let ThreadSetup {
        index,
        settings,
        tls,
        listeners,
        quic,
        quic_port,
        reports,
        records,
        readiness,
        rules,
        admin,
    } = setup;
    let state = ThreadState::new(settings, records).with_role(readiness, admin).with_rules(rules);
    let shared = Rc::new(state.with_http3_at(quic_port));
    if shared.settings().connection.redirect_http {
        shared.https_port.set(listeners.iter().filter(|listener| listener.tls).find_map(BoundListener::port));
    }
    if shared.admin.is_none() {
        let settings = shared.kept_settings();
        shared.upstreams.change_to(&settings.routes);
    }
    let looking_after = spawn_local(run_ticks(Rc::clone(&shared)));
    let mut listeners = Some(listeners);
    let mut quic = Some(quic);
    let mut accepting = Vec::new();
    let mut endpoints = JoinSet::new();
    let mut passings = Vec::new();
    while let Some(order) = orders.recv().await {
        match order {
            Control::Attach(end) => attach(&shared, end, &reports),
            Control::Accept => {
                for listener in listeners.take().unwrap_or_default() {
                    accepting.push(spawn_local(accept::run(Rc::clone(&shared), listener, tls.clone())));
                }
                for listener in quic.take().unwrap_or_default() {
                    passings.push(listener.passing.clone());
                    if let Some(tls) = tls.clone() {
                        endpoints.spawn_local(endpoint::run(Rc::clone(&shared), listener, tls));
                    }
                }
            }
            Control::Retire(retirement) => retire(&shared, retirement),
            Control::ExplainFailure(app, reason) => explain_failure(&shared, &app, reason),
            Control::Apply(settings) => shared.apply(settings),
            Control::Lost(worker) => shared.apps.lost(worker),
            Control::Turn(turned) => {
                turned.fetch_add(1, Ordering::Relaxed);
            }
            Control::Snapshot(reply) => answer(reply, &shared, index),
            Control::Succeed(way) => {
                shared.is_succeeded.cancel();
                if let Some(way) = way {
                    endpoints.spawn_local(succession::receive(way, std::mem::take(&mut passings)));
                }
            }
            Control::Describe(worker) => shared.apps.describe(worker, clock::now()),
            Control::Drain(order) => {
                shared.drains.cancel();
                for task in accepting.drain(..) {
                    let _panic_at_the_end = task.await;
                }
                drop(listeners.take());
                drop(quic.take());
                let until = drain(&shared, index, order, &mut orders).await;
                let (cut, all_ended) = (shared.cut(), shared.connections.borrow().is_empty());
                let left = shared.left_over().filter(|_| cut == 0 && all_ended);
                if let Some(left) = &left {
                    tracing::warn!("accounting: edge thread {index} has drained, and {left} are left");
                }
                debug_assert!(left.is_none(), "everything has come back at the end of a drain");
                shared.apps.drain(until.saturating_duration_since(clock::now()));
                shared.flush_records();
                report(&reports, Report::Drained { cut });
            }
        }
    }
    looking_after.abort();
    shared.flush_records();
}

/// Sends the thread's metrics.
fn answer(reply: oneshot::Sender<ThreadSnapshot>, shared: &ThreadState, index: usize) {
    // An error means that the snapshot is not awaited any more.
    let _late = reply.send(shared.snapshot(index, clock::now()));
}

fn attach(shared: &Rc<ThreadState>, end: LinkEnd, reports: &mpsc::Sender<Report>) {
    let LinkEnd { app, parts, socket } = end;
    let start_credits = shared.settings().app_named(&app).map(|app| app.dispatch.start_credits);
    // The link of an app that is configured no more closes, and its worker ends.
    let (Some(app), Some(start_credits)) = (shared.apps.named(&app), start_credits) else { return };
    let worker = parts.worker;
    shared.metrics.add_slot(parts.slot);
    let link = Link::new(parts, start_credits, clock::now());
    app.dispatch.attach(Rc::clone(&link));
    let (shared, reports) = (Rc::clone(shared), reports.clone());
    spawn_local(async move {
        let on_event = {
            let (app, reports) = (Rc::clone(&app), reports.clone());
            move |event| match event {
                LinkEvent::Progress => app.dispatch.pump_if_waiting(),
                LinkEvent::Worker(event) => {
                    let is_ready = matches!(event, WorkerEvent::Ready);
                    report(&reports, Report::Worker(worker, event));
                    if is_ready {
                        app.dispatch.pump(clock::now());
                    }
                }
            }
        };
        run_link(&shared, &app, &link, socket, on_event).await;
        shared.changed.notify_one();
        report(&reports, Report::Worker(worker, WorkerEvent::Detached));
    });
}

/// Runs an attached link until it ends, and detaches it.
///
/// The link has a task of its own, so that a panic in it ends this link and nothing else.
pub(crate) async fn run_link(
    shared: &ThreadState,
    app: &App,
    link: &Rc<Link>,
    socket: UnixStream,
    on_event: impl FnMut(LinkEvent) + 'static,
) {
    let span = tracing::debug_span!("link", worker = link.pid());
    if let Err(error) = spawn_local(Rc::clone(link).run(socket, on_event).instrument(span)).await {
        tracing::error!("The link to worker {} has failed: {error}", link.pid());
    }
    shared.apps.detach(app, link, clock::now());
}

/// Sends a worker no more requests, and lets it finish those that it has begun within `grace`.
fn retire(shared: &ThreadState, Retirement { worker, grace }: Retirement) {
    let now = clock::now();
    let Some(link) = shared.apps.retire(worker, SIGTERM, now) else { return };
    let until = now + grace;
    spawn_local(async move {
        if tokio::time::timeout_at(until.into(), link.quiet()).await.is_err() {
            log_cut(link.cut(), link.pid(), grace);
        }
        link.send_drain(until.saturating_duration_since(clock::now()));
    });
}

/// Answers an app's requests with the reason why it cannot be served, if there is one; those that wait first.
fn explain_failure(shared: &ThreadState, app: &AppName, reason: Option<Arc<str>>) {
    let Some(app) = shared.apps.named(app) else { return };
    if let Some(reason) = &reason {
        for exchange in app.dispatch.take_queue() {
            exchange.answer_queued(|head| app_failure::answer(head, Some(reason)));
        }
    }
    app.set_failure(reason);
}

/// Logs the exchanges that were cut off in a worker that was replaced.
fn log_cut(cut: Cut, pid: u32, grace: Duration) {
    let (Cut { requests, websockets }, grace) = (cut, grace.as_secs_f64());
    let (request, were) = if requests == 1 { ("request", "was") } else { ("requests", "were") };
    if requests > 0 {
        tracing::warn!(
            "{requests} {request} that worker {pid} had in flight {were} cut off, {grace} s after it was replaced \
             (retire_timeout)"
        );
    }
    if websockets > 0 {
        tracing::info!("Closing {websockets} WebSockets of worker {pid}, {grace} s after it was replaced");
    }
}

/// Lets the connections finish until their time is up, then cuts them off. Returns the end of that time,
/// which a second order may have changed.
async fn drain(
    shared: &Rc<ThreadState>,
    index: usize,
    order: Drain,
    orders: &mut mpsc::Receiver<Control>,
) -> Instant {
    let Drain { mut until, signal } = order;
    shared.apps.begin_drain(signal);
    shared.enter(Phase::Draining);
    let phase_ends = tokio::time::sleep_until((clock::now() + FIRST_REQUEST).min(until).into());
    tokio::pin!(phase_ends);
    loop {
        if shared.connections.borrow().is_empty() {
            return until;
        }
        tokio::select! {
            () = shared.changed.notified() => {}
            () = &mut phase_ends => {
                if shared.phase() == Phase::Finishing {
                    break;
                }
                shared.enter(Phase::Finishing);
                phase_ends.as_mut().reset(until.into());
            }
            order = orders.recv() => match order {
                Some(Control::Attach(end)) => drop(end),
                // Every link is sent `Drain` at the end.
                Some(
                    Control::Accept
                    | Control::Retire(_)
                    | Control::ExplainFailure(..)
                    | Control::Apply(_)
                    | Control::Succeed(_)
                    | Control::Describe(_),
                ) => {}
                Some(Control::Snapshot(reply)) => answer(reply, shared, index),
                Some(Control::Turn(turned)) => drop(turned.fetch_add(1, Ordering::Relaxed)),
                Some(Control::Lost(worker)) => shared.apps.lost(worker),
                Some(Control::Drain(order)) => {
                    until = order.until;
                    phase_ends.as_mut().reset(until.into());
                }
                None => break,
            },
        }
    }
    shared.enter(Phase::Cut);
    let cut_grace = tokio::time::sleep(CUT_GRACE);
    tokio::pin!(cut_grace);
    while !shared.connections.borrow().is_empty() {
        tokio::select! {
            () = shared.changed.notified() => {}
            () = &mut cut_grace => break,
        }
    }
    until
}

/// Checks queue deadlines, stalled workers, batches of the logs and metrics, and memory to be released.
async fn run_ticks(shared: Rc<ThreadState>) {
    let mut release_at = None::<Instant>;
    loop {
        if !shared.apps.has_work(clock::now()) && !shared.has_records() {
            let changed = shared.apps.waker().woken();
            match [release_at, shared.faults.due()].into_iter().flatten().min() {
                None => changed.await,
                // The outcome does not matter: both a change and the timeout call for a check.
                Some(at) => drop(tokio::time::timeout_at(at.into(), changed).await),
            }
        }
        tokio::time::sleep(TICK).await;
        let now = clock::now();
        if let Some(release) = shared.settings().release_memory
            && *release_at.get_or_insert(now + RELEASE_DELAY) <= now
        {
            piece::release_spares();
            shared.encoders.release_spares();
            shared.files.forget();
            shared.apps.release_memory();
            release();
            release_at = None;
        }
        shared.apps.tick(now);
        shared.faults.flush_due(now);
        if let Some(access) = &mut *shared.access.borrow_mut() {
            access.flush_due(now);
        }
        if let Some(statsd) = &mut *shared.statsd.borrow_mut() {
            statsd.flush_due(now);
        }
        if let Some(spans) = &mut *shared.spans.borrow_mut() {
            spans.flush_due(now);
        }
    }
}

/// Sends a report to the supervisor. Reports are few; one that finds the queue full waits in a task.
fn report(reports: &mpsc::Sender<Report>, report: Report) {
    let reports = reports.clone();
    spawn_local(async move {
        // An error means that the supervisor has ended, and this thread will end with it.
        let _gone = reports.send(report).await;
    });
}

#[cfg(test)]
mod tests;

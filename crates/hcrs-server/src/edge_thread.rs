//! One edge thread: a current-thread runtime with its own listeners, connections and links. Nothing here is
//! shared with another edge thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use hcrs_http::Fault;
use hcrs_log::{AccessEntry, AccessLog, Statsd};
use hcrs_tls::TlsConfig;
use http::HeaderValue;
use slab::Slab;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio_util::sync::CancellationToken;

use crate::accept;
use crate::bind::BoundListener;
use crate::clock;
use crate::control::{Control, Drain, LinkEnd, Report, Retirement};
use crate::date::HttpDate;
use crate::dispatch::Dispatch;
use crate::fault_log::FaultLog;
use crate::file_permits::OpenFiles;
use crate::link::{Cut, Link, Notice};
use crate::mailbox::Mailbox;
use crate::piece;
use crate::settings::{ConnectionSettings, Settings};
use crate::tls_facts::TlsNumbers;
use crate::websocket;

/// The `server` of responses.
const SERVER: &str = "hcrs";

/// Controls that wait for the thread.
const CONTROL_QUEUE: usize = 256;

/// How often waiting requests, the access log and metrics are looked after while there are any.
const TICK: Duration = Duration::from_millis(10);

/// How long after work the allocator is asked to give back what it keeps. Work that goes on does not put it off.
const GIVE_BACK: Duration = Duration::from_secs(3);

/// How long, from the beginning of a drain, connections without a request may still make one: its client may have sent it
/// before it could know.
pub(crate) const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// How long a connection that is cut may take to say so: it writes one last frame at most.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The signal that workers are told of when they are replaced.
const SIGTERM: u16 = 15;

/// An edge thread, as the supervisor sees it.
#[derive(Debug)]
pub(crate) struct EdgeThread {
    /// Orders. The thread ends when this is dropped.
    pub control: mpsc::Sender<Control>,
    /// Ends with the thread.
    pub handle: JoinHandle<()>,
}

/// What an edge thread starts with.
pub(crate) struct ThreadSetup {
    /// The thread's number, which its reports carry.
    pub index: usize,
    /// What the edge runs on.
    pub settings: Arc<Settings>,
    /// TLS for the listeners that speak it.
    pub tls: Option<Arc<TlsConfig>>,
    /// Bound, and not listening yet.
    pub listeners: Vec<BoundListener>,
    /// Where the supervisor listens.
    pub reports: mpsc::Sender<Report>,
    /// This thread's share of the access log.
    pub access: Option<AccessLog>,
    /// This thread's metrics.
    pub statsd: Option<Statsd>,
}

/// What the connections of an edge thread have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub settings: Arc<Settings>,
    pub dispatch: Dispatch,
    pub connections: RefCell<Slab<Rc<Mailbox>>>,
    pub access: RefCell<Option<AccessLog>>,
    pub statsd: RefCell<Option<Statsd>>,
    faults: FaultLog,
    /// What WebSockets run on.
    pub websockets: Rc<websocket::Terms>,
    /// Room for what connections of HTTP/2 hold of request bodies.
    pub bodies: Rc<hcrs_h2::BodyRoom>,
    /// The files that responses hold open.
    pub open_files: Rc<OpenFiles>,
    /// Places for TLS handshakes.
    pub handshakes: Semaphore,
    /// Numbers for what is known of TLS connections.
    pub tls_numbers: TlsNumbers,
    phase: Cell<Phase>,
    /// Requests that were cut off at the end of the drain.
    cut: Cell<usize>,
    serial: Cell<u64>,
    extra: RefCell<Extra>,
    /// A connection has ended, or the phase has changed.
    pub stir: Notify,
    /// Cancelled when no more connections are to be accepted.
    pub drains: CancellationToken,
}

/// Where the thread is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Requests are welcome.
    Serving,
    /// No connections are accepted. Those that are fresh, or about to go on, may make one request more.
    Draining,
    /// What is under way is finished, and connections without a request are closed.
    Finishing,
    /// Everything is cut off.
    Cut,
}

/// What the fields of every response are joined by.
#[derive(Debug)]
pub(crate) struct Extra {
    date: HttpDate,
    until: Instant,
    /// For HTTP/2.
    pub h2: hcrs_h2::Extra,
    /// `alt-svc` as HTTP/1.1 writes it.
    alt_svc: Vec<u8>,
}

impl Extra {
    fn new(settings: &ConnectionSettings) -> Self {
        let server = settings.include_server_header.then(|| HeaderValue::from_static(SERVER));
        let lines = settings.alt_svc.iter().map(|value| [b"alt-svc: ", value.as_bytes(), b"\r\n"].concat());
        Self {
            date: HttpDate::new(),
            until: clock::now(),
            alt_svc: lines.flatten().collect(),
            h2: hcrs_h2::Extra {
                date: None,
                server,
                alt_svc: (!settings.alt_svc.is_empty()).then(|| settings.alt_svc.clone().into()),
            },
        }
    }

    /// For HTTP/1.1.
    pub(crate) fn h1(&self) -> hcrs_h1::Extra<'_> {
        hcrs_h1::Extra {
            date: self.h2.date.as_ref().map(HeaderValue::as_bytes),
            server: self.h2.server.as_ref().map(HeaderValue::as_bytes),
            alt_svc: &self.alt_svc,
        }
    }
}

impl Shared {
    pub(crate) fn new(settings: Arc<Settings>, access: Option<AccessLog>, statsd: Option<Statsd>) -> Self {
        Self {
            dispatch: Dispatch::new(settings.dispatch.clone()),
            connections: RefCell::default(),
            access: RefCell::new(access),
            statsd: RefCell::new(statsd),
            faults: FaultLog::default(),
            websockets: websocket::Terms::new(&settings.connection),
            bodies: hcrs_h2::BodyRoom::of_thread(&settings.connection.h2),
            open_files: Rc::default(),
            handshakes: Semaphore::new(settings.connection.max_handshakes),
            tls_numbers: TlsNumbers::default(),
            phase: Cell::new(Phase::Serving),
            cut: Cell::new(0),
            serial: Cell::new(0),
            extra: RefCell::new(Extra::new(&settings.connection)),
            stir: Notify::new(),
            drains: CancellationToken::new(),
            settings,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// A number for a new connection.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    /// The fields that responses get, with the date of `now`.
    pub(crate) fn with_extra<R>(&self, now: Instant, with: impl FnOnce(&Extra) -> R) -> R {
        let extra = &mut *self.extra.borrow_mut();
        if now >= extra.until && self.settings.connection.include_date_header {
            let wall = SystemTime::now();
            let date =
                HeaderValue::from_bytes(extra.date.now(wall)).expect("invariant: a date is a field value");
            extra.h2.date = Some(date);
            let into_second =
                wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
            extra.until = now + Duration::from_millis(u64::from(1000 - into_second.min(999)));
        }
        with(extra)
    }

    /// Whether anybody wants to know of the requests that are over.
    pub(crate) fn keeps_record(&self) -> bool {
        self.access.borrow().is_some() || self.statsd.borrow().is_some()
    }

    /// A request on the connection of that number has ended with the fault.
    pub(crate) fn note_fault(&self, connection: u64, fault: Fault) {
        if self.faults.note(connection, fault, clock::now()) {
            self.dispatch.stir();
        }
    }

    /// A request was cut off at the end of the drain.
    pub(crate) fn note_cut(&self) {
        self.cut.set(self.cut.get() + 1);
    }

    /// Writes about a request that is over.
    pub(crate) fn record(&self, entry: &AccessEntry<'_>) {
        if let Some(access) = &mut *self.access.borrow_mut() {
            access.record(entry);
        }
        if let Some(statsd) = &mut *self.statsd.borrow_mut() {
            statsd.record(entry.status, entry.duration, entry.fault);
        }
        // What was written waits for others, but not for ever.
        self.dispatch.stir();
    }

    /// Whether something was recorded that is not handed over.
    fn has_records(&self) -> bool {
        self.access.borrow().as_ref().is_some_and(AccessLog::is_waiting)
            || self.statsd.borrow().as_ref().is_some_and(Statsd::is_waiting)
    }

    /// Hands over what was recorded.
    fn flush_records(&self) {
        self.faults.flush(clock::now());
        if let Some(access) = &mut *self.access.borrow_mut() {
            access.flush();
        }
        if let Some(statsd) = &mut *self.statsd.borrow_mut() {
            statsd.flush();
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        for (_, mailbox) in &*self.connections.borrow() {
            mailbox.wake();
        }
        self.stir.notify_one();
    }
}

/// Starts the thread. It accepts nothing until it is told to.
pub(crate) fn start(setup: ThreadSetup) -> io::Result<EdgeThread> {
    let (control, orders) = mpsc::channel(CONTROL_QUEUE);
    let handle = std::thread::Builder::new().name(format!("edge-{}", setup.index)).spawn(move || {
        match Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime.block_on(run(setup, orders)),
            Err(error) => tracing::error!("An edge thread cannot start: {error}"),
        }
    })?;
    Ok(EdgeThread { control, handle })
}

async fn run(setup: ThreadSetup, mut orders: mpsc::Receiver<Control>) {
    let ThreadSetup { index, settings, tls, listeners, reports, access, statsd } = setup;
    let shared = Rc::new(Shared::new(settings, access, statsd));
    let looking_after = spawn_local(look_after(Rc::clone(&shared)));
    let mut listeners = Some(listeners);
    let mut accepting = Vec::new();
    while let Some(order) = orders.recv().await {
        match order {
            Control::Attach(end) => attach(&shared, end, &reports),
            Control::Accept => {
                for listener in listeners.take().unwrap_or_default() {
                    accepting.push(spawn_local(accept::run(Rc::clone(&shared), listener, tls.clone())));
                }
            }
            Control::Retire(retirement) => retire(&shared, retirement),
            Control::Lost(worker) => shared.dispatch.lost(worker),
            Control::Turn(turned) => {
                turned.fetch_add(1, Ordering::Relaxed);
            }
            Control::Describe(worker) => shared.dispatch.describe(worker, clock::now()),
            Control::Drain(order) => {
                shared.drains.cancel();
                for task in accepting.drain(..) {
                    let _panic_at_the_end = task.await;
                }
                drop(listeners.take());
                let until = drain(&shared, order, &mut orders).await;
                let (cut, all_ended) = (shared.cut.get(), shared.connections.borrow().is_empty());
                let left = shared.dispatch.left_over().filter(|_| cut == 0 && all_ended);
                if let Some(left) = &left {
                    tracing::warn!("accounting: edge thread {index} has drained, and {left} are left");
                }
                debug_assert!(left.is_none(), "everything has come back at the end of a drain");
                shared.dispatch.drain(until.saturating_duration_since(clock::now()));
                shared.flush_records();
                report(&reports, Report::Drained(index, cut));
            }
        }
    }
    looking_after.abort();
    shared.flush_records();
}

fn attach(shared: &Rc<Shared>, end: LinkEnd, reports: &mpsc::Sender<Report>) {
    let LinkEnd { parts, socket } = end;
    let worker = parts.worker;
    let link = Link::new(parts, shared.settings.dispatch.start_credits, clock::now());
    shared.dispatch.attach(Rc::clone(&link));
    let (shared, reports) = (Rc::clone(shared), reports.clone());
    spawn_local(async move {
        let notice = {
            let (shared, reports) = (Rc::clone(&shared), reports.clone());
            move |notice| match notice {
                Notice::Ready => {
                    report(&reports, Report::Ready(worker));
                    shared.dispatch.pump(clock::now());
                }
                Notice::Failed(why) => report(&reports, Report::Failed(worker, why)),
                Notice::Progress => shared.dispatch.pump_if_waiting(),
                Notice::Spent => report(&reports, Report::Spent(worker)),
                Notice::Finished => report(&reports, Report::Finished(worker)),
            }
        };
        run_link(&shared, &link, socket, notice).await;
        shared.stir.notify_one();
        report(&reports, Report::Detached(worker));
    });
}

/// Runs an attached link until it ends, and detaches it.
///
/// The link has a task of its own, so that a panic in it ends this link and nothing else.
pub(crate) async fn run_link(
    shared: &Shared,
    link: &Rc<Link>,
    socket: UnixStream,
    notice: impl FnMut(Notice) + 'static,
) {
    if let Err(error) = spawn_local(Rc::clone(link).run(socket, notice)).await {
        tracing::error!("The link to worker {} cannot go on: {error}", link.pid());
    }
    shared.dispatch.detach(link, clock::now());
}

/// Lets a worker finish what it has begun, for as long as it is given, and gives it nothing more.
fn retire(shared: &Shared, Retirement { worker, grace }: Retirement) {
    let now = clock::now();
    let Some(link) = shared.dispatch.retire(worker, SIGTERM, now) else { return };
    let until = now + grace;
    spawn_local(async move {
        if tokio::time::timeout_at(until.into(), link.quiet()).await.is_err() {
            tell_cut(link.cut(), link.pid(), grace);
        }
        link.send_drain(until.saturating_duration_since(clock::now()));
    });
}

/// Logs what was cut off in a worker that was replaced.
fn tell_cut(cut: Cut, pid: u32, grace: Duration) {
    let (Cut { requests, websockets }, grace) = (cut, grace.as_secs_f64());
    let (request, were) = if requests == 1 { ("request", "was") } else { ("requests", "were") };
    if requests > 0 {
        tracing::warn!(
            "{requests} {request} that worker {pid} had under way {were} cut off, {grace} s after it was replaced \
             (retire_timeout)"
        );
    }
    if websockets > 0 {
        tracing::info!("Closing {websockets} WebSockets of worker {pid}, {grace} s after it was replaced");
    }
}

/// Lets the connections finish until their time is up, then cuts them off. Gives the end of that time, which a second
/// order may have changed.
async fn drain(shared: &Rc<Shared>, order: Drain, orders: &mut mpsc::Receiver<Control>) -> Instant {
    let Drain { mut until, signal } = order;
    shared.dispatch.begin_drain(signal);
    shared.enter(Phase::Draining);
    let phase_ends = tokio::time::sleep_until((clock::now() + FIRST_REQUEST).min(until).into());
    tokio::pin!(phase_ends);
    loop {
        if shared.connections.borrow().is_empty() {
            return until;
        }
        tokio::select! {
            () = shared.stir.notified() => {}
            () = &mut phase_ends => {
                if shared.phase() == Phase::Finishing {
                    break;
                }
                shared.enter(Phase::Finishing);
                phase_ends.as_mut().reset(until.into());
            }
            order = orders.recv() => match order {
                Some(Control::Attach(end)) => drop(end),
                // Everybody is sent `Drain` at the end.
                Some(Control::Accept | Control::Retire(_) | Control::Describe(_)) => {}
                Some(Control::Turn(turned)) => drop(turned.fetch_add(1, Ordering::Relaxed)),
                Some(Control::Lost(worker)) => shared.dispatch.lost(worker),
                Some(Control::Drain(order)) => {
                    until = order.until;
                    phase_ends.as_mut().reset(until.into());
                }
                None => break,
            },
        }
    }
    shared.enter(Phase::Cut);
    let last_words = tokio::time::sleep(LAST_WORDS);
    tokio::pin!(last_words);
    while !shared.connections.borrow().is_empty() {
        tokio::select! {
            () = shared.stir.notified() => {}
            () = &mut last_words => break,
        }
    }
    until
}

/// Looks after what waits: queue deadlines, requests that a worker leaves unbegun, lines of the logs, metrics, memory that
/// is needed no more.
async fn look_after(shared: Rc<Shared>) {
    let mut give_back_at = None::<Instant>;
    loop {
        if !shared.dispatch.is_waiting(clock::now()) && !shared.has_records() {
            let waiting = shared.dispatch.waiting();
            match [give_back_at, shared.faults.due()].into_iter().flatten().min() {
                None => waiting.await,
                // Either way it is time to look.
                Some(at) => drop(tokio::time::timeout_at(at.into(), waiting).await),
            }
        }
        tokio::time::sleep(TICK).await;
        let now = clock::now();
        if let Some(give_back) = shared.settings.give_back_memory
            && *give_back_at.get_or_insert(now + GIVE_BACK) <= now
        {
            piece::forget();
            give_back();
            give_back_at = None;
        }
        shared.dispatch.tick(now);
        shared.faults.flush_due(now);
        if let Some(access) = &mut *shared.access.borrow_mut() {
            access.flush_due(now);
        }
        if let Some(statsd) = &mut *shared.statsd.borrow_mut() {
            statsd.flush_due(now);
        }
    }
}

/// Reports are few and the supervisor does nothing but wait for them; one that finds the queue full waits in a task.
fn report(reports: &mpsc::Sender<Report>, report: Report) {
    let reports = reports.clone();
    spawn_local(async move {
        // An error says that the supervisor is gone, and this thread with it in an instant.
        let _gone = reports.send(report).await;
    });
}

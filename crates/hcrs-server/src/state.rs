//! State shared by all connections of an edge thread.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_coding::Encoders;
use hcrs_http::Fault;
use hcrs_log::{AccessEntry, AccessLog, Statsd};
use hcrs_metrics::{Counters, EndedRequest, Protocol, ThreadSnapshot};
use hcrs_otlp::{Span, SpanSender};
use slab::Slab;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::exchange::Exchange;
use crate::exchange::mailbox::Mailbox;
use crate::exchange::response_room::ResponseRoom;
use crate::exchange::tls_info::TlsInfoTable;
use crate::exchange::websocket;
use crate::labels::Labels;
use crate::origin::admin::Port;
use crate::origin::app::apps::Apps;
use crate::origin::files::{Files, NamedByApp};
use crate::origin::health::Readiness;
use crate::origin::upstream::Upstreams;
use crate::rules::{RuleState, SharedRuleState};
use crate::settings::Settings;

mod active_requests;
mod date;
mod fault_log;
mod server_fields;

use active_requests::ActiveRequests;
pub(crate) use fault_log::FailedRequest;
use fault_log::FaultLog;
pub(crate) use server_fields::ServerFields;

/// How long connections without a request may still make one after a drain begins: the client may have sent
/// it before it could know of the drain.
pub(crate) const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// State shared by all connections of an edge thread.
#[derive(Debug)]
pub(crate) struct ThreadState {
    settings: RefCell<Arc<Settings>>,
    /// The way to the supervisor, if this is the thread of the admin interface.
    pub admin: Option<Port>,
    /// Whether requests should be sent to the server.
    pub readiness: Arc<Readiness>,
    /// The apps, with the requests that wait for their workers.
    pub apps: Apps,
    pub connections: RefCell<Slab<Rc<Mailbox>>>,
    pub access: RefCell<Option<AccessLog>>,
    pub statsd: RefCell<Option<Statsd>>,
    /// The spans of requests that are over.
    pub spans: RefCell<Option<SpanSender>>,
    /// The labels that requests get; `None` for none.
    pub labels: Option<Labels>,
    /// Faults that the error log has not reported yet.
    pub faults: FaultLog,
    /// The counters and histograms of the thread.
    pub metrics: Rc<Counters>,
    /// The requests in flight.
    pub requests: ActiveRequests,
    websockets: RefCell<Rc<websocket::Terms>>,
    /// Room for the request bodies that HTTP/2 connections hold.
    pub bodies: Rc<hcrs_h2::BodyRoom>,
    /// The folders whose files are sent, and the files that responses hold open.
    pub files: Rc<Files>,
    /// The files that the app may name in its responses.
    named_by_app: RefCell<Option<Rc<NamedByApp>>>,
    /// The servers that requests are proxied to.
    pub upstreams: Upstreams,
    /// State of rules.
    pub rules: Rc<RuleState>,
    /// Room for responses that are taken from workers ahead of their clients.
    pub response_room: Rc<ResponseRoom>,
    /// The encoders of compressed responses.
    pub encoders: Rc<Encoders>,
    /// Permits for TLS handshakes.
    pub handshakes: Semaphore,
    /// The TLS info of connections, by number.
    pub tls_infos: TlsInfoTable,
    /// The port that requests of cleartext connections are redirected to.
    pub https_port: Cell<Option<u16>>,
    /// The port for HTTP/3, if it is served.
    http3_port: Option<u16>,
    phase: Cell<Phase>,
    cut: Cell<usize>,
    serial: Cell<u64>,
    server_fields: RefCell<ServerFields>,
    /// Notified when a connection has ended or the phase has changed.
    pub changed: Notify,
    /// Cancelled when another server has the sockets for HTTP/3, and passes on what is of connections here.
    pub is_succeeded: CancellationToken,
    /// Cancelled when no more connections are to be accepted.
    pub drains: CancellationToken,
}

/// Where a thread records requests that are over.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// This thread's share of the access log.
    pub access: Option<AccessLog>,
    /// This thread's metrics.
    pub statsd: Option<Statsd>,
    /// This thread's spans.
    pub spans: Option<SpanSender>,
}

/// The phase of the thread's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Requests are served.
    Serving,
    /// No connections are accepted. Those that are new, or between two requests, may make one more request.
    Draining,
    /// Requests in flight finish, and connections without a request are closed.
    Finishing,
    /// Everything is cut off.
    Cut,
}

impl ThreadState {
    pub(crate) fn new(settings: Arc<Settings>, records: Records) -> Self {
        let Records { access, statsd, spans } = records;
        let files = Rc::default();
        Self {
            admin: None,
            readiness: Arc::default(),
            apps: Apps::new(&settings.apps),
            connections: RefCell::default(),
            access: RefCell::new(access),
            statsd: RefCell::new(statsd),
            labels: Labels::new(&settings.labels, spans.is_some()),
            spans: RefCell::new(spans),
            faults: FaultLog::default(),
            metrics: Rc::default(),
            requests: ActiveRequests::default(),
            websockets: RefCell::new(websocket::Terms::new(&settings.connection)),
            bodies: hcrs_h2::BodyRoom::new(settings.connection.h2.thread_room),
            named_by_app: RefCell::new(NamedByApp::of(&settings, &files)),
            files,
            upstreams: Upstreams::default(),
            rules: Rc::default(),
            response_room: Rc::default(),
            encoders: Rc::default(),
            handshakes: Semaphore::new(settings.connection.max_handshakes),
            tls_infos: TlsInfoTable::default(),
            https_port: Cell::new(None),
            http3_port: None,
            phase: Cell::new(Phase::Serving),
            cut: Cell::new(0),
            serial: Cell::new(0),
            server_fields: RefCell::new(ServerFields::new(&settings.connection, None)),
            changed: Notify::new(),
            is_succeeded: CancellationToken::new(),
            drains: CancellationToken::new(),
            settings: RefCell::new(settings),
        }
    }

    /// Lets the thread answer probes by `readiness`, and serve the admin interface if it has a way to the
    /// supervisor.
    pub(crate) fn with_role(self, readiness: Arc<Readiness>, admin: Option<Port>) -> Self {
        let labels = self.labels.filter(|_| admin.is_none());
        Self { admin, readiness, labels, ..self }
    }

    /// Lets the thread share this state of rules with others.
    pub(crate) fn with_rules(self, shared: Arc<SharedRuleState>) -> Self {
        Self { rules: RuleState::new(shared), ..self }
    }

    /// Lets responses announce HTTP/3 at this port, if there is one.
    pub(crate) fn with_http3_at(self, port: Option<u16>) -> Self {
        let fields = ServerFields::new(&self.settings().connection, port);
        Self { http3_port: port, server_fields: RefCell::new(fields), ..self }
    }

    /// Returns the settings.
    pub(crate) fn settings(&self) -> Ref<'_, Settings> {
        Ref::map(self.settings.borrow(), Arc::as_ref)
    }

    /// Returns the settings in a form that may be kept while the task waits.
    pub(crate) fn kept_settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// Replaces the settings. What a protocol has announced to a client, and limits of its parsing, stay as they
    /// are for connections that are open.
    pub(crate) fn apply(&self, settings: Arc<Settings>) {
        self.apps.apply(&settings.apps);
        self.websockets.replace_with(|terms| terms.renewed(&settings.connection));
        self.server_fields.replace(ServerFields::new(&settings.connection, self.http3_port));
        self.upstreams.change_to(&settings.routes);
        self.files.forget();
        self.named_by_app.replace(NamedByApp::of(&settings, &self.files));
        self.rules.renew();
        self.settings.replace(settings);
    }

    /// Returns the files that the app may name in its responses.
    pub(crate) fn named_by_app(&self) -> Option<Rc<NamedByApp>> {
        self.named_by_app.borrow().clone()
    }

    /// Returns the settings and shared resources of WebSockets.
    pub(crate) fn websockets(&self) -> Rc<websocket::Terms> {
        Rc::clone(&self.websockets.borrow())
    }

    /// Begins the turn of a connection's task, with new shares of what it may inflate and encode.
    pub(crate) fn begin_turn(&self) {
        self.websockets.borrow().begin_turn();
        self.encoders.begin_turn();
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Returns the number for a new connection.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    /// Calls `with` with the fields that every response gets; their date is that of `now`.
    pub(crate) fn with_server_fields<R>(&self, now: Instant, with: impl FnOnce(&ServerFields) -> R) -> R {
        let fields = &mut *self.server_fields.borrow_mut();
        fields.refresh_date(now);
        with(fields)
    }

    /// Whether requests that are over are recorded, in the access log or as metrics.
    pub(crate) fn keeps_record(&self) -> bool {
        self.access.borrow().is_some() || self.statsd.borrow().is_some()
    }

    /// Notes that a request has ended with the fault.
    pub(crate) fn note_fault(&self, failed: FailedRequest<'_>, fault: Fault) {
        self.metrics.fail_request(fault);
        if self.faults.note(failed, fault, clock::now()) {
            self.apps.waker().wake();
        }
    }

    /// Notes that the connection with this number has ended with the fault, after its requests were noted.
    pub(crate) fn note_connection_fault(&self, connection: u64, fault: Fault) {
        self.metrics.fail_connection(fault);
        FaultLog::note_connection(connection, fault);
    }

    /// Counts a request that is over, and removes it from those in flight. `head_at` is when the response's
    /// head was sent.
    pub(crate) fn end_request(
        &self,
        exchange: &Exchange,
        status: Option<u16>,
        head_at: Option<Instant>,
        now: Instant,
    ) {
        let Some(protocol) = self.requests.remove(exchange) else { return };
        let (arrived, sent) = (exchange.arrived(), exchange.sent_to());
        self.metrics.end_request(&EndedRequest {
            protocol,
            status,
            duration: now.saturating_duration_since(arrived),
            slot: sent.map(|sent| sent.worker.slot),
            queue: sent.map(|sent| sent.at.saturating_duration_since(arrived)),
            app: sent.zip(head_at).map(|(sent, at)| at.saturating_duration_since(sent.at)),
            send: head_at.map(|at| now.saturating_duration_since(at)),
        });
    }

    /// Counts an HTTP/1.1 request that was refused before its head was complete.
    pub(crate) fn end_unread(&self, fault: Fault, duration: Duration) {
        self.metrics.end_request(&EndedRequest {
            protocol: Protocol::Http11,
            status: Some(fault.status()),
            duration,
            slot: None,
            queue: None,
            app: None,
            send: None,
        });
    }

    /// Returns the metrics of the thread, which has the number `thread`, and its oldest requests in flight.
    pub(crate) fn snapshot(&self, thread: usize, now: Instant) -> ThreadSnapshot {
        let mut snapshot = ThreadSnapshot::of(&self.metrics);
        self.apps.add_to(&mut snapshot);
        self.upstreams.add_to(&mut snapshot);
        self.requests.add_to(&mut snapshot, thread, now);
        snapshot
    }

    /// Counts a request that was cut off at the end of the drain.
    pub(crate) fn note_cut(&self) {
        self.cut.set(self.cut.get() + 1);
    }

    /// Returns the number of requests that were cut off at the end of the drain.
    pub(crate) fn cut(&self) -> usize {
        self.cut.get()
    }

    /// Records a request that is over in the access log, if it `is_logged`, and the metrics.
    pub(crate) fn record(&self, entry: &AccessEntry<'_>, is_logged: bool) {
        if is_logged && let Some(access) = &mut *self.access.borrow_mut() {
            access.record(entry);
        }
        if let Some(statsd) = &mut *self.statsd.borrow_mut() {
            statsd.record(entry.status, entry.duration, entry.fault);
        }
        // The record waits for others in a batch; the woken task bounds that wait.
        self.apps.waker().wake();
    }

    /// Records a request that is over as a span.
    pub(crate) fn record_span(&self, span: Span) {
        if let Some(spans) = &mut *self.spans.borrow_mut() {
            spans.record(span);
            self.apps.waker().wake();
        }
    }

    /// Whether there are records that were not handed over.
    pub(crate) fn has_records(&self) -> bool {
        self.access.borrow().as_ref().is_some_and(AccessLog::is_waiting)
            || self.statsd.borrow().as_ref().is_some_and(Statsd::is_waiting)
            || self.spans.borrow().as_ref().is_some_and(SpanSender::is_waiting)
    }

    /// Hands over all records.
    pub(crate) fn flush_records(&self) {
        self.faults.flush(clock::now());
        if let Some(access) = &mut *self.access.borrow_mut() {
            access.flush();
        }
        if let Some(statsd) = &mut *self.statsd.borrow_mut() {
            statsd.flush();
        }
        if let Some(spans) = &mut *self.spans.borrow_mut() {
            spans.flush();
        }
    }

    /// Describes what remains after the last connection has ended; `None` if there is nothing.
    pub(crate) fn left_over(&self) -> Option<String> {
        let listed = self.requests.len();
        let listed = (listed > 0).then(|| format!("{listed} requests in flight"));
        let encoders = self.encoders.streams();
        let encoders = (encoders > 0).then(|| format!("{encoders} encoders"));
        let room = self.response_room.taken();
        let room = (room > 0).then(|| format!("{room} bytes of room for responses"));
        [self.apps.left_over(), listed, encoders, room]
            .into_iter()
            .flatten()
            .reduce(|all, more| format!("{all}, {more}"))
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        for (_, mailbox) in &*self.connections.borrow() {
            mailbox.wake();
        }
        self.changed.notify_one();
    }
}

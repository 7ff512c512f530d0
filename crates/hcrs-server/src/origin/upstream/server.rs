//! One upstream of a group as an edge thread sees it: its connections, its requests, its health.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_metrics::UpstreamFacts;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;

use super::body::Body;
use super::connect::{ConnectError, Connected, Purpose, connect};
use super::health::{Change, Failure, Health};
use super::http1::Connection;
use crate::clock;
use crate::settings::{UpstreamProtocol, UpstreamSettings, UpstreamTls, UpstreamUrl};

/// The most requests of a thread that wait for a connection to one upstream.
const WAITING_MAX: usize = 1024;
/// How long a connection without a request is kept.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long after its last request a connection may carry one that must not be sent twice: the upstream may be about to
/// close one that was idle for longer.
const FRESH: Duration = Duration::from_secs(1);
/// The most requests at a time on one connection of HTTP/2.
const STREAMS_MAX: usize = 100;

/// One upstream.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: UpstreamUrl,
    /// Its URL as text.
    pub(super) name: String,
    /// The number of its requests, with those that wait for a connection.
    busy: Cell<usize>,
    waiting: Cell<usize>,
    /// Its requests and failures so far, and its connections.
    facts: Cell<UpstreamFacts>,
    health: RefCell<Health>,
    /// The connections of HTTP/1.1 that have no request, the one used last at the end.
    idle: RefCell<Vec<Idle>>,
    /// The connections of HTTP/2.
    shared: RefCell<Vec<Rc<Shared>>>,
    /// Permits for requests over HTTP/1.1, and for connections of HTTP/2.
    permits: Arc<Semaphore>,
    /// The number of all permits.
    max: usize,
    /// The number of slots.
    taken: Rc<Cell<usize>>,
    /// Held while a connection is opened that later requests may share.
    opening: tokio::sync::Mutex<()>,
    /// Whether its last connection for requests was one of HTTP/2; `None` before the first.
    is_h2: Cell<Option<bool>>,
    is_swept: Cell<bool>,
}

/// A connection without a request.
#[derive(Debug)]
struct Idle {
    connection: Rc<Connection>,
    since: Instant,
}

/// A connection of HTTP/2.
#[derive(Debug)]
pub(super) struct Shared {
    sender: http2::SendRequest<Body>,
    /// The number of requests on it.
    active: Cell<usize>,
    since: Cell<Instant>,
    _slot: Slot,
    _open: Open,
}

/// Counts a connection among those of a server, which it does not keep.
#[derive(Debug)]
pub(super) struct Open(Weak<Server>);

impl Open {
    fn new(server: &Rc<Server>) -> Self {
        server.change_facts(|facts| facts.connections += 1);
        Self(Rc::downgrade(server))
    }

    /// Returns the server, if it is still there.
    pub(super) fn server(&self) -> Option<Rc<Server>> {
        self.0.upgrade()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(server) = self.server() {
            server.change_facts(|facts| facts.connections -= 1);
        }
    }
}

/// The demands on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    /// The purpose of it.
    pub purpose: Purpose,
    /// Whether it must not have been idle for long.
    pub is_fresh: bool,
    /// Whether it must not have carried a request.
    pub is_new: bool,
}

/// The reason why there is no connection for a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLease {
    #[error("all connections are taken")]
    Busy,
    #[error("it does not accept a connection in time")]
    Late,
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// A connection for a request.
#[derive(Debug)]
pub(super) enum Lease {
    /// One of HTTP/1.1, for this request alone.
    Http1(Rc<Connection>, Slot),
    /// A place on one of HTTP/2, and whether that has carried another request before.
    Http2(Place, bool),
}

/// A connection's share of those that the thread may have, while a request has it.
#[derive(Debug)]
pub(super) struct Slot {
    taken: Rc<Cell<usize>>,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    fn new(server: &Server, permit: OwnedSemaphorePermit) -> Self {
        server.taken.set(server.taken.get() + 1);
        Self { taken: Rc::clone(&server.taken), _permit: permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - 1);
    }
}

/// A request's place on a connection of HTTP/2.
#[derive(Debug)]
pub(super) struct Place(Rc<Shared>);

impl Place {
    fn take(connection: &Rc<Shared>) -> Self {
        connection.active.set(connection.active.get() + 1);
        Self(Rc::clone(connection))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        self.0.since.set(clock::now());
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}

/// Counts a request among those that wait.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The reason why there is no response.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// Whether nothing of the request was written.
    pub is_unsent: bool,
    /// The error.
    pub error: hyper::Error,
}

/// Counts a request among those of a server.
#[derive(Debug)]
pub(super) struct Busy(Rc<Server>);

impl Busy {
    /// Returns the server.
    pub(super) fn server(&self) -> &Rc<Server> {
        &self.0
    }
}

impl Server {
    pub(super) fn new(url: &UpstreamUrl, settings: &UpstreamSettings) -> Rc<Self> {
        let is_h2 = match (settings.protocol, url.is_tls) {
            (UpstreamProtocol::Http1, _) | (UpstreamProtocol::Auto, false) => Some(false),
            (UpstreamProtocol::Http2, _) => Some(true),
            (UpstreamProtocol::Auto, true) => None,
        };
        Rc::new(Self {
            url: url.clone(),
            name: url.to_string(),
            busy: Cell::new(0),
            waiting: Cell::new(0),
            facts: Cell::default(),
            health: RefCell::default(),
            idle: RefCell::default(),
            shared: RefCell::default(),
            permits: Arc::new(Semaphore::new(settings.connections)),
            max: settings.connections,
            taken: Rc::default(),
            opening: tokio::sync::Mutex::new(()),
            is_h2: Cell::new(is_h2),
            is_swept: Cell::new(false),
        })
    }

    /// Returns the number of its requests.
    pub(super) fn busy(&self) -> usize {
        self.busy.get()
    }

    /// Whether requests are sent to it.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        self.health.borrow().is_up(now)
    }

    /// Counts a request that is sent to it.
    pub(super) fn begin(self: &Rc<Self>, now: Instant) -> Busy {
        self.busy.set(self.busy.get() + 1);
        self.change_facts(|facts| facts.requests += 1);
        self.health.borrow_mut().note_try(now);
        Busy(Rc::clone(self))
    }

    /// Returns its requests and failures so far, and its connections.
    pub(super) fn facts(&self) -> UpstreamFacts {
        self.facts.get()
    }

    fn change_facts(&self, change: impl FnOnce(&mut UpstreamFacts)) {
        let mut facts = self.facts.get();
        change(&mut facts);
        self.facts.set(facts);
    }

    /// Notes that it has answered.
    pub(super) fn succeed(&self) {
        let change = self.health.borrow_mut().succeed();
        self.log(change, &"");
    }

    /// Notes that it has failed for this reason.
    pub(super) fn fail(&self, failure: Failure, reason: &dyn Display) {
        tracing::debug!("Upstream {} has failed: {reason}", self.name);
        self.change_facts(|facts| facts.failures += 1);
        let change = self.health.borrow_mut().fail(failure, clock::now());
        self.log(change, reason);
    }

    /// Notes the outcome of a check.
    pub(super) fn check(&self, outcome: &Result<(), String>) {
        let change = self.health.borrow_mut().check(outcome.is_ok());
        let reason = outcome.as_ref().err().map_or("", String::as_str);
        self.log(change, &reason);
    }

    fn log(&self, change: Option<Change>, reason: &dyn Display) {
        match change {
            Some(Change::Down) => tracing::warn!("Upstream {} is down: {reason}", self.name),
            Some(Change::Up) => tracing::info!("Upstream {} is up again", self.name),
            None => {}
        }
    }

    /// Waits for a connection for a request, a kept one if there is one that meets the demand.
    pub(super) async fn lease(
        self: &Rc<Self>,
        settings: &UpstreamSettings,
        tls: Option<&UpstreamTls>,
        demand: Demand,
    ) -> Result<Lease, NoLease> {
        if let Some(lease) = self.lease_shared(demand) {
            return Ok(lease);
        }
        let until = clock::now() + settings.connect_timeout;
        // While it is not known that it speaks HTTP/1.1, connections are opened one at a time: requests that arrive
        // meanwhile may share the next.
        let gate = if demand.purpose == Purpose::Requests && self.is_h2.get() != Some(false) {
            let gate = self.wait(until, self.opening.lock()).await?;
            if let Some(lease) = self.lease_shared(demand) {
                return Ok(lease);
            }
            Some(gate)
        } else {
            None
        };
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            // Connections of HTTP/2 keep theirs.
            Err(_) if gate.is_some() && self.is_h2.get() == Some(true) => return Err(NoLease::Busy),
            Err(_) => self
                .wait(until, Arc::clone(&self.permits).acquire_owned())
                .await?
                .map_err(|_| NoLease::Busy)?,
        };
        let slot = Slot::new(self, permit);
        if let Some(connection) = self.pop_idle(demand, clock::now()) {
            return Ok(Lease::Http1(connection, slot));
        }
        // Apart from the task of the request, which is moved and would have room for the handshakes.
        let connecting = Box::pin(connect(&self.url, settings.protocol, tls, demand.purpose, until));
        let connected =
            tokio::time::timeout_at(until.into(), connecting).await.map_err(|_| NoLease::Late)??;
        let lease = match connected {
            Connected::Http1(io) => Lease::Http1(Connection::open(io, Open::new(self)), slot),
            Connected::Http2(sender) => {
                let (active, since) = (Cell::new(0), Cell::new(clock::now()));
                let shared = Rc::new(Shared { sender, active, since, _slot: slot, _open: Open::new(self) });
                let place = Place::take(&shared);
                self.shared.borrow_mut().push(shared);
                self.begin_to_sweep();
                Lease::Http2(place, false)
            }
        };
        if demand.purpose == Purpose::Requests {
            self.is_h2.set(Some(matches!(lease, Lease::Http2(..))));
        }
        Ok(lease)
    }

    /// Waits in line with a bounded number of others.
    async fn wait<T>(&self, until: Instant, what: impl Future<Output = T>) -> Result<T, NoLease> {
        if self.waiting.get() >= WAITING_MAX {
            return Err(NoLease::Busy);
        }
        let _waiting = Waiting::new(&self.waiting);
        tokio::time::timeout_at(until.into(), what).await.map_err(|_| NoLease::Busy)
    }

    /// Returns a place on a connection of HTTP/2 that has room.
    fn lease_shared(&self, demand: Demand) -> Option<Lease> {
        if demand.purpose != Purpose::Requests {
            return None;
        }
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| !connection.sender.is_closed());
        let connection = shared.iter().find(|connection| connection.has_room() && !demand.is_new)?;
        Some(Lease::Http2(Place::take(connection), true))
    }

    /// Returns a connection of HTTP/1.1 that waits for a request, if there is one that meets the demand.
    pub(super) fn take_idle(&self, demand: Demand, now: Instant) -> Option<(Rc<Connection>, Slot)> {
        if self.idle.borrow().is_empty() {
            return None;
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let connection = self.pop_idle(demand, now)?;
        Some((connection, Slot::new(self, permit)))
    }

    fn pop_idle(&self, demand: Demand, now: Instant) -> Option<Rc<Connection>> {
        if demand.is_new || demand.purpose == Purpose::Upgrade {
            return None;
        }
        loop {
            let last = {
                let mut idle = self.idle.borrow_mut();
                let last = idle.last()?;
                if demand.is_fresh && now.saturating_duration_since(last.since) > FRESH {
                    return None;
                }
                idle.pop()?.connection
            };
            // A request that must not be sent twice is worth a system call.
            if !(demand.is_fresh && last.has_hung_up()) {
                return Some(last);
            }
            last.close();
        }
    }

    /// Keeps a connection for other requests.
    pub(super) fn keep(&self, connection: &Rc<Connection>, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        idle.push(Idle { connection: Rc::clone(connection), since: now });
        // Beside those that were not fresh enough for a request there may be too many now. The slot of this one is still
        // taken.
        if idle.len() + self.taken.get() > self.max + 1 {
            idle.remove(0).connection.close();
        }
    }

    /// Drops a connection that has ended.
    pub(super) fn forget(&self, connection: &Rc<Connection>) {
        self.idle.borrow_mut().retain(|idle| !Rc::ptr_eq(&idle.connection, connection));
    }

    /// Closes connections of HTTP/2 that are idle for too long, as long as there are any.
    fn begin_to_sweep(self: &Rc<Self>) {
        if self.is_swept.replace(true) {
            return;
        }
        let server = Rc::downgrade(self);
        spawn_local(sweep(server));
    }

    /// Drops a connection of HTTP/2 from those that requests share.
    pub(super) fn discard(&self, place: &Place) {
        self.shared.borrow_mut().retain(|kept| !Rc::ptr_eq(kept, &place.0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for idle in self.idle.get_mut() {
            idle.connection.close();
        }
    }
}

async fn sweep(server: Weak<Server>) {
    loop {
        tokio::time::sleep(IDLE_MAX / 6).await;
        let Some(server) = server.upgrade() else { return };
        let mut shared = server.shared.borrow_mut();
        shared.retain(|connection| {
            let is_idle = connection.active.get() == 0 && connection.since.get().elapsed() >= IDLE_MAX;
            !connection.sender.is_closed() && !is_idle
        });
        if shared.is_empty() {
            server.is_swept.set(false);
            return;
        }
    }
}

impl Shared {
    fn has_room(&self) -> bool {
        self.active.get() < STREAMS_MAX
    }
}

impl Place {
    /// Sends a request.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Unanswered> {
        let sent = self.0.sender.clone().try_send_request(request).await;
        sent.map_err(|mut error| {
            let is_unwritten = error.take_message().is_some();
            let error = error.into_error();
            Unanswered { is_unsent: is_unwritten || is_refused(&error), error }
        })
    }
}

/// Whether a server of HTTP/2 has said that it has not begun the request (RFC 9113 §8.7).
fn is_refused(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        // A GOAWAY ends the streams that it does not name as processed; the others go on.
        cause.is_remote() && (cause.is_go_away() || cause.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

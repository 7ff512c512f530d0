//! One request on its way to an upstream: its side of the exchange, and the attempts to have it answered.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use hcrs_http::{Fault, RequestView, ResponseHead};
use hcrs_link::{MessageKind, StreamId};
use hcrs_metrics::{Counters, Stall};
use tokio::task::{AbortHandle, spawn_local};

use super::Arrival;
use super::body::Pipe;
use super::connect::Purpose;
use super::forwarded::{Sender, is_forwarded};
use super::group::Group;
use super::health::Failure;
use super::http2;
use super::request_head::Context;
use super::retry::{Attempted, Ended, Next, is_idempotent, next};
use super::server::{Busy, Demand, Lease, NoLease, Server};
use crate::clock;
use crate::exchange::{Exchange, Origin};

/// How long a request without a response goes on after its client has closed its side: it may have left.
pub(super) const HALF_CLOSED_MAX: Duration = Duration::from_secs(1);

/// A request for an upstream, as its exchange knows it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) exchange: Rc<Exchange>,
    pub(super) group: Rc<Group>,
    pub(super) arrival: Arrival,
    /// The request's body.
    pub(super) body: Pipe,
    metrics: Rc<Counters>,
    state: Cell<State>,
    /// Wakes the task that has the request, for an event of the exchange.
    waker: RefCell<Option<Waker>>,
    /// The task that has the request until a connection has it.
    task: RefCell<Option<AbortHandle>>,
    attempts: RefCell<Attempts>,
}

/// The events that the exchange has reported.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The client has closed its side.
    is_half_closed: bool,
    /// The server stops, and a WebSocket is to be closed.
    is_leaving: bool,
    /// The exchange is over: no client waits for the response.
    is_abandoned: bool,
}

/// The attempts to have a request answered.
#[derive(Debug)]
struct Attempts {
    /// Whether the request may be repeated.
    is_repeatable: bool,
    /// The servers that have failed; empty if none has.
    failed: Vec<bool>,
    /// The number of attempts that are left.
    left: u8,
    /// Whether the next connection must be a new one.
    is_new: bool,
    /// The server of the current attempt.
    at: usize,
    /// The fault of the last attempt.
    fault: Fault,
}

impl Job {
    pub(super) fn new(
        exchange: &Rc<Exchange>,
        group: Rc<Group>,
        arrival: Arrival,
        metrics: &Rc<Counters>,
    ) -> Rc<Self> {
        let (has_body, is_repeatable) = exchange.with_head(|head| {
            head.map_or((false, false), |head| (head.has_body, is_idempotent(head.method) && !head.has_body))
        });
        let left = group.settings.retries;
        Rc::new(Self {
            exchange: Rc::clone(exchange),
            body: Pipe::new(has_body || arrival.is_tunnel),
            group,
            arrival,
            metrics: Rc::clone(metrics),
            state: Cell::default(),
            waker: RefCell::default(),
            task: RefCell::default(),
            attempts: RefCell::new(Attempts {
                is_repeatable,
                failed: Vec::new(),
                left,
                is_new: false,
                at: 0,
                fault: Fault::UpstreamFailed,
            }),
        })
    }

    /// Sends the request to a server: over a connection that waits for one, or else by a task that waits for a
    /// connection.
    pub(super) fn send(self: Rc<Self>, now: Instant) {
        let chosen = {
            let mut attempts = self.attempts.borrow_mut();
            let chosen = self.with_head(|head| self.group.choose(head, &attempts.failed, now));
            match chosen {
                Ok(Some(at)) => {
                    attempts.at = at;
                    Ok((at, attempts.demand(self.arrival.is_tunnel)))
                }
                Ok(None) => Err(attempts.fault),
                Err(gone) => Err(gone),
            }
        };
        let (at, demand) = match chosen {
            Ok(chosen) => chosen,
            Err(fault) => return self.fail(fault),
        };
        let server = &self.group.servers[at];
        let busy = server.begin(now);
        if let Some((connection, slot)) = server.take_idle(demand, now) {
            connection.start(Rc::clone(&self), busy, slot, now);
        } else {
            let task = spawn_local(Rc::clone(&self).wait_and_send(busy, demand)).abort_handle();
            *self.task.borrow_mut() = Some(task);
        }
    }

    /// Sends the request once there is a connection for it.
    async fn wait_and_send(self: Rc<Self>, busy: Busy, demand: Demand) {
        let (settings, server) = (&self.group.settings, busy.server());
        match server.lease(settings, self.group.tls().as_ref(), demand).await {
            Ok(Lease::Http1(connection, slot)) => {
                self.task.borrow_mut().take();
                connection.start(Rc::clone(&self), busy, slot, clock::now());
            }
            Ok(Lease::Http2(place, is_reused)) => {
                // Apart, because its room would be that of every request that waits.
                Box::pin(http2::serve(Rc::clone(&self), server, place, is_reused)).await;
            }
            Err(error) => {
                let fault = match &error {
                    NoLease::Busy => Fault::UpstreamBusy,
                    NoLease::Late => Fault::UpstreamTimeout,
                    NoLease::Connect(_) => Fault::UpstreamFailed,
                };
                if fault != Fault::UpstreamBusy {
                    server.fail(Failure::Unreachable, &error);
                }
                self.task.borrow_mut().take();
                Rc::clone(&self).again(Ended::Unconnected, fault);
            }
        }
    }

    /// Sends the request again after an attempt without a response, if that may be.
    pub(super) fn again(self: Rc<Self>, ended: Ended, fault: Fault) {
        let next = {
            let mut attempts = self.attempts.borrow_mut();
            let Attempts { is_repeatable, left, at, .. } = *attempts;
            let has_sent_body = self.body.taken() > 0;
            let next = next(ended, Attempted { is_repeatable, has_sent_body, left });
            match next {
                Next::OtherServer => {
                    attempts.failed.resize(self.group.servers.len(), false);
                    attempts.failed[at] = true;
                }
                Next::NewConnection => attempts.is_new = true,
                Next::Fail => {}
            }
            attempts.left = left.saturating_sub(1);
            attempts.fault = fault;
            next
        };
        match next {
            Next::Fail => self.fail(fault),
            Next::OtherServer | Next::NewConnection => self.send(clock::now()),
        }
    }

    /// Ends the request: its response was passed on.
    pub(super) fn finish(&self) {
        self.body.abort();
        if !self.is_abandoned() {
            self.exchange.finished();
        }
    }

    /// Ends the request without a response, or without the rest of one.
    pub(super) fn fail(&self, fault: Fault) {
        self.body.abort();
        // An exchange that is over may have a response that was taken from elsewhere.
        if !self.is_abandoned() {
            self.exchange.fail(fault);
        }
    }

    /// Notes that a server does not keep to the protocol, or not to its deadlines.
    pub(super) fn blame(server: &Server, reason: &dyn std::fmt::Display) {
        server.fail(Failure::Broken, reason);
    }

    /// Whether the client has closed its side.
    pub(super) fn is_half_closed(&self) -> bool {
        self.state.get().is_half_closed
    }

    /// Whether the server stops, and a WebSocket is to be closed.
    pub(super) fn is_leaving(&self) -> bool {
        self.state.get().is_leaving
    }

    /// Whether no client waits for the response.
    pub(super) fn is_abandoned(&self) -> bool {
        self.state.get().is_abandoned
    }

    /// Registers the task as the one to be woken by the exchange.
    pub(super) fn listen(&self, waker: &Waker) {
        let mut current = self.waker.borrow_mut();
        if !current.as_ref().is_some_and(|current| current.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    /// Calls `with` with the request's head.
    pub(super) fn with_head<R>(&self, with: impl FnOnce(&RequestView<'_>) -> R) -> Result<R, Fault> {
        self.exchange.with_head(|head| head.as_ref().map(with)).ok_or(Fault::ClientGone)
    }

    /// Returns the facts that the head for this server depends on.
    pub(super) fn context<'a>(&'a self, server: &'a Server) -> Context<'a> {
        Context {
            url: &server.url,
            host: &self.group.settings.host,
            sender: Sender {
                peer: self.arrival.endpoints.client().map(|peer| peer.host),
                believed: self.arrival.believed,
                stripped: &self.arrival.stripped,
            },
        }
    }

    /// Passes the final head of a response to the exchange.
    pub(super) fn push_head(&self, head: ResponseHead, is_whole: bool) -> Result<(), Fault> {
        if self.arrival.is_extended_connect && (200..300).contains(&head.status()) {
            // It would mean that the WebSocket is open (RFC 8441 §5).
            return Err(Fault::UpstreamFailed);
        }
        pushed(self.exchange.push_head(head, is_whole))
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.get();
        change(&mut state);
        self.state.set(state);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Attempts {
    fn demand(&self, is_tunnel: bool) -> Demand {
        Demand {
            purpose: if is_tunnel { Purpose::Upgrade } else { Purpose::Requests },
            is_fresh: !self.is_repeatable,
            is_new: self.is_new,
        }
    }
}

/// The exchange takes what it has room for, unless it has ended.
pub(super) fn pushed(is_taken: bool) -> Result<(), Fault> {
    if is_taken { Ok(()) } else { Err(Fault::UpstreamFailed) }
}

impl Origin for Job {
    fn has_room(&self, _: StreamId) -> bool {
        // The body is bounded by its window.
        true
    }

    fn note_stall(&self, stall: Stall) {
        self.metrics.stalls.of(stall).increment();
    }

    fn send_data(&self, _: StreamId, bytes: &[u8], end: bool) {
        self.body.push(bytes, end);
    }

    fn send_trailers(&self, _: StreamId, trailers: ResponseHead) {
        // A server that reads them as further fields must not take them for a client's address.
        let fields = trailers.fields().filter(|(name, _)| !is_forwarded(name));
        self.body.set_trailers(ResponseHead::new(0, fields));
    }

    fn send_credit(&self, _: StreamId, _: u32) {
        self.wake();
    }

    fn send_message(&self, _: StreamId, _: MessageKind, _: &[u8], _: bool) {
        debug_assert!(false, "a WebSocket's bytes are passed on, not its messages");
    }

    fn send_close(&self, _: StreamId, _: u16, _: &str) {
        self.tell(|state| state.is_leaving = true);
    }

    fn send_half_close(&self, _: StreamId) {
        self.tell(|state| state.is_half_closed = true);
    }

    fn abandon(&self, _: StreamId) {
        self.body.abort();
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
        self.tell(|state| state.is_abandoned = true);
    }

    fn give_up(&self, _: StreamId) -> bool {
        false
    }
}

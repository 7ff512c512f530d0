//! A connection of HTTP/1.1 to an upstream, with one request at a time.
//!
//! A connection has a task for as long as it is open, and no request has one. A request is written at once by the task
//! that sends it ([`Connection::start`]); the connection's task is woken for the rest: bytes of the upstream, room in the
//! socket, and what the exchange tells. Its timer is set once and not for each request: it moves only for an earlier
//! deadline, and later ones are looked for when it fires.

mod reading;
mod writing;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::BytesMut;
use hcrs_h1::{ClientConnection, Settings};
use hcrs_http::Fault;
use tokio::task::spawn_local;
use tokio::time::{Sleep, sleep_until};

use super::job::{HALF_CLOSED_MAX, Job};
use super::retry::Ended;
use super::server::{Busy, IDLE_MAX, Open, Slot};
use super::transport::Transport;
use super::tunnel;
use crate::clock;
use writing::Outgoing;

pub(super) use reading::ask;

/// The size of the largest head, and of the largest trailers, in bytes.
const HEAD_MAX: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    open: Open,
    /// That of the task, once it has run.
    waker: RefCell<Option<Waker>>,
    /// Whether it is closed once its task runs.
    is_closing: Cell<bool>,
    state: RefCell<State>,
}

/// The state of a connection.
#[derive(Debug)]
struct State {
    io: Transport,
    protocol: ClientConnection,
    out: Outgoing,
    active: Option<Active>,
    timer: Timer,
    has_carried: bool,
    idle_since: Instant,
}

/// The request that a connection has.
#[derive(Debug)]
struct Active {
    job: Rc<Job>,
    busy: Busy,
    slot: Slot,
    /// Whether the connection has carried another one before.
    is_reused: bool,
    /// Whether the exchange has the response's head.
    is_answered: bool,
    /// When bytes of the request were last written.
    sent_at: Instant,
    /// When it is given up because the client has closed its side.
    leaves_at: Option<Instant>,
    /// Since when the upstream owes bytes of the response's body that the exchange has room for.
    owes_since: Option<Instant>,
}

/// A timer that is set again only when it has fired, or for an earlier instant.
#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
}

/// How a request has ended on its connection.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// The response was passed on.
    Answered,
    /// The upstream has switched to WebSocket.
    Switched,
    /// There is no response.
    Unanswered(Ended, Fault),
    /// There is no response, or not the rest of it, and the request is not sent again.
    Failed(Fault),
    /// No client waits for it.
    Abandoned,
}

/// The end of a connection's task.
enum End {
    Closed,
    Switched(Tunneled),
}

/// A WebSocket that an upstream has accepted, with its connection.
struct Tunneled {
    active: Active,
    io: Transport,
    /// Its first bytes.
    input: BytesMut,
}

impl Connection {
    /// Returns a new connection, whose task runs until it is closed.
    pub(super) fn open(io: Transport, open: Open) -> Rc<Self> {
        let now = clock::now();
        let connection = Rc::new(Self {
            open,
            waker: RefCell::default(),
            is_closing: Cell::new(false),
            state: RefCell::new(State {
                io,
                protocol: ClientConnection::new(&limits()),
                out: Outgoing::default(),
                active: None,
                timer: Timer { sleep: Box::pin(sleep_until(now.into())), at: now },
                has_carried: false,
                idle_since: now,
            }),
        });
        spawn_local(Rc::clone(&connection).run());
        connection
    }

    /// Sends a request.
    pub(super) fn start(self: &Rc<Self>, job: Rc<Job>, busy: Busy, slot: Slot, now: Instant) {
        let mut state = self.state.borrow_mut();
        let is_reused = std::mem::replace(&mut state.has_carried, true);
        let written = state.write_head(&job, busy.server());
        let active = Active {
            job,
            busy,
            slot,
            is_reused,
            is_answered: false,
            sent_at: now,
            leaves_at: None,
            owes_since: None,
        };
        if let Err(fault) = written {
            // Nothing was written: the connection may carry another request.
            drop(state);
            return self.release(active, Outcome::Failed(fault), now);
        }
        state.active = Some(active);
        // Before the task has run, its first turn writes the request.
        let waker = self.waker.borrow();
        let Some(waker) = &*waker else { return };
        let mut cx = Context::from_waker(waker);
        if state.begin(&mut cx, now).is_ready() {
            // The task looks after the end.
            waker.wake_by_ref();
        }
    }

    /// Closes a connection that has no request.
    pub(super) fn close(&self) {
        self.is_closing.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Whether the upstream has closed it, as far as is known without reading.
    pub(super) fn has_hung_up(&self) -> bool {
        self.state.borrow().io.has_hung_up()
    }

    async fn run(self: Rc<Self>) {
        match poll_fn(|cx| self.poll(cx)).await {
            End::Closed => {}
            End::Switched(Tunneled { active, io, input }) => {
                // Apart, because its room would be that of every connection.
                match Box::pin(tunnel::run(&active.job, io, input.freeze())).await {
                    Ok(()) => active.job.finish(),
                    Err(fault) => active.job.fail(fault),
                }
            }
        }
    }

    fn poll(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<End> {
        if self.waker.borrow().is_none() {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
        }
        loop {
            let now = clock::now();
            let mut state = self.state.borrow_mut();
            if state.active.is_none() {
                let polled = state.poll_idle(cx, now, self.is_closing.get());
                drop(state);
                if polled.is_ready() {
                    self.forget();
                    return Poll::Ready(End::Closed);
                }
                return Poll::Pending;
            }
            let Poll::Ready(outcome) = state.poll_active(cx, now) else { return Poll::Pending };
            let Some(active) = state.active.take() else { return Poll::Pending };
            if matches!(outcome, Outcome::Switched) {
                let io = std::mem::replace(&mut state.io, Transport::Closed);
                return Poll::Ready(End::Switched(Tunneled {
                    active,
                    io,
                    input: state.protocol.take_input(),
                }));
            }
            state.idle_since = now;
            drop(state);
            self.release(active, outcome, now);
        }
    }

    /// Ends a request, after which the connection waits for another if it may carry one.
    fn release(self: &Rc<Self>, active: Active, outcome: Outcome, now: Instant) {
        let Active { job, busy, slot, .. } = active;
        let may_go_on =
            matches!(outcome, Outcome::Answered | Outcome::Failed(_)) && self.state.borrow().is_reusable();
        if may_go_on {
            busy.server().keep(self, now);
        } else {
            self.state.borrow_mut().io = Transport::Closed;
            self.close();
        }
        // A request that waits for a connection finds the one that was kept.
        drop((slot, busy));
        match outcome {
            Outcome::Answered => job.finish(),
            Outcome::Unanswered(ended, fault) => job.again(ended, fault),
            Outcome::Failed(fault) => job.fail(fault),
            Outcome::Abandoned | Outcome::Switched => {}
        }
    }

    /// Takes it from the connections of its server.
    fn forget(self: &Rc<Self>) {
        if let Some(server) = self.open.server() {
            server.forget(self);
        }
    }
}

impl State {
    /// Begins to write the request. Ready if that fails; the next turn of the task then finds out why.
    fn begin(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        self.poll_request(cx, now);
        if self.out.has_failed() {
            return Poll::Ready(());
        }
        if let Some(active) = &self.active {
            active.job.listen(cx.waker());
        }
        match self.due_without_head(now) {
            Some(due) => self.timer.poll_late(cx, now, due),
            None => Poll::Pending,
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>, now: Instant, is_closing: bool) -> Poll<()> {
        if is_closing {
            self.io = Transport::Closed;
            return Poll::Ready(());
        }
        // Whatever the upstream sends now, its end included, ends the connection.
        if self.poll_read(cx).is_ready() {
            self.io = Transport::Closed;
            return Poll::Ready(());
        }
        self.timer.poll_late(cx, now, self.idle_since + IDLE_MAX)
    }

    /// Whether it may carry another request.
    fn is_reusable(&self) -> bool {
        self.protocol.can_be_reused() && self.out.is_written() && !matches!(self.io, Transport::Closed)
    }

    fn poll_active(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Outcome> {
        let Some(active) = &self.active else { return Poll::Pending };
        if active.job.is_abandoned() {
            return Poll::Ready(Outcome::Abandoned);
        }
        active.job.listen(cx.waker());
        self.poll_request(cx, now);
        if let Poll::Ready(outcome) = self.poll_response(cx, now) {
            return Poll::Ready(outcome);
        }
        let Some(active) = &self.active else { return Poll::Pending };
        let due = if active.is_answered {
            let limit = active.job.group.settings.read_timeout;
            active.owes_since.map(|since| since + limit)
        } else {
            self.due_without_head(now)
        };
        let is_late = due.is_some_and(|due| self.timer.poll_late(cx, now, due).is_ready());
        if is_late { Poll::Ready(self.late(now)) } else { Poll::Pending }
    }

    /// Returns when a request without a response is late, or is given up because its client may have left.
    fn due_without_head(&mut self, now: Instant) -> Option<Instant> {
        let active = self.active.as_mut()?;
        let settings = &active.job.group.settings;
        let due = match self.out.blocked_since() {
            Some(since) => Some(since + settings.send_timeout),
            // A client that is slow has a deadline of its own.
            None if !active.job.body.is_done() && !active.job.arrival.is_tunnel => None,
            None => Some(active.sent_at + settings.read_timeout),
        };
        if active.job.is_half_closed() {
            active.leaves_at.get_or_insert(now + HALF_CLOSED_MAX);
        }
        due.into_iter().chain(active.leaves_at).min()
    }

    fn late(&self, now: Instant) -> Outcome {
        let Some(active) = &self.active else { return Outcome::Abandoned };
        if active.is_answered {
            Job::blame(active.busy.server(), &"it stopped sending");
            return Outcome::Failed(Fault::UpstreamTimeout);
        }
        if active.leaves_at.is_some_and(|at| at <= now) {
            return Outcome::Failed(Fault::ClientGone);
        }
        Job::blame(active.busy.server(), &"it does not answer in time");
        Outcome::Unanswered(Ended::Lost, Fault::UpstreamTimeout)
    }
}

impl Timer {
    /// Ready once `due` has passed.
    fn poll_late(&mut self, cx: &mut Context<'_>, now: Instant, due: Instant) -> Poll<()> {
        if due <= now {
            return Poll::Ready(());
        }
        if self.at <= now || due < self.at {
            self.at = due;
            self.sleep.as_mut().reset(due.into());
            return self.sleep.as_mut().poll(cx);
        }
        Poll::Pending
    }
}

/// Returns the limits of responses.
fn limits() -> Settings {
    Settings { max_head_bytes: HEAD_MAX, max_trailer_bytes: HEAD_MAX, ..Settings::default() }
}

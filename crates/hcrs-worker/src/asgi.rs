//! A link that serves an ASGI app: reads frames when the loop says so, runs what they ask for, and writes
//! everything that came of it once.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU8;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hcrs_http::{RequestView, Version};
use hcrs_link::{
    FromEdge, FromWorker, Inbox, LinkError, Outbox, PUSH_MAX, Request, Stalled, Stream, StreamId, StreamMap,
};
use pyo3::exceptions::PyConnectionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use rustix::net::RecvFlags;

use crate::awaitable::Sent;
use crate::exchange::{Exchange, Inner};
use crate::link::{Link, LinkEnd};
use crate::lock;
use crate::pulse::note_step;
use crate::running::{self, LeftBehind, Running};
use crate::scope::ScopeBuilder;
use crate::slice::PACE;
use crate::socket::{self, Received, TURN};
use crate::task::{Started, TaskStarter, context_of};
use crate::waiter::{Waiting, resume, wake};
use crate::websocket::{self, Messages};

/// A link and the requests on it.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub struct AsgiLink {
    end: LinkEnd,
    out: Mutex<Out>,
    exchanges: Mutex<Exchanges>,
    /// Taken while a turn runs, so that no turn begins within another.
    turn: Mutex<Option<Box<Turn>>>,
    /// Turns that have begun.
    turns: AtomicU64,
    app: Py<PyAny>,
    event_loop: Py<PyAny>,
    /// The loop is one of asyncio's, so that its tasks are, too.
    is_asyncio: bool,
    starter: TaskStarter,
    events: Events,
    sent: Py<Sent>,
    no_bytes: Py<PyBytes>,
}

/// What the worker's main program wants to know.
#[derive(Debug)]
struct Events {
    stopping: Py<PyAny>,
    drained: Py<PyAny>,
    gone: Py<PyAny>,
    failed: Py<PyAny>,
    left: Py<PyAny>,
}

/// The outbox and who will write it.
#[derive(Debug, Default)]
pub struct Out {
    /// The frames that wait.
    pub outbox: Outbox,
    /// A turn runs, which writes at its end.
    in_turn: bool,
    /// A flush is on the loop's list.
    scheduled: bool,
    /// The loop watches for the socket to take more.
    watched: bool,
}

#[derive(Debug, Default)]
struct Exchanges {
    /// Those whose task runs, or whose response has not left.
    live: StreamMap<Py<Exchange>>,
    /// Those whose bodies wait for room in the outbox, in order.
    full: VecDeque<Py<Exchange>>,
}

#[derive(Debug)]
struct Turn {
    inbox: Inbox,
    scopes: ScopeBuilder,
}

impl AsgiLink {
    /// The outbox.
    pub fn out(&self) -> MutexGuard<'_, Out> {
        lock(&self.out)
    }

    /// Something for a task to wait for, and what is to be yielded to the task.
    pub(crate) fn wait<'py>(&self, py: Python<'py>) -> PyResult<(Waiting, Bound<'py, PyAny>)> {
        Waiting::new(self.event_loop.bind(py), self.is_asyncio)
    }

    /// The number of its turn that has begun last: where it has changed, the loop has turned.
    pub(crate) fn turn_number(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// What is to be yielded to a task so that the loop has a turn, or, if it is `paced`, some time for the others.
    pub(crate) fn turn_for_others<'py>(slf: &Bound<'py, Self>, paced: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if !paced {
            return Ok(py.None().into_bound(py));
        }
        let (waiting, yielded) = slf.get().wait(py)?;
        waiting.wake_later(slf.get().event_loop.bind(py), PACE)?;
        Ok(yielded)
    }

    /// The awaitable of a `send` that is complete.
    pub fn sent<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.sent.bind(py).clone().into_any()
    }

    /// The body of a message that has none.
    pub fn no_bytes(&self, py: Python<'_>) -> PyBackedBytes {
        self.no_bytes.bind(py).clone().into()
    }

    /// Something was put into the outbox: sees to it that it is written in this turn of the loop.
    pub fn pushed(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        {
            let mut out = this.out();
            if out.in_turn || out.scheduled || out.watched || out.outbox.is_empty() {
                return Ok(());
            }
            out.scheduled = true;
        }
        let py = slf.py();
        let flush = slf.getattr(intern!(py, "_flush"))?;
        this.event_loop.bind(py).call_method1(intern!(py, "call_soon"), (flush,))?;
        Ok(())
    }

    /// The outbox is full: writes what the socket takes, and lets `exchange` wait if that is not enough.
    pub fn make_room(slf: &Bound<'_, Self>, exchange: &Bound<'_, Exchange>) -> PyResult<()> {
        let this = slf.get();
        {
            let mut inner = exchange.get().lock();
            if !std::mem::replace(&mut inner.queued, true) {
                lock(&this.exchanges).full.push_back(exchange.clone().unbind());
            }
        }
        Self::write(slf)
    }

    /// The task of `exchange` has ended.
    pub fn ended(
        slf: &Bound<'_, Self>,
        exchange: &Bound<'_, Exchange>,
        task: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let error = match task.call_method0(intern!(slf.py(), "exception")) {
            Ok(none) if none.is_none() => None,
            Ok(error) => Some(error),
            Err(cancelled) => Some(cancelled.into_value(slf.py()).into_bound(slf.py()).into_any()),
        };
        Self::finish(slf, exchange, Some(task), error)?;
        Self::pushed(slf)
    }

    fn finish(
        slf: &Bound<'_, Self>,
        exchange: &Bound<'_, Exchange>,
        ended: Option<&Bound<'_, PyAny>>,
        error: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        note_step();
        let (failed, has_left, id, flushed, waiters, running, context) = {
            let mut inner = exchange.get().lock();
            let has_left = inner.left_at.is_some();
            let Inner { stream, websocket, .. } = &mut *inner;
            let failed = match websocket {
                Some(messages) => messages.finish(stream, &mut this.out().outbox),
                None => stream.finish(&mut this.out().outbox),
            };
            let mut waiters = std::mem::take(&mut inner.receivers);
            if inner.stream.is_flushed() {
                waiters.append(&mut inner.senders);
            }
            let (running, context) = (inner.running.take(), inner.context.take());
            (failed, has_left, inner.stream.id(), inner.stream.is_flushed(), waiters, running, context)
        };
        drop(running);
        if flushed {
            let over = lock(&this.exchanges).live.remove(&id);
            drop(over);
        }
        wake(py, waiters)?;
        if failed || error.is_some() {
            // What is logged of it belongs to the request's context, as what the app logs itself does.
            let failed = this.events.failed.bind(py);
            match ended.map_or(Ok(None), |task| context_of(task, context))? {
                Some(context) => context.call_method1(intern!(py, "run"), (failed, error, has_left))?,
                None => failed.call1((error, has_left))?,
            };
        }
        Ok(())
    }

    fn run_turn(slf: &Bound<'_, Self>, turn: &mut Turn) -> PyResult<()> {
        let this = slf.get();
        let received = socket::receive(&mut turn.inbox, &this.end.socket, RecvFlags::DONTWAIT)?;
        match received {
            Received::Nothing => return Ok(()),
            Received::Eof => return Self::gone(slf, None),
            Received::Some => {}
        }
        let eager = !this.starter.has_factory(slf.py())?;
        let mut begun = false;
        loop {
            let Some((header, payload)) = turn.inbox.next_frame().map_err(broken)? else { break };
            match FromEdge::parse(&header, payload).map_err(broken)? {
                FromEdge::Request(request) => begun |= Self::begin(slf, &mut turn.scopes, &request, eager)?,
                FromEdge::Tls { number, facts } => {
                    let number = u8::try_from(number).ok().and_then(NonZeroU8::new);
                    if !number.is_some_and(|number| turn.scopes.learn_tls(number, facts)) {
                        return Err(broken(LinkError::Unexpected("Tls")));
                    }
                }
                frame => Self::take_frame(slf, &frame)?,
            }
        }
        let mut out = this.out();
        if begun && out.outbox.is_empty() {
            out.outbox.push(&FromWorker::Begun);
        }
        Ok(())
    }

    /// Runs a request's first step; false if the edge has withdrawn it.
    fn begin(
        slf: &Bound<'_, Self>,
        scopes: &mut ScopeBuilder,
        request: &Request<'_>,
        eager: bool,
    ) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        if !this.end.claim(usize::from(request.slot), request.stream) {
            return Ok(false);
        }
        let head = RequestView::parse(request.head)
            .map_err(|error| PyConnectionError::new_err(error.to_string()))?;
        let (scope, messages) = if head.websocket {
            let subprotocols = websocket::subprotocols(&head);
            (scopes.build_websocket(py, &head, &subprotocols)?, Some(Messages::new(subprotocols)))
        } else {
            (scopes.build(py, &head)?, None)
        };
        let mut stream = Stream::new(request);
        if head.version == Version::Http2 {
            stream.set_pushes(if head.takes_pushes { PUSH_MAX } else { 0 });
        }
        if head.method == b"HEAD" {
            stream.set_head_only();
        }
        let exchange = Bound::new(py, Exchange::new(slf.clone().unbind(), stream, messages))?;
        let receive = exchange.getattr(intern!(py, "receive"))?;
        let send = exchange.getattr(intern!(py, "send"))?;
        let task = this.app.bind(py).call1((&scope, receive, send)).and_then(|coroutine| {
            if eager { this.starter.start(&coroutine) } else { this.starter.start_later(&coroutine) }
        });
        let Started { task, context } = match task {
            Ok(started) => started,
            Err(error) => {
                Self::finish(slf, &exchange, None, Some(error.into_value(py).into_bound(py).into_any()))?;
                return Ok(true);
            }
        };
        exchange.get().lock().context = context;
        if task.call_method0(intern!(py, "done"))?.is_truthy()? {
            Self::ended(slf, &exchange, &task)?;
            if exchange.get().lock().stream.is_flushed() {
                return Ok(true);
            }
        } else {
            task.call_method1(
                intern!(py, "add_done_callback"),
                (exchange.getattr(intern!(py, "_task_done"))?,),
            )?;
            let running = Running { task: task.unbind(), scope: scope.unbind() };
            exchange.get().lock().running = Some(running);
        }
        lock(&this.exchanges).live.insert(request.stream, exchange.unbind());
        Ok(true)
    }

    fn take_frame(slf: &Bound<'_, Self>, frame: &FromEdge<'_>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        match *frame {
            FromEdge::Data { stream, bytes, end } => {
                let Some(exchange) = this.exchange(py, stream) else { return Ok(()) };
                let waiters = {
                    let mut inner = exchange.get().lock();
                    if inner.stream.is_gone() {
                        return Ok(());
                    }
                    inner.stream.arrive(bytes, end).map_err(broken)?;
                    std::mem::take(&mut inner.receivers)
                };
                resume(py, waiters)
            }
            FromEdge::Message { stream, kind, bytes, end } => {
                Self::take_messages(slf, stream, "Message", |messages, stream, out| {
                    messages.arrive(py, (kind, bytes, end), stream, out)
                })
            }
            FromEdge::Close { stream, code, reason } => {
                Self::take_messages(slf, stream, "Close", |messages, _, _| {
                    messages.close(code, reason);
                    Ok(())
                })?;
                let Some(exchange) = this.exchange(py, stream) else { return Ok(()) };
                // One that waits for a client that reads no more is told by its error.
                let senders = std::mem::take(&mut exchange.get().lock().senders);
                wake(py, senders)?;
                this.client_left(exchange.bind(py))
            }
            FromEdge::Credit { stream, amount } => {
                let Some(exchange) = this.exchange(py, stream) else { return Ok(()) };
                exchange.get().lock().stream.credit(amount);
                while Self::pump(slf, exchange.bind(py))? {}
                Ok(())
            }
            FromEdge::HalfClose { stream } => {
                let Some(exchange) = this.exchange(py, stream) else { return Ok(()) };
                let waiters = {
                    let mut inner = exchange.get().lock();
                    inner.stream.half_close();
                    if let Some(messages) = &mut inner.websocket {
                        messages.lose();
                    }
                    std::mem::take(&mut inner.receivers)
                };
                wake(py, waiters)?;
                this.client_left(exchange.bind(py))
            }
            FromEdge::Reset { stream } => {
                let Some(exchange) = this.exchange(py, stream) else { return Ok(()) };
                let (waiters, ended) = {
                    let mut inner = exchange.get().lock();
                    inner.stream.reset(&mut this.out().outbox);
                    if let Some(messages) = &mut inner.websocket {
                        messages.lose();
                    }
                    let mut waiters = std::mem::take(&mut inner.receivers);
                    waiters.append(&mut inner.senders);
                    (waiters, inner.running.is_none())
                };
                wake(py, waiters)?;
                this.client_left(exchange.bind(py))?;
                if ended { Self::finish(slf, exchange.bind(py), None, None) } else { Ok(()) }
            }
            FromEdge::Stopping { signal } => this.events.stopping.bind(py).call1((signal,)).map(drop),
            FromEdge::Drain { left_ms } => {
                let left = Duration::from_millis(u64::from(left_ms)).as_secs_f64();
                this.events.drained.bind(py).call1((left,)).map(drop)
            }
            FromEdge::Request(_) | FromEdge::Tls { .. } => Ok(()),
        }
    }

    /// The client of an exchange has left. If its task runs on, somebody should look at it after a while.
    fn client_left(&self, exchange: &Bound<'_, Exchange>) -> PyResult<()> {
        let runs_on = {
            let mut inner = exchange.get().lock();
            let is_first = inner.left_at.is_none();
            inner.left_at.get_or_insert_with(Instant::now);
            is_first && inner.running.is_some()
        };
        if runs_on { self.events.left.bind(exchange.py()).call0().map(drop) } else { Ok(()) }
    }

    /// The exchange of a stream. One that is not known is over, or was withdrawn: its frames mean nothing any more.
    fn exchange(&self, py: Python<'_>, stream: StreamId) -> Option<Py<Exchange>> {
        lock(&self.exchanges).live.get(&stream).map(|exchange| exchange.clone_ref(py))
    }

    fn take_messages(
        slf: &Bound<'_, Self>,
        stream: StreamId,
        name: &'static str,
        take: impl FnOnce(&mut Messages, &mut Stream<PyBackedBytes>, &mut Outbox) -> Result<(), LinkError>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let Some(exchange) = this.exchange(py, stream) else { return Ok(()) };
        let waiters = {
            let mut inner = exchange.get().lock();
            let Inner { stream, websocket, receivers, .. } = &mut *inner;
            let messages = websocket.as_mut().ok_or_else(|| broken(LinkError::Unexpected(name)))?;
            take(messages, stream, &mut this.out().outbox).map_err(broken)?;
            std::mem::take(receivers)
        };
        resume(py, waiters)
    }

    /// The exchanges that have not ended.
    fn live(&self, py: Python<'_>) -> Vec<Py<Exchange>> {
        lock(&self.exchanges).live.values().map(|exchange| exchange.clone_ref(py)).collect()
    }

    /// Moves one frame of a response's body on; false once it has to wait or is finished.
    fn pump(slf: &Bound<'_, Self>, exchange: &Bound<'_, Exchange>) -> PyResult<bool> {
        let this = slf.get();
        let (stalled, waiters) = {
            let mut inner = exchange.get().lock();
            let stalled = inner.stream.pump(&mut this.out().outbox);
            let flushed = inner.stream.is_flushed();
            if flushed && inner.running.is_none() {
                lock(&this.exchanges).live.remove(&inner.stream.id());
            }
            let waiters = if flushed { std::mem::take(&mut inner.senders) } else { Vec::new() };
            if stalled == Stalled::Outbox && !std::mem::replace(&mut inner.queued, true) {
                lock(&this.exchanges).full.push_back(exchange.clone().unbind());
            }
            (if flushed { Stalled::Window } else { stalled }, waiters)
        };
        wake(slf.py(), waiters)?;
        Ok(stalled == Stalled::No)
    }

    /// Writes what the socket takes, refilling the outbox from bodies that wait, each in its turn.
    fn write(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        loop {
            let written = socket::write(&mut this.out().outbox, &this.end.socket);
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Self::watch(slf),
                Err(_) => return Self::gone(slf, None),
            }
            while !this.out().outbox.is_full() {
                let Some(exchange) = lock(&this.exchanges).full.pop_front() else { break };
                exchange.get().lock().queued = false;
                if Self::pump(slf, exchange.bind(py))? {
                    exchange.get().lock().queued = true;
                    lock(&this.exchanges).full.push_back(exchange);
                }
            }
            if this.out().outbox.is_empty() {
                return Self::unwatch(slf);
            }
        }
    }

    fn watch(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if !std::mem::replace(&mut this.out().watched, true) {
            let writable = slf.getattr(intern!(py, "_flush"))?;
            let fd = this.end.socket.as_raw_fd();
            this.event_loop.bind(py).call_method1(intern!(py, "add_writer"), (fd, writable))?;
        }
        Ok(())
    }

    fn unwatch(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if std::mem::replace(&mut this.out().watched, false) {
            let fd = this.end.socket.as_raw_fd();
            this.event_loop.bind(py).call_method1(intern!(py, "remove_writer"), (fd,))?;
        }
        Ok(())
    }

    /// The edge is gone, or the link is broken as `why` says: nothing is read or written any more.
    fn gone(slf: &Bound<'_, Self>, why: Option<PyErr>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.out().outbox.close();
        Self::unwatch(slf)?;
        this.event_loop
            .bind(py)
            .call_method1(intern!(py, "remove_reader"), (this.end.socket.as_raw_fd(),))?;
        this.events.gone.bind(py).call1((why.map(|why| why.into_value(py)),))?;
        Ok(())
    }
}

#[pymethods]
impl AsgiLink {
    /// Makes a link serve `app`. `stopping(signal)` is called when the worker is to end, because the edge got the signal or
    /// would send it, `drained(left)` when the edge has nothing more to send and the app has so many seconds left for what
    /// it still does, `gone(why)` when the edge is gone, `failed(exception or None, whether the client has left)` when the
    /// app has raised or left a response unfinished, and `left()` when a client has left whose task runs.
    #[new]
    #[pyo3(signature = (link, app, *, event_loop, root_path, state, stopping, drained, gone, failed, left))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python constructor")]
    fn new(
        py: Python<'_>,
        link: &Link,
        app: Py<PyAny>,
        event_loop: &Bound<'_, PyAny>,
        root_path: &str,
        state: &Bound<'_, PyDict>,
        stopping: Py<PyAny>,
        drained: Py<PyAny>,
        gone: Py<PyAny>,
        failed: Py<PyAny>,
        left: Py<PyAny>,
    ) -> PyResult<Self> {
        let scopes = ScopeBuilder::new(py, root_path, state)?;
        let mut end = link.take()?;
        let out = Out { outbox: Outbox::new(end.blocks.take()), ..Out::default() };
        Ok(Self {
            end,
            out: Mutex::new(out),
            exchanges: Mutex::default(),
            turn: Mutex::new(Some(Box::new(Turn { inbox: Inbox::new(TURN), scopes }))),
            turns: AtomicU64::new(0),
            app,
            event_loop: event_loop.clone().unbind(),
            is_asyncio: event_loop.is_instance(&py.import("asyncio")?.getattr("AbstractEventLoop")?)?,
            starter: TaskStarter::new(py, event_loop)?,
            events: Events { stopping, drained, gone, failed, left },
            sent: Py::new(py, Sent)?,
            no_bytes: PyBytes::new(py, b"").unbind(),
        })
    }

    /// Says Ready and serves from now on; called from within the loop or before it runs.
    fn start(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let fd = this.end.socket.as_fd();
        let flags = rustix::fs::fcntl_getfl(fd).map_err(io::Error::from)?;
        rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK).map_err(io::Error::from)?;
        this.event_loop.bind(py).call_method1(intern!(py, "add_reader"), (fd.as_raw_fd(), slf))?;
        this.out().outbox.push(&FromWorker::Ready);
        Self::write(slf)
    }

    /// A turn: the socket can be read.
    fn __call__(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let Some(mut turn) = lock(&this.turn).take() else { return Ok(()) };
        this.turns.fetch_add(1, Ordering::Relaxed);
        this.out().in_turn = true;
        let ran = Self::run_turn(slf, &mut turn);
        this.out().in_turn = false;
        *lock(&this.turn) = Some(turn);
        match ran {
            Ok(()) => Self::flush(slf),
            Err(error) => Self::gone(slf, Some(error)),
        }
    }

    /// Writes what waits, as far as the socket takes it.
    #[pyo3(name = "_flush")]
    fn flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        let idle = {
            let mut out = slf.get().out();
            out.scheduled = false;
            out.outbox.is_empty() && !out.watched
        };
        if idle { Ok(()) } else { Self::write(slf) }
    }

    /// Tells the edge that the app's shutdown begins. `all` says that no task of a request runs any more.
    #[pyo3(name = "finish")]
    fn say_finished(slf: &Bound<'_, Self>, all: bool) -> PyResult<()> {
        slf.get().out().outbox.push(&FromWorker::Finished { all });
        Self::write(slf)
    }

    /// The tasks of requests that run, and the scope that each was called with.
    fn tasks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        running::tasks(py, &self.live(py))
    }

    /// The tasks of WebSockets that wait for a message after they were told of the end: nothing can come.
    fn waiting_in_vain(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        running::waiting_in_vain(py, &self.live(py))
    }

    /// The requests whose tasks run on although their clients have left, and `seconds` ago or more.
    fn left_behind(&self, py: Python<'_>, seconds: f64) -> PyResult<LeftBehind> {
        let patience = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        LeftBehind::among(py, &self.live(py), patience)
    }
}

fn broken(error: LinkError) -> PyErr {
    PyConnectionError::new_err(error.to_string())
}

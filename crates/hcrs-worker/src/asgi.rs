//! A link that serves an ASGI app on an event loop.
//!
//! A turn of the link, which the loop calls when the socket is readable, reads frames, runs the steps of the
//! app that they cause, and writes all resulting frames at once.

mod arrivals;
mod output;

use std::io;
use std::num::NonZeroU8;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use hcrs_http::{RequestView, Version};
use hcrs_link::{FromEdge, FromWorker, Inbox, LinkError, Outbox, PUSH_MAX, Request, Stream, StreamId};
use pyo3::exceptions::PyConnectionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use rustix::net::RecvFlags;

use crate::asgi::output::{Exchanges, Out};
use crate::awaitable::Sent;
use crate::exchange::{Exchange, Inner};
use crate::link::{Link, LinkEnd};
use crate::lock;
use crate::pulse::note_step;
use crate::request_tasks::{self, AbandonedTasks, RequestTask};
use crate::scope::ScopeBuilder;
use crate::slice::PACE;
use crate::socket::{self, Received, TURN};
use crate::task::{Started, TaskStarter, context_of};
use crate::waiter::{Waiting, wake};
use crate::websocket::{self, Messages};

/// A link and its requests.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct AsgiLink {
    end: LinkEnd,
    out: Mutex<Out>,
    exchanges: Mutex<Exchanges>,
    /// State of a turn; taken out while a turn runs, so that no turn begins within another.
    turn: Mutex<Option<Box<Turn>>>,
    /// Number of turns that have begun.
    turns: AtomicU64,
    app: Py<PyAny>,
    event_loop: Py<PyAny>,
    /// Whether the loop, and so its tasks, are asyncio's.
    is_asyncio: bool,
    starter: TaskStarter,
    callbacks: Callbacks,
    sent: Py<Sent>,
    no_bytes: Py<PyBytes>,
}

/// Callables of the worker's main program for events of the link.
#[derive(Debug)]
struct Callbacks {
    stopping: Py<PyAny>,
    drained: Py<PyAny>,
    gone: Py<PyAny>,
    failed: Py<PyAny>,
    client_left: Py<PyAny>,
}

/// The state that a turn needs and nothing else does.
#[derive(Debug)]
struct Turn {
    inbox: Inbox,
    scopes: ScopeBuilder,
}

impl AsgiLink {
    /// Locks the outbox.
    pub(crate) fn out(&self) -> MutexGuard<'_, Out> {
        lock(&self.out)
    }

    /// Creates a future for a task to wait for. Returns it with the object that is to be yielded to the task.
    pub(crate) fn wait<'py>(&self, py: Python<'py>) -> PyResult<(Waiting, Bound<'py, PyAny>)> {
        Waiting::new(self.event_loop.bind(py), self.is_asyncio)
    }

    /// Returns the number of the turn that has begun last. If it has changed, the loop has turned.
    pub(crate) fn turn_number(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Returns the object that is to be yielded to a task so that the loop has a turn, or a turn and the time
    /// of [`PACE`] if the task is `paced`.
    pub(crate) fn turn_for_others<'py>(slf: &Bound<'py, Self>, paced: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if !paced {
            return Ok(py.None().into_bound(py));
        }
        let (waiting, yielded) = slf.get().wait(py)?;
        waiting.wake_later(slf.get().event_loop.bind(py), PACE)?;
        Ok(yielded)
    }

    /// Returns the awaitable of a `send` that is complete.
    pub(crate) fn sent<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.sent.bind(py).clone().into_any()
    }

    /// Returns the body of a message without a body.
    pub(crate) fn no_bytes(&self, py: Python<'_>) -> PyBackedBytes {
        self.no_bytes.bind(py).clone().into()
    }

    /// Completes `exchange`, whose task has ended.
    pub(crate) fn ended(
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
        let finished = {
            let mut inner = exchange.get().lock();
            Finished::take(&mut inner, &mut this.out().outbox)
        };
        drop(finished.task);
        if finished.is_flushed {
            let over = lock(&this.exchanges).live.remove(&finished.stream);
            drop(over);
        }
        wake(py, finished.waiters)?;
        if finished.has_failed || error.is_some() {
            let has_left = finished.client_has_left;
            // In the request's context, so that log records of the failure belong to it like those of the
            // app.
            let on_failed = this.callbacks.failed.bind(py);
            match ended.map_or(Ok(None), |task| context_of(task, finished.context))? {
                Some(context) => context.call_method1(intern!(py, "run"), (on_failed, error, has_left))?,
                None => on_failed.call1((error, has_left))?,
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
                FromEdge::Tls { number, info } => {
                    let number = u8::try_from(number).ok().and_then(NonZeroU8::new);
                    if !number.is_some_and(|number| turn.scopes.learn_tls(number, info)) {
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

    /// Claims a request and runs its first step. Returns false if the edge has withdrawn the request.
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
        let stream = new_stream(request, &head);
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
            let task = RequestTask { task: task.unbind(), scope: scope.unbind() };
            exchange.get().lock().task = Some(task);
        }
        lock(&this.exchanges).live.insert(request.stream, exchange.unbind());
        Ok(true)
    }

    /// Returns the exchanges that have not ended.
    fn live(&self, py: Python<'_>) -> Vec<Py<Exchange>> {
        lock(&self.exchanges).live.values().map(|exchange| exchange.clone_ref(py)).collect()
    }

    /// Stops reading and writing, because the edge is gone, or because it has broken the protocol as `why`
    /// describes.
    fn gone(slf: &Bound<'_, Self>, why: Option<PyErr>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.out().outbox.close();
        Self::unwatch(slf)?;
        this.event_loop
            .bind(py)
            .call_method1(intern!(py, "remove_reader"), (this.end.socket.as_raw_fd(),))?;
        this.callbacks.gone.bind(py).call1((why.map(|why| why.into_value(py)),))?;
        Ok(())
    }
}

/// The parts of an exchange that are needed after its task has ended. They are taken out under the exchange's
/// lock and used without it, because they may run code of the app.
struct Finished {
    stream: StreamId,
    /// Whether the app has left its response incomplete.
    has_failed: bool,
    client_has_left: bool,
    is_flushed: bool,
    waiters: Vec<Waiting>,
    task: Option<RequestTask>,
    context: Option<Py<PyAny>>,
}

impl Finished {
    /// Finishes the stream of an exchange.
    fn take(inner: &mut Inner, out: &mut Outbox) -> Self {
        let has_failed = match &mut inner.websocket {
            Some(messages) => messages.finish(&mut inner.stream, out),
            None => inner.stream.finish(out),
        };
        let is_flushed = inner.stream.is_flushed();
        let mut waiters = std::mem::take(&mut inner.receivers);
        if is_flushed {
            waiters.append(&mut inner.senders);
        }
        Self {
            stream: inner.stream.id(),
            has_failed,
            client_has_left: inner.left_at.is_some(),
            is_flushed,
            waiters,
            task: inner.task.take(),
            context: inner.context.take(),
        }
    }
}

/// Creates the stream of a request.
fn new_stream(request: &Request<'_>, head: &RequestView<'_>) -> Stream<PyBackedBytes> {
    let mut stream = Stream::new(request);
    if head.version == Version::Http2 {
        stream.set_pushes(if head.takes_pushes { PUSH_MAX } else { 0 });
    }
    if head.method == b"HEAD" {
        stream.set_head_only();
    }
    stream
}

#[pymethods]
impl AsgiLink {
    /// Creates a link that serves `app`.
    ///
    /// `on_stopping(signal)` is called when the worker is to end, with the signal that the edge got or would
    /// send; `on_drained(seconds)` when the edge has nothing more to send, with the seconds that the app has
    /// left; `on_gone(exception or None)` when the edge is gone or has broken the protocol;
    /// `on_failed(exception or None, client has left)` when the app has raised or left a response incomplete;
    /// and `on_client_left()` when the client of a running task has left.
    #[new]
    #[pyo3(signature = (
        link, app, *, event_loop, root_path, state,
        on_stopping, on_drained, on_gone, on_failed, on_client_left
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python constructor")]
    fn new(
        py: Python<'_>,
        link: &Link,
        app: Py<PyAny>,
        event_loop: &Bound<'_, PyAny>,
        root_path: &str,
        state: &Bound<'_, PyDict>,
        on_stopping: Py<PyAny>,
        on_drained: Py<PyAny>,
        on_gone: Py<PyAny>,
        on_failed: Py<PyAny>,
        on_client_left: Py<PyAny>,
    ) -> PyResult<Self> {
        let scopes = ScopeBuilder::new(py, root_path, state)?;
        let mut end = link.take()?;
        let out = Out::new(Outbox::new(end.blocks.take()));
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
            callbacks: Callbacks {
                stopping: on_stopping,
                drained: on_drained,
                gone: on_gone,
                failed: on_failed,
                client_left: on_client_left,
            },
            sent: Py::new(py, Sent)?,
            no_bytes: PyBytes::new(py, b"").unbind(),
        })
    }

    /// Sends Ready and starts reading. Must be called within the loop, or before it runs.
    fn start(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let fd = this.end.socket.as_fd();
        let flags = rustix::fs::fcntl_getfl(fd).map_err(io::Error::from)?;
        rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK).map_err(io::Error::from)?;
        this.event_loop.bind(py).call_method1(intern!(py, "add_reader"), (fd.as_raw_fd(), slf))?;
        this.out().outbox.push(&FromWorker::Ready);
        Self::write(slf)
    }

    /// Runs a turn. The loop calls this when the socket is readable.
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

    /// Writes the waiting frames, as far as the socket takes them.
    #[pyo3(name = "_flush")]
    fn flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        let idle = {
            let mut out = slf.get().out();
            out.scheduled = false;
            out.outbox.is_empty() && !out.watched
        };
        if idle { Ok(()) } else { Self::write(slf) }
    }

    /// Reports to the edge that the app's shutdown begins, and whether `all` tasks of requests have ended.
    #[pyo3(name = "finish")]
    fn send_finished(slf: &Bound<'_, Self>, all: bool) -> PyResult<()> {
        slf.get().out().outbox.push(&FromWorker::Finished { all });
        Self::write(slf)
    }

    /// Returns the running tasks of requests, each with the scope that it was called with.
    fn tasks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        request_tasks::tasks(py, &self.live(py))
    }

    /// Returns the tasks of WebSockets that wait for another message after they have received the disconnect.
    fn tasks_waiting_in_vain(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        request_tasks::waiting_in_vain(py, &self.live(py))
    }

    /// Counts the running tasks whose clients have left, and of those the ones that have left at least
    /// `seconds` ago.
    fn abandoned_tasks(&self, py: Python<'_>, seconds: f64) -> PyResult<AbandonedTasks> {
        let patience = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        AbandonedTasks::among(py, &self.live(py), patience)
    }
}

fn broken(error: LinkError) -> PyErr {
    PyConnectionError::new_err(error.to_string())
}

//! An exchange of an ASGI app: the `receive` and `send` with which the app is called.
//!
//! No code of the app runs while a lock is held here: neither a call, nor the making of an object that the
//! garbage collector tracks, nor the drop of an object of the app.

use std::sync::Mutex;
use std::time::Instant;

use hcrs_http::ResponseHeadWriter;
use hcrs_link::{FileOut, HeadKind, MESSAGE_MAX, Next, Phase, Stalled, Stream};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::asgi::AsgiLink;
use crate::awaitable::{SentInTurn, Step, Until, Wait};
use crate::file;
use crate::lock;
use crate::message::{self, BodyMessage, FieldError, TrailersMessage};
use crate::request_tasks::RequestTask;
use crate::slice::Slice;
use crate::trailers::Trailers;
use crate::waiter::{Waiting, wake};
use crate::websocket::{self, Messages};
use crate::{ClientGoneError, UnexpectedMessageError};

/// One request and its response.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct Exchange {
    link: Py<AsgiLink>,
    inner: Mutex<Inner>,
}

/// The mutable state of an exchange.
#[derive(Debug)]
pub(crate) struct Inner {
    /// The state of the link's protocol.
    pub(crate) stream: Stream<PyBackedBytes>,
    /// The futures of pending `receive`s.
    pub(crate) receivers: Vec<Waiting>,
    /// The futures of pending `send`s.
    pub(crate) senders: Vec<Waiting>,
    /// The app's task, while it is running.
    pub(crate) task: Option<RequestTask>,
    /// The context of the running task, if the task itself does not provide it.
    pub(crate) context: Option<Py<PyAny>>,
    /// Whether the exchange is in the link's queue of exchanges that wait for room.
    pub(crate) queued: bool,
    /// Incomplete trailers.
    pub(crate) trailers: Option<Box<Trailers>>,
    /// The state of a WebSocket; `None` for an ordinary request.
    pub(crate) websocket: Option<Box<Messages>>,
    /// The part of the loop's time that the exchange has used.
    pub(crate) slice: Slice,
    /// The time at which the client has left, or has closed its side.
    pub(crate) left_at: Option<Instant>,
    /// Whether the task was counted as abandoned already.
    pub(crate) is_counted_as_abandoned: bool,
}

impl Exchange {
    /// Creates an exchange of `link`.
    pub(crate) fn new(
        link: Py<AsgiLink>,
        stream: Stream<PyBackedBytes>,
        websocket: Option<Messages>,
    ) -> Self {
        let inner = Inner {
            stream,
            receivers: Vec::new(),
            senders: Vec::new(),
            task: None,
            context: None,
            queued: false,
            trailers: None,
            websocket: websocket.map(Box::new),
            slice: Slice::default(),
            left_at: None,
            is_counted_as_abandoned: false,
        };
        Self { link, inner: Mutex::new(inner) }
    }

    /// Locks the state.
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Runs a step of `await receive()`.
    pub(crate) fn receive_step<'py>(slf: &Bound<'py, Self>) -> PyResult<Step<'py>> {
        let py = slf.py();
        let link = slf.get().link.bind(py);
        if let Some(paced) = slf.get().owes_turn(link) {
            // Before a message is taken, so that a task that is cancelled here loses none.
            return AsgiLink::turn_for_others(link, paced).map(Step::Yield);
        }
        if slf.get().lock().websocket.is_some() {
            return match websocket::receive(slf, link)? {
                Some(message) => Ok(Step::Return(message.into_any())),
                None => Self::wait(slf, |inner| &mut inner.receivers).map(Step::Yield),
            };
        }
        let next = {
            let mut inner = slf.get().lock();
            inner.stream.next(MESSAGE_MAX, &mut link.get().out().outbox)
        };
        AsgiLink::pushed(link)?;
        let message = match next {
            Next::Wait => return Self::wait(slf, |inner| &mut inner.receivers).map(Step::Yield),
            Next::Disconnect => {
                let message = PyDict::new(py);
                message.set_item(intern!(py, "type"), intern!(py, "http.disconnect"))?;
                message
            }
            Next::Body { piece, more } => {
                let message = PyDict::new(py);
                message.set_item(intern!(py, "type"), intern!(py, "http.request"))?;
                message.set_item(intern!(py, "body"), PyBytes::new(py, &piece))?;
                message.set_item(intern!(py, "more_body"), more)?;
                message
            }
        };
        Ok(Step::Return(message.into_any()))
    }

    /// Returns whether the turn is paced, if a `receive` that is ready has to yield a turn of the loop first.
    fn owes_turn(&self, link: &Bound<'_, AsgiLink>) -> Option<bool> {
        let inner = &mut *self.lock();
        let is_ready = match &inner.websocket {
            Some(messages) => messages.has_next(inner.stream.phase()),
            None => inner.stream.has_next(),
        };
        if !is_ready || inner.slice.spend(link.get().turn_number()) {
            return None;
        }
        let is_repeated_disconnect = inner.websocket.is_none() && inner.stream.has_disconnected();
        Some(is_repeated_disconnect && inner.slice.spend_without_client())
    }

    /// Runs a step of an `await send(...)` that could not complete at once.
    pub(crate) fn flush_step<'py>(slf: &Bound<'py, Self>) -> PyResult<Step<'py>> {
        let (is_flushed, may_wait) = {
            let inner = slf.get().lock();
            (inner.stream.is_flushed(), inner.websocket.as_ref().is_none_or(|messages| messages.may_wait()))
        };
        if is_flushed {
            return Ok(Step::Return(slf.py().None().into_bound(slf.py())));
        }
        if !may_wait {
            return Err(websocket::client_gone());
        }
        Self::wait(slf, |inner| &mut inner.senders).map(Step::Yield)
    }

    fn wait<'py>(
        slf: &Bound<'py, Self>,
        waiters: impl Fn(&mut Inner) -> &mut Vec<Waiting>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let (new, yielded) = slf.get().link.bind(py).get().wait(py)?;
        let mut waiting = std::mem::take(waiters(&mut slf.get().lock()));
        // Cancelled futures would otherwise accumulate if an app receives again and again.
        let mut at = 0;
        while at < waiting.len() {
            if waiting[at].is_done(py)? {
                drop(waiting.remove(at));
            } else {
                at += 1;
            }
        }
        waiting.push(new);
        // The drops may have run code of the app that has added futures meanwhile.
        waiters(&mut slf.get().lock()).append(&mut waiting);
        Ok(yielded)
    }

    /// Sends the response's head, from `http.response.start`.
    pub(crate) fn start(&self, py: Python<'_>, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let status = message::status(message)?;
        let headers = message::headers(message)?;
        let trailers = message::announces_trailers(message)?;
        let parts = match &headers {
            None => Some(Vec::new()),
            Some(headers) if headers.is_exact_instance_of::<PyList>() => None,
            Some(headers) => Some(message::parts(headers)?),
        };
        let link = self.link.bind(py);
        let written = match (parts, headers) {
            (None, Some(headers)) => {
                let list = headers.cast_into::<PyList>()?;
                match self.push_head(link, HeadKind::Response, status, |head, out| {
                    message::write_list(&list, head, out)
                })? {
                    Err(FieldError::NotPlain) => {
                        let parts = message::parts(&list)?;
                        self.push_head(link, HeadKind::Response, status, |head, out| {
                            message::write_parts(&parts, head, out)
                        })?
                    }
                    written => written,
                }
            }
            (parts, _) => {
                let parts = parts.unwrap_or_default();
                self.push_head(link, HeadKind::Response, status, |head, out| {
                    message::write_parts(&parts, head, out)
                })?
            }
        };
        written?;
        if trailers {
            self.lock().stream.announce_trailers();
        }
        AsgiLink::pushed(link)
    }

    /// Sends early hints before the response (RFC 8297).
    fn early_hint(&self, py: Python<'_>, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let head = message::early_hint(message)?;
        let link = self.link.bind(py);
        self.lock().stream.interim(&head, &mut link.get().out().outbox);
        AsgiLink::pushed(link)
    }

    /// Promises a request to the client, which the edge then makes on its behalf (RFC 9113 §8.4).
    fn promise(&self, py: Python<'_>, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let payload = message::promise(message)?;
        let link = self.link.bind(py);
        {
            let mut inner = self.lock();
            if !inner.stream.knows_pushes() {
                return Err(UnexpectedMessageError::new_err(
                    "http.response.push is only for HTTP/2: the scope's 'extensions' contain it if the \
                     client accepts pushes",
                ));
            }
            inner.stream.promise(&payload, &mut link.get().out().outbox);
        }
        AsgiLink::pushed(link)
    }

    /// Collects trailers and sends them once they are complete.
    fn trailers(&self, py: Python<'_>, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let TrailersMessage { parts, end } = message::trailers(message)?;
        let link = self.link.bind(py);
        let waiters = {
            let mut inner = self.lock();
            let mut trailers = inner.trailers.take().unwrap_or_default();
            let added = trailers.add(&parts);
            if added.is_err() || !end {
                inner.trailers = Some(trailers);
                return Ok(added?);
            }
            inner.stream.trailers(trailers.finish(), &mut link.get().out().outbox);
            std::mem::take(&mut inner.receivers)
        };
        wake(py, waiters)?;
        AsgiLink::pushed(link)
    }

    /// Puts a head into the outbox, whose fields `fill` writes. An error of `fill` leaves the outbox
    /// unchanged.
    pub(crate) fn push_head(
        &self,
        link: &Bound<'_, AsgiLink>,
        kind: HeadKind,
        status: u16,
        fill: impl FnOnce(&mut ResponseHeadWriter, &mut Vec<u8>) -> Result<Option<u64>, FieldError>,
    ) -> PyResult<Result<(), FieldError>> {
        let mut inner = self.lock();
        let stream = &mut inner.stream;
        if stream.phase() != Phase::Request {
            return Err(unexpected("http.response.start", stream.phase()));
        }
        if stream.is_gone() {
            stream.start_nowhere();
            return Ok(Ok(()));
        }
        let mut out = link.get().out();
        let mut length = None;
        let mark = out.outbox.push_head(kind, stream.id(), status, |head, bytes| {
            length = fill(head, bytes)?;
            Ok(())
        });
        // These responses have no body on the wire, whatever length they announce.
        let bodiless = stream.is_head_only() || matches!(status, 204 | 304);
        let length = length.filter(|_| !bodiless);
        if bodiless {
            stream.set_bodiless();
        }
        Ok(mark.map(|mark| stream.start(mark, length)))
    }

    /// Sends a part of a file, which the edge reads. Returns false if `send` has to wait.
    fn file(slf: &Bound<'_, Self>, file: Option<FileOut>, end: bool) -> PyResult<bool> {
        let py = slf.py();
        let link = slf.get().link.bind(py);
        let len = file.as_ref().map_or(0, |file| file.len);
        let nothing = link.get().no_bytes(py);
        Self::push_body(slf, len, end, |stream| {
            let mut out = link.get().out();
            match file {
                Some(file) if stream.takes_files() => stream.file(file, end, &mut out.outbox),
                Some(_) | None => stream.body(nothing, end, &mut out.outbox),
            }
        })
    }

    /// Sends a piece of the body. Returns false if `send` has to wait.
    pub(crate) fn body(slf: &Bound<'_, Self>, message: &Bound<'_, PyDict>) -> PyResult<bool> {
        let BodyMessage { bytes, end } = message::body(message)?;
        let py = slf.py();
        let link = slf.get().link.bind(py);
        let body = bytes.unwrap_or_else(|| link.get().no_bytes(py));
        let len = AsRef::<[u8]>::as_ref(&body).len() as u64;
        Self::push_body(slf, len, end, |stream| stream.body(body, end, &mut link.get().out().outbox))
    }

    /// Checks the length of a piece of the body and sends it by `push`. Returns false if `send` has to wait.
    fn push_body(
        slf: &Bound<'_, Self>,
        len: u64,
        end: bool,
        push: impl FnOnce(&mut Stream<PyBackedBytes>) -> Stalled,
    ) -> PyResult<bool> {
        let py = slf.py();
        let link = slf.get().link.bind(py);
        let (stalled, waiters) = {
            let mut inner = slf.get().lock();
            if inner.stream.phase() != Phase::Response || inner.stream.has_file() {
                return Err(unexpected("http.response.body", inner.stream.phase()));
            }
            inner.stream.count(len, end).map_err(|error| {
                PyValueError::new_err(format!("the response's body is {error} than its content-length"))
            })?;
            let stalled = push(&mut inner.stream);
            let is_over = inner.stream.phase() == Phase::Closed;
            let waiters = if is_over { std::mem::take(&mut inner.receivers) } else { Vec::new() };
            (stalled, waiters)
        };
        // Once the response is complete, a pending receive returns http.disconnect.
        wake(py, waiters)?;
        if stalled == Stalled::Outbox {
            AsgiLink::make_room(link, slf)?;
        }
        AsgiLink::pushed(link)?;
        Ok(stalled == Stalled::No || slf.get().lock().stream.is_flushed())
    }
}

#[pymethods]
impl Exchange {
    /// Returns the awaitable of the app's `receive`.
    fn receive(slf: Bound<'_, Self>) -> Wait {
        Wait::new(slf.unbind(), Until::Received)
    }

    /// Sends a message of the app. An error of the message is raised at once, before the result is awaited.
    fn send<'py>(slf: &Bound<'py, Self>, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let (message, kind) = message::kind(message)?;
        let (phase, is_websocket) = {
            let inner = slf.get().lock();
            (inner.stream.phase(), inner.websocket.is_some())
        };
        let sent = match (kind, phase) {
            (kind, phase) if is_websocket => {
                match websocket::send(slf, slf.get().link.bind(py), message, &kind, phase) {
                    Err(error) if is_repeatable(py, &error) => return slf.get().failed(py, error),
                    sent => sent?,
                }
            }
            (Ok(message::Kind::Start), Phase::Request) => {
                slf.get().start(py, message)?;
                true
            }
            (Ok(message::Kind::Body), Phase::Response) => Self::body(slf, message)?,
            (Ok(message::Kind::PathSend), Phase::Response) => {
                let file = file::of_path(message)?;
                Self::file(slf, file, true)?
            }
            (Ok(message::Kind::ZeroCopySend), Phase::Response) => {
                let file = file::of_descriptor(message)?;
                let end = message::is_last(message)?;
                Self::file(slf, file, end)?
            }
            (Ok(message::Kind::Trailers), Phase::Trailers) => {
                slf.get().trailers(py, message)?;
                true
            }
            (Ok(message::Kind::Push), Phase::Request | Phase::Response) => {
                slf.get().promise(py, message)?;
                true
            }
            (Ok(message::Kind::EarlyHint), Phase::Request) => {
                slf.get().early_hint(py, message)?;
                true
            }
            // It is for test clients, and has no effect in a server.
            (Ok(message::Kind::Debug), Phase::Request) => true,
            (Ok(kind), _) => return slf.get().failed(py, unexpected(kind.as_str(), phase)),
            (Err(other), _) => return slf.get().failed(py, unexpected(&other.to_string_lossy(), phase)),
        };
        if sent {
            slf.get().sent(py)
        } else {
            Ok(Bound::new(py, Wait::new(slf.clone().unbind(), Until::Flushed))?.into_any())
        }
    }

    /// Completes the exchange. The event loop calls this with the app's task when the task has ended.
    #[pyo3(name = "_task_done")]
    fn task_done(slf: &Bound<'_, Self>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        AsgiLink::ended(slf.get().link.bind(slf.py()), slf, task)
    }
}

impl Exchange {
    /// Returns the awaitable of a `send` that is complete. It yields a turn of the loop if one is due.
    fn sent<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let link = self.link.bind(py).get();
        let paced = {
            let inner = &mut *self.lock();
            if inner.stream.is_gone() {
                inner.slice.spend_without_client()
            } else if inner.slice.spend(link.turn_number()) {
                return Ok(link.sent(py));
            } else {
                false
            }
        };
        Ok(Bound::new(py, SentInTurn::new(self.link.clone_ref(py), paced))?.into_any())
    }

    /// Raises the error of a `send` that may be repeated without end: at once, or from an awaitable that
    /// yields a turn of the loop if one is due.
    fn failed<'py>(&self, py: Python<'py>, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
        let paced = {
            let slice = &mut self.lock().slice;
            if slice.spend(self.link.bind(py).get().turn_number()) {
                return Err(error);
            }
            slice.spend_without_client()
        };
        Ok(Bound::new(py, SentInTurn::failing(self.link.clone_ref(py), paced, error))?.into_any())
    }
}

/// Returns whether a `send` has failed because of the state of the exchange rather than because of its
/// message.
fn is_repeatable(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<UnexpectedMessageError>(py) || error.is_instance_of::<ClientGoneError>(py)
}

/// Creates the error of a message of type `kind` that is not allowed in this phase.
pub(crate) fn unexpected(kind: &str, phase: Phase) -> PyErr {
    UnexpectedMessageError::new_err(format!(
        "Unexpected message type, {kind} given the state {}",
        phase.as_str()
    ))
}

//! A request as the app holds it: the `receive` and `send` that it is called with.
//!
//! No code of the app runs while a lock is held here: neither a call, nor the making of an object that the
//! garbage collector tracks, nor the drop of an object of the app.

use std::sync::Mutex;
use std::time::Instant;

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
use crate::message::{self, FieldError};
use crate::running::Running;
use crate::slice::Slice;
use crate::trailers::Trailers;
use crate::waiter::{Waiting, wake};
use crate::websocket::{self, Messages};
use crate::{ClientGoneError, UnexpectedMessageError};

/// One request and its response.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub struct Exchange {
    link: Py<AsgiLink>,
    inner: Mutex<Inner>,
}

/// What belongs to an exchange and changes.
#[derive(Debug)]
pub struct Inner {
    /// The protocol's state.
    pub stream: Stream<PyBackedBytes>,
    /// `receive`s that wait.
    pub receivers: Vec<Waiting>,
    /// `send`s that wait.
    pub senders: Vec<Waiting>,
    /// The app's task, while it runs.
    pub running: Option<Running>,
    /// The context of the app's task, where the task does not tell it; held while it runs.
    pub context: Option<Py<PyAny>>,
    /// It stands in the link's queue of streams that wait for room.
    pub queued: bool,
    /// Trailers of which more are to come.
    pub trailers: Option<Box<Trailers>>,
    /// What has come over a WebSocket; `None` for an ordinary request.
    pub websocket: Option<Box<Messages>>,
    /// What it has used of the loop's time.
    pub(crate) slice: Slice,
    /// When its client has left, or has closed its side.
    pub left_at: Option<Instant>,
    /// The log has told that its task runs on although the client has left.
    pub is_left_told: bool,
}

impl Exchange {
    /// An exchange of `link`.
    pub fn new(link: Py<AsgiLink>, stream: Stream<PyBackedBytes>, websocket: Option<Messages>) -> Self {
        let inner = Inner {
            stream,
            receivers: Vec::new(),
            senders: Vec::new(),
            running: None,
            context: None,
            queued: false,
            trailers: None,
            websocket: websocket.map(Box::new),
            slice: Slice::default(),
            left_at: None,
            is_left_told: false,
        };
        Self { link, inner: Mutex::new(inner) }
    }

    /// Its state.
    pub fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// A step of `await receive()`.
    pub fn receive_step<'py>(slf: &Bound<'py, Self>) -> PyResult<Step<'py>> {
        let py = slf.py();
        let link = slf.get().link.bind(py);
        if let Some(paced) = slf.get().owes_turn(link) {
            // Before anything is taken: whoever is cancelled here loses nothing.
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

    /// Whether a `receive` that is ready has to give the loop a turn first, and whether it is paced.
    fn owes_turn(&self, link: &Bound<'_, AsgiLink>) -> Option<bool> {
        let inner = &mut *self.lock();
        let is_ready = match &inner.websocket {
            Some(messages) => messages.has_next(inner.stream.phase()),
            None => inner.stream.has_next(),
        };
        if !is_ready || inner.slice.spend(link.get().turn_number()) {
            return None;
        }
        let tells_again = inner.websocket.is_none() && inner.stream.has_told_disconnect();
        Some(tells_again && inner.slice.spend_on_nobody())
    }

    /// A step of `await send(...)` that could not be complete at once.
    pub fn flush_step<'py>(slf: &Bound<'py, Self>) -> PyResult<Step<'py>> {
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
        // Those that were cancelled would otherwise pile up when an app asks again and again.
        let mut at = 0;
        while at < waiting.len() {
            if waiting[at].is_done(py)? {
                drop(waiting.remove(at));
            } else {
                at += 1;
            }
        }
        waiting.push(new);
        // Dropping them may have run code of the app, which may wait by now.
        waiters(&mut slf.get().lock()).append(&mut waiting);
        Ok(yielded)
    }

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

    /// Sends hints before the response (RFC 8297).
    fn early_hint(&self, py: Python<'_>, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let head = message::early_hint(message)?;
        let link = self.link.bind(py);
        self.lock().stream.interim(&head, &mut link.get().out().outbox);
        AsgiLink::pushed(link)
    }

    /// Has a request promised to the client and made for it (RFC 9113 §8.4).
    fn promise(&self, py: Python<'_>, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let payload = message::promise(message)?;
        let link = self.link.bind(py);
        {
            let mut inner = self.lock();
            if !inner.stream.knows_pushes() {
                return Err(UnexpectedMessageError::new_err(
                    "http.response.push is for HTTP/2 only: a scope's 'extensions' name it where the client takes pushes",
                ));
            }
            inner.stream.promise(&payload, &mut link.get().out().outbox);
        }
        AsgiLink::pushed(link)
    }

    /// Takes trailers, which are sent when they are complete.
    fn trailers(&self, py: Python<'_>, message: &Bound<'_, PyDict>) -> PyResult<()> {
        let (parts, end) = message::trailers(message)?;
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

    pub(crate) fn push_head(
        &self,
        link: &Bound<'_, AsgiLink>,
        kind: HeadKind,
        status: u16,
        fill: impl FnOnce(&mut hcrs_http::ResponseHeadWriter, &mut Vec<u8>) -> Result<Option<u64>, FieldError>,
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
        // Such a response has no body on the wire, whatever length it announces.
        let bodiless = stream.is_head_only() || matches!(status, 204 | 304);
        let length = length.filter(|_| !bodiless);
        if bodiless {
            stream.set_bodiless();
        }
        Ok(mark.map(|mark| stream.start(mark, length)))
    }

    /// Takes a part of a file, which the edge reads and sends; false if `send` has to wait.
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

    /// Takes a piece of body; false if `send` has to wait.
    pub(crate) fn body(slf: &Bound<'_, Self>, message: &Bound<'_, PyDict>) -> PyResult<bool> {
        let (body, end) = message::body(message)?;
        let py = slf.py();
        let link = slf.get().link.bind(py);
        let body = body.unwrap_or_else(|| link.get().no_bytes(py));
        let len = AsRef::<[u8]>::as_ref(&body).len() as u64;
        Self::push_body(slf, len, end, |stream| stream.body(body, end, &mut link.get().out().outbox))
    }

    /// Counts a piece of body and passes it on by `push`; false if `send` has to wait.
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
        // After the response a waiting receive gets its http.disconnect.
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
    /// The app's `receive`.
    fn receive(slf: Bound<'_, Self>) -> Wait {
        Wait::new(slf.unbind(), Until::Received)
    }

    /// The app's `send`. What is wrong with the message is raised at once.
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
            // For test clients; a server has no use for it.
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

    /// Called with the app's task when it has ended.
    #[pyo3(name = "_task_done")]
    fn task_done(slf: &Bound<'_, Self>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        AsgiLink::ended(slf.get().link.bind(slf.py()), slf, task)
    }
}

impl Exchange {
    /// The awaitable of a `send` that is complete, which gives the loop a turn if it is owed one.
    fn sent<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let link = self.link.bind(py).get();
        let paced = {
            let inner = &mut *self.lock();
            if inner.stream.is_gone() {
                inner.slice.spend_on_nobody()
            } else if inner.slice.spend(link.turn_number()) {
                return Ok(link.sent(py));
            } else {
                false
            }
        };
        Ok(Bound::new(py, SentInTurn::new(self.link.clone_ref(py), paced))?.into_any())
    }

    /// A `send` that may fail for ever in the same way: raises at once, or from an awaitable that gives the loop a turn if
    /// it is owed one.
    fn failed<'py>(&self, py: Python<'py>, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
        let paced = {
            let slice = &mut self.lock().slice;
            if slice.spend(self.link.bind(py).get().turn_number()) {
                return Err(error);
            }
            slice.spend_on_nobody()
        };
        Ok(Bound::new(py, SentInTurn::failing(self.link.clone_ref(py), paced, error))?.into_any())
    }
}

/// Whether a `send` fails because of the state that the exchange is in, and not because of its message.
fn is_repeatable(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<UnexpectedMessageError>(py) || error.is_instance_of::<ClientGoneError>(py)
}

pub(crate) fn unexpected(kind: &str, phase: Phase) -> PyErr {
    UnexpectedMessageError::new_err(format!(
        "Unexpected message type, {kind} given the state {}",
        phase.as_str()
    ))
}

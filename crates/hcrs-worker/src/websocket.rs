//! A WebSocket as the app holds it (ASGI WebSocket spec): messages in, messages out, and how it ends.
//!
//! The rule of `exchange.rs` holds here, too: no code of the app runs while a lock is held.

use std::collections::VecDeque;

use hcrs_http::RequestView;
use hcrs_link::{HeadKind, LinkError, MessageKind, Outbox, Phase, Stalled, Stream, piece_cost};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::ClientGoneError;
use crate::asgi::AsgiLink;
use crate::exchange::{Exchange, unexpected};
use crate::message;
use crate::waiter::wake;

/// The status of an accepting head, which the edge replaces by the one of the client's protocol.
const SWITCHING_PROTOCOLS: u16 = 101;

/// Close codes (RFC 6455 §7.4.1) that are the server's to say.
const NORMAL: u16 = 1000;
const ABNORMAL: u16 = 1006;
const INTERNAL_ERROR: u16 = 1011;

/// What has come over a WebSocket and was not taken by the app.
///
/// The edge sends no more than the request window ahead of the app, but for one message: bytes of a message
/// whose end has not come are credited at once, because the app cannot take them. The edge bounds a message.
#[derive(Debug)]
pub struct Messages {
    offered: Vec<String>,
    connect_told: bool,
    /// The app answers with an ordinary response.
    denied: bool,
    /// The app has accepted.
    accepted: bool,
    partial: Vec<u8>,
    complete: VecDeque<Message>,
    end: Option<(u16, String)>,
    /// The app was told of the end, by the client or by itself.
    end_told: bool,
    /// Messages by which the app may answer the one that it took last, though its client has left by now.
    answers_left: u8,
}

/// Messages that answer one: a client that has left may have left more of them behind, and the app is to see them all, and
/// the client's own close code. An app that sends more than this and does not receive is told by its `send`.
const ANSWERS_MAX: u8 = 16;

#[derive(Debug)]
struct Message {
    /// A str or bytes, as the kind says.
    content: Py<PyAny>,
    is_text: bool,
    /// What the edge is owed credit for.
    owed: usize,
}

impl Messages {
    /// Nothing has come yet; the client offers these subprotocols.
    pub(crate) fn new(offered: Vec<String>) -> Self {
        Self {
            offered,
            connect_told: false,
            denied: false,
            accepted: false,
            partial: Vec::new(),
            complete: VecDeque::new(),
            end: None,
            end_told: false,
            answers_left: 0,
        }
    }

    /// Whether [`receive`] gives something.
    pub(crate) fn has_next(&self, phase: Phase) -> bool {
        let is_over = self.end.is_some() || phase == Phase::Closed;
        !self.connect_told || !self.complete.is_empty() || (is_over && !self.end_told)
    }

    /// Counts a message that the app sends. False if its client has left, and the app knows or ought to.
    fn may_send(&mut self) -> bool {
        let answers = self.answers_left;
        self.answers_left = answers.saturating_sub(1);
        self.end.is_none() || (!self.end_told && answers > 0)
    }

    /// Whether a `send` may wait for the client's window: a client that has closed its side may still read answers.
    pub(crate) fn may_wait(&self) -> bool {
        self.end.is_none() || (!self.end_told && self.answers_left > 0)
    }

    /// Whether the app was told of the end.
    pub(crate) fn end_was_told(&self) -> bool {
        self.end_told
    }

    /// The edge says how the WebSocket was closed.
    pub(crate) fn close(&mut self, code: u16, reason: &[u8]) {
        self.end.get_or_insert_with(|| (code, String::from_utf8_lossy(reason).into_owned()));
    }

    /// Takes a piece of a message, the last one if `end`.
    pub(crate) fn arrive(
        &mut self,
        py: Python<'_>,
        (kind, payload, end): (MessageKind, &[u8], bool),
        stream: &mut Stream<PyBackedBytes>,
        out: &mut Outbox,
    ) -> Result<(), LinkError> {
        if self.end.is_some() {
            return Ok(());
        }
        let owed = piece_cost(payload.len());
        if !end {
            self.partial.extend_from_slice(payload);
            stream.took_messages(owed, out);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        let whole = if joined.is_empty() {
            payload
        } else {
            joined.extend_from_slice(payload);
            &joined
        };
        // Neither is an object that the garbage collector tracks, so a lock may be held.
        let is_text = kind == MessageKind::Text;
        let content = if is_text {
            PyString::from_bytes(py, whole).map_err(|_| LinkError::Unexpected("Message"))?.into_any()
        } else {
            PyBytes::new(py, whole).into_any()
        };
        self.complete.push_back(Message { content: content.unbind(), is_text, owed });
        Ok(())
    }

    /// The client is gone without a Close frame.
    pub(crate) fn lose(&mut self) {
        self.end.get_or_insert((ABNORMAL, String::new()));
    }

    /// The app's task has ended. True if it has failed, that is, neither accepted nor declined.
    pub(crate) fn finish(&mut self, stream: &mut Stream<PyBackedBytes>, out: &mut Outbox) -> bool {
        if !self.accepted {
            return stream.finish(out);
        }
        if stream.phase() == Phase::Response {
            // Left open: the client is not told that all is well.
            stream.close(INTERNAL_ERROR, "", out);
        }
        stream.finish_websocket(out);
        false
    }
}

/// The subprotocols that a request offers, in order. The edge has checked their form.
pub(crate) fn subprotocols(head: &RequestView<'_>) -> Vec<String> {
    let mut offered: Vec<String> = Vec::new();
    for (_, value) in head.fields().filter(|(name, _)| *name == b"sec-websocket-protocol") {
        for item in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
        {
            let item = String::from_utf8_lossy(item).into_owned();
            if !offered.contains(&item) {
                offered.push(item);
            }
        }
    }
    offered
}

/// The next message for the app; `None` if there is none yet.
pub(crate) fn receive<'py>(
    exchange: &Bound<'py, Exchange>,
    link: &Bound<'py, AsgiLink>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    enum Next {
        Connect,
        Message(Message),
        End(u16, String),
    }
    let py = exchange.py();
    let next = {
        let mut inner = exchange.get().lock();
        let is_closed = inner.stream.phase() == Phase::Closed;
        let Some(messages) = &mut inner.websocket else { return Ok(None) };
        if !std::mem::replace(&mut messages.connect_told, true) {
            Next::Connect
        } else if let Some(message) = messages.complete.pop_front().filter(|_| !is_closed) {
            messages.answers_left = ANSWERS_MAX;
            inner.stream.took_messages(message.owed, &mut link.get().out().outbox);
            Next::Message(message)
        } else if messages.end_told {
            // It is told once: an app that asks again waits, as one does on a connection where nothing can come.
            return Ok(None);
        } else if let Some((code, reason)) = messages.end.clone() {
            messages.end_told = true;
            inner.stream.heard_end(&mut link.get().out().outbox);
            Next::End(code, reason)
        } else if is_closed {
            messages.end_told = true;
            Next::End(NORMAL, String::new())
        } else {
            return Ok(None);
        }
    };
    AsgiLink::pushed(link)?;
    let message = PyDict::new(py);
    let kind = intern!(py, "type");
    match next {
        Next::Connect => message.set_item(kind, intern!(py, "websocket.connect"))?,
        Next::Message(Message { content, is_text, .. }) => {
            let (text, bytes) = (intern!(py, "text"), intern!(py, "bytes"));
            let (given, missing) = if is_text { (text, bytes) } else { (bytes, text) };
            message.set_item(kind, intern!(py, "websocket.receive"))?;
            message.set_item(given, content)?;
            message.set_item(missing, py.None())?;
        }
        Next::End(code, reason) => {
            message.set_item(kind, intern!(py, "websocket.disconnect"))?;
            message.set_item(intern!(py, "code"), code)?;
            message.set_item(intern!(py, "reason"), reason)?;
        }
    }
    Ok(Some(message))
}

/// Takes a message of the app; false if `send` has to wait.
pub(crate) fn send(
    exchange: &Bound<'_, Exchange>,
    link: &Bound<'_, AsgiLink>,
    message: &Bound<'_, PyDict>,
    kind: &message::Type<'_>,
    phase: Phase,
) -> PyResult<bool> {
    let kind = match kind {
        Ok(kind) => kind.as_str(),
        Err(other) => other.to_str()?,
    };
    let denied = exchange.get().lock().websocket.as_ref().is_some_and(|messages| messages.denied);
    match (kind, phase) {
        ("websocket.accept", Phase::Request) => accept(exchange, link, message).map(|()| true),
        ("websocket.send", Phase::Response) if !denied => {
            let may_send =
                exchange.get().lock().websocket.as_mut().is_none_or(|messages| messages.may_send());
            if may_send { send_message(exchange, link, message) } else { Err(client_gone()) }
        }
        ("websocket.close", Phase::Response) if !denied => close(exchange, link, message),
        ("websocket.close", Phase::Request) => refuse(exchange, link).map(|()| true),
        ("websocket.http.response.start", Phase::Request) => {
            exchange.get().start(exchange.py(), message)?;
            if let Some(messages) = &mut exchange.get().lock().websocket {
                messages.denied = true;
            }
            Ok(true)
        }
        ("websocket.http.response.body", Phase::Response) if denied => Exchange::body(exchange, message),
        (other, phase) => Err(unexpected(other, phase)),
    }
}

fn accept(
    exchange: &Bound<'_, Exchange>,
    link: &Bound<'_, AsgiLink>,
    message: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let py = exchange.py();
    let subprotocol = match given(message, intern!(py, "subprotocol"))? {
        Some(chosen) => Some(
            chosen
                .extract::<String>()
                .map_err(|_| PyTypeError::new_err("'subprotocol' must be a str or None"))?,
        ),
        None => None,
    };
    let headers = message::headers(message)?.filter(|headers| !headers.is_none());
    let mut parts = headers.map(|headers| message::parts(&headers)).transpose()?.unwrap_or_default();
    if parts.iter().any(|(name, _)| name.as_bytes().eq_ignore_ascii_case(b"sec-websocket-protocol")) {
        return Err(PyValueError::new_err(
            "the subprotocol is said by 'subprotocol', not by a sec-websocket-protocol header",
        ));
    }
    if let Some(chosen) = &subprotocol {
        let inner = exchange.get().lock();
        let offered = inner.websocket.as_ref().is_some_and(|messages| messages.offered.contains(chosen));
        if !offered {
            return Err(PyValueError::new_err(format!(
                "subprotocol {chosen:?} is not among those that the client offers"
            )));
        }
    }
    if let Some(chosen) = &subprotocol {
        let name = PyBytes::new(py, b"sec-websocket-protocol");
        parts.insert(0, (name, PyBytes::new(py, chosen.as_bytes())));
    }
    exchange.get().push_head(link, HeadKind::Accept, SWITCHING_PROTOCOLS, |head, out| {
        message::write_parts(&parts, head, out).map(|_| None)
    })??;
    if let Some(messages) = &mut exchange.get().lock().websocket {
        messages.accepted = true;
    }
    AsgiLink::pushed(link)
}

fn send_message(
    exchange: &Bound<'_, Exchange>,
    link: &Bound<'_, AsgiLink>,
    message: &Bound<'_, PyDict>,
) -> PyResult<bool> {
    let py = exchange.py();
    let stalled = match (given(message, intern!(py, "bytes"))?, given(message, intern!(py, "text"))?) {
        (Some(bytes), _) => {
            let bytes = message::bytes_of(&bytes, "'bytes'")?;
            push_message(exchange, link, MessageKind::Binary, bytes.as_bytes(), || Ok(bytes.clone()))?
        }
        (None, Some(text)) => {
            let text =
                text.cast_into::<PyString>().map_err(|_| PyTypeError::new_err("'text' must be a str"))?;
            push_message(exchange, link, MessageKind::Text, text.to_str()?.as_bytes(), || text.encode_utf8())?
        }
        (None, None) => {
            return Err(PyValueError::new_err("'websocket.send' has neither 'bytes' nor 'text'"));
        }
    };
    sent(exchange, link, stalled)
}

/// Passes a message on; only one that has to wait is kept.
fn push_message<'py>(
    exchange: &Bound<'py, Exchange>,
    link: &Bound<'py, AsgiLink>,
    kind: MessageKind,
    message: &[u8],
    keep: impl FnOnce() -> PyResult<Bound<'py, PyBytes>>,
) -> PyResult<Stalled> {
    if exchange.get().lock().stream.message_at_once(kind, message, &mut link.get().out().outbox) {
        return Ok(Stalled::No);
    }
    let kept = keep()?.into();
    let mut inner = exchange.get().lock();
    Ok(inner.stream.message(kind, kept, &mut link.get().out().outbox))
}

fn close(
    exchange: &Bound<'_, Exchange>,
    link: &Bound<'_, AsgiLink>,
    message: &Bound<'_, PyDict>,
) -> PyResult<bool> {
    let py = exchange.py();
    let code = match given(message, intern!(py, "code"))? {
        Some(code) => code.extract::<u16>().ok().filter(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)).ok_or_else(|| {
            PyValueError::new_err(format!(
                "'code' must be a close code that may be sent (1000 to 1003, 1007 to 1014, 3000 to 4999), not {code}"
            ))
        })?,
        None => NORMAL,
    };
    let reason = match given(message, intern!(py, "reason"))? {
        Some(reason) => {
            reason.extract::<String>().map_err(|_| PyTypeError::new_err("'reason' must be a str or None"))?
        }
        None => String::new(),
    };
    let (stalled, waiters) = {
        let mut inner = exchange.get().lock();
        let stalled = inner.stream.close(code, &reason, &mut link.get().out().outbox);
        (stalled, std::mem::take(&mut inner.receivers))
    };
    wake(py, waiters)?;
    let is_sent = sent(exchange, link, stalled)?;
    // Once the client has left, nobody is to be waited for.
    let has_left = exchange.get().lock().websocket.as_ref().is_some_and(|messages| messages.end.is_some());
    Ok(is_sent || has_left)
}

/// What `send` raises once the client has left.
pub(crate) fn client_gone() -> PyErr {
    ClientGoneError::new_err("the client has gone")
}

/// Closed before it was accepted: 403 (ASGI WebSocket spec, "Close - send event").
fn refuse(exchange: &Bound<'_, Exchange>, link: &Bound<'_, AsgiLink>) -> PyResult<()> {
    exchange.get().push_head(link, HeadKind::Response, 403, |head, out| {
        head.field(out, b"content-length", b"0");
        Ok(None)
    })??;
    let waiters = {
        let mut inner = exchange.get().lock();
        let empty = link.get().no_bytes(exchange.py());
        inner.stream.body(empty, true, &mut link.get().out().outbox);
        std::mem::take(&mut inner.receivers)
    };
    wake(exchange.py(), waiters)?;
    AsgiLink::pushed(link)
}

fn sent(exchange: &Bound<'_, Exchange>, link: &Bound<'_, AsgiLink>, stalled: Stalled) -> PyResult<bool> {
    if stalled == Stalled::Outbox {
        AsgiLink::make_room(link, exchange)?;
    }
    AsgiLink::pushed(link)?;
    Ok(stalled == Stalled::No || exchange.get().lock().stream.is_flushed())
}

/// A key of a message, unless it is missing or None.
fn given<'py>(
    message: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(message.get_item(key)?.filter(|value| !value.is_none()))
}

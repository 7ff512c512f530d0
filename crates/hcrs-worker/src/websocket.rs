//! The WebSocket of an exchange (ASGI WebSocket spec): its messages in both directions, and its end.
//!
//! As in `exchange.rs`, no code of the app runs while a lock is held.

use std::collections::VecDeque;

use hcrs_http::{RequestView, close_code};
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

/// The status of an accepting head, which the edge replaces by that of the client's protocol.
const SWITCHING_PROTOCOLS: u16 = 101;

/// The close code of a WebSocket that was closed without a code (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;

/// The state of a WebSocket, with the messages that have arrived and that the app has not received.
///
/// The edge sends at most the request window ahead of the app, except for one message: the pieces of an
/// incomplete message are credited at once, because the app cannot receive them. The edge limits the size of
/// a message.
#[derive(Debug)]
pub(crate) struct Messages {
    /// The subprotocols that the client offers.
    offered: Vec<String>,
    handshake: Handshake,
    delivered: Delivered,
    /// The pieces of the incomplete message.
    partial: Vec<u8>,
    complete: VecDeque<Message>,
    /// The close by the client, or its disconnect.
    end: Option<Close>,
    /// Number of messages by which the app may still answer the last one received, if the client has left
    /// since.
    answers_left: u8,
}

/// The app's answer to the client's handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handshake {
    Pending,
    Accepted,
    /// Answered with an ordinary response.
    Denied,
}

/// The progress of the events that the app receives: connect, then messages, then the disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    Nothing,
    Connect,
    End,
}

/// The code and reason of a close.
#[derive(Debug, Clone)]
struct Close {
    code: u16,
    reason: String,
}

/// A piece of a message, as a frame of the link has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessagePiece<'a> {
    pub(crate) kind: MessageKind,
    pub(crate) bytes: &'a [u8],
    /// Whether this is the last piece.
    pub(crate) end: bool,
}

/// Messages that an app may send, after its client has left, for each message that it receives.
///
/// Messages of the client may still be waiting then, and the app is to receive them all, and the client's
/// close code, before its `send` raises. An app that sends more than this without receiving gets the error
/// earlier.
const ANSWERS_MAX: u8 = 16;

#[derive(Debug)]
struct Message {
    /// A str if `is_text`, else bytes.
    content: Py<PyAny>,
    is_text: bool,
    /// The cost for which the edge gets credit when the app receives the message.
    owed: usize,
}

impl Messages {
    /// Creates the state of a WebSocket whose client offers these subprotocols.
    pub(crate) fn new(offered: Vec<String>) -> Self {
        Self {
            offered,
            handshake: Handshake::Pending,
            delivered: Delivered::Nothing,
            partial: Vec::new(),
            complete: VecDeque::new(),
            end: None,
            answers_left: 0,
        }
    }

    /// Returns whether [`receive`] returns a message.
    pub(crate) fn has_next(&self, phase: Phase) -> bool {
        let is_over = self.end.is_some() || phase == Phase::Closed;
        self.delivered == Delivered::Nothing
            || !self.complete.is_empty()
            || (is_over && self.delivered != Delivered::End)
    }

    /// Counts a message that the app sends. Returns false if the client has left and the app has received the
    /// end, or has sent more than [`ANSWERS_MAX`] messages without receiving.
    fn may_send(&mut self) -> bool {
        let answers = self.answers_left;
        self.answers_left = answers.saturating_sub(1);
        self.end.is_none() || (self.delivered != Delivered::End && answers > 0)
    }

    /// Returns whether a `send` may wait for the client's window. A client that has closed its side may still
    /// read answers.
    pub(crate) fn may_wait(&self) -> bool {
        self.end.is_none() || (self.delivered != Delivered::End && self.answers_left > 0)
    }

    /// Returns whether the app has received the disconnect.
    pub(crate) fn has_delivered_end(&self) -> bool {
        self.delivered == Delivered::End
    }

    /// Records the close that the edge has reported.
    pub(crate) fn close(&mut self, code: u16, reason: &[u8]) {
        self.end.get_or_insert_with(|| Close { code, reason: String::from_utf8_lossy(reason).into_owned() });
    }

    /// Takes a piece of a message.
    pub(crate) fn arrive(
        &mut self,
        py: Python<'_>,
        piece: MessagePiece<'_>,
        stream: &mut Stream<PyBackedBytes>,
        out: &mut Outbox,
    ) -> Result<(), LinkError> {
        if self.end.is_some() {
            return Ok(());
        }
        let owed = piece_cost(piece.bytes.len());
        if !piece.end {
            self.partial.extend_from_slice(piece.bytes);
            stream.took_messages(owed, out);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        let whole = if joined.is_empty() {
            piece.bytes
        } else {
            joined.extend_from_slice(piece.bytes);
            &joined
        };
        // The garbage collector tracks neither str nor bytes, so a lock may be held.
        let is_text = piece.kind == MessageKind::Text;
        let content = if is_text {
            PyString::from_bytes(py, whole).map_err(|_| LinkError::Unexpected("Message"))?.into_any()
        } else {
            PyBytes::new(py, whole).into_any()
        };
        self.complete.push_back(Message { content: content.unbind(), is_text, owed });
        Ok(())
    }

    /// Records that the client has disconnected without a Close frame.
    pub(crate) fn lose(&mut self) {
        self.end.get_or_insert(Close { code: close_code::ABNORMAL, reason: String::new() });
    }

    /// Finishes the WebSocket, whose task has ended. Returns true if the app has neither accepted nor denied
    /// it.
    pub(crate) fn finish(&mut self, stream: &mut Stream<PyBackedBytes>, out: &mut Outbox) -> bool {
        if self.handshake != Handshake::Accepted {
            return stream.finish(out);
        }
        if stream.phase() == Phase::Response {
            // The app has left it open, which is no normal close.
            stream.close(close_code::INTERNAL_ERROR, "", out);
        }
        stream.finish_websocket(out);
        false
    }
}

/// Returns the subprotocols that a request offers, in order. The edge has checked their syntax.
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

/// Returns the next message for the app, or `None` if there is none yet.
pub(crate) fn receive<'py>(
    exchange: &Bound<'py, Exchange>,
    link: &Bound<'py, AsgiLink>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    enum Next {
        Connect,
        Message(Message),
        End(Close),
    }
    let py = exchange.py();
    let next = {
        let mut inner = exchange.get().lock();
        let is_closed = inner.stream.phase() == Phase::Closed;
        let Some(messages) = &mut inner.websocket else { return Ok(None) };
        if messages.delivered == Delivered::Nothing {
            messages.delivered = Delivered::Connect;
            Next::Connect
        } else if let Some(message) = messages.complete.pop_front().filter(|_| !is_closed) {
            messages.answers_left = ANSWERS_MAX;
            inner.stream.took_messages(message.owed, &mut link.get().out().outbox);
            Next::Message(message)
        } else if messages.delivered == Delivered::End {
            // The disconnect is delivered once. A further receive waits until its task is cancelled.
            return Ok(None);
        } else if let Some(close) = messages.end.clone() {
            messages.delivered = Delivered::End;
            inner.stream.heard_end(&mut link.get().out().outbox);
            Next::End(close)
        } else if is_closed {
            messages.delivered = Delivered::End;
            Next::End(Close { code: NORMAL, reason: String::new() })
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
        Next::End(Close { code, reason }) => {
            message.set_item(kind, intern!(py, "websocket.disconnect"))?;
            message.set_item(intern!(py, "code"), code)?;
            message.set_item(intern!(py, "reason"), reason)?;
        }
    }
    Ok(Some(message))
}

/// Sends a message of the app. Returns false if `send` has to wait.
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
    let denied = {
        let inner = exchange.get().lock();
        inner.websocket.as_ref().is_some_and(|messages| messages.handshake == Handshake::Denied)
    };
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
                messages.handshake = Handshake::Denied;
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
            "the subprotocol is set by 'subprotocol', not by a sec-websocket-protocol header",
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
        messages.handshake = Handshake::Accepted;
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

/// Sends a message. `keep` returns it as an object, which is stored only if the message has to wait.
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
        Some(code) => sendable_code(&code)?,
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
    // Once the client has left there is nothing to wait for.
    let has_left = exchange.get().lock().websocket.as_ref().is_some_and(|messages| messages.end.is_some());
    Ok(is_sent || has_left)
}

/// Returns a close code, if it may be sent (RFC 6455 §7.4).
fn sendable_code(code: &Bound<'_, PyAny>) -> PyResult<u16> {
    match code.extract() {
        Ok(code @ (1000..=1003 | 1007..=1014 | 3000..=4999)) => Ok(code),
        Ok(_) | Err(_) => Err(PyValueError::new_err(format!(
            "'code' must be a close code that may be sent (1000 to 1003, 1007 to 1014, 3000 to 4999), not \
             {code}"
        ))),
    }
}

/// Creates the error that `send` raises once the client has left.
pub(crate) fn client_gone() -> PyErr {
    ClientGoneError::new_err("the client has gone")
}

/// Denies the WebSocket with 403, as a close before the acceptance (ASGI WebSocket spec, "Close - send
/// event").
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

/// Returns the value of a message's key, unless it is missing or None.
fn given<'py>(
    message: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(message.get_item(key)?.filter(|value| !value.is_none()))
}

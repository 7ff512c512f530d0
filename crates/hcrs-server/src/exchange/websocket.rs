//! A WebSocket between its client's bytes and its worker's messages. The drivers move the bytes as they move
//! bodies; frames, pings, compression and the closing handshake end here.
//!
//! ```text
//! client's bytes ─► input ─► messages ─► to_app ══ link
//!                               │ pongs, Close
//! client's bytes ◄─ response body ◄──────────────── link
//! ```
//!
//! While messages wait for the worker's window no more are read, but pings among the bytes that have arrived are
//! answered. Inflating has a share of each turn of the thread: bytes beyond it wait in the input until the
//! connection's task runs again.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hcrs_http::{Fault, RequestHead, ResponseHead, Version};
use hcrs_link::{DATA_MAX, MessageKind, REQUEST_WINDOW, Window, piece_cost};
use hcrs_ws::{DeflatePool, Event, Failure, Handshake, HeldBytes, MessageRoom, Opening, close_code};

use crate::clock;

/// The number of bytes waiting for the client above which pongs wait, too; then only the latest ping is
/// answered.
const REPLY_BACKLOG: usize = 64 << 10;

/// The capacity above which a buffer is not kept for the next bytes.
const KEPT_BUFFER: usize = 32 << 10;

/// How long after its last message to the client a WebSocket keeps its compression context.
const CONTEXT_KEPT: Duration = Duration::from_secs(30);

/// The settings and shared resources of an edge thread's WebSockets.
#[derive(Debug)]
pub(crate) struct Terms {
    settings: hcrs_ws::Settings,
    close_timeout: Duration,
    /// The longest gap within a message that is being read.
    message_timeout: Duration,
    pool: Rc<DeflatePool>,
    room: Rc<MessageRoom>,
}

impl Terms {
    pub(crate) fn new(settings: &crate::ConnectionSettings) -> Rc<Self> {
        let compression = settings.websocket.compression.clone().unwrap_or_default();
        Rc::new(Self {
            settings: settings.websocket.clone(),
            close_timeout: settings.websocket_close_timeout,
            message_timeout: settings.body_timeout,
            pool: Rc::new(DeflatePool::new(&compression)),
            room: MessageRoom::of_thread(&settings.websocket),
        })
    }

    /// Begins the turn of a connection's task.
    pub(crate) fn begin_turn(&self) {
        self.pool.begin_turn();
    }

    /// Returns room for the messages of one connection's WebSockets.
    pub(crate) fn room_of_connection(&self) -> Rc<MessageRoom> {
        MessageRoom::of_connection(&self.room, &self.settings)
    }
}

/// An item that waits for the worker.
#[derive(Debug)]
enum ToApp {
    /// A message, or the rest of one.
    Message(MessageKind, Bytes),
    /// The end, with code and reason.
    Close(u16, String),
}

/// An item that is sent to the worker next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A piece of a message; the flag marks the last one.
    Piece(MessageKind, Bytes, bool),
    /// The end, with code and reason.
    Close(u16, String),
}

/// One WebSocket, beginning with the request that asks for it.
#[derive(Debug)]
pub(crate) struct WebSocket {
    terms: Rc<Terms>,
    room: Rc<MessageRoom>,
    handshake: Handshake,
    /// The protocol's state, once the app has accepted.
    connection: Option<hcrs_ws::Connection>,
    /// Bytes of the client that were not parsed yet.
    input: BytesMut,
    to_app: VecDeque<ToApp>,
    /// Counts the message in `to_app` against the shared room.
    waiting: HeldBytes,
    window: Window,
    /// The cost of what was sent to the worker and not credited.
    in_app: usize,
    /// Whether the app was notified of the end.
    is_end_sent: bool,
    /// Whether the app has closed: the client's messages are ignored until its Close frame arrives.
    app_left: bool,
    /// When the client broke the protocol. The app may still answer earlier messages, so the Close frame is
    /// sent only once the app has taken the end or the close timeout has passed.
    failing_since: Option<Instant>,
    /// Whether inflating was interrupted and continues in the next turn.
    yielded: bool,
    /// The length of the message being read at the last check, and since when it has not changed.
    unfinished: Option<(u64, Instant)>,
    /// Whether a message was sent since the last check of the deadlines.
    has_sent: bool,
    /// When the last message was sent; `None` once the compression context was released.
    quiet_since: Option<Instant>,
    /// The sizes of what waits for the client, in order.
    unsent: VecDeque<OnWire>,
    backlog: usize,
    closing_since: Option<Instant>,
}

/// Bytes that wait for the client.
#[derive(Debug)]
struct OnWire {
    len: usize,
    /// The share of the worker's window that these bytes carry.
    carried: usize,
}

/// The outcome of a step of a WebSocket.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The number of the client's bytes that were consumed.
    pub(crate) consumed: usize,
    /// Bytes for the client.
    pub(crate) out: Vec<u8>,
    /// Whether nothing more will be read or sent.
    pub(crate) is_closed: bool,
}

impl WebSocket {
    /// Returns the WebSocket that a request asks for, if it does; the error is the response that refuses it.
    /// It shares `room` with the others of its connection.
    pub(crate) fn asked_for(
        head: &RequestHead,
        terms: &Rc<Terms>,
        room: impl FnOnce() -> Rc<MessageRoom>,
    ) -> Result<Option<Self>, ResponseHead> {
        let view = head.view();
        let opening = match view.version {
            Version::Http2 if head.is_websocket() => Opening::ExtendedConnect,
            Version::Http11 if !view.has_body && hcrs_ws::asks_for_websocket(view.method, view.fields()) => {
                Opening::Upgrade
            }
            Version::Http10 | Version::Http11 | Version::Http2 => return Ok(None),
        };
        let handshake = Handshake::read(opening, view.fields()).map_err(|refusal| {
            let fields =
                refusal.fields(opening).iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            ResponseHead::new(refusal.status(), fields)
        })?;
        let room = room();
        Ok(Some(Self {
            terms: Rc::clone(terms),
            waiting: HeldBytes::new(&room),
            room,
            handshake,
            connection: None,
            input: BytesMut::new(),
            to_app: VecDeque::new(),
            window: Window::new(REQUEST_WINDOW),
            in_app: 0,
            is_end_sent: false,
            app_left: false,
            failing_since: None,
            yielded: false,
            unfinished: None,
            has_sent: false,
            quiet_since: None,
            unsent: VecDeque::new(),
            backlog: 0,
            closing_since: None,
        }))
    }

    /// Opens the WebSocket with the fields of the app's head, whose status is 101. Returns the response's
    /// head.
    pub(crate) fn accept(&mut self, head: &ResponseHead) -> Result<ResponseHead, Fault> {
        let mut subprotocol = None;
        for (name, value) in head.fields() {
            if name.eq_ignore_ascii_case(b"sec-websocket-protocol") {
                subprotocol = Some(std::str::from_utf8(value).map_err(|_| Fault::AppFailed)?);
            }
        }
        let accepted = self
            .handshake
            .accept(subprotocol, self.terms.settings.compression.as_ref())
            .map_err(|_| Fault::AppFailed)?;
        let Terms { settings, pool, .. } = &*self.terms;
        self.connection = Some(hcrs_ws::Connection::new(settings, accepted.deflate, pool, &self.room));
        let ours = accepted.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let apps = head.fields().filter(|(name, _)| !is_of_handshake(name));
        Ok(ResponseHead::new(accepted.status, ours.chain(apps)))
    }

    /// Whether the app has accepted.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether [`WebSocket::read`] has more to do although nothing arrived, and waits for
    /// [`WebSocket::resume`].
    pub(crate) fn has_yielded(&self) -> bool {
        self.yielded
    }

    /// Resumes reading, after other connections have had their turn.
    pub(crate) fn resume(&mut self) {
        self.yielded = false;
    }

    /// Appends bytes of the client, which [`WebSocket::read`] parses.
    pub(crate) fn arrive(&mut self, data: &[u8]) {
        self.input.extend_from_slice(data);
    }

    /// Takes bytes of the client together with the buffer that they arrived in, which is empty afterwards.
    pub(crate) fn arrive_in(&mut self, data: &mut BytesMut) {
        if self.input.is_empty() {
            std::mem::swap(&mut self.input, data);
        } else {
            self.input.extend_from_slice(data);
        }
        data.clear();
    }

    /// Returns the buffer if no bytes wait in it. One that a large message has enlarged is released.
    pub(crate) fn return_buffer(&mut self, data: &mut BytesMut) {
        if self.input.is_empty() {
            let emptied = std::mem::take(&mut self.input);
            if (data.capacity()..=KEPT_BUFFER).contains(&emptied.capacity()) {
                *data = emptied;
            }
        }
    }

    /// Parses the next message from the bytes that have arrived; while a message waits for the worker, only
    /// control frames.
    pub(crate) fn read(&mut self) -> Progress {
        let mut progress = Progress::default();
        if self.yielded {
            return progress;
        }
        let Some(connection) = &mut self.connection else { return progress };
        let before = self.input.len();
        let is_free = self.to_app.is_empty();
        while !is_free || self.to_app.is_empty() {
            let polled = if is_free {
                connection.poll_event(&mut self.input)
            } else {
                connection.poll_control(&mut self.input)
            };
            match polled {
                Ok(Some(Event::Text(text))) => {
                    self.waiting.hold(text.len());
                    self.to_app.push_back(ToApp::Message(MessageKind::Text, text));
                }
                Ok(Some(Event::Binary(data))) => {
                    self.waiting.hold(data.len());
                    self.to_app.push_back(ToApp::Message(MessageKind::Binary, data));
                }
                Ok(Some(Event::Ping(_) | Event::Pong(_))) => {}
                Ok(Some(Event::Close { code, reason, .. })) => {
                    self.to_app.push_back(ToApp::Close(code, reason));
                }
                Ok(Some(Event::Yield)) => {
                    self.yielded = true;
                    break;
                }
                Ok(None) => break,
                Err(failure) => {
                    self.note_failure(failure, clock::now());
                    break;
                }
            }
            if self.backlog + progress.out.len() < REPLY_BACKLOG {
                connection.write_replies(&mut progress.out);
            }
        }
        progress.consumed = before - self.input.len();
        self.reply(&mut progress);
        self.finish_step(progress)
    }

    /// Writes pending replies to the client, unless too much waits for it or the app may still answer.
    fn reply(&mut self, progress: &mut Progress) {
        if self.backlog + progress.out.len() < REPLY_BACKLOG
            && self.failing_since.is_none()
            && let Some(connection) = &mut self.connection
        {
            connection.write_replies(&mut progress.out);
        }
    }

    /// Notes that the protocol was broken: the app gets the end, and may answer the messages before.
    fn note_failure(&mut self, failure: Failure, now: Instant) {
        if !self.app_left && (self.in_app > 0 || !self.to_app.is_empty()) {
            self.failing_since = Some(now);
        }
        self.to_app.push_back(ToApp::Close(failure.code, failure.reason.to_owned()));
    }

    /// Whether the next message may be read, because none waits for the worker.
    pub(crate) fn is_free(&self) -> bool {
        self.to_app.is_empty()
    }

    /// Whether [`WebSocket::next_for_app`] has an item.
    pub(crate) fn has_for_app(&mut self) -> bool {
        if self.is_end_sent {
            self.to_app.clear();
            self.waiting.hold(0);
        } else if self.app_left {
            self.to_app.retain(|waiting| matches!(waiting, ToApp::Close(..)));
            self.waiting.hold(0);
        }
        match self.to_app.front() {
            Some(ToApp::Message(_, data)) => self.window.takes_piece(data.len().min(1)),
            Some(ToApp::Close(..)) => true,
            None => false,
        }
    }

    /// Returns the part of the next message that fits in the worker's window, or the end.
    pub(crate) fn next_for_app(&mut self) -> Option<Next> {
        if !self.has_for_app() {
            return None;
        }
        match self.to_app.front_mut()? {
            ToApp::Message(kind, data) => {
                let len = data.len().min(self.window.room()).min(DATA_MAX);
                let (kind, piece, end) = (*kind, data.split_to(len), data.is_empty());
                let cost = piece_cost(len);
                let has_spent = self.window.spend(cost);
                debug_assert!(has_spent, "invariant: a piece is cut to the window");
                self.in_app += cost;
                if end {
                    self.to_app.pop_front();
                    self.waiting.hold(0);
                }
                Some(Next::Piece(kind, piece, end))
            }
            ToApp::Close(..) => {
                let Some(ToApp::Close(code, reason)) = self.to_app.pop_front() else { return None };
                self.is_end_sent = true;
                Some(Next::Close(code, reason))
            }
        }
    }

    /// Notes that the app took pieces of messages.
    pub(crate) fn app_took(&mut self, credit: usize) {
        // A worker cannot credit more than was sent to it.
        let credit = credit.min(self.in_app);
        self.in_app -= credit;
        self.window.add(credit as u32);
    }

    /// Notes that the app has taken the end, and so has sent all its answers.
    pub(crate) fn app_took_end(&mut self) -> Progress {
        let mut progress = Progress::default();
        if self.failing_since.take().is_some()
            && let Some(connection) = &mut self.connection
        {
            connection.write_replies(&mut progress.out);
        }
        self.finish_step(progress)
    }

    /// Sends a piece of a message from the app. `None` if a worker may not send it.
    pub(crate) fn send(&mut self, kind: MessageKind, data: &[u8], end: bool) -> Option<Progress> {
        let mut progress = Progress::default();
        let kind = match kind {
            MessageKind::Text => hcrs_ws::MessageKind::Text,
            MessageKind::Binary => hcrs_ws::MessageKind::Binary,
        };
        match self.connection.as_mut()?.write_fragment(kind, data, end, &mut progress.out) {
            // Data after the end is dropped.
            Ok(()) | Err(hcrs_ws::SendError::Closed) => {}
            Err(_) => return None,
        }
        self.has_sent = true;
        self.queue(progress.out.len(), piece_cost(data.len()));
        Some(progress)
    }

    /// Closes the WebSocket for the app, which gets no further messages; messages that wait for it no longer
    /// delay the client's Close frame.
    pub(crate) fn close_by_app(&mut self, code: u16, reason: &str, now: Instant) -> Progress {
        self.app_left = true;
        self.close(code, reason, now)
    }

    /// Closes the WebSocket for the app or the server.
    pub(crate) fn close(&mut self, code: u16, reason: &str, now: Instant) -> Progress {
        let mut progress = Progress::default();
        if let Some(connection) = &mut self.connection {
            if connection.write_close(code, reason, &mut progress.out)
                == Err(hcrs_ws::SendError::InvalidCloseCode(code))
            {
                let code = close_code::INTERNAL_ERROR;
                let _closed = connection.write_close(code, "", &mut progress.out);
            }
            self.closing_since.get_or_insert(now);
        }
        self.finish_step(progress)
    }

    /// Notifies the app that the client is gone without a Close frame.
    pub(crate) fn disconnect(&mut self) {
        self.to_app.push_back(ToApp::Close(close_code::ABNORMAL, String::new()));
    }

    /// Checks the deadlines: pings, missing pongs, a stalled message, an unanswered Close frame. Returns when
    /// to check again, if that is before the connection's next check.
    pub(crate) fn tick(&mut self, now: Instant) -> (Progress, Option<Instant>) {
        let mut progress = Progress::default();
        let is_reading = self.to_app.is_empty() && !self.yielded;
        self.shed_context(now);
        if self.has_stalled(now, is_reading)
            && let Some(connection) = &mut self.connection
        {
            let failure = connection.give_up_message();
            self.note_failure(failure, now);
            self.reply(&mut progress);
            return (self.finish_step(progress), None);
        }
        let Some(connection) = &mut self.connection else { return (progress, None) };
        if let Some(since) = self.failing_since
            && connection.has_failed()
        {
            let until = since + self.terms.close_timeout;
            return if now < until { (progress, Some(until)) } else { (self.app_took_end(), None) };
        }
        if connection.awaits_close() {
            let since = *self.closing_since.get_or_insert(now);
            let until = since + self.terms.close_timeout;
            progress.is_closed = now >= until;
            return (progress, Some(until));
        }
        let Ok(next) = connection.tick(now, is_reading, &mut progress.out) else {
            self.disconnect();
            progress.is_closed = true;
            return (progress, None);
        };
        (self.finish_step(progress), next)
    }

    /// Whether a message that is being read has stalled for the message timeout.
    fn has_stalled(&mut self, now: Instant, is_reading: bool) -> bool {
        let come = self.connection.as_ref().and_then(hcrs_ws::Connection::unfinished);
        self.unfinished = match (come, self.unfinished) {
            (Some(come), Some((before, since))) if come == before && is_reading => Some((come, since)),
            (come, _) => come.map(|come| (come, now)),
        };
        self.unfinished
            .is_some_and(|(_, since)| now.saturating_duration_since(since) >= self.terms.message_timeout)
    }

    /// Releases the compression context for messages to the client once none was sent for a while.
    fn shed_context(&mut self, now: Instant) {
        if std::mem::take(&mut self.has_sent) {
            self.quiet_since = Some(now);
        }
        if self.quiet_since.take_if(|since| now.saturating_duration_since(*since) >= CONTEXT_KEPT).is_some()
            && let Some(connection) = &mut self.connection
        {
            connection.shed_context();
        }
    }

    /// Notes that the client took bytes. Returns the share of the worker's window among them.
    pub(crate) fn client_took(&mut self, mut len: usize) -> (usize, Progress) {
        self.backlog -= len.min(self.backlog);
        let mut payload = 0;
        while let Some(first) = self.unsent.front_mut() {
            if first.len > len {
                first.len -= len;
                break;
            }
            len -= first.len;
            payload += first.carried;
            self.unsent.pop_front();
        }
        let mut progress = Progress::default();
        self.reply(&mut progress);
        (payload, self.finish_step(progress))
    }

    fn finish_step(&mut self, mut progress: Progress) -> Progress {
        if !progress.out.is_empty() {
            self.queue(progress.out.len(), 0);
        }
        progress.is_closed |= self.connection.as_ref().is_some_and(hcrs_ws::Connection::is_closed);
        progress
    }

    fn queue(&mut self, len: usize, carried: usize) {
        self.unsent.push_back(OnWire { len, carried });
        self.backlog += len;
    }
}

/// Whether the handshake itself sets the field.
fn is_of_handshake(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"sec-websocket-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
        || name.eq_ignore_ascii_case(b"upgrade")
        || name.eq_ignore_ascii_case(b"connection")
}

#[cfg(test)]
mod tests;

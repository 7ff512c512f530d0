//! One request and its response as a worker sees them: what has arrived and was not taken, what was sent and has not
//! left. Frames in, frames out; no Python.

mod file;

use std::collections::VecDeque;

use crate::credit::{
    FILE_COST, Owed, REQUEST_WINDOW, RESPONSE_WINDOW, WINDOW_LEFT_BY_HINTS, Window, piece_cost,
};
use crate::frame::{DATA_MAX, LinkError};
use crate::from_worker::{FromWorker, HINT_LEN_MAX, INTERIM_MAX};
use crate::outbox::{FileOut, HeadMark, Outbox};
use crate::{MessageKind, Request, StreamId};

/// Body bytes that one `http.request` message or one read holds at most.
pub const MESSAGE_MAX: usize = 64 << 10;

/// How far the app has come with its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was sent.
    Request,
    /// The head was sent.
    Response,
    /// The last body message was sent, and trailers were announced.
    Trailers,
    /// The response is complete.
    Closed,
}

impl Phase {
    /// The word for it in error messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "REQUEST",
            Self::Response => "RESPONSE",
            Self::Trailers => "TRAILERS",
            Self::Closed => "CLOSED",
        }
    }
}

/// What the app receives next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A piece of the request's body.
    Body {
        /// The bytes.
        piece: Vec<u8>,
        /// Whether more follows.
        more: bool,
    },
    /// The client is gone, or the response complete.
    Disconnect,
    /// Nothing yet.
    Wait,
}

/// Why a response's body does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stalled {
    /// It does move, or there is nothing to move.
    No,
    /// The stream's window is used up: the edge returns credit.
    Window,
    /// The link's outbox is full.
    Outbox,
}

/// What waits for the window or the outbox.
#[derive(Debug)]
enum Unsent<B> {
    /// A piece of a response's body.
    Body(B),
    /// A WebSocket's message.
    Message(MessageKind, B),
    /// The end of a WebSocket, with code and reason.
    Close(u16, String),
    /// The app's task has ended.
    Done,
}

/// A stream; `B` is a piece of a response's body, or a message.
#[derive(Debug)]
pub struct Stream<B> {
    id: StreamId,
    arrived: Vec<u8>,
    owed: Owed,
    /// The whole request body has arrived.
    received: bool,
    /// The app has taken the last piece.
    taken: bool,
    /// The client holds the body back until the app asks for it.
    awaits_demand: bool,
    gone: bool,
    /// The client has closed its side; it may still read the response.
    half_closed: bool,
    /// The app was told that nothing more will come.
    told_disconnect: bool,
    phase: Phase,
    head: Option<HeadMark>,
    /// The request's method is HEAD.
    head_only: bool,
    /// Body bytes that the announced content-length still wants.
    length_left: Option<u64>,
    /// A part of a file that waits for the window, after all of `unsent`.
    file: Option<FileOut>,
    /// The edge takes descriptors of files for this response, as long as nothing else is a part of its body; otherwise
    /// their bytes are read here.
    passes_files: bool,
    /// The response has no body on the wire.
    bodiless: bool,
    /// Trailers follow the body.
    has_trailers: bool,
    /// They wait for the body to leave.
    trailers: Option<Vec<u8>>,
    /// Interim heads that were sent.
    interims: u8,
    /// Requests that may still be promised to the client; `None` where the protocol knows no pushes.
    pushes: Option<u8>,
    window: Window,
    unsent: VecDeque<Unsent<B>>,
    /// Bytes of the first unsent piece that have left.
    sent: usize,
    /// The stream's last frame was pushed.
    ended: bool,
}

impl<B: AsRef<[u8]>> Stream<B> {
    /// The stream of a request that has just come.
    pub fn new(request: &Request<'_>) -> Self {
        Self {
            id: request.stream,
            arrived: Vec::new(),
            owed: Owed::new(REQUEST_WINDOW),
            received: !request.has_body,
            taken: false,
            awaits_demand: request.expects_continue,
            gone: false,
            half_closed: false,
            told_disconnect: false,
            phase: Phase::Request,
            head: None,
            head_only: false,
            length_left: None,
            file: None,
            passes_files: request.takes_files,
            bodiless: false,
            has_trailers: false,
            trailers: None,
            interims: 0,
            pushes: None,
            window: Window::new(RESPONSE_WINDOW),
            unsent: VecDeque::new(),
            sent: 0,
            ended: false,
        }
    }

    /// Its number on the link.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Returns credit for pieces of messages, of this cost in all, that the app took or that wait for the rest of their
    /// message.
    pub fn took_messages(&mut self, cost: usize, out: &mut Outbox) {
        if let Some(amount) = self.owed.take(cost) {
            out.push(&FromWorker::Credit { stream: self.id, amount });
        }
    }

    /// Tells the edge that the app has heard of the WebSocket's end, on which a client that broke the protocol is told.
    /// The app has answered by then what it wanted to.
    pub fn heard_end(&mut self, out: &mut Outbox) {
        if !self.gone && !self.ended && self.phase == Phase::Response {
            out.push(&FromWorker::HeardClose { stream: self.id });
        }
    }

    /// How far the response is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the client is gone.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether nothing that the app has sent waits any more.
    pub fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && self.file.is_none()
    }

    /// Whether a part of a file waits: nothing may be sent after it meanwhile.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Takes body bytes from the edge.
    pub fn arrive(&mut self, data: &[u8], end: bool) -> Result<(), LinkError> {
        if self.received || self.arrived.len() + data.len() > REQUEST_WINDOW as usize {
            return Err(LinkError::Unexpected("Data"));
        }
        self.arrived.extend_from_slice(data);
        self.received = end;
        Ok(())
    }

    /// The client is gone. That the app's task has ended is still said.
    pub fn reset(&mut self, out: &mut Outbox) {
        self.gone = true;
        self.arrived = Vec::new();
        self.file = None;
        self.trailers = None;
        self.sent = 0;
        if self.unsent.drain(..).any(|unsent| matches!(unsent, Unsent::Done)) {
            out.push(&FromWorker::Done { stream: self.id });
        }
    }

    /// The client has closed its side after the whole request: the app hears of it once it has taken the body.
    pub fn half_close(&mut self) {
        self.half_closed = true;
    }

    /// Whether [`Stream::next`] has given [`Next::Disconnect`].
    pub fn has_told_disconnect(&self) -> bool {
        self.told_disconnect
    }

    /// Takes what the app receives next, at most `max` bytes of it; credit and the first demand go to `out`.
    pub fn next(&mut self, max: usize, out: &mut Outbox) -> Next {
        if self.gone || self.phase == Phase::Closed || (self.taken && self.half_closed) {
            self.told_disconnect = true;
            return Next::Disconnect;
        }
        if self.taken {
            return Next::Wait;
        }
        if self.arrived.is_empty() && !self.received {
            self.ask(out);
            return Next::Wait;
        }
        self.awaits_demand = false;
        let rest = if self.arrived.len() > max { self.arrived.split_off(max) } else { Vec::new() };
        let piece = std::mem::replace(&mut self.arrived, rest);
        self.taken = self.received && self.arrived.is_empty();
        if !self.received
            && let Some(amount) = self.owed.take(piece.len())
        {
            out.push(&FromWorker::Credit { stream: self.id, amount });
        }
        Next::Body { piece, more: !self.taken }
    }

    /// Demands a body that the client holds back, once; the edge then sends 100 (Continue).
    pub fn ask(&mut self, out: &mut Outbox) {
        if std::mem::take(&mut self.awaits_demand) {
            out.push(&FromWorker::AwaitsBody { stream: self.id });
        }
    }

    /// Whether the body, or so many bytes of it, wait for the app, or nothing more will come.
    pub fn has_uploaded(&self, enough: usize) -> bool {
        self.gone || self.received || self.arrived.len() >= enough
    }

    /// Whether [`Stream::next`] gives something.
    pub fn has_next(&self) -> bool {
        self.gone
            || self.phase == Phase::Closed
            || (self.half_closed && self.taken)
            || (!self.taken && (self.received || !self.arrived.is_empty()))
    }

    /// Whether [`Stream::pump`] is not held up by the window.
    pub fn can_send(&self) -> bool {
        let is_file = self.unsent.is_empty() && self.file.is_some() && self.passes_files;
        let wanted = if is_file { FILE_COST } else { piece_cost(1) };
        self.gone || self.window.left() >= wanted
    }

    /// Notes that the request's method is HEAD.
    pub fn set_head_only(&mut self) {
        self.head_only = true;
    }

    /// Whether the request's method is HEAD.
    pub fn is_head_only(&self) -> bool {
        self.head_only
    }

    /// Notes the response's head, and the length of the body that it announces.
    pub fn start(&mut self, head: HeadMark, length: Option<u64>) {
        self.phase = Phase::Response;
        self.head = Some(head);
        self.length_left = length;
    }

    /// Notes that trailers follow the body.
    pub fn announce_trailers(&mut self) {
        self.has_trailers = true;
    }

    /// Sends an interim head. What is too much is left out: it is only a hint.
    pub fn interim(&mut self, head: &[u8], out: &mut Outbox) {
        if self.interims < INTERIM_MAX && self.spend_on_hint(head) {
            self.interims += 1;
            out.push(&FromWorker::Interim { stream: self.id, head });
        }
    }

    fn spend_on_hint(&mut self, hint: &[u8]) -> bool {
        let cost = piece_cost(hint.len());
        let is_modest = hint.len() <= HINT_LEN_MAX && self.window.left() >= WINDOW_LEFT_BY_HINTS + cost;
        !self.gone && is_modest && self.window.spend(cost)
    }

    /// Notes how many requests may be promised to the client, in a protocol that knows pushes.
    pub fn set_pushes(&mut self, pushes: u8) {
        self.pushes = Some(pushes);
    }

    /// Whether the protocol knows pushes.
    pub fn knows_pushes(&self) -> bool {
        self.pushes.is_some()
    }

    /// Has a request promised to the client. What it does not take, or is too much, is left out: it is only a hint.
    pub fn promise(&mut self, promise: &[u8], out: &mut Outbox) {
        if self.pushes.is_some_and(|left| left > 0) && self.spend_on_hint(promise) {
            self.pushes = self.pushes.map(|left| left - 1);
            out.push(&FromWorker::Push { stream: self.id, promise });
        }
    }

    /// Ends the response with trailers, which leave after the body.
    pub fn trailers(&mut self, block: Vec<u8>, out: &mut Outbox) {
        self.phase = Phase::Closed;
        if self.gone {
            return;
        }
        if self.is_flushed() {
            self.ended = true;
            out.push(&FromWorker::Trailers { stream: self.id, fields: &block });
        } else {
            self.trailers = Some(block);
        }
    }

    /// Counts a piece of the response's body, the last one if `end`, against the announced length. The error says
    /// how the body is wrong.
    pub fn count(&mut self, len: u64, end: bool) -> Result<(), &'static str> {
        let Some(left) = self.length_left else { return Ok(()) };
        let left = left.checked_sub(len).ok_or("longer")?;
        if end && left > 0 {
            return Err("shorter");
        }
        self.length_left = Some(left);
        Ok(())
    }

    /// Notes that the response has no body on the wire (HEAD, 204, 304).
    pub fn set_bodiless(&mut self) {
        self.bodiless = true;
    }

    /// Whether parts of files are of use.
    pub fn takes_files(&self) -> bool {
        !self.bodiless && !self.gone
    }

    /// Takes a part of a file as a piece of the response's body, after its head.
    pub fn file(&mut self, file: FileOut, end: bool, out: &mut Outbox) -> Stalled {
        if end {
            self.phase = if self.has_trailers { Phase::Trailers } else { Phase::Closed };
        }
        self.file = Some(file);
        self.pump_all(out)
    }

    /// Notes that a head was sent which goes nowhere.
    pub fn start_nowhere(&mut self) {
        self.phase = Phase::Response;
    }

    /// Takes a piece of the response's body, after its head.
    pub fn body(&mut self, piece: B, end: bool, out: &mut Outbox) -> Stalled {
        if end {
            self.phase = if self.has_trailers { Phase::Trailers } else { Phase::Closed };
        }
        if self.gone {
            return Stalled::No;
        }
        let end = end && !self.has_trailers;
        let len = piece.as_ref().len();
        if len == 0 && self.unsent.is_empty() {
            if end {
                self.end(out);
            }
            return Stalled::No;
        }
        let is_free = self.is_flushed() && len <= DATA_MAX && !out.is_full();
        if is_free && self.window.spend(piece_cost(len)) {
            out.push_body(end, self.id, piece.as_ref());
            self.ended = end;
            self.passes_files = false;
            return Stalled::No;
        }
        if len > 0 {
            self.unsent.push_back(Unsent::Body(piece));
        }
        self.pump_all(out)
    }

    /// Sends a WebSocket's message if nothing holds it up; false if [`Stream::message`] has to take it.
    #[must_use]
    pub fn message_at_once(&mut self, kind: MessageKind, message: &[u8], out: &mut Outbox) -> bool {
        if self.gone {
            return true;
        }
        let is_free = self.is_flushed() && message.len() <= DATA_MAX && !out.is_full();
        let has_left = is_free && self.window.spend(piece_cost(message.len()));
        if has_left {
            out.push(&FromWorker::Message { stream: self.id, kind, bytes: message, end: true });
        }
        has_left
    }

    /// Takes a WebSocket's message.
    pub fn message(&mut self, kind: MessageKind, message: B, out: &mut Outbox) -> Stalled {
        if self.gone {
            return Stalled::No;
        }
        self.unsent.push_back(Unsent::Message(kind, message));
        self.pump_all(out)
    }

    /// Takes the end of a WebSocket, after which no message follows.
    pub fn close(&mut self, code: u16, reason: &str, out: &mut Outbox) -> Stalled {
        self.phase = Phase::Closed;
        if self.gone {
            return Stalled::No;
        }
        self.unsent.push_back(Unsent::Close(code, reason.to_owned()));
        self.pump_all(out)
    }

    /// The app's task that had a WebSocket has ended: says so once everything has left.
    pub fn finish_websocket(&mut self, out: &mut Outbox) {
        if !std::mem::replace(&mut self.ended, true) {
            self.unsent.push_back(Unsent::Done);
            self.pump_all(out);
        }
    }

    fn pump_all(&mut self, out: &mut Outbox) -> Stalled {
        loop {
            match self.pump(out) {
                Stalled::No if !self.is_flushed() => {}
                stalled => return stalled,
            }
        }
    }

    /// Moves one frame of what waits to `out`.
    pub fn pump(&mut self, out: &mut Outbox) -> Stalled {
        let stream = self.id;
        let (bytes, message) = match self.unsent.front() {
            None => return self.pump_file(out),
            Some(Unsent::Close(code, reason)) => {
                out.push(&FromWorker::Close { stream, code: *code, reason: reason.as_bytes() });
                self.unsent.pop_front();
                return Stalled::No;
            }
            Some(Unsent::Done) => {
                out.push(&FromWorker::Done { stream });
                self.unsent.pop_front();
                return Stalled::No;
            }
            Some(Unsent::Body(bytes)) => (bytes.as_ref(), None),
            Some(Unsent::Message(kind, bytes)) => (bytes.as_ref(), Some(*kind)),
        };
        let rest = &bytes[self.sent..];
        let len = rest.len().min(DATA_MAX).min(self.window.room());
        if len == 0 && !(rest.is_empty() && self.window.takes_piece(0)) {
            return Stalled::Window;
        }
        if out.is_full() {
            return Stalled::Outbox;
        }
        let has_spent = self.window.spend(piece_cost(len));
        debug_assert!(has_spent, "invariant: a piece is cut to the window");
        let last_of_piece = len == rest.len();
        let is_last =
            last_of_piece && self.unsent.len() == 1 && self.phase == Phase::Closed && self.file.is_none();
        if let Some(kind) = message {
            out.push(&FromWorker::Message { stream, kind, bytes: &rest[..len], end: last_of_piece });
        } else {
            let end = is_last && !self.has_trailers;
            out.push_body(end, stream, &rest[..len]);
            self.ended |= end;
            self.passes_files = false;
        }
        if last_of_piece {
            self.unsent.pop_front();
            self.sent = 0;
        } else {
            self.sent += len;
        }
        if is_last && let Some(block) = self.trailers.take() {
            self.trailers(block, out);
        }
        Stalled::No
    }

    /// Adds credit that the edge has returned.
    pub fn credit(&mut self, credit: u32) {
        self.window.add(credit);
    }

    /// Whether nothing more may be sent, though the app has not said that it is the end: the announced length is met, or
    /// the response has no body.
    fn is_complete(&self) -> bool {
        let is_body_complete = self.bodiless || self.length_left == Some(0);
        self.phase == Phase::Response && is_body_complete && !self.has_trailers
    }

    /// The app's task has ended. True if it has failed, that is, left its response unfinished for a client that waits.
    pub fn finish(&mut self, out: &mut Outbox) -> bool {
        if self.ended || (self.phase == Phase::Closed && !self.gone) {
            return false;
        }
        if self.gone {
            self.ended = true;
            out.push(&FromWorker::Done { stream: self.id });
            return false;
        }
        if self.is_complete() {
            self.phase = Phase::Closed;
            if self.is_flushed() {
                self.end(out);
            }
            return false;
        }
        let has_failed = !self.told_disconnect;
        if let Some(head) = self.head.take() {
            out.take_back(head);
        }
        self.unsent.clear();
        self.file = None;
        self.phase = Phase::Closed;
        self.ended = true;
        let stream = self.id;
        out.push(&if has_failed { FromWorker::AppFailed { stream } } else { FromWorker::Done { stream } });
        has_failed
    }

    fn end(&mut self, out: &mut Outbox) {
        self.ended = true;
        if !self.head.is_some_and(|head| out.end_at_head(head)) {
            // It takes nothing of the window: a stream has one end.
            out.push(&FromWorker::Data { stream: self.id, bytes: &[], end: true });
        }
    }
}

#[cfg(test)]
mod tests;

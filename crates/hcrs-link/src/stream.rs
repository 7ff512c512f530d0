//! One request and its response as a worker sees them: bytes that have arrived and that the app has not
//! taken, and bytes that the app has sent and that have not left. Frames in, frames out; no Python.

mod file;
mod hints;
mod request_body;
mod websocket;

use std::collections::VecDeque;

use crate::credit::{FILE_COST, Owed, REQUEST_WINDOW, RESPONSE_WINDOW, Window, piece_cost};
use crate::frame::DATA_MAX;
use crate::from_worker::FromWorker;
use crate::outbox::{FileOut, HeadMark, Outbox};
use crate::{MessageKind, Request, StreamId};

/// Most body bytes in one `http.request` message or one read.
pub const MESSAGE_MAX: usize = 64 << 10;

/// The app's progress with its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The app has sent no head.
    Request,
    /// The app has sent the head.
    Response,
    /// The app has sent the last body message, and announced trailers.
    Trailers,
    /// The response is complete.
    Closed,
}

impl Phase {
    /// Returns the phase's name in error messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "REQUEST",
            Self::Response => "RESPONSE",
            Self::Trailers => "TRAILERS",
            Self::Closed => "CLOSED",
        }
    }
}

/// The next input of the app.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A piece of the request's body.
    Body {
        /// The bytes.
        piece: Vec<u8>,
        /// Whether more of the body follows.
        more: bool,
    },
    /// The client is gone, or the response is complete.
    Disconnect,
    /// No input has arrived yet.
    Wait,
}

/// The reason why a response's body does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stalled {
    /// The body moves, or no bytes wait.
    No,
    /// The stream's window is used up: the edge returns credit.
    Window,
    /// The link's outbox is full.
    Outbox,
}

/// An item that waits for the window or the outbox.
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

/// A stream of a link. `B` is a piece of a response's body, or a message.
#[derive(Debug)]
pub struct Stream<B> {
    id: StreamId,
    /// Bytes of the request's body that the app has not taken.
    arrived: Vec<u8>,
    owed: Owed,
    /// The whole request body has arrived.
    received: bool,
    /// The app has taken the last piece.
    taken: bool,
    /// The client holds the body back until the app asks for it.
    awaits_demand: bool,
    /// The client is gone.
    gone: bool,
    /// The client has closed its side; it may still read the response.
    half_closed: bool,
    /// The app has received a disconnect.
    has_disconnected: bool,
    phase: Phase,
    head: Option<HeadMark>,
    /// The request's method is HEAD.
    head_only: bool,
    /// Body bytes that are missing from the announced content-length.
    length_left: Option<u64>,
    /// A part of a file that waits for the window, after all of `unsent`.
    file: Option<FileOut>,
    /// The edge accepts descriptors of files for this response, as long as its body has no other bytes.
    /// Otherwise the files' bytes are read here.
    passes_files: bool,
    /// The response has no body on the wire.
    bodiless: bool,
    /// Trailers follow the body.
    has_trailers: bool,
    /// Trailers that wait for the body to leave.
    trailers: Option<Vec<u8>>,
    /// Number of interim heads that were sent.
    interims: u8,
    /// Number of requests that may still be promised to the client; `None` if the protocol has no pushes.
    pushes: Option<u8>,
    window: Window,
    unsent: VecDeque<Unsent<B>>,
    /// Number of bytes of the first unsent piece that have left.
    sent: usize,
    /// The stream's last frame was pushed.
    ended: bool,
}

impl<B: AsRef<[u8]>> Stream<B> {
    /// Creates the stream of a request.
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
            has_disconnected: false,
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

    /// Returns the stream's number on the link.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Returns the progress of the response.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the client is gone.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether all bytes that the app has sent have left.
    pub fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && self.file.is_none()
    }

    /// Whether a part of a file waits. No other bytes may be sent after it meanwhile.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Notes that the client is gone. The end of the app's task is still reported.
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

    /// Notes that the client has closed its side after the whole request. The app receives a disconnect once
    /// it has taken the body.
    pub fn half_close(&mut self) {
        self.half_closed = true;
    }

    /// Whether [`Stream::next`] has returned [`Next::Disconnect`].
    pub fn has_disconnected(&self) -> bool {
        self.has_disconnected
    }

    /// Whether the window allows [`Stream::pump`] to move a frame.
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

    /// Notes the response's head, and the body's length that it announces.
    pub fn start(&mut self, head: HeadMark, length: Option<u64>) {
        self.phase = Phase::Response;
        self.head = Some(head);
        self.length_left = length;
    }

    /// Notes that trailers follow the body.
    pub fn announce_trailers(&mut self) {
        self.has_trailers = true;
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

    /// Counts a piece of the response's body, the last one if `end`, against the announced length. The error
    /// describes how the body differs from it.
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

    /// Whether parts of files are sent: the response has a body and the client is there.
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

    /// Notes that the app has sent a head that is dropped.
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

    fn pump_all(&mut self, out: &mut Outbox) -> Stalled {
        loop {
            match self.pump(out) {
                Stalled::No if !self.is_flushed() => {}
                stalled => return stalled,
            }
        }
    }

    /// Moves one waiting frame to `out`.
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

    /// Whether the response is complete though the app has not ended it: the announced length is reached, or
    /// the response has no body.
    fn is_complete(&self) -> bool {
        let is_body_complete = self.bodiless || self.length_left == Some(0);
        self.phase == Phase::Response && is_body_complete && !self.has_trailers
    }

    /// Notes that the app's task has ended. Returns whether it has failed, that is, has left its response
    /// unfinished for a client that waits.
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
        let has_failed = !self.has_disconnected;
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
            // It costs nothing of the window, since a stream ends once.
            out.push(&FromWorker::Data { stream: self.id, bytes: &[], end: true });
        }
    }
}

#[cfg(test)]
mod tests;

//! One request and its response as the worker sees them: what has arrived and was not taken, what was
//! sent and has not left. Pure state: frames in, frames out, no Python.

use std::collections::VecDeque;

use hcrs_link::{
    DATA_MAX, END, FILE_COST, INTERIM_MAX, Kind, LinkError, Owed, REQUEST_WINDOW, RESPONSE_WINDOW, Window,
};

use crate::outbox::{FileOut, HeadMark, Outbox};

/// Body bytes that one `http.request` message or one read holds at most.
pub(crate) const MESSAGE_MAX: usize = 64 << 10;

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
    Message(Kind, B),
    /// A frame that ends what went before.
    Last(Kind, Vec<u8>),
}

impl<B: AsRef<[u8]>> Unsent<B> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Body(bytes) | Self::Message(_, bytes) => bytes.as_ref(),
            Self::Last(_, bytes) => bytes,
        }
    }
}

/// A stream; `B` is a piece of a response's body, or a message.
#[derive(Debug)]
pub struct Stream<B> {
    id: u32,
    arrived: Vec<u8>,
    owed: Owed,
    /// The whole request body has arrived.
    received: bool,
    /// The app has taken the last piece.
    taken: bool,
    /// The app has asked for a body of which nothing had arrived.
    asked: bool,
    gone: bool,
    /// The client has closed its side; it may still read the response.
    half_closed: bool,
    phase: Phase,
    head: Option<HeadMark>,
    /// The request's method is HEAD.
    head_only: bool,
    /// Body bytes that the announced content-length still wants.
    length_left: Option<u64>,
    /// A part of a file that waits for the window, after all of `unsent`.
    file: Option<FileOut>,
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
    /// A stream whose request has just come.
    pub fn new(id: u32, has_body: bool) -> Self {
        Self {
            id,
            arrived: Vec::new(),
            owed: Owed::new(REQUEST_WINDOW),
            received: !has_body,
            taken: false,
            asked: false,
            gone: false,
            half_closed: false,
            phase: Phase::Request,
            head: None,
            head_only: false,
            length_left: None,
            file: None,
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
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Gives the edge credit for bytes of messages that the app took, or that wait for the rest of theirs.
    pub fn took_messages(&mut self, len: usize, out: &mut Outbox) {
        if let Some(credit) = self.owed.take(len) {
            out.push(Kind::Credit, 0, self.id, &credit.to_le_bytes());
        }
    }

    /// Tells the edge that the app has heard of the WebSocket's end: credit for nothing, on which a client that broke
    /// the protocol is told. The app has answered by then what it wanted to.
    pub fn heard_end(&mut self, out: &mut Outbox) {
        if !self.gone && !self.ended && self.phase == Phase::Response {
            out.push(Kind::Credit, 0, self.id, &0u32.to_le_bytes());
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
            return Err(LinkError::Unexpected(Kind::Data));
        }
        self.arrived.extend_from_slice(data);
        self.received = end;
        Ok(())
    }

    /// The client is gone.
    pub fn reset(&mut self) {
        self.gone = true;
        self.arrived = Vec::new();
        self.unsent.clear();
        self.file = None;
        self.trailers = None;
    }

    /// The client has closed its side after the whole request: the app hears of it once it has taken the body.
    pub fn half_close(&mut self) {
        self.half_closed = true;
    }

    /// Takes what the app receives next, at most `max` bytes of it; credit and the first demand go to `out`.
    pub fn next(&mut self, max: usize, out: &mut Outbox) -> Next {
        if self.gone || self.phase == Phase::Closed {
            return Next::Disconnect;
        }
        if self.taken {
            return if self.half_closed { Next::Disconnect } else { Next::Wait };
        }
        if self.arrived.is_empty() && !self.received {
            self.ask(out);
            return Next::Wait;
        }
        self.asked = true;
        let rest = if self.arrived.len() > max { self.arrived.split_off(max) } else { Vec::new() };
        let piece = std::mem::replace(&mut self.arrived, rest);
        self.taken = self.received && self.arrived.is_empty();
        if !self.received
            && let Some(credit) = self.owed.take(piece.len())
        {
            out.push(Kind::Credit, 0, self.id, &credit.to_le_bytes());
        }
        Next::Body { piece, more: !self.taken }
    }

    /// Demands the body, once: credit for nothing, on which the edge sends 100 (Continue).
    pub(crate) fn ask(&mut self, out: &mut Outbox) {
        if !std::mem::replace(&mut self.asked, true) {
            out.push(Kind::Credit, 0, self.id, &0u32.to_le_bytes());
        }
    }

    /// Whether the body, or so many bytes of it, wait for the app, or nothing more will come.
    pub(crate) fn has_uploaded(&self, enough: usize) -> bool {
        self.gone || self.received || self.arrived.len() >= enough
    }

    /// Whether [`Stream::next`] gives something.
    pub(crate) fn has_next(&self) -> bool {
        self.gone
            || self.phase == Phase::Closed
            || (self.half_closed && self.taken)
            || (!self.taken && (self.received || !self.arrived.is_empty()))
    }

    /// Whether [`Stream::pump`] is not held up by the window.
    pub(crate) fn can_send(&self) -> bool {
        let wanted = if self.unsent.is_empty() && self.file.is_some() { FILE_COST } else { 1 };
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

    /// Sends an interim head. Those above [`INTERIM_MAX`] are left out: they are only hints.
    pub fn interim(&mut self, head: &[u8], out: &mut Outbox) {
        if !self.gone && self.interims < INTERIM_MAX {
            self.interims += 1;
            out.push(Kind::Interim, 0, self.id, head);
        }
    }

    /// Notes how many requests may be promised to the client, in a protocol that knows pushes.
    pub fn set_pushes(&mut self, pushes: u8) {
        self.pushes = Some(pushes);
    }

    /// Whether the protocol knows pushes.
    pub fn knows_pushes(&self) -> bool {
        self.pushes.is_some()
    }

    /// Has a request promised to the client. Those that it does not take, or that are too many, are left out: they are
    /// only hints.
    pub fn promise(&mut self, payload: &[u8], out: &mut Outbox) {
        if let Some(left) = &mut self.pushes
            && *left > 0
            && !self.gone
        {
            *left -= 1;
            out.push(Kind::Push, 0, self.id, payload);
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
            out.push(Kind::Trailers, END, self.id, &block);
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
        if self.unsent.is_empty() && len <= DATA_MAX && len <= self.window.left() && !out.is_full() {
            self.window.spend(len);
            out.push_body(end, self.id, piece.as_ref());
            self.ended = end;
            return Stalled::No;
        }
        if len > 0 {
            self.unsent.push_back(Unsent::Body(piece));
        }
        self.pump_all(out)
    }

    /// Sends a WebSocket's message if nothing holds it up; false if [`Stream::message`] has to take it.
    #[must_use]
    pub fn message_at_once(&mut self, kind: Kind, message: &[u8], out: &mut Outbox) -> bool {
        if self.gone {
            return true;
        }
        let len = message.len();
        let is_free = self.is_flushed() && len <= DATA_MAX && len <= self.window.left() && !out.is_full();
        if is_free {
            self.window.spend(len);
            out.push(kind, END, self.id, message);
        }
        is_free
    }

    /// Takes a WebSocket's message.
    pub fn message(&mut self, kind: Kind, message: B, out: &mut Outbox) -> Stalled {
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
        self.unsent.push_back(Unsent::Last(Kind::Close, [&code.to_le_bytes(), reason.as_bytes()].concat()));
        self.pump_all(out)
    }

    /// The app's task that had a WebSocket has ended: says so once everything has left.
    pub fn finish_websocket(&mut self, out: &mut Outbox) {
        if !std::mem::replace(&mut self.ended, true) {
            self.unsent.push_back(Unsent::Last(Kind::Done, Vec::new()));
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
        let Some(piece) = self.unsent.front() else { return self.pump_file(out) };
        if let Unsent::Last(kind, payload) = piece {
            out.push(*kind, 0, self.id, payload);
            self.unsent.pop_front();
            return Stalled::No;
        }
        let rest = &piece.bytes()[self.sent..];
        let len = rest.len().min(DATA_MAX).min(self.window.left());
        if len == 0 && !rest.is_empty() {
            return Stalled::Window;
        }
        if out.is_full() {
            return Stalled::Outbox;
        }
        let last_of_piece = len == rest.len();
        let is_last =
            last_of_piece && self.unsent.len() == 1 && self.phase == Phase::Closed && self.file.is_none();
        if let Unsent::Message(kind, _) = piece {
            out.push(*kind, if last_of_piece { END } else { 0 }, self.id, &rest[..len]);
        } else {
            let end = is_last && !self.has_trailers;
            out.push_body(end, self.id, &rest[..len]);
            self.ended |= end;
        }
        self.window.spend(len);
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

    fn pump_file(&mut self, out: &mut Outbox) -> Stalled {
        let Some(file) = self.file.take() else { return Stalled::No };
        if self.window.left() < FILE_COST || out.is_full() {
            self.file = Some(file);
            return if out.is_full() { Stalled::Outbox } else { Stalled::Window };
        }
        self.window.spend(FILE_COST);
        self.ended = self.phase == Phase::Closed && !self.has_trailers;
        out.push_file(self.ended, self.id, file);
        if let Some(block) = self.trailers.take() {
            self.trailers(block, out);
        }
        Stalled::No
    }

    /// Adds credit that the edge has returned.
    pub fn credit(&mut self, credit: u32) {
        self.window.add(credit);
    }

    /// The app's task has ended. True if it has failed, that is, left its response unfinished.
    pub fn finish(&mut self, out: &mut Outbox) -> bool {
        if self.ended || (self.phase == Phase::Closed && !self.gone) {
            return false;
        }
        if self.gone {
            self.ended = true;
            out.push(Kind::Done, 0, self.id, b"");
            return false;
        }
        if let Some(head) = self.head.take() {
            out.take_back(head);
        }
        self.unsent.clear();
        self.file = None;
        self.phase = Phase::Closed;
        self.ended = true;
        out.push(Kind::Reset, 0, self.id, b"");
        true
    }

    fn end(&mut self, out: &mut Outbox) {
        self.ended = true;
        if !self.head.is_some_and(|head| out.end_at_head(head)) {
            out.push(Kind::Data, END, self.id, b"");
        }
    }
}

#[cfg(test)]
mod tests;

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
mod tests {
    use hcrs_link::{FrameHeader, HEADER_LEN};
    use proptest::prelude::*;

    use super::*;

    type Frame = (Kind, u8, Vec<u8>);

    /// The frames of an outbox, which is emptied through a socket pair.
    fn drain(out: &mut Outbox) -> Vec<Frame> {
        use std::io::Read;
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let mut bytes = Vec::new();
        while out.write_to(&near).is_err() {
            let _would_block = far.read_to_end(&mut bytes);
        }
        drop(near);
        far.read_to_end(&mut bytes).unwrap();
        let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((header, payload)) = FrameHeader::split(rest).unwrap() {
            frames.push((header.kind, header.flags, payload.to_vec()));
            rest = &rest[HEADER_LEN + payload.len()..];
        }
        frames
    }

    fn started(out: &mut Outbox) -> Stream<Vec<u8>> {
        let mut stream = Stream::new(7, false);
        stream.start(out.push_head::<()>(7, 200, |_, _| Ok(())).unwrap(), None);
        stream
    }

    #[test]
    fn a_request_without_body_gives_one_message_and_then_waits() {
        let mut out = Outbox::default();
        let mut stream = Stream::<Vec<u8>>::new(7, false);
        assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Body { piece: vec![], more: false });
        assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Wait);
        assert!(out.is_empty());
        stream.reset();
        assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Disconnect);
    }

    #[test]
    fn a_body_has_the_length_that_was_announced() {
        let mut out = Outbox::default();
        let mut stream = Stream::<Vec<u8>>::new(7, false);
        stream.start(out.push_head::<()>(7, 200, |_, _| Ok(())).unwrap(), Some(5));
        assert_eq!(stream.count(2, false), Ok(()));
        assert_eq!(stream.count(4, false), Err("longer"));
        assert_eq!(stream.count(2, true), Err("shorter"));
        assert_eq!(stream.count(3, true), Ok(()));
    }

    #[test]
    fn trailers_leave_after_the_body_and_end_the_stream() {
        for waits in [false, true] {
            let mut out = Outbox::default();
            let mut stream = started(&mut out);
            stream.announce_trailers();
            let body = vec![b'x'; if waits { RESPONSE_WINDOW as usize + 1 } else { 1 }];
            assert_eq!(stream.body(body, true, &mut out), if waits { Stalled::Window } else { Stalled::No });
            assert_eq!(stream.phase(), Phase::Trailers);
            stream.trailers(b"block".to_vec(), &mut out);
            assert_eq!(stream.phase(), Phase::Closed);
            if waits {
                assert!(
                    drain(&mut out).iter().all(|(kind, flags, _)| (*kind, *flags) != (Kind::Trailers, END))
                );
                stream.credit(1);
                assert_eq!(stream.pump(&mut out), Stalled::No);
            }
            let frames = drain(&mut out);
            assert_eq!(frames.last().unwrap(), &(Kind::Trailers, END, b"block".to_vec()));
            assert_eq!(frames.iter().filter(|(_, flags, _)| flags & END != 0).count(), 1);
            assert!(!stream.finish(&mut out), "the response is complete");
        }
    }

    fn file(len: u64) -> FileOut {
        let descriptor = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        FileOut { descriptor, offset: 0, len }
    }

    #[test]
    fn a_file_leaves_in_its_turn_when_the_window_has_room_for_its_share() {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        let body = vec![b'x'; RESPONSE_WINDOW as usize - FILE_COST + 1];
        assert_eq!(stream.body(body, false, &mut out), Stalled::No);
        assert_eq!(stream.file(file(5), true, &mut out), Stalled::Window);
        assert!(stream.has_file() && !stream.is_flushed());
        assert!(drain(&mut out).iter().all(|(kind, _, _)| *kind != Kind::File));
        stream.credit(1);
        assert_eq!(stream.pump(&mut out), Stalled::No);
        let frames = drain(&mut out);
        assert_eq!((frames.len(), frames[0].0, frames[0].1), (1, Kind::File, END));
        assert!(stream.is_flushed() && !stream.finish(&mut out));
    }

    #[test]
    fn a_response_without_its_announced_trailers_is_unfinished() {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        stream.announce_trailers();
        assert_eq!(stream.body(b"x".to_vec(), true, &mut out), Stalled::No);
        assert!(stream.finish(&mut out));
        assert_eq!(drain(&mut out).last().unwrap().0, Kind::Reset);
    }

    #[test]
    fn hints_above_the_limit_are_left_out() {
        let mut out = Outbox::default();
        let mut stream = Stream::<Vec<u8>>::new(7, false);
        for _ in 0..=INTERIM_MAX {
            stream.interim(b"head", &mut out);
        }
        assert_eq!(drain(&mut out), vec![(Kind::Interim, 0, b"head".to_vec()); usize::from(INTERIM_MAX)]);
    }

    #[test]
    fn a_client_that_closed_its_side_still_gets_the_response() {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        stream.half_close();
        assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Body { piece: vec![], more: false });
        assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Disconnect);
        assert_eq!(stream.body(b"still".to_vec(), true, &mut out), Stalled::No);
        assert_eq!(drain(&mut out).last().unwrap(), &(Kind::Data, END, b"still".to_vec()));
    }

    #[test]
    fn the_first_demand_for_a_body_is_told_once() {
        let mut out = Outbox::default();
        let mut stream = Stream::<Vec<u8>>::new(7, true);
        assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Wait);
        assert_eq!(stream.next(MESSAGE_MAX, &mut out), Next::Wait);
        assert_eq!(drain(&mut out), [(Kind::Credit, 0, vec![0; 4])]);
    }

    #[test]
    fn pieces_are_merged_cut_and_credited() {
        let mut out = Outbox::default();
        let mut stream = Stream::<Vec<u8>>::new(7, true);
        stream.arrive(&vec![1; 30_000], false).unwrap();
        stream.arrive(&vec![2; 30_000], false).unwrap();
        let Next::Body { piece, more: true } = stream.next(40_000, &mut out) else {
            panic!("a piece is due")
        };
        assert_eq!(piece.len(), 40_000);
        assert_eq!(drain(&mut out), [(Kind::Credit, 0, 40_000u32.to_le_bytes().to_vec())]);
        stream.arrive(&[], true).unwrap();
        let Next::Body { piece, more: false } = stream.next(40_000, &mut out) else {
            panic!("the rest is due")
        };
        assert_eq!(piece.len(), 20_000);
    }

    #[test]
    fn more_than_the_window_or_after_the_end_breaks_the_link() {
        let mut stream = Stream::<Vec<u8>>::new(7, true);
        assert!(stream.arrive(&vec![0; REQUEST_WINDOW as usize + 1], false).is_err());
        stream.arrive(b"x", true).unwrap();
        assert!(stream.arrive(b"y", false).is_err());
    }

    #[test]
    fn an_empty_last_message_ends_at_the_head() {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        assert_eq!(stream.body(vec![], true, &mut out), Stalled::No);
        let frames = drain(&mut out);
        assert_eq!(frames.len(), 1);
        assert_eq!((frames[0].0, frames[0].1), (Kind::Response, END));
        assert!(!stream.finish(&mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn a_failed_app_takes_its_head_back() {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        assert!(stream.finish(&mut out));
        assert_eq!(drain(&mut out), [(Kind::Reset, 0, vec![])]);
    }

    #[test]
    fn after_a_reset_the_end_of_the_task_is_told_once() {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        let _frames = drain(&mut out);
        stream.reset();
        assert_eq!(stream.body(vec![1], true, &mut out), Stalled::No);
        assert!(!stream.finish(&mut out));
        assert!(!stream.finish(&mut out));
        assert_eq!(drain(&mut out), [(Kind::Done, 0, vec![])]);
    }

    proptest! {
        #[test]
        fn a_body_leaves_whole_within_its_window_and_ends_once(
            pieces in proptest::collection::vec(0usize..200_000, 1..6),
            credits in proptest::collection::vec(1u32..90_000, 1..4),
        ) {
            let mut out = Outbox::default();
            let mut stream = started(&mut out);
            let (mut sent, mut ends, mut allowed) = (0usize, 0, RESPONSE_WINDOW as usize);
            let mut credits = credits.iter().cycle();
            let total: usize = pieces.iter().sum();
            let last = pieces.len() - 1;
            for (at, len) in pieces.into_iter().enumerate() {
                let mut stalled = stream.body(vec![at as u8; len], at == last, &mut out);
                loop {
                    for (kind, flags, payload) in drain(&mut out) {
                        prop_assert!(payload.len() <= DATA_MAX || kind != Kind::Data);
                        sent += if kind == Kind::Data { payload.len() } else { 0 };
                        ends += usize::from(flags & END);
                    }
                    prop_assert!(sent <= allowed);
                    if stream.is_flushed() {
                        break;
                    }
                    if stalled == Stalled::Window {
                        let credit = *credits.next().unwrap();
                        allowed += credit as usize;
                        stream.credit(credit);
                    }
                    stalled = stream.pump(&mut out);
                }
            }
            prop_assert_eq!((sent, ends), (total, 1));
            prop_assert!(!stream.finish(&mut out));
        }
    }

    #[test]
    fn messages_end_with_their_last_piece_and_the_close_comes_behind_them() {
        let mut out = Outbox::default();
        let mut stream = started(&mut out);
        drain(&mut out);
        let long = vec![7; RESPONSE_WINDOW as usize + 10];
        assert!(stream.message_at_once(Kind::Text, &[], &mut out));
        assert!(!stream.message_at_once(Kind::Binary, &long, &mut out), "the window does not take it");
        assert_eq!(stream.message(Kind::Binary, long, &mut out), Stalled::Window);
        assert_eq!(stream.close(4000, "bye", &mut out), Stalled::Window);
        stream.finish_websocket(&mut out);
        let first = drain(&mut out);
        assert_eq!(first[0], (Kind::Text, END, vec![]));
        assert!(first[1..].iter().all(|(kind, flags, _)| (*kind, *flags) == (Kind::Binary, 0)));
        stream.credit(100);
        while stream.pump(&mut out) == Stalled::No && !stream.is_flushed() {}
        let rest = drain(&mut out);
        assert_eq!(rest[0], (Kind::Binary, END, vec![7; 10]));
        assert_eq!(rest[1], (Kind::Close, 0, [&4000u16.to_le_bytes()[..], b"bye"].concat()));
        assert_eq!(rest[2], (Kind::Done, 0, vec![]));
        assert_eq!(rest.len(), 3);
    }
}

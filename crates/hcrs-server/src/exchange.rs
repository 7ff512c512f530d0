//! One request and its response on their way through the edge.
//!
//! The connection pushes the request's body in and takes the response out; the link does the reverse. Both
//! ends are bounded: the client's window opens only by the bytes that the app took, the worker's only by those
//! that the client took.
//!
//! ```text
//! queued ──► sent ──► begun ──► over
//!    ▲        │ withdrawn: its worker died or stalled before it began the request
//!    └────────┘
//! ```
//!
//! A request arrives once: however often it is sent, its place in the order and its deadline are those of its
//! arrival.

mod active;
pub(crate) mod backlog;
mod client_side;
pub(crate) mod compression;
pub(crate) mod fault_response;
mod file;
pub(crate) mod file_body;
pub(crate) mod file_permits;
mod internal_files;
pub(crate) mod mailbox;
mod messages;
mod origin;
mod origin_side;
pub(crate) mod piece;
pub(crate) mod response_room;
mod rules;
#[cfg(test)]
pub(crate) mod seam;
pub(crate) mod send_file;
pub(crate) mod tls_info;
mod tunnel;
pub(crate) mod websocket;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};
use hcrs_link::{DATA_MAX, Owed, REQUEST_WINDOW, RESPONSE_WINDOW, RESPONSE_WINDOW_GROWTH, StreamId, Window};
use hcrs_metrics::{Stall, WorkerName};
use hcrs_otlp::SpanId;

use crate::exchange::backlog::Share;
use crate::exchange::compression::{Coder, Compression};
use crate::exchange::file_body::FileBody;
use crate::exchange::file_permits::FilePermit;
use crate::exchange::mailbox::Mailbox;
use crate::exchange::response_room::{ResponseRoom, TakenRoom};
use crate::exchange::tls_info::NumberedTlsInfo;
use crate::exchange::tunnel::Tunnel;
use crate::exchange::websocket::WebSocket;
use crate::settings::Rules;

pub(crate) use active::Activity;
pub(crate) use file::SentOfFile;
use internal_files::Replacement;
pub(crate) use internal_files::{InternalFiles, Replaced};
pub(crate) use origin::Origin;

/// An exchange, shared by its connection and, while a worker has it, by a link.
#[derive(Debug)]
pub(crate) struct Exchange {
    key: usize,
    mailbox: Rc<Mailbox>,
    announced: Cell<bool>,
    /// Counts the exchange among its connection's requests, for as long as a worker may run it.
    running: RefCell<Option<Rc<()>>>,
    /// The properties of its connection's TLS.
    tls: Option<Rc<NumberedTlsInfo>>,
    /// When the request arrived.
    arrived: Instant,
    /// The client's span, in whose place the head names one of this server.
    parent_span: Option<SpanId>,
    /// The permit of its response to hold files open.
    file_permit: RefCell<Option<FilePermit>>,
    /// The terms on which its response may be compressed; `None` if it never is.
    compression: Option<Compression>,
    /// The files that the app may name in its response.
    internal_files: Option<Rc<dyn InternalFiles>>,
    /// Its place in the thread's list of requests in flight.
    listed_at: Cell<Option<usize>>,
    /// The rules that change its response or its deadlines, if there are any.
    rules: RefCell<Option<Arc<Rules>>>,
    /// When the response has to be complete.
    deadline: Cell<Option<Instant>>,
    state: RefCell<State>,
}

/// A response that its origin has as a whole.
#[derive(Debug)]
pub(crate) struct WholeResponse {
    /// The head, which announces the body's length.
    pub head: ResponseHead,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
}

/// A response that its origin has as a whole, but for the contents of files.
#[derive(Debug)]
pub(crate) struct PiecedResponse {
    /// The head, which announces the body's length.
    pub head: ResponseHead,
    /// The pieces of the body, none of them empty.
    pub body: Vec<BodyPiece>,
}

impl From<WholeResponse> for PiecedResponse {
    fn from(WholeResponse { head, body }: WholeResponse) -> Self {
        let body = if body.is_empty() { Vec::new() } else { vec![BodyPiece::bytes(body)] };
        Self { head, body }
    }
}

/// A piece of a body that the edge sends itself.
#[derive(Debug)]
pub(crate) struct BodyPiece(Piece);

impl BodyPiece {
    /// Returns a piece of these bytes.
    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Piece::Bytes(bytes.into()))
    }

    /// Returns a piece with the contents of a file.
    pub(crate) fn file(file: FileBody) -> Self {
        Self(Piece::File(Box::new(file)))
    }
}

/// The parts that an exchange is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The key under which its connection knows it.
    pub key: usize,
    /// The mailbox that it announces output in.
    pub mailbox: Rc<Mailbox>,
    /// The request's head.
    pub head: RequestHead,
    /// When the request arrived.
    pub arrived: Instant,
    /// The properties of its connection's TLS, which the head names by their number.
    pub tls: Option<Rc<NumberedTlsInfo>>,
    /// Counts the exchange among its connection's requests, until no worker has it any more.
    pub running: Option<Rc<()>>,
    /// Permits its response to hold files open, as long as nothing else is a part of it.
    pub file_permit: Option<FilePermit>,
    /// The files that the app may name in its response.
    pub internal_files: Option<Rc<dyn InternalFiles>>,
    /// The WebSocket that the request asks for.
    pub websocket: Option<WebSocket>,
    /// Whether the request asks for a WebSocket whose bytes are passed on as they are.
    pub is_tunnel: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The most bytes of the request's body; `None` for no limit.
    pub max_body_size: Option<u64>,
    /// Whether the origin has a place for trailers of the request.
    pub takes_trailers: bool,
    /// The client's span, in whose place the head names one of this server.
    pub parent_span: Option<SpanId>,
    /// The terms on which its response may be compressed; `None` if it never is.
    pub compression: Option<Compression>,
    /// The rules that change its response or its deadlines, if there are any.
    pub rules: Option<Arc<Rules>>,
    /// Room for a response that is taken ahead of its client, if the rules have any.
    pub response_room: Option<Rc<ResponseRoom>>,
}

impl Parts {
    /// Returns the parts of a plain request over cleartext that its connection knows as `key`.
    pub(crate) fn new(key: usize, mailbox: Rc<Mailbox>, head: RequestHead, arrived: Instant) -> Self {
        Self {
            key,
            mailbox,
            head,
            arrived,
            tls: None,
            running: None,
            file_permit: None,
            internal_files: None,
            websocket: None,
            is_tunnel: false,
            expects_continue: false,
            max_body_size: None,
            takes_trailers: false,
            parent_span: None,
            compression: None,
            rules: None,
            response_room: None,
        }
    }
}

#[derive(Debug)]
struct State {
    place: Place,
    /// The bytes that it holds of the backlog, until a worker has begun it.
    share: Option<Share>,
    /// When the client has closed its side of the connection.
    half_closed_at: Option<Instant>,
    /// When the connection was found closed behind bytes that are not read before a worker has begun the
    /// request.
    hung_up_at: Option<Instant>,
    /// The number of workers that died before they began it.
    dead_workers: u8,
    /// Whether its body waits for room in the link.
    awaits_room: bool,
    /// The worker that it was sent to last.
    sent: Option<SentTo>,
    head: Option<RequestHead>,
    expects_continue: bool,
    body: RequestBody,
    response: Response,
    owed: Owed,
    /// The WebSocket that the client asks for, until the app has declined. The bodies of both directions then
    /// carry its bytes.
    websocket: Option<Box<WebSocket>>,
    tunnel: Tunnel,
}

/// The worker that a request was sent to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SentTo {
    /// The worker.
    pub worker: WorkerName,
    /// When the request was sent.
    pub at: Instant,
}

/// The place of the request.
#[derive(Debug, Clone)]
enum Place {
    Queued,
    Sent(Rc<dyn Origin>, StreamId),
    Begun(Rc<dyn Origin>, StreamId),
    Over,
}

/// An interim head or a promise that the worker has sent besides the response, and its cost in the window.
#[derive(Debug)]
struct Hint<T> {
    content: T,
    cost: usize,
}

#[derive(Debug)]
struct RequestBody {
    /// Bytes that have arrived and were not sent to a worker.
    waiting: VecDeque<Bytes>,
    /// Bytes that were sent to a worker that may not have begun the request.
    replay: Vec<Bytes>,
    /// Whether there is a body. If not, the head carried END.
    exists: bool,
    ended: bool,
    end_sent: bool,
    window: Window,
    /// Whether bytes wait for the window.
    is_stalled: bool,
    /// The number of bytes that the app took and the client has not been credited with.
    taken: usize,
    /// The number of bytes that arrived and that the app has not taken.
    unread: usize,
    /// The number of bytes that may still arrive; `None` for no limit.
    left: Option<u64>,
    /// Whether the origin has a place for trailers.
    takes_trailers: bool,
    /// The trailers, until the end is sent.
    trailers: Option<ResponseHead>,
}

#[derive(Debug)]
struct Response {
    /// Interim heads that wait, and the number that there were.
    interim: VecDeque<Hint<ResponseHead>>,
    interims: u8,
    /// Requests to promise that wait, and the number that there were.
    pushes: VecDeque<Hint<RequestHead>>,
    pushed: u8,
    has_head: bool,
    head: Option<ResponseHead>,
    /// The response in place of the app's, until the app has ended its own.
    replacement: Option<Box<Replacement>>,
    body: VecDeque<Piece>,
    /// The number of the body's bytes that the connection has and the client has not taken.
    unsent: usize,
    /// The source of the unsent bytes.
    unsent_of: Source,
    /// The encoding of the body, if it is encoded.
    coder: Option<Box<Coder>>,
    /// Whether encoding waits for the next turn.
    has_yielded: bool,
    trailers: Option<ResponseHead>,
    ended: bool,
    fault: Option<Fault>,
    /// The fault whose response this is.
    answered_fault: Option<Fault>,
    wants_continue: bool,
    /// The window of the worker: how much it may still send.
    window: Window,
    has_grown: bool,
    /// Room for a response that is taken ahead of its client, until the worker has begun.
    room: Option<Rc<ResponseRoom>>,
    /// The room that the response has taken.
    taken_room: Option<TakenRoom>,
}

/// A piece of a response's body.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    File(Box<FileBody>),
}

/// The source of bytes of a response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Worker,
    /// Bytes of a file; with `last`, the file has no more.
    File {
        last: bool,
    },
    /// Bytes that were encoded.
    Encoder,
}

/// The next action of the connection for an exchange.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send `100 Continue`: the app has begun to read a body that the client holds back.
    Continue,
    /// Open the client's window by the number of body bytes that the app took.
    Release(usize),
    /// Send an interim head.
    Interim(ResponseHead),
    /// Promise this request to the client, and make it.
    Push(RequestHead),
    /// Send the head. With `end`, no body follows; `body` is the whole body's length where it is known.
    Head { head: ResponseHead, end: bool, body: Option<usize> },
    /// Send body bytes, the last ones if `end`.
    Data { data: Bytes, end: bool },
    /// Send these fields after the complete body; they end the response.
    Trailers(ResponseHead),
    /// Send the fault's response, or reset the stream; the exchange is over.
    Fault(Fault),
}

impl Exchange {
    /// Returns the exchange of a request that has arrived.
    pub(crate) fn new(parts: Parts) -> Rc<Self> {
        let Parts {
            key,
            mailbox,
            head,
            arrived,
            tls,
            running,
            file_permit,
            internal_files,
            websocket,
            is_tunnel,
            expects_continue,
            max_body_size,
            takes_trailers,
            parent_span,
            compression,
            rules,
            response_room,
        } = parts;
        // The head of a WebSocket's request is the whole request, but the client's bytes follow it.
        let ended = !head.has_body() && websocket.is_none() && !is_tunnel;
        Rc::new(Self {
            key,
            mailbox,
            announced: Cell::new(false),
            running: RefCell::new(running),
            tls,
            arrived,
            parent_span,
            file_permit: RefCell::new(file_permit),
            compression,
            internal_files,
            listed_at: Cell::new(None),
            deadline: Cell::new(
                rules
                    .as_ref()
                    .and_then(|rules| rules.deadline(arrived))
                    .filter(|_| websocket.is_none() && !is_tunnel),
            ),
            rules: RefCell::new(rules),
            state: RefCell::new(State {
                place: Place::Queued,
                share: None,
                half_closed_at: None,
                hung_up_at: None,
                dead_workers: 0,
                awaits_room: false,
                sent: None,
                body: RequestBody {
                    waiting: VecDeque::new(),
                    replay: Vec::new(),
                    exists: head.has_body(),
                    ended,
                    end_sent: !head.has_body() && !is_tunnel,
                    window: Window::new(REQUEST_WINDOW),
                    is_stalled: false,
                    taken: 0,
                    unread: 0,
                    left: max_body_size,
                    takes_trailers,
                    trailers: None,
                },
                response: Response {
                    interim: VecDeque::new(),
                    interims: 0,
                    pushes: VecDeque::new(),
                    pushed: 0,
                    has_head: false,
                    head: None,
                    replacement: None,
                    body: VecDeque::new(),
                    unsent: 0,
                    unsent_of: Source::Worker,
                    coder: None,
                    has_yielded: false,
                    trailers: None,
                    ended: false,
                    fault: None,
                    answered_fault: None,
                    wants_continue: false,
                    window: Window::new(RESPONSE_WINDOW),
                    has_grown: false,
                    room: response_room,
                    taken_room: None,
                },
                owed: Owed::new(RESPONSE_WINDOW),
                websocket: websocket.map(Box::new),
                tunnel: if is_tunnel { Tunnel::Asked } else { Tunnel::None },
                head: Some(head),
                expects_continue,
            }),
        })
    }

    /// Whether the response may hold files open.
    pub(crate) fn takes_files(&self) -> bool {
        self.file_permit.borrow().is_some()
    }

    /// Returns the TLS info of the connection.
    pub(crate) fn tls(&self) -> Option<&NumberedTlsInfo> {
        self.tls.as_deref()
    }

    /// Returns the client's span, if the head names one of this server in its place.
    pub(crate) fn parent_span(&self) -> Option<SpanId> {
        self.parent_span
    }

    /// Takes the reference that counts the exchange.
    pub(crate) fn take_count(&self) -> Option<Rc<()>> {
        self.running.borrow_mut().take()
    }

    fn announce(&self) {
        if !self.announced.replace(true) {
            self.mailbox.push(self.key);
        }
    }
}

impl RequestBody {
    /// Counts bytes that have arrived against the limit. Returns false if they exceed it.
    fn admits(&mut self, len: usize) -> bool {
        let Some(left) = self.left.filter(|_| self.exists) else { return true };
        self.left = Some(left.saturating_sub(len as u64));
        left >= len as u64
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(data) => data.len(),
            Self::File(file) => usize::try_from(file.left()).unwrap_or(usize::MAX),
        }
    }
}

impl Response {
    /// Whether the next part of the response can be had now. A file is sent one piece at a time and by
    /// itself, so that its bytes are distinguished from those that the worker sent.
    fn may_go_on(&self) -> bool {
        match self.body.front() {
            Some(Piece::File(file)) => self.unsent == 0 && !file.is_away(),
            _ => self.unsent == 0 || self.unsent_of == Source::Worker,
        }
    }

    /// Whether the connection can have what follows the head now.
    fn has_next(&self) -> bool {
        match &self.coder {
            Some(coder) => self.may_encode(coder),
            None => {
                self.may_go_on() && (!self.body.is_empty() || self.trailers.is_some() || self.fault.is_some())
            }
        }
    }
}

impl State {
    /// Sends as much of the body as the worker's window and the link take.
    fn send_body(&mut self) {
        let (origin, stream, is_begun) = match &self.place {
            Place::Sent(origin, stream) => (origin, *stream, false),
            Place::Begun(origin, stream) => (origin, *stream, true),
            Place::Queued | Place::Over => return,
        };
        let body = &mut self.body;
        while let Some(front) = body.waiting.front_mut() {
            let len = front.len().min(body.window.left()).min(DATA_MAX);
            if len == 0 && !front.is_empty() && !std::mem::replace(&mut body.is_stalled, true) {
                origin.note_stall(Stall::RequestWindow);
            }
            if len == 0 || self.awaits_room {
                return;
            }
            body.is_stalled = false;
            if !origin.has_room(stream) {
                self.awaits_room = true;
                return;
            }
            let piece = front.split_to(len);
            if front.is_empty() {
                body.waiting.pop_front();
            }
            let has_spent = body.window.spend(len);
            debug_assert!(has_spent, "invariant: a piece is cut to the window");
            let end = body.ended && body.waiting.is_empty();
            body.end_sent = end;
            if end && let Some(trailers) = body.trailers.take() {
                origin.send_trailers(stream, trailers);
            }
            origin.send_data(stream, &piece, end);
            if !is_begun {
                body.replay.push(piece);
            }
        }
        if body.ended && !body.end_sent {
            body.end_sent = true;
            if let Some(trailers) = body.trailers.take() {
                origin.send_trailers(stream, trailers);
            }
            origin.send_data(stream, &[], true);
        }
    }

    /// Returns credit for `cost` of the response that the client took. The first time the window also grows,
    /// because the client evidently reads.
    fn return_credit(&mut self, cost: usize) {
        let Some(mut credit) = self.owed.take(cost) else { return };
        if self.response.ended {
            return;
        }
        if let Place::Begun(origin, stream) | Place::Sent(origin, stream) = &self.place {
            if !std::mem::replace(&mut self.response.has_grown, true) {
                credit += RESPONSE_WINDOW_GROWTH;
                self.owed = Owed::new(RESPONSE_WINDOW + RESPONSE_WINDOW_GROWTH);
            }
            self.response.window.add(credit);
            origin.send_credit(*stream, credit);
        }
    }

    /// Counts bytes of the request that arrived before a worker has begun it. Returns false if they are too
    /// many.
    fn charge_backlog(&mut self, len: usize) -> bool {
        self.share.as_mut().is_none_or(|share| share.add(len))
    }

    /// Denies the WebSocket that the client asks for, if it does: the request is complete then, and no body is awaited
    /// during the response.
    fn deny_websocket(&mut self) {
        let is_tunnel = std::mem::replace(&mut self.tunnel, Tunnel::None) == Tunnel::Asked;
        if self.websocket.take().is_some() || is_tunnel {
            self.body.ended = true;
            self.body.end_sent = true;
        }
    }

    fn drop_payload(&mut self) {
        self.share = None;
        self.body.waiting.clear();
        self.body.replay.clear();
        self.body.trailers = None;
        self.response.interim.clear();
        self.response.pushes.clear();
        self.response.replacement = None;
        self.response.body.clear();
        self.response.trailers = None;
        self.response.coder = None;
        self.response.taken_room = None;
        self.websocket = None;
    }
}

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
mod parts;
pub(crate) mod piece;
mod request_body;
mod response;
pub(crate) mod response_room;
mod rules;
#[cfg(test)]
pub(crate) mod seam;
pub(crate) mod send_file;
pub(crate) mod tls_info;
mod tunnel;
pub(crate) mod websocket;
mod whole_response;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};
use hcrs_link::{Owed, RESPONSE_WINDOW, StreamId};
use hcrs_metrics::WorkerName;
use hcrs_otlp::SpanId;

use crate::exchange::backlog::Share;
use crate::exchange::compression::Compression;
use crate::exchange::file_permits::FilePermit;
use crate::exchange::mailbox::Mailbox;
use crate::exchange::tls_info::NumberedTlsInfo;
use crate::exchange::tunnel::Tunnel;
use crate::exchange::websocket::WebSocket;
use crate::settings::Rules;

pub(crate) use active::Activity;
pub(crate) use file::SentOfFile;
use internal_files::Replacement;
pub(crate) use internal_files::{InternalFiles, Replaced};
pub(crate) use origin::Origin;
pub(crate) use parts::Parts;
use request_body::RequestBody;
use response::{Hint, Piece, Response, Source};
pub(crate) use whole_response::{BodyPiece, PiecedResponse, WholeResponse};

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
                    exists: head.has_body(),
                    ended,
                    end_sent: !head.has_body() && !is_tunnel,
                    left: max_body_size,
                    takes_trailers,
                    ..RequestBody::default()
                },
                response: Response::new(response_room),
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

impl State {
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

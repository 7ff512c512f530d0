//! One request and its response on their way through the edge.
//!
//! The connection pushes the request's body in and takes the response out; the link does the reverse. Both ends
//! are bounded: the client's window opens only by what the app took, the worker's only by what the client took.
//!
//! ```text
//! queued ──► sent ──► begun ──► over
//!    ▲        │ withdrawn: its worker died or stalled before it began the request
//!    └────────┘
//! ```

mod file;

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hcrs_exchange::{Fault, RequestHead, ResponseHead};
use hcrs_link::{
    DATA_MAX, FILE_COST, INTERIM_MAX, Kind, Owed, PUSH_MAX, REQUEST_WINDOW, RESPONSE_WINDOW,
    RESPONSE_WINDOW_GROWTH, Window,
};
use hcrs_ws::close_code;

use crate::clock;
use crate::file_body::FileBody;
use crate::link::Link;
use crate::mailbox::Mailbox;
use crate::tls_facts::NumberedFacts;
use crate::websocket::{Next, Progress, WebSocket};

pub(crate) use file::SentOfFile;

/// How a worker says that the app has accepted a WebSocket, whatever the protocol says it with.
const SWITCHING_PROTOCOLS: u16 = 101;

/// Pieces of a body that are smaller than this are copied together while they wait.
const COALESCE: usize = 4 << 10;

/// An exchange, shared by its connection and, while a worker has it, by a link.
#[derive(Debug)]
pub(crate) struct Exchange {
    key: usize,
    mailbox: Rc<Mailbox>,
    announced: Cell<bool>,
    /// Counts it among its connection's requests, for as long as a worker may run it.
    running: RefCell<Option<Rc<()>>>,
    /// What is known of its connection's TLS.
    tls: OnceCell<Rc<NumberedFacts>>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    place: Place,
    /// When it was queued, or sent to a worker that has not begun it.
    since: Instant,
    /// The worker that it was sent to last, and when.
    sent: Option<(u32, Instant)>,
    head: Option<RequestHead>,
    expects_continue: bool,
    body: RequestBody,
    response: Response,
    owed: Owed,
    /// What the client asks for, until the app has declined. The bodies of both directions are then its bytes.
    websocket: Option<Box<WebSocket>>,
}

/// Where the request is.
#[derive(Debug, Clone)]
enum Place {
    Queued,
    Sent(Rc<Link>, u32),
    Begun(Rc<Link>, u32),
    Over,
}

#[derive(Debug)]
struct RequestBody {
    /// Arrived, and not sent to a worker.
    waiting: VecDeque<Bytes>,
    /// Sent to a worker that has perhaps not begun the request.
    replay: Vec<Bytes>,
    /// False if the request ended with its head, which then carried END.
    exists: bool,
    ended: bool,
    end_sent: bool,
    window: Window,
    /// Bytes that the app took and the client has not been credited with.
    taken: usize,
    /// Bytes that arrived and that the app has not taken.
    unread: usize,
}

#[derive(Debug)]
struct Response {
    /// Interim heads that wait, and how many there were.
    interim: VecDeque<ResponseHead>,
    interims: u8,
    /// Requests to promise that wait, and how many there were.
    pushes: VecDeque<RequestHead>,
    pushed: u8,
    has_head: bool,
    head: Option<ResponseHead>,
    body: VecDeque<Piece>,
    /// Bytes of the body that the connection has and the client has not taken.
    unsent: usize,
    /// Whose they are.
    unsent_of: Source,
    trailers: Option<ResponseHead>,
    ended: bool,
    fault: Option<Fault>,
    wants_continue: bool,
    /// What the worker may still send.
    window: Window,
    has_grown: bool,
}

/// A piece of a response's body.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    File(Box<FileBody>),
}

/// Where bytes of a response's body come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Worker,
    /// `last`: the file has no more.
    File {
        last: bool,
    },
}

/// What the connection has to do next for an exchange.
#[derive(Debug)]
pub(crate) enum Output {
    /// The app has begun to read a body that the client holds back until it is told to go on.
    Continue,
    /// The app took body bytes: open the client's window by them.
    Release(usize),
    /// Send an interim head.
    Interim(ResponseHead),
    /// Promise this request to the client, and make it.
    Push(RequestHead),
    /// Send the head. `end` if no body follows; `body` is the whole body's length where it is known.
    Head { head: ResponseHead, end: bool, body: Option<usize> },
    /// Send body bytes, the last ones if `end`.
    Data { data: Bytes, end: bool },
    /// The body is complete: send these fields after it, which end the response.
    Trailers(ResponseHead),
    /// Answer with what the fault is owed; the exchange is over.
    Fault(Fault),
}

impl Exchange {
    /// A request that has arrived; `key` is the connection's name for it.
    pub(crate) fn new(key: usize, mailbox: Rc<Mailbox>, head: RequestHead, now: Instant) -> Rc<Self> {
        let ended = !head.has_body();
        Rc::new(Self {
            key,
            mailbox,
            announced: Cell::new(false),
            running: RefCell::new(None),
            tls: OnceCell::new(),
            state: RefCell::new(State {
                place: Place::Queued,
                since: now,
                sent: None,
                head: Some(head),
                expects_continue: false,
                body: RequestBody {
                    waiting: VecDeque::new(),
                    replay: Vec::new(),
                    exists: !ended,
                    ended,
                    end_sent: ended,
                    window: Window::new(REQUEST_WINDOW),
                    taken: 0,
                    unread: 0,
                },
                response: Response {
                    interim: VecDeque::new(),
                    interims: 0,
                    pushes: VecDeque::new(),
                    pushed: 0,
                    has_head: false,
                    head: None,
                    body: VecDeque::new(),
                    unsent: 0,
                    unsent_of: Source::Worker,
                    trailers: None,
                    ended: false,
                    fault: None,
                    wants_continue: false,
                    window: Window::new(RESPONSE_WINDOW),
                    has_grown: false,
                },
                owed: Owed::new(RESPONSE_WINDOW),
                websocket: None,
            }),
        })
    }

    /// The request asks for a WebSocket.
    pub(crate) fn set_websocket(&self, websocket: WebSocket) {
        let mut state = self.state.borrow_mut();
        state.websocket = Some(Box::new(websocket));
        // The request is complete, the client's bytes are not.
        state.body.ended = false;
    }

    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) fn set_expects_continue(&self) {
        self.state.borrow_mut().expects_continue = true;
    }

    /// The request has come over TLS, of which this is known; its head names it by the number.
    pub(crate) fn set_tls(&self, known: &Rc<NumberedFacts>) {
        self.tls.get_or_init(|| Rc::clone(known));
    }

    /// What is known of its connection's TLS.
    pub(crate) fn tls(&self) -> Option<&NumberedFacts> {
        self.tls.get().map(Rc::as_ref)
    }

    /// Counts the exchange by a reference to `running`, until no worker has it any more.
    pub(crate) fn count_as(&self, running: &Rc<()>) {
        *self.running.borrow_mut() = Some(Rc::clone(running));
    }

    /// The reference that counts it.
    pub(crate) fn take_count(&self) -> Option<Rc<()>> {
        self.running.borrow_mut().take()
    }

    // ---- the connection's side ----

    /// Body bytes have arrived.
    pub(crate) fn push_body(&self, data: Bytes) {
        let mut state = self.state.borrow_mut();
        state.body.unread += data.len();
        if let Some(websocket) = &mut state.websocket {
            websocket.arrive(&data);
            state.read_websocket();
            drop(state);
            return self.announce();
        }
        match state.body.waiting.back_mut() {
            Some(last) if last.len() + data.len() <= COALESCE => {
                let mut joined = BytesMut::with_capacity(COALESCE);
                joined.extend_from_slice(last);
                joined.extend_from_slice(&data);
                *last = joined.freeze();
            }
            _ => state.body.waiting.push_back(data),
        }
        state.send_body();
    }

    /// Bytes of a WebSocket have arrived on a connection of its own, whose buffer is lent, not copied.
    pub(crate) fn push_switched(&self, input: &mut BytesMut) {
        let mut state = self.state.borrow_mut();
        state.body.unread += input.len();
        if let Some(websocket) = &mut state.websocket {
            websocket.arrive_in(input);
            state.read_websocket();
        }
        match &mut state.websocket {
            Some(websocket) => websocket.give_back(input),
            // The exchange is over, and nobody reads any more.
            None => input.clear(),
        }
        drop(state);
        self.announce();
    }

    /// The request's body is complete.
    pub(crate) fn end_body(&self) {
        let mut state = self.state.borrow_mut();
        state.body.ended = true;
        if state.websocket.is_none() {
            return state.send_body();
        }
        state.lose_websocket();
        drop(state);
        self.announce();
    }

    /// Looks at the time for a WebSocket; gives when to look again.
    pub(crate) fn tick(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.borrow_mut();
        let (progress, next) = state.websocket.as_mut()?.tick(now);
        let is_over = progress.is_closed;
        state.absorb(progress);
        state.send_messages();
        let has_news = is_over || !state.response.body.is_empty();
        drop(state);
        if has_news {
            self.announce();
        }
        next
    }

    /// The server goes down: a WebSocket is closed.
    pub(crate) fn go_away(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        let Some(websocket) = state.websocket.as_mut().filter(|websocket| websocket.is_open()) else {
            return;
        };
        let progress = websocket.close(close_code::GOING_AWAY, "", now);
        let has_news = !progress.out.is_empty();
        state.absorb(progress);
        drop(state);
        if has_news {
            self.announce();
        }
    }

    /// Bytes of the request's body that the app has not taken.
    pub(crate) fn unread(&self) -> usize {
        self.state.borrow().body.unread
    }

    /// Whether the body is still arriving and the app has, as far as can be told from here, taken what came.
    pub(crate) fn starves(&self) -> bool {
        let state = self.state.borrow();
        let is_body = state.websocket.is_none();
        let is_taken = state.body.unread < Owed::step(REQUEST_WINDOW) as usize;
        is_body && matches!(state.place, Place::Begun(..)) && !state.body.ended && is_taken
    }

    /// What the connection has to do next.
    pub(crate) fn next_output(self: &Rc<Self>) -> Option<Output> {
        self.announced.set(false);
        let mut state = self.state.borrow_mut();
        if state.websocket.as_ref().is_some_and(|websocket| websocket.has_yielded()) {
            state.read_websocket();
        }
        if state.body.taken > 0 {
            return Some(Output::Release(std::mem::take(&mut state.body.taken)));
        }
        let response = &mut state.response;
        if std::mem::take(&mut response.wants_continue) {
            return Some(Output::Continue);
        }
        if let Some(interim) = response.interim.pop_front() {
            return Some(Output::Interim(interim));
        }
        if let Some(promised) = response.pushes.pop_front() {
            return Some(Output::Push(promised));
        }
        let ends_with_body = response.ended && response.trailers.is_none();
        if let Some(head) = response.head.take() {
            let end = ends_with_body && response.body.is_empty();
            let body = ends_with_body.then(|| response.body.iter().map(Piece::len).sum());
            return Some(Output::Head { head, end, body });
        }
        if !response.may_go_on() {
            return None;
        }
        let data = match response.body.front_mut() {
            Some(Piece::File(_)) => match self.next_of_file(response)? {
                Ok(data) => Some(data),
                Err(fault) => return Some(Output::Fault(fault)),
            },
            Some(Piece::Bytes(data)) => {
                let data = std::mem::take(data);
                response.body.pop_front();
                response.unsent_of = Source::Worker;
                Some(data)
            }
            None => None,
        };
        if let Some(data) = data {
            response.unsent += data.len();
            let end = ends_with_body && response.body.is_empty();
            return Some(Output::Data { data, end });
        }
        if let Some(trailers) = response.trailers.take() {
            return Some(Output::Trailers(trailers));
        }
        response.fault.take().map(Output::Fault)
    }

    /// The client took bytes of the response: the worker may send as many more, and the first time the window
    /// grows, because this is a client that reads.
    pub(crate) fn client_took(&self, len: usize) {
        let state = &mut *self.state.borrow_mut();
        let len = match &mut state.websocket {
            Some(websocket) if websocket.is_open() => {
                let (carried, progress) = websocket.client_took(len);
                let has_news = !progress.out.is_empty();
                state.absorb(progress);
                if has_news {
                    self.announce();
                }
                carried
            }
            Some(_) | None => len,
        };
        let response = &mut state.response;
        response.unsent = response.unsent.saturating_sub(len);
        // A file counts once it is sent, by what it took of the window.
        let len = match response.unsent_of {
            Source::Worker => len,
            Source::File { last: true } if response.unsent == 0 => {
                response.unsent_of = Source::Worker;
                FILE_COST
            }
            Source::File { .. } => return,
        };
        let Some(mut credit) = state.owed.take(len) else { return };
        if state.response.ended {
            return;
        }
        if let Place::Begun(link, stream) | Place::Sent(link, stream) = &state.place {
            if !std::mem::replace(&mut state.response.has_grown, true) {
                credit += RESPONSE_WINDOW_GROWTH;
                state.owed = Owed::new(RESPONSE_WINDOW + RESPONSE_WINDOW_GROWTH);
            }
            state.response.window.add(credit);
            link.send_credit(*stream, credit);
        }
    }

    /// The client is gone, or the connection has answered by itself: the worker is told, and nothing that it
    /// still sends is kept.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        let place = std::mem::replace(&mut state.place, Place::Over);
        state.drop_payload();
        drop(state);
        match place {
            Place::Sent(link, stream) | Place::Begun(link, stream) => link.abandon(stream),
            Place::Queued | Place::Over => {}
        }
    }

    /// The client has closed its side after the whole request: the app is told, and the response is still sent.
    pub(crate) fn half_close(&self) {
        if let Place::Sent(link, stream) | Place::Begun(link, stream) = &self.state.borrow().place {
            link.send_half_close(*stream);
        }
    }

    /// Whether [`Exchange::next_output`] has something.
    pub(crate) fn has_output(&self) -> bool {
        let state = self.state.borrow();
        let response = &state.response;
        state.body.taken > 0
            || state.websocket.as_ref().is_some_and(|websocket| websocket.has_yielded())
            || response.wants_continue
            || !response.interim.is_empty()
            || !response.pushes.is_empty()
            || response.head.is_some()
            || response.may_go_on()
                && (!response.body.is_empty() || response.trailers.is_some() || response.fault.is_some())
    }

    /// Whether a worker may still work on it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.borrow().place, Place::Over)
    }

    /// The process id of the worker that has it, or had it last, and when it was sent there.
    pub(crate) fn sent_to(&self) -> Option<(u32, Instant)> {
        self.state.borrow().sent
    }

    /// Gives the head back, once nobody needs it any more.
    pub(crate) fn take_head(&self) -> Option<RequestHead> {
        self.state.borrow_mut().head.take()
    }

    // ---- the link's side ----

    /// The head, to be sent; `None` if the client has gone meanwhile.
    pub(crate) fn head(&self) -> Option<RefMut<'_, RequestHead>> {
        let state = self.state.borrow_mut();
        if !matches!(state.place, Place::Queued) {
            return None;
        }
        RefMut::filter_map(state, |state| state.head.as_mut()).ok()
    }

    /// Whether the client waits for `100 Continue`.
    pub(crate) fn expects_continue(&self) -> bool {
        self.state.borrow().expects_continue
    }

    /// The head was sent over `link`; the body follows it.
    pub(crate) fn sent(&self, link: Rc<Link>, stream: u32, now: Instant) {
        let mut state = self.state.borrow_mut();
        state.sent = Some((link.pid(), now));
        state.place = Place::Sent(link, stream);
        state.since = now;
        state.send_body();
    }

    /// The worker has begun it: it will not be given to another.
    pub(crate) fn begun(&self) {
        let mut state = self.state.borrow_mut();
        if let Place::Sent(link, stream) = &state.place {
            state.place = Place::Begun(Rc::clone(link), *stream);
        }
        state.body.replay.clear();
    }

    /// Its worker has not begun it and will not: it waits for another.
    pub(crate) fn withdrawn(&self) {
        let mut state = self.state.borrow_mut();
        if matches!(state.place, Place::Over) {
            return;
        }
        state.place = Place::Queued;
        state.sent = None;
        let body = &mut state.body;
        for data in body.replay.drain(..).rev() {
            body.waiting.push_front(data);
        }
        body.window = Window::new(REQUEST_WINDOW);
        body.end_sent = !body.exists;
    }

    /// When it was queued or sent.
    pub(crate) fn since(&self) -> Instant {
        self.state.borrow().since
    }

    /// The worker credits body bytes that the app took; zero says that the app waits for the first of them, or that it
    /// has heard of a WebSocket's end.
    pub(crate) fn app_took(&self, credit: u32) {
        let mut state = self.state.borrow_mut();
        if let Some(websocket) = &mut state.websocket {
            websocket.app_took(credit as usize);
            let heard = (credit == 0).then(|| websocket.app_heard());
            if let Some(progress) = heard {
                state.absorb(progress);
            }
            state.send_messages();
            state.read_websocket();
            drop(state);
            return self.announce();
        }
        if credit == 0 {
            state.response.wants_continue = state.expects_continue;
        }
        // A worker cannot credit more than was sent to it.
        let credit = (credit as usize).min(state.body.unread);
        state.body.unread -= credit;
        state.body.taken += credit;
        state.body.window.add(credit as u32);
        state.send_body();
        drop(state);
        self.announce();
    }

    /// The worker sent the response's head. False if it may not now.
    #[must_use]
    pub(crate) fn push_head(&self, head: ResponseHead, end: bool) -> bool {
        let mut state = self.state.borrow_mut();
        if std::mem::replace(&mut state.response.has_head, true) {
            return false;
        }
        if head.status() == SWITCHING_PROTOCOLS
            && let Some(websocket) = &mut state.websocket
        {
            match websocket.accept(&head) {
                Ok(head) if !end => state.response.head = Some(head),
                Ok(_) | Err(_) => return false,
            }
            if state.body.ended {
                state.end_response();
            } else {
                state.read_websocket();
            }
            drop(state);
            self.announce();
            self.tick(clock::now());
            return true;
        }
        state.websocket = None;
        state.response.head = Some(head);
        state.response.ended = end;
        drop(state);
        self.announce();
        true
    }

    /// The worker sent an interim head. False if it may not now, or not so many.
    #[must_use]
    pub(crate) fn push_interim(&self, head: ResponseHead) -> bool {
        let mut state = self.state.borrow_mut();
        let response = &mut state.response;
        if response.has_head || response.interims == INTERIM_MAX {
            return false;
        }
        response.interims += 1;
        response.interim.push_back(head);
        drop(state);
        self.announce();
        true
    }

    /// The worker sent a request to promise: its target and its fields. False if it may not now, or not so many.
    #[must_use]
    pub(crate) fn push_promise(&self, target: &[u8], fields: &ResponseHead) -> bool {
        let mut state = self.state.borrow_mut();
        let State { head, response, .. } = &mut *state;
        if response.ended || response.pushed == PUSH_MAX {
            return false;
        }
        // The head is gone if the client is.
        let Some(head) = head else { return true };
        if !head.view().takes_pushes {
            return false;
        }
        response.pushed += 1;
        response.pushes.push_back(head.promised(target, fields.fields()));
        drop(state);
        self.announce();
        true
    }

    /// The worker sent the response's trailers, which end it. False if it may not now.
    #[must_use]
    pub(crate) fn push_trailers(&self, trailers: ResponseHead) -> bool {
        let mut state = self.state.borrow_mut();
        let accepted = state.head.as_ref().is_some_and(|head| head.view().accepts_trailers());
        let response = &mut state.response;
        if !response.has_head || response.ended {
            return false;
        }
        if accepted && trailers.field_count() > 0 {
            response.trailers = Some(trailers);
        } else {
            response.body.push_back(Piece::Bytes(Bytes::new()));
        }
        response.ended = true;
        drop(state);
        self.announce();
        true
    }

    /// The worker sent bytes of the response's body. False if it may not now, or not so many.
    #[must_use]
    pub(crate) fn push_data(&self, data: Bytes, end: bool) -> bool {
        let mut state = self.state.borrow_mut();
        let is_websocket = state.websocket.is_some();
        let response = &mut state.response;
        if is_websocket || !response.has_head || response.ended || data.len() > response.window.left() {
            return false;
        }
        response.window.spend(data.len());
        if !data.is_empty() || end {
            response.body.push_back(Piece::Bytes(data));
        }
        response.ended = end;
        drop(state);
        self.announce();
        true
    }

    /// The worker sent a piece of a WebSocket's message. False if it may not now, or not so many bytes.
    #[must_use]
    pub(crate) fn push_message(&self, kind: Kind, data: &[u8], end: bool) -> bool {
        let mut state = self.state.borrow_mut();
        if data.len() > state.response.window.left() {
            return false;
        }
        state.response.window.spend(data.len());
        let Some(progress) = state.websocket.as_mut().and_then(|websocket| websocket.send(kind, data, end))
        else {
            return false;
        };
        if state.response.ended {
            return true;
        }
        if progress.out.is_empty() {
            // Nobody will read it: the worker may go on until it has heard of the end.
            drop(state);
            self.client_took(0);
            return true;
        }
        state.absorb(progress);
        drop(state);
        self.announce();
        true
    }

    /// The worker closes the WebSocket. False if it may not.
    #[must_use]
    pub(crate) fn push_close(&self, payload: &[u8]) -> bool {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else { return false };
        let Ok(reason) = std::str::from_utf8(reason) else { return false };
        let mut state = self.state.borrow_mut();
        let Some(websocket) = state.websocket.as_mut().filter(|websocket| websocket.is_open()) else {
            return false;
        };
        let progress = websocket.close(u16::from_le_bytes(*code), reason, clock::now());
        state.absorb(progress);
        drop(state);
        self.announce();
        true
    }

    /// The response cannot be completed. What was sent before still goes out first.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut state = self.state.borrow_mut();
        state.place = Place::Over;
        match state.websocket.as_mut().filter(|websocket| websocket.is_open()) {
            Some(websocket) => {
                let progress = websocket.close(close_code::SERVICE_RESTART, "", clock::now());
                state.absorb(progress);
                state.end_response();
            }
            None => {
                state.response.fault.get_or_insert(fault);
            }
        }
        drop(state);
        self.announce();
    }

    /// Whether it is a WebSocket that the app has accepted.
    pub(crate) fn is_open_websocket(&self) -> bool {
        self.state.borrow().websocket.as_ref().is_some_and(|websocket| websocket.is_open())
    }

    /// The worker is done with it.
    pub(crate) fn finished(&self) {
        self.state.borrow_mut().place = Place::Over;
    }

    /// The connection has seen what there is: it wants to hear of what comes from now on.
    pub(crate) fn note_seen(&self) {
        self.announced.set(false);
    }

    fn announce(&self) {
        if !self.announced.replace(true) {
            self.mailbox.push(self.key);
        }
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
    /// Whether what comes next of the body, or after it, can be had now: one piece of a file at a time, and by itself,
    /// so that its bytes are told from those that the worker sent.
    fn may_go_on(&self) -> bool {
        match self.body.front() {
            Some(Piece::File(file)) => self.unsent == 0 && !file.is_away(),
            _ => self.unsent == 0 || self.unsent_of == Source::Worker,
        }
    }
}

impl State {
    /// Lets the WebSocket look at what has arrived.
    fn read_websocket(&mut self) {
        while let Some(websocket) = &mut self.websocket {
            let was_free = websocket.is_free();
            let progress = websocket.read();
            let has_message = !websocket.is_free();
            self.absorb(progress);
            self.send_messages();
            // Behind a message there may be more, or at least a ping.
            if !(was_free && has_message) {
                return;
            }
        }
    }

    /// The client is gone without a Close frame, unless the WebSocket is closed already.
    fn lose_websocket(&mut self) {
        if self.response.ended {
            return;
        }
        if let Some(websocket) = &mut self.websocket {
            websocket.lose();
        }
        self.send_messages();
        if self.response.has_head {
            self.end_response();
        }
    }

    fn absorb(&mut self, progress: Progress) {
        self.body.unread -= progress.consumed;
        self.body.taken += progress.consumed;
        if self.response.ended {
            return;
        }
        if !progress.out.is_empty() {
            self.response.body.push_back(Piece::Bytes(progress.out.into()));
        }
        if progress.is_closed {
            self.end_response();
        }
    }

    fn end_response(&mut self) {
        if !std::mem::replace(&mut self.response.ended, true) && self.response.body.is_empty() {
            // Something has to carry the end.
            self.response.body.push_back(Piece::Bytes(Bytes::new()));
        }
    }

    /// Sends the messages that the worker's window takes, and the end of the WebSocket.
    fn send_messages(&mut self) {
        let (Some(websocket), Place::Begun(link, stream)) = (&mut self.websocket, &self.place) else {
            return;
        };
        while let Some(next) = websocket.next_for_app() {
            match next {
                Next::Piece(kind, piece, end) => link.send_message(*stream, kind, &piece, end),
                Next::Close(code, reason) => link.send_close(*stream, code, &reason),
            }
        }
    }

    /// Sends what the worker's window takes.
    fn send_body(&mut self) {
        let (link, stream, is_begun) = match &self.place {
            Place::Sent(link, stream) => (link, *stream, false),
            Place::Begun(link, stream) => (link, *stream, true),
            Place::Queued | Place::Over => return,
        };
        let body = &mut self.body;
        while let Some(front) = body.waiting.front_mut() {
            let len = front.len().min(body.window.left()).min(DATA_MAX);
            if len == 0 {
                return;
            }
            let piece = front.split_to(len);
            if front.is_empty() {
                body.waiting.pop_front();
            }
            body.window.spend(len);
            let end = body.ended && body.waiting.is_empty();
            body.end_sent = end;
            link.send_data(stream, &piece, end);
            if !is_begun {
                body.replay.push(piece);
            }
        }
        if body.ended && !body.end_sent {
            body.end_sent = true;
            link.send_data(stream, &[], true);
        }
    }

    fn drop_payload(&mut self) {
        self.body.waiting.clear();
        self.body.replay.clear();
        self.response.interim.clear();
        self.response.pushes.clear();
        self.response.body.clear();
        self.response.trailers = None;
        self.websocket = None;
    }
}

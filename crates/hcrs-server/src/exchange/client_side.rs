//! The exchange as its connection uses it: the request's body goes in, the response comes out.

use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hcrs_http::{Fault, RequestHead, RequestView, ResponseHead};
use hcrs_link::{FILE_COST, Owed, PIECE_COST, REQUEST_WINDOW};

use super::{Exchange, Output, Piece, Place, SentTo, Source, State, Tunnel};

/// The size below which pieces of a body are copied together while they wait.
const COALESCE: usize = 4 << 10;

impl Exchange {
    /// Appends bytes of the body; the last ones if `end`.
    pub(crate) fn push_body(&self, data: Bytes, end: bool) {
        let mut state = self.state.borrow_mut();
        if !state.body.admits(data.len()) {
            drop(state);
            self.abandon();
            return self.fail(Fault::BodyTooLarge);
        }
        if !state.charge_backlog(data.len()) {
            drop(state);
            if self.give_up() {
                return self.fail(Fault::QueueFull);
            }
            // A worker has begun it, which the link has not noticed yet.
            self.begun();
            state = self.state.borrow_mut();
        }
        state.body.unread += data.len();
        if let Some(websocket) = &mut state.websocket {
            websocket.arrive(&data);
            state.read_websocket();
            drop(state);
            return self.announce();
        }
        state.body.ended |= end;
        match state.body.waiting.back_mut() {
            Some(last) if last.len() + data.len() <= COALESCE => {
                let mut joined = BytesMut::with_capacity(COALESCE);
                joined.extend_from_slice(last);
                joined.extend_from_slice(&data);
                *last = joined.freeze();
            }
            // An empty piece would block the pieces behind it, because none is ever sent.
            _ if data.is_empty() => {}
            _ => state.body.waiting.push_back(data),
        }
        state.send_body();
    }

    /// Takes the request's trailers, before its body ends. They are dropped if the origin has no place for them.
    pub(crate) fn push_request_trailers(&self, trailers: ResponseHead) {
        let mut state = self.state.borrow_mut();
        if state.body.takes_trailers && !state.body.ended {
            state.body.trailers = Some(trailers);
        }
    }

    /// Ends the request's body.
    pub(crate) fn end_body(&self) {
        let mut state = self.state.borrow_mut();
        state.body.ended = true;
        if state.websocket.is_none() {
            return state.send_body();
        }
        state.disconnect_websocket();
        drop(state);
        self.announce();
    }

    /// Returns the number of bytes of the request's body that the app has not taken.
    pub(crate) fn unread(&self) -> usize {
        self.state.borrow().body.unread
    }

    /// Whether the body is still arriving and the app has taken everything so far, as far as is known here.
    pub(crate) fn needs_body(&self) -> bool {
        let state = self.state.borrow();
        let is_body = state.websocket.is_none() && state.tunnel == Tunnel::None;
        let is_taken = state.body.unread < Owed::step(REQUEST_WINDOW) as usize;
        is_body && matches!(state.place, Place::Begun(..)) && !state.body.ended && is_taken
    }

    /// Whether a worker has begun the request and has taken everything of its body so far, as far as is known
    /// here.
    pub(crate) fn is_hungry(&self) -> bool {
        let state = self.state.borrow();
        match &state.websocket {
            Some(websocket) => websocket.is_free(),
            None => matches!(state.place, Place::Begun(..)) && !state.body.ended && state.body.unread == 0,
        }
    }

    /// Returns the next action of the connection.
    pub(crate) fn next_output(self: &Rc<Self>) -> Option<Output> {
        self.announced.set(false);
        let mut state = self.state.borrow_mut();
        if state.body.taken > 0 {
            return Some(Output::Release(std::mem::take(&mut state.body.taken)));
        }
        let State { head: request, response, .. } = &mut *state;
        if std::mem::take(&mut response.wants_continue) {
            return Some(Output::Continue);
        }
        if let Some(interim) = response.interim.pop_front() {
            state.return_credit(interim.cost);
            return Some(Output::Interim(interim.content));
        }
        if let Some(promised) = response.pushes.pop_front() {
            state.return_credit(promised.cost);
            return Some(Output::Push(promised.content));
        }
        let ends_with_body = response.ended && response.trailers.is_none();
        if let Some(head) = response.head.take() {
            return self.next_head(request.as_ref(), response, head);
        }
        if response.coder.is_some() {
            return self.next_encoded(response);
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
            if response.unsent_of == Source::Worker && state.websocket.is_none() {
                // The piece's own cost; its bytes are credited once the client has taken them.
                state.return_credit(PIECE_COST);
            }
            return Some(Output::Data { data, end });
        }
        if let Some(trailers) = response.trailers.take() {
            return Some(Output::Trailers(trailers));
        }
        response.fault.take().map(Output::Fault)
    }

    /// Notes that the client took bytes of the response.
    pub(crate) fn client_took(&self, len: usize) {
        let state = &mut *self.state.borrow_mut();
        let len = match &mut state.websocket {
            Some(websocket) if websocket.is_open() => {
                let (carried, progress) = websocket.client_took(len);
                let has_news = !progress.out.is_empty();
                state.apply(progress);
                if has_news {
                    self.announce();
                }
                carried
            }
            Some(_) | None => len,
        };
        let response = &mut state.response;
        response.unsent = response.unsent.saturating_sub(len);
        // A file is credited once it is sent, by its cost in the window.
        let len = match response.unsent_of {
            Source::Worker => len,
            Source::File { last: true } if response.unsent == 0 => {
                response.unsent_of = Source::Worker;
                FILE_COST
            }
            Source::Encoder if response.unsent == 0 => {
                response.coder.as_mut().map_or(0, |coder| coder.take_cost())
            }
            Source::File { .. } | Source::Encoder => return,
        };
        state.return_credit(len);
    }

    /// Ends the exchange because the client is gone or the connection has answered by itself: the worker is
    /// notified, and what it still sends is dropped.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        let place = std::mem::replace(&mut state.place, Place::Over);
        state.drop_payload();
        drop(state);
        match place {
            Place::Sent(origin, stream) | Place::Begun(origin, stream) => origin.abandon(stream),
            Place::Queued | Place::Over => {}
        }
    }

    /// Takes the request back permanently. Returns false if a worker has begun it.
    fn give_up(&self) -> bool {
        match &self.state.borrow().place {
            Place::Sent(origin, stream) | Place::Begun(origin, stream) => origin.give_up(*stream),
            Place::Queued | Place::Over => true,
        }
    }

    /// Notes that the client has closed its side after the whole request. The app is notified, and the
    /// response is still sent. A request that no worker begins soon fails.
    pub(crate) fn half_close(&self, now: Instant) {
        self.state.borrow_mut().half_closed_at.get_or_insert(now);
        if let Place::Sent(origin, stream) | Place::Begun(origin, stream) = &self.state.borrow().place {
            origin.send_half_close(*stream);
        }
    }

    /// Whether a worker may still begin the request, as far as is known here.
    pub(crate) fn is_unbegun(&self) -> bool {
        matches!(self.state.borrow().place, Place::Queued | Place::Sent(..))
    }

    /// Notes that the connection is closed behind bytes that are not read while no worker has begun the
    /// request. If none does soon, the request fails.
    pub(crate) fn note_hangup(&self, now: Instant) {
        self.state.borrow_mut().hung_up_at.get_or_insert(now);
    }

    /// Whether [`Exchange::next_output`] has an action.
    pub(crate) fn has_output(&self) -> bool {
        let state = self.state.borrow();
        let response = &state.response;
        state.body.taken > 0
            || response.wants_continue
            || !response.interim.is_empty()
            || !response.pushes.is_empty()
            || !response.has_yielded
                && if response.head.is_some() { !response.awaits_file() } else { response.has_next() }
    }

    /// Whether no worker works on it any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.borrow().place, Place::Over)
    }

    /// Returns the worker that has it, or had it last.
    pub(crate) fn sent_to(&self) -> Option<SentTo> {
        self.state.borrow().sent
    }

    /// Calls `with` with the request's head, which is `None` once it was taken.
    pub(crate) fn with_head<R>(&self, with: impl FnOnce(Option<RequestView<'_>>) -> R) -> R {
        let state = self.state.borrow();
        with(state.head.as_ref().map(RequestHead::view))
    }

    /// Returns the head once it is not needed any more.
    pub(crate) fn take_head(&self) -> Option<RequestHead> {
        self.state.borrow_mut().head.take()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use hcrs_http::{Endpoints, RequestLine, Scheme, Version};
    use hcrs_link::{ClaimTable, FromWorker, StreamId};

    use super::*;
    use crate::clock;
    use crate::exchange::Parts;
    use crate::exchange::mailbox::Mailbox;
    use crate::origin::app::dispatch::Dispatch;
    use crate::origin::app::link::{Link, LinkParts};
    use crate::settings::DispatchSettings;

    /// Returns an exchange whose head was sent to a worker, and the worker's end of the claim table. With its
    /// body the backlog holds a thousand bytes.
    fn sent() -> (Rc<Exchange>, Dispatch, ClaimTable) {
        let now = clock::now();
        let dispatch = Dispatch::new(
            DispatchSettings { queue_bytes: 1000, ..DispatchSettings::default() },
            Rc::default(),
        );
        let (claims, memory) = ClaimTable::create().unwrap();
        let parts = LinkParts { worker: 1, pid: 1, slot: 0, claims, blocks: None, quota: None };
        let link = Link::new(parts, 1, now);
        link.handle(&FromWorker::Ready, &mut VecDeque::new(), now, &mut |_| {}).unwrap();
        dispatch.attach(link);
        let asked = RequestLine {
            version: Version::Http2,
            scheme: Scheme::Http,
            method: b"POST",
            path: b"/",
            query: b"",
        };
        let mut head = RequestHead::new(Vec::new(), asked, &Endpoints::default());
        head.set_has_body();
        let exchange = Exchange::new(Parts::new(0, Rc::new(Mailbox::default()), head, now));
        dispatch.submit(&exchange, now);
        assert!(exchange.sent_to().is_some());
        (exchange, dispatch, ClaimTable::open(memory).unwrap())
    }

    #[test]
    fn a_request_whose_body_is_too_much_for_the_backlog_is_refused() {
        let (exchange, dispatch, worker) = sent();
        exchange.push_body(Bytes::from_static(&[0; 1000]), false);
        assert!(matches!(exchange.next_output(), Some(Output::Fault(Fault::QueueFull))));
        assert!(!worker.claim(0, StreamId::new(1).unwrap()), "no worker runs what was refused");
        assert_eq!(dispatch.left_over(), None);
    }

    #[test]
    fn a_request_that_a_worker_has_just_begun_is_not_refused() {
        let (exchange, dispatch, worker) = sent();
        assert!(worker.claim(0, StreamId::new(1).unwrap()));
        exchange.push_body(Bytes::from_static(&[0; 1000]), false);
        assert!(exchange.next_output().is_none() && !exchange.is_over());
        assert_eq!(dispatch.left_over(), None, "it waits no more");
        exchange.push_body(Bytes::from_static(&[0; 1000]), true);
        assert!(exchange.next_output().is_none());
    }
}

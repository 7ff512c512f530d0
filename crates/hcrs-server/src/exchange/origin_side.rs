//! What an exchange is for the link to its worker: the request goes out, the response comes in, each frame checked.

use std::cell::RefMut;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};
use hcrs_link::{INTERIM_MAX, PIECE_COST, PUSH_MAX, REQUEST_WINDOW, StreamId, Window, piece_cost};
use hcrs_ws::close_code;

use super::{Exchange, Hint, Origin, Piece, Place, SentTo, State, WholeResponse};
use crate::clock;
use crate::exchange::backlog::Backlog;
#[cfg(test)]
use crate::model::planted::{self, Planted};

/// Workers that may die before they have begun a request; with one more it is given up, because it may be the cause.
pub(super) const DEAD_WORKERS_MAX: u8 = 2;

impl Exchange {
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

    /// Counts the request among those that no worker has begun. False if they hold too much.
    #[must_use]
    pub(crate) fn join(&self, backlog: &Rc<Backlog>) -> bool {
        let mut state = self.state.borrow_mut();
        let head = state.head.as_ref().map_or(0, |head| head.as_bytes().len());
        let len = head + state.body.unread;
        state.share = Some(backlog.share());
        state.weigh(len)
    }

    /// When the request arrived.
    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Whether the client has closed its side before `before`, and so perhaps waits no more.
    pub(crate) fn is_half_closed_since(&self, before: Instant) -> bool {
        self.state.borrow().half_closed_at.is_some_and(|at| at <= before)
    }

    /// Counts a worker that has died before it began the request; false if there were too many.
    #[must_use]
    pub(crate) fn survives_worker(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.dead_workers = state.dead_workers.saturating_add(1);
        state.dead_workers <= DEAD_WORKERS_MAX
    }

    /// The head was sent to `origin`; the body follows it.
    pub(crate) fn sent(&self, origin: Rc<dyn Origin>, stream: StreamId, to: SentTo) {
        let mut state = self.state.borrow_mut();
        state.sent = Some(to);
        if state.half_closed_at.is_some() {
            origin.send_half_close(stream);
        }
        state.place = Place::Sent(origin, stream);
        state.awaits_room = false;
        state.send_body();
    }

    /// The link has room again for bodies, which this stream has waited for.
    pub(crate) fn room_came(&self, stream: StreamId) {
        let mut state = self.state.borrow_mut();
        let is_meant = match &state.place {
            Place::Sent(_, current) | Place::Begun(_, current) => *current == stream,
            Place::Queued | Place::Over => false,
        };
        if is_meant {
            state.awaits_room = false;
            state.send_body();
            state.send_messages();
            state.read_websocket();
            drop(state);
            self.announce();
        }
    }

    /// The worker has begun it: it will not be given to another.
    pub(crate) fn begun(&self) {
        let mut state = self.state.borrow_mut();
        if let Place::Sent(origin, stream) = &state.place {
            state.place = Place::Begun(Rc::clone(origin), *stream);
        }
        state.share = None;
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
        state.awaits_room = false;
        let body = &mut state.body;
        #[cfg(test)]
        if planted::is(Planted::ReplaySentTwice) {
            let again = body.replay.clone();
            body.replay.extend(again);
        }
        for data in body.replay.drain(..).rev() {
            body.waiting.push_front(data);
        }
        body.window = Window::new(REQUEST_WINDOW);
        body.end_sent = !body.exists;
    }

    /// When its worker was sent it, and its method and path, for the log.
    pub(crate) fn asked_for(&self) -> Option<(Instant, String)> {
        let state = self.state.borrow();
        let head = state.head.as_ref()?.view();
        let line = [head.method, b" ", head.path].concat();
        let since = state.sent.map_or(self.arrived, |sent| sent.at);
        Some((since, String::from_utf8_lossy(&line).into_owned()))
    }

    /// The worker returns credit for what the app took.
    pub(crate) fn app_took(&self, credit: u32) {
        let mut state = self.state.borrow_mut();
        if let Some(websocket) = &mut state.websocket {
            websocket.app_took(credit as usize);
            state.send_messages();
            state.read_websocket();
            drop(state);
            return self.announce();
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

    /// The app waits for a body that the client holds back.
    pub(crate) fn app_awaits_body(&self) {
        let mut state = self.state.borrow_mut();
        state.response.wants_continue = state.expects_continue;
        drop(state);
        self.announce();
    }

    /// The app has heard of the end of its WebSocket.
    pub(crate) fn app_heard_close(&self) {
        let mut state = self.state.borrow_mut();
        let Some(websocket) = &mut state.websocket else { return };
        let progress = websocket.app_heard();
        state.absorb(progress);
        state.send_messages();
        state.read_websocket();
        drop(state);
        self.announce();
    }

    /// The app accepts the WebSocket. False if it may not now.
    #[must_use]
    pub(crate) fn accept_websocket(&self, head: &ResponseHead, now: Instant) -> bool {
        let mut state = self.state.borrow_mut();
        if std::mem::replace(&mut state.response.has_head, true) {
            return false;
        }
        let Some(websocket) = &mut state.websocket else { return false };
        self.file_permit.take();
        match websocket.accept(head) {
            Ok(head) => state.response.head = Some(head),
            Err(_) => return false,
        }
        if state.body.ended {
            state.end_response();
        } else {
            state.read_websocket();
        }
        drop(state);
        self.announce();
        self.tick(now);
        true
    }

    /// Answers with a whole response.
    pub(crate) fn answer(&self, WholeResponse { head, body }: WholeResponse) {
        let mut state = self.state.borrow_mut();
        let response = &mut state.response;
        response.has_head = true;
        response.head = Some(head);
        response.ended = true;
        if !body.is_empty() {
            response.body.push_back(Piece::Bytes(body.into()));
        }
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
        if state.websocket.take().is_some() {
            // It is denied: the request is complete, and no body is awaited for as long as the response takes.
            state.body.ended = true;
            state.body.end_sent = true;
        }
        state.response.head = Some(head);
        state.response.ended = end;
        drop(state);
        self.announce();
        true
    }

    /// The worker sent an interim head of `len` bytes. False if it may not now, or not so many.
    #[must_use]
    pub(crate) fn push_interim(&self, head: ResponseHead, len: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let response = &mut state.response;
        let cost = piece_cost(len);
        if response.has_head || response.interims == INTERIM_MAX || !response.window.spend(cost) {
            return false;
        }
        response.interims += 1;
        response.interim.push_back(Hint { content: head, cost });
        drop(state);
        self.announce();
        true
    }

    /// The worker sent a request to promise in a frame of `len` bytes: its target and its fields. False if it may not now,
    /// or not so many.
    #[must_use]
    pub(crate) fn push_promise(&self, target: &[u8], fields: &ResponseHead, len: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let State { head, response, .. } = &mut *state;
        let cost = piece_cost(len);
        if response.ended || response.pushed == PUSH_MAX || !response.window.spend(cost) {
            return false;
        }
        // The head is gone if the client is.
        let Some(head) = head else { return true };
        if !head.view().takes_pushes {
            return false;
        }
        response.pushed += 1;
        response.pushes.push_back(Hint { content: head.promised(target, fields.fields()), cost });
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
        if is_websocket || !response.has_head || response.ended {
            return false;
        }
        // The end without bytes takes nothing: a stream has one.
        let cost = if data.is_empty() && end { 0 } else { piece_cost(data.len()) };
        if !response.window.spend(cost) {
            return false;
        }
        response.ended = end;
        if !response.body.iter().any(|piece| matches!(piece, Piece::File(_))) {
            // The worker sends no file after other bytes.
            self.file_permit.take();
        }
        if data.is_empty() && !end {
            state.return_credit(PIECE_COST);
        } else {
            response.body.push_back(Piece::Bytes(data));
        }
        drop(state);
        self.announce();
        true
    }

    /// The response cannot be completed. What was sent before still goes out first.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut state = self.state.borrow_mut();
        state.place = Place::Over;
        state.share = None;
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

    /// The worker is done with it. A response that it has left without an end, and without a word about it, has failed,
    /// unless the client has closed its side: then the app need not complete it.
    pub(crate) fn finished(&self) {
        let (is_complete, fault) = {
            let mut state = self.state.borrow_mut();
            state.place = Place::Over;
            let is_complete =
                state.response.ended || state.websocket.is_some() || state.response.fault.is_some();
            let fault = if state.half_closed_at.is_some() { Fault::ClientGone } else { Fault::AppFailed };
            (is_complete, fault)
        };
        if !is_complete {
            self.fail(fault);
        }
    }

    /// The connection has seen what there is: it wants to hear of what comes from now on.
    pub(crate) fn note_seen(&self) {
        self.announced.set(false);
    }
}

//! The exchange as the link to its worker uses it: the request goes out, the response comes in, each frame
//! checked.

use std::cell::RefMut;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};
use hcrs_link::{INTERIM_MAX, PIECE_COST, PUSH_MAX, REQUEST_WINDOW, StreamId, Window, piece_cost};
use hcrs_metrics::Stall;
use hcrs_ws::close_code;

use super::{
    BodyPiece, Exchange, Hint, Origin, Piece, PiecedResponse, Place, Replaced, Replacement, SentTo, State,
    WholeResponse,
};
use crate::clock;
use crate::exchange::backlog::Backlog;
#[cfg(test)]
use crate::model::planted::{self, Planted};

/// The number of workers that may die before they have begun a request. With one more the request fails,
/// because it may be the cause.
pub(super) const DEAD_WORKERS_MAX: u8 = 2;

impl Exchange {
    /// Returns the head, to be sent; `None` if the client has gone meanwhile.
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

    /// Counts the request's bytes in the backlog. Returns false if they do not fit.
    #[must_use]
    pub(crate) fn join(&self, backlog: &Rc<Backlog>) -> bool {
        let mut state = self.state.borrow_mut();
        let head = state.head.as_ref().map_or(0, |head| head.as_bytes().len());
        let len = head + state.body.unread;
        state.share = Some(backlog.share());
        state.charge_backlog(len)
    }

    /// Returns when the request arrived.
    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Whether the client had closed its side by `before`, and so perhaps no longer waits.
    pub(crate) fn is_half_closed_since(&self, before: Instant) -> bool {
        let state = self.state.borrow();
        [state.half_closed_at, state.hung_up_at].into_iter().flatten().any(|at| at <= before)
    }

    /// Counts a worker that died before it began the request. Returns false if there were too many.
    #[must_use]
    pub(crate) fn survives_worker(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.dead_workers = state.dead_workers.saturating_add(1);
        state.dead_workers <= DEAD_WORKERS_MAX
    }

    /// Notes that the head was sent to `origin`, and sends the body after it.
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

    /// Notes that `origin` has begun the request, which waits for no worker, and sends it the body.
    pub(crate) fn begin(&self, origin: Rc<dyn Origin>, stream: StreamId) {
        let mut state = self.state.borrow_mut();
        state.place = Place::Begun(origin, stream);
        state.send_body();
    }

    /// Returns the most bytes that the next piece of the response's body may have; 0 if none may be sent.
    pub(crate) fn response_room(&self) -> usize {
        self.state.borrow().response.window.room()
    }

    /// Resumes the body of this stream, which has waited for room in the link.
    pub(crate) fn resume_body(&self, stream: StreamId) {
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

    /// Notes that the worker has begun the request, which will not be sent to another.
    pub(crate) fn begun(&self) {
        let mut state = self.state.borrow_mut();
        if let Place::Sent(origin, stream) = &state.place {
            state.place = Place::Begun(Rc::clone(origin), *stream);
        }
        if let Some(share) = state.share.take() {
            share.begin();
        }
        state.body.replay.clear();
        if let Some(room) = state.response.room.take() {
            self.buffer_response(&mut state, &room);
        }
    }

    /// Notes that the worker has not begun the request and will not, so that it waits for another.
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

    /// Returns when the request was sent to its worker, with its method and path, for the log.
    pub(crate) fn asked_for(&self) -> Option<(Instant, String)> {
        let state = self.state.borrow();
        let head = state.head.as_ref()?.view();
        let line = [head.method, b" ", head.path].concat();
        let since = state.sent.map_or(self.arrived, |sent| sent.at);
        Some((since, String::from_utf8_lossy(&line).into_owned()))
    }

    /// Returns credit to the client for the bytes that the app took.
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

    /// Notes that the app waits for a body that the client holds back.
    pub(crate) fn app_awaits_body(&self) {
        let mut state = self.state.borrow_mut();
        state.response.wants_continue = state.expects_continue;
        drop(state);
        self.announce();
    }

    /// Notes that the app was notified of the end of its WebSocket.
    pub(crate) fn app_took_close(&self) {
        let mut state = self.state.borrow_mut();
        let Some(websocket) = &mut state.websocket else { return };
        let progress = websocket.app_took_end();
        state.apply(progress);
        state.send_messages();
        state.read_websocket();
        drop(state);
        self.announce();
    }

    /// Accepts the WebSocket for the app. Returns false if it may not now.
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
    pub(crate) fn answer(&self, response: WholeResponse) {
        self.answer_in_pieces(response.into());
    }

    /// Answers the request with a response whose body has files.
    pub(crate) fn answer_in_pieces(&self, PiecedResponse { head, body }: PiecedResponse) {
        let mut state = self.state.borrow_mut();
        let response = &mut state.response;
        response.has_head = true;
        response.head = Some(head);
        response.ended = true;
        response.body.extend(body.into_iter().map(|BodyPiece(piece)| piece));
        drop(state);
        self.announce();
    }

    /// Answers a request that waits for a worker with a whole response, which `response` makes of its head. The
    /// request is never sent to a worker then.
    pub(crate) fn answer_queued(&self, response: impl FnOnce(&RequestHead) -> WholeResponse) {
        let Some(response) = self.head().map(|head| response(&head)) else { return };
        self.leave_queue();
        self.answer(response);
    }

    /// Notes that the request waits for no worker: it is answered otherwise.
    pub(crate) fn leave_queue(&self) {
        let mut state = self.state.borrow_mut();
        state.place = Place::Over;
        state.share = None;
        state.deny_websocket();
    }

    /// Takes the response's head from the worker. Returns false if it may not send one now.
    #[must_use]
    pub(crate) fn push_head(&self, head: ResponseHead, end: bool) -> bool {
        let mut state = self.state.borrow_mut();
        if std::mem::replace(&mut state.response.has_head, true) {
            return false;
        }
        state.deny_websocket();
        let State { head: request, response, .. } = &mut *state;
        let replaced = match (&self.internal_files, request) {
            (Some(files), Some(request)) => files.replace(request, head),
            _ => Replaced::No(head),
        };
        match replaced {
            Replaced::No(head) => {
                response.head = Some(head);
                response.ended = end;
            }
            Replaced::By(answer) => {
                // The app sends no file of its own then.
                self.file_permit.take();
                response.replacement = Some(Box::new(Replacement::new(answer)));
                if end {
                    state.send_replacement();
                }
            }
        }
        drop(state);
        self.announce();
        true
    }

    /// Takes an interim head of `len` bytes from the worker. Returns false if it may not send one now, or not
    /// that many bytes.
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

    /// Takes a request to promise from the worker: the target and the fields, in a frame of `len` bytes.
    /// Returns false if it may not send one now, or not that many bytes.
    #[must_use]
    pub(crate) fn push_promise(&self, target: &[u8], fields: &ResponseHead, len: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let State { head, response, .. } = &mut *state;
        let cost = piece_cost(len);
        if response.ended || response.pushed == PUSH_MAX || !response.window.spend(cost) {
            return false;
        }
        // Without a client there is no head.
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

    /// Takes the response's trailers, which end it, from the worker. Returns false if it may not send them
    /// now.
    #[must_use]
    pub(crate) fn push_trailers(&self, trailers: ResponseHead) -> bool {
        let mut state = self.state.borrow_mut();
        let accepted = state.head.as_ref().is_some_and(|head| head.view().accepts_trailers());
        let response = &mut state.response;
        if !response.has_head || response.ended {
            return false;
        }
        if response.replacement.is_some() {
            state.send_replacement();
            drop(state);
            self.announce();
            return true;
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

    /// Takes bytes of the response's body from the worker. Returns false if it may not send them now, or not
    /// that many.
    #[must_use]
    pub(crate) fn push_data(&self, data: Bytes, end: bool) -> bool {
        let mut state = self.state.borrow_mut();
        let is_websocket = state.websocket.is_some();
        let State { response, place, .. } = &mut *state;
        if is_websocket || !response.has_head || response.ended {
            return false;
        }
        // An end without bytes costs nothing: a stream has only one.
        let cost = if data.is_empty() && end { 0 } else { piece_cost(data.len()) };
        if !response.window.spend(cost) {
            return false;
        }
        if response.replacement.is_some() {
            state.drop_replaced(data.len(), cost, end);
            drop(state);
            self.announce();
            return true;
        }
        response.ended = end;
        if !end
            && response.window.room() == 0
            && let Place::Sent(origin, _) | Place::Begun(origin, _) = place
        {
            origin.note_stall(Stall::ResponseWindow);
        }
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

    /// Fails the exchange because the response cannot be completed. Earlier parts of it are still sent first.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut state = self.state.borrow_mut();
        state.place = Place::Over;
        state.share = None;
        match state.websocket.as_mut().filter(|websocket| websocket.is_open()) {
            Some(websocket) => {
                let code = fault.close_code().unwrap_or(close_code::SERVICE_RESTART);
                let progress = websocket.close(code, "", clock::now());
                state.apply(progress);
                state.end_response();
            }
            None => match self.response_to(fault, &state) {
                Some(response) => state.answer_fault(fault, response),
                None => {
                    state.response.fault.get_or_insert(fault);
                }
            },
        }
        drop(state);
        self.announce();
    }

    /// Ends the exchange for the worker. A response without an end and without a fault has failed, unless the
    /// client has closed its side: then the app need not complete it.
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

    /// Notes that the connection has seen all output, and is to be woken for the next.
    pub(crate) fn note_seen(&self) {
        self.announced.set(false);
    }
}

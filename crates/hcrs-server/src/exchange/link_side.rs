//! What an exchange is for the link to its worker: the request goes out, the response comes in, each frame checked.

use std::cell::RefMut;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use hcrs_exchange::{Fault, RequestHead, ResponseHead};
use hcrs_link::{INTERIM_MAX, PUSH_MAX, REQUEST_WINDOW, Window};
use hcrs_ws::close_code;

use super::{Exchange, Piece, Place, State};
use crate::clock;
use crate::link::Link;

/// How a worker says that the app has accepted a WebSocket, whatever the protocol says it with.
const SWITCHING_PROTOCOLS: u16 = 101;

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

    /// Since when its worker has it, and its method and path, for the log.
    pub(crate) fn asked_for(&self) -> Option<(Instant, String)> {
        let state = self.state.borrow();
        let head = state.head.as_ref()?.view();
        let line = [head.method, b" ", head.path].concat();
        Some((state.since, String::from_utf8_lossy(&line).into_owned()))
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

    /// The worker is done with it.
    pub(crate) fn finished(&self) {
        self.state.borrow_mut().place = Place::Over;
    }

    /// The connection has seen what there is: it wants to hear of what comes from now on.
    pub(crate) fn note_seen(&self) {
        self.announced.set(false);
    }
}

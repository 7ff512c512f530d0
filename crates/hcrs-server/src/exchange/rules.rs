//! The rules of an exchange: its deadline, the responses to its faults, and its window.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hcrs_http::Fault;
use hcrs_link::{Owed, RESPONSE_WINDOW};

use super::fault_response::fault_response;
use super::response_room::ResponseRoom;
use super::{BodyPiece, Exchange, PiecedResponse, Place, State};
use crate::settings::Rules;

impl Exchange {
    /// Returns the rules, if any of them changes responses or deadlines.
    pub(crate) fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.borrow().clone()
    }

    /// Replaces the rules: another route answers the request.
    pub(crate) fn set_rules(&self, rules: Option<Arc<Rules>>) {
        self.rules.replace(rules);
    }

    /// Returns when the response has to be complete.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// Ends the exchange for its worker because its deadline has passed: the app's task is cancelled. The caller
    /// answers the client.
    pub(crate) fn time_out(&self) {
        self.deadline.set(None);
        let mut state = self.state.borrow_mut();
        let place = std::mem::replace(&mut state.place, Place::Over);
        state.drop_payload();
        drop(state);
        match place {
            Place::Sent(origin, stream) | Place::Begun(origin, stream) => origin.cancel(stream),
            Place::Queued | Place::Over => {}
        }
    }

    /// Answers a fault of an exchange of which the client has no response's head, in place of what the origin has
    /// sent. Returns false if no rule changes the response to it.
    #[must_use]
    pub(crate) fn answer_fault(&self, fault: Fault) -> bool {
        if self.rules.borrow().is_none() || self.state.borrow().response.answered_fault.is_some() {
            return false;
        }
        self.abandon();
        let mut state = self.state.borrow_mut();
        state.response.has_head = false;
        let Some(response) = self.response_to(fault, &state) else { return false };
        state.answer_fault(fault, response);
        drop(state);
        self.announce();
        true
    }

    /// Returns the fault whose response was sent.
    pub(crate) fn answered_fault(&self) -> Option<Fault> {
        self.state.borrow().response.answered_fault
    }

    /// Returns the response to a fault, if rules change it and none has begun. The end of a drain allows no pages.
    pub(super) fn response_to(&self, fault: Fault, state: &State) -> Option<PiecedResponse> {
        let may_answer = !state.response.has_head && fault != Fault::DrainTimeout;
        let rules = self.rules().filter(|_| may_answer)?;
        Some(fault_response(&rules, fault).into())
    }

    /// Opens the window of the worker, which has just begun, as far as the rules and the thread's room allow.
    pub(super) fn buffer_response(&self, state: &mut State, room: &Rc<ResponseRoom>) {
        let size = self.rules().and_then(|rules| rules.buffer_response).unwrap_or(0);
        let more = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(RESPONSE_WINDOW as usize);
        let Place::Begun(origin, stream) = &state.place else { return };
        if more == 0 || state.websocket.is_some() {
            return;
        }
        let taken = room.take(more);
        // The room is smaller than the largest window.
        let credit = u32::try_from(taken.len()).unwrap_or(0);
        if credit > 0 {
            state.response.has_grown = true;
            state.owed = Owed::new(RESPONSE_WINDOW + credit);
            state.response.window.add(credit);
            origin.send_credit(*stream, credit);
            state.response.taken_room = Some(taken);
        }
    }
}

impl State {
    /// Makes the response to a fault that of the exchange, which is over for its origin.
    pub(super) fn answer_fault(&mut self, fault: Fault, PiecedResponse { head, body }: PiecedResponse) {
        self.deny_websocket();
        let response = &mut self.response;
        response.answered_fault = Some(fault);
        response.has_head = true;
        response.head = Some(head);
        response.body = body.into_iter().map(|BodyPiece(piece)| piece).collect();
        response.trailers = None;
        response.coder = None;
        response.replacement = None;
        response.fault = None;
        response.ended = true;
    }
}

//! The messages of a WebSocket, for an exchange that has become one.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hcrs_link::{MessageKind, piece_cost};
use hcrs_metrics::Stall;
use hcrs_ws::close_code;

use super::{Exchange, Piece, Place, State, Tunnel};
use crate::exchange::websocket::{Next, Progress};

impl Exchange {
    /// Passes bytes that arrived for a WebSocket on a connection of its own. The buffer is swapped, not
    /// copied.
    pub(crate) fn push_switched(&self, input: &mut BytesMut) {
        let mut state = self.state.borrow_mut();
        if state.tunnel.is_open() {
            drop(state);
            return self.push_body(input.split().freeze(), false);
        }
        state.body.unread += input.len();
        if let Some(websocket) = &mut state.websocket {
            websocket.arrive_in(input);
            state.read_websocket();
        }
        match &mut state.websocket {
            Some(websocket) => websocket.return_buffer(input),
            // The exchange is over, and no bytes are read any more.
            None => input.clear(),
        }
        drop(state);
        self.announce();
    }

    /// Whether the thread's share of inflating or encoding in this turn is used up, and the exchange waits for
    /// [`Exchange::resume`] in the next one.
    pub(crate) fn has_yielded(&self) -> bool {
        let state = self.state.borrow();
        state.response.has_yielded
            || state.websocket.as_ref().is_some_and(|websocket| websocket.has_yielded())
    }

    /// Continues an exchange that has yielded, once other connections have had their turn.
    pub(crate) fn resume(&self) {
        let mut state = self.state.borrow_mut();
        if std::mem::take(&mut state.response.has_yielded) {
            drop(state);
            return self.announce();
        }
        let Some(websocket) = state.websocket.as_mut().filter(|websocket| websocket.has_yielded()) else {
            return;
        };
        websocket.resume();
        state.read_websocket();
        drop(state);
        self.announce();
    }

    /// Checks a WebSocket's deadlines. Returns when to check again.
    pub(crate) fn tick(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.borrow_mut();
        let (progress, next) = state.websocket.as_mut()?.tick(now);
        let is_over = progress.is_closed;
        state.apply(progress);
        state.send_messages();
        let has_news = is_over || !state.response.body.is_empty();
        drop(state);
        if has_news {
            self.announce();
        }
        next
    }

    /// Closes a WebSocket because the server is shutting down.
    pub(crate) fn go_away(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        if state.tunnel == Tunnel::Open
            && let Place::Begun(origin, stream) = state.place.clone()
        {
            state.tunnel = Tunnel::Closing;
            return origin.send_close(stream, close_code::GOING_AWAY, "");
        }
        let Some(websocket) = state.websocket.as_mut().filter(|websocket| websocket.is_open()) else {
            return;
        };
        let progress = websocket.close(close_code::GOING_AWAY, "", now);
        let has_news = !progress.out.is_empty();
        state.apply(progress);
        drop(state);
        if has_news {
            self.announce();
        }
    }

    /// Passes a piece of a WebSocket's message from the worker. Returns false if the worker may not send it
    /// now, or not that many bytes.
    #[must_use]
    pub(crate) fn push_message(&self, kind: MessageKind, data: &[u8], end: bool) -> bool {
        let mut state = self.state.borrow_mut();
        if !state.response.window.spend(piece_cost(data.len())) {
            return false;
        }
        let Some(progress) = state.websocket.as_mut().and_then(|websocket| websocket.send(kind, data, end))
        else {
            return false;
        };
        if state.response.ended {
            return true;
        }
        if progress.out.is_empty() {
            // It will not be read: the worker may continue until it has received the end.
            drop(state);
            self.client_took(0);
            return true;
        }
        if state.response.window.room() == 0
            && let Place::Sent(origin, _) | Place::Begun(origin, _) = &state.place
        {
            origin.note_stall(Stall::ResponseWindow);
        }
        state.apply(progress);
        drop(state);
        self.announce();
        true
    }

    /// Closes the WebSocket for the worker. Returns false if it may not.
    #[must_use]
    pub(crate) fn push_close(&self, code: u16, reason: &[u8], now: Instant) -> bool {
        let Ok(reason) = std::str::from_utf8(reason) else { return false };
        let mut state = self.state.borrow_mut();
        let Some(websocket) = state.websocket.as_mut().filter(|websocket| websocket.is_open()) else {
            return false;
        };
        let progress = websocket.close_by_app(code, reason, now);
        state.apply(progress);
        state.send_messages();
        state.read_websocket();
        drop(state);
        self.announce();
        true
    }

    /// Whether this is a WebSocket that the app has accepted, or that is open to an upstream.
    pub(crate) fn is_open_websocket(&self) -> bool {
        let state = self.state.borrow();
        state.tunnel.is_open() || state.websocket.as_ref().is_some_and(|websocket| websocket.is_open())
    }
}

impl State {
    /// Lets the WebSocket parse the bytes that have arrived.
    pub(super) fn read_websocket(&mut self) {
        while let Some(websocket) = &mut self.websocket {
            let was_free = websocket.is_free();
            let progress = websocket.read();
            let has_message = !websocket.is_free();
            self.apply(progress);
            self.send_messages();
            // After a message there may be more, or at least a ping.
            if !(was_free && has_message) {
                return;
            }
        }
    }

    /// Ends the WebSocket without a Close frame because the client is gone, unless it is closed already.
    pub(super) fn disconnect_websocket(&mut self) {
        if self.response.ended {
            return;
        }
        if let Some(websocket) = &mut self.websocket {
            websocket.disconnect();
        }
        self.send_messages();
        if self.response.has_head {
            self.end_response();
        }
    }

    pub(super) fn apply(&mut self, progress: Progress) {
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

    pub(super) fn end_response(&mut self) {
        if !std::mem::replace(&mut self.response.ended, true) && self.response.body.is_empty() {
            // An empty piece carries the end.
            self.response.body.push_back(Piece::Bytes(Bytes::new()));
        }
    }

    /// Sends the messages that fit in the worker's window, and the end of the WebSocket.
    pub(super) fn send_messages(&mut self) {
        let (Some(websocket), Place::Begun(origin, stream)) = (&mut self.websocket, &self.place) else {
            return;
        };
        while !self.awaits_room && websocket.has_for_app() {
            if !origin.has_room(*stream) {
                self.awaits_room = true;
                return;
            }
            self.body.is_stalled = false;
            let Some(next) = websocket.next_for_app() else { return };
            match next {
                Next::Piece(kind, piece, end) => origin.send_message(*stream, kind, &piece, end),
                Next::Close(code, reason) => origin.send_close(*stream, code, &reason),
            }
        }
        let awaits_window = !self.awaits_room && !websocket.is_free();
        if awaits_window && !std::mem::replace(&mut self.body.is_stalled, true) {
            origin.note_stall(Stall::RequestWindow);
        }
    }
}

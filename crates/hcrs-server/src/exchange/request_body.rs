//! The body of a request on its way to the origin.

use std::collections::VecDeque;

use bytes::Bytes;
use hcrs_http::ResponseHead;
use hcrs_link::{DATA_MAX, REQUEST_WINDOW, Window};
use hcrs_metrics::Stall;

use super::{Place, State};

/// A body as far as it is here, and its window.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// Bytes that have arrived and were not sent to a worker.
    pub(super) waiting: VecDeque<Bytes>,
    /// Bytes that were sent to a worker that may not have begun the request.
    pub(super) replay: Vec<Bytes>,
    /// Whether there is a body. If not, the head carried END.
    pub(super) exists: bool,
    pub(super) ended: bool,
    pub(super) end_sent: bool,
    pub(super) window: Window,
    /// Whether bytes wait for the window.
    pub(super) is_stalled: bool,
    /// The number of bytes that the app took and the client has not been credited with.
    pub(super) taken: usize,
    /// The number of bytes that arrived and that the app has not taken.
    pub(super) unread: usize,
    /// The number of bytes that may still arrive; `None` for no limit.
    pub(super) left: Option<u64>,
    /// Whether the origin has a place for trailers.
    pub(super) takes_trailers: bool,
    /// The trailers, until the end is sent.
    pub(super) trailers: Option<ResponseHead>,
}

impl Default for RequestBody {
    /// Returns a body that does not exist, and has no limit.
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            replay: Vec::new(),
            exists: false,
            ended: false,
            end_sent: false,
            window: Window::new(REQUEST_WINDOW),
            is_stalled: false,
            taken: 0,
            unread: 0,
            left: None,
            takes_trailers: false,
            trailers: None,
        }
    }
}

impl RequestBody {
    /// Counts bytes that have arrived against the limit. Returns false if they exceed it.
    pub(super) fn admits(&mut self, len: usize) -> bool {
        let Some(left) = self.left.filter(|_| self.exists) else { return true };
        self.left = Some(left.saturating_sub(len as u64));
        left >= len as u64
    }
}

impl State {
    /// Sends as much of the body as the worker's window and the link take.
    pub(super) fn send_body(&mut self) {
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
}

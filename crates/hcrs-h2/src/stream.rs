//! One stream: the client's side and its window, and the response that leaves on it (RFC 9113 §5.1).

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, Priority, ResponseHead};
use hcrs_mux::{Owned, Owner, StreamKey};

use crate::flow::FlowWindow;
use crate::frame::ErrorCode;

/// A stream that is not closed on both sides, or whose response the app has not ended.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) owner: Owner,
    /// The server has begun it by a promise.
    pub(crate) is_pushed: bool,
    /// The client counts it as open (RFC 9113 §5.1.2).
    pub(crate) is_counted: bool,
    /// The event of its request was taken.
    pub(crate) is_announced: bool,
    /// The request's method is HEAD.
    pub(crate) is_head: bool,
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
    pub(crate) priority: Priority,
    /// Bytes of a response that the client lets the server send on this stream. Settings may make it
    /// negative.
    pub(crate) send_window: FlowWindow,
    /// Bytes of the response that its announced length still allows.
    pub(crate) response_left: Option<u64>,
    /// The response has no body on the wire (HEAD, 204, 304), whatever the app sends.
    pub(crate) is_bodiless: bool,
    /// Pieces of the response's body that wait.
    pub(crate) pending: VecDeque<Bytes>,
    /// The pending pieces are the last.
    pub(crate) pending_end: bool,
    /// Trailers to be sent after the last piece.
    pub(crate) trailers: Option<ResponseHead>,
    /// Since when the pending pieces have waited without a byte of progress. The stream is in the schedule
    /// meanwhile.
    pub(crate) waiting_since: Option<Instant>,
}

/// Returns the number of a stream as it stands in frames, which have 31 bits for it.
pub(crate) fn wire_id(key: StreamKey) -> u32 {
    key.id as u32
}

/// The client's side of a stream.
#[derive(Debug)]
pub(crate) struct Receiving {
    /// The client may send more of the body, or trailers.
    pub(crate) is_open: bool,
    /// Bytes that the client may send, as far as it was told.
    pub(crate) window: FlowWindow,
    /// Bytes that the app has and has not released.
    pub(crate) held: usize,
    /// Bytes by which the window may be opened and was not.
    pub(crate) credit: usize,
    /// Bytes of the body that its announced length still allows.
    pub(crate) left: Option<u64>,
}

impl Receiving {
    /// Notes a DATA frame with `len` bytes of body, which takes `flow_len` bytes of the window.
    pub(crate) fn take(&mut self, flow_len: usize, len: usize, end: bool) -> Result<(), ErrorCode> {
        if !self.is_open {
            return Err(ErrorCode::STREAM_CLOSED);
        }
        if !self.window.take(flow_len) {
            return Err(ErrorCode::FLOW_CONTROL_ERROR);
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(len as u64).ok_or(ErrorCode::PROTOCOL_ERROR)?;
        }
        if end { self.end() } else { Ok(()) }
    }

    /// Notes the end of the body, which has to be as long as announced.
    pub(crate) fn end(&mut self) -> Result<(), ErrorCode> {
        self.is_open = false;
        if self.left.is_some_and(|left| left > 0) { Err(ErrorCode::PROTOCOL_ERROR) } else { Ok(()) }
    }

    /// Returns the increment by which the window has to be opened now; small ones wait for others.
    pub(crate) fn open(&mut self) -> Option<u32> {
        if !self.is_open || self.credit == 0 || self.credit * 2 < self.window.left() {
            return None;
        }
        let increment = std::mem::take(&mut self.credit) as u32;
        self.window.open(increment).then_some(increment)
    }
}

/// The server's side of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// No head was sent, but perhaps interim ones.
    Head,
    /// The head was sent, and nothing of a body.
    Opened,
    /// The body has begun.
    Body,
    /// The response has ended on the wire.
    Ended,
}

impl Owned for Stream {
    #[inline]
    fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl Stream {
    /// Creates a stream that a client has begun.
    pub(crate) fn requested(receiving: Receiving, send_window: FlowWindow) -> Self {
        Self {
            owner: Owner::App,
            is_pushed: false,
            is_counted: true,
            is_announced: false,
            is_head: false,
            receiving,
            sending: Sending::Head,
            priority: Priority::default(),
            send_window,
            response_left: None,
            is_bodiless: false,
            pending: VecDeque::new(),
            pending_end: false,
            trailers: None,
            waiting_since: None,
        }
    }

    /// Creates a stream that was promised to the client. It begins with the priority of the request for which it
    /// was promised.
    pub(crate) fn pushed(priority: Priority, send_window: FlowWindow) -> Self {
        let receiving =
            Receiving { is_open: false, window: FlowWindow::new(0), held: 0, credit: 0, left: None };
        Self { is_pushed: true, is_counted: false, priority, ..Self::requested(receiving, send_window) }
    }

    /// Counts body bytes against the announced length. The error means that the body breaks it.
    pub(crate) fn spend_length(&mut self, len: usize, end: bool) -> Result<(), Fault> {
        if let Some(left) = &mut self.response_left {
            *left = left.checked_sub(len as u64).ok_or(Fault::AppFailed)?;
            if end && *left > 0 {
                return Err(Fault::AppFailed);
            }
        }
        Ok(())
    }
}

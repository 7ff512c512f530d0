//! One request stream: the client's side of it, and the response that leaves on it (RFC 9114 §4.1).

use std::time::Instant;

use hcrs_http::{Fault, Priority};
use hcrs_mux::{Owned, Owner};

use crate::error::ErrorCode;
use crate::frame::FrameReader;
use crate::outbox::Outbox;

/// A stream that is not closed on both sides, or whose response the app has not ended.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) owner: Owner,
    /// The event of its request was taken.
    pub(crate) is_announced: bool,
    /// The request's method is HEAD.
    pub(crate) is_head: bool,
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
    /// Bytes of the response that its announced length still allows.
    pub(crate) response_left: Option<u64>,
    /// The response has no body on the wire (HEAD, 204, 304), whatever the app sends.
    pub(crate) is_bodiless: bool,
    pub(crate) outbox: Outbox,
    /// The priority, by what the client and the app have signalled.
    pub(crate) priority: Priority,
    /// The stream is to be written at the end of the turn.
    pub(crate) is_dirty: bool,
    /// The number of the last part of a body, of all streams, that this one was given.
    pub(crate) served_at: u64,
    /// Since when the outbox has waited without a byte of progress.
    pub(crate) waiting_since: Option<Instant>,
}

/// The client's side of a stream.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) phase: Phase,
    pub(crate) frames: FrameReader,
    /// Bytes of a frame that wait for its rest.
    pub(crate) waiting: usize,
    /// When the stream was first read.
    pub(crate) since: Option<Instant>,
    /// The stream is among those that are to be read.
    pub(crate) is_queued: bool,
    /// There may be more to read, once there is room.
    pub(crate) is_paused: bool,
    /// Bytes that the app has and has not released.
    pub(crate) held: usize,
    /// Bytes of the body that its announced length still allows.
    pub(crate) left: Option<u64>,
}

/// The part of a request that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The head.
    Head,
    /// The body, or trailers.
    Body,
    /// Nothing, but for frames of unknown types.
    Trailers,
    /// The client has ended its side, or was asked to.
    Closed,
}

impl Receiving {
    /// Whether the client may send more.
    pub(crate) fn is_open(&self) -> bool {
        self.phase != Phase::Closed
    }

    /// Counts bytes of the body against its announced length.
    pub(crate) fn count(&mut self, len: usize) -> Result<(), ErrorCode> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(len as u64).ok_or(ErrorCode::MESSAGE_ERROR)?;
        }
        Ok(())
    }

    /// Notes the end of the request, whose body has to be as long as announced.
    pub(crate) fn end(&mut self) -> Result<(), ErrorCode> {
        self.phase = Phase::Closed;
        if self.left.is_some_and(|left| left > 0) { Err(ErrorCode::MESSAGE_ERROR) } else { Ok(()) }
    }
}

/// The server's side of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// No head was sent, but perhaps interim ones.
    Head,
    /// The body, if any, follows.
    Body,
    /// All of the response is in the outbox.
    Last,
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
    pub(crate) fn new() -> Self {
        Self {
            owner: Owner::App,
            is_announced: false,
            is_head: false,
            receiving: Receiving {
                phase: Phase::Head,
                frames: FrameReader::default(),
                waiting: 0,
                since: None,
                is_queued: false,
                is_paused: false,
                held: 0,
                left: None,
            },
            sending: Sending::Head,
            response_left: None,
            is_bodiless: false,
            outbox: Outbox::default(),
            priority: Priority::default(),
            is_dirty: false,
            served_at: 0,
            waiting_since: None,
        }
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

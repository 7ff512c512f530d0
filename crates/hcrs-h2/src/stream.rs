//! One stream: its handles in `h2`, and the part of its response that waits for the client's window.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::server::{SendPushedResponse, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use hcrs_http::Fault;
use http::{HeaderMap, Response};

/// The handle with which a response's head is sent.
#[derive(Debug)]
pub(crate) enum Respond {
    Requested(SendResponse<Bytes>),
    Pushed(SendPushedResponse<Bytes>),
}

impl Respond {
    /// Whether the stream was promised to the client.
    pub(crate) fn is_pushed(&self) -> bool {
        matches!(self, Self::Pushed(_))
    }

    pub(crate) fn send_response(
        &mut self,
        head: Response<()>,
        end: bool,
    ) -> Result<SendStream<Bytes>, h2::Error> {
        match self {
            Self::Requested(respond) => respond.send_response(head, end),
            Self::Pushed(respond) => respond.send_response(head, end),
        }
    }

    pub(crate) fn send_informational(&mut self, head: Response<()>) -> Result<(), h2::Error> {
        match self {
            Self::Requested(respond) => respond.send_informational(head),
            // h2 cannot send it; hints for a response that was not asked for would be of little use.
            Self::Pushed(_) => Ok(()),
        }
    }

    pub(crate) fn send_reset(&mut self, reason: Reason) {
        match self {
            Self::Requested(respond) => respond.send_reset(reason),
            Self::Pushed(respond) => respond.send_reset(reason),
        }
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        match self {
            Self::Requested(respond) => respond.poll_reset(cx),
            Self::Pushed(respond) => respond.poll_reset(cx),
        }
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// The handle for the response's head; `None` once the head is sent.
    pub(crate) respond: Option<Respond>,
    /// The handle for promises between the response's head and its body, if the client accepts pushes.
    promiser: Option<SendResponse<Bytes>>,
    takes_pushes: bool,
    /// The response's body may be sent: for a pushed response, once its head has left.
    pub(crate) is_open: bool,
    /// The handle for the response's body; `None` until the head is sent.
    pub(crate) send: Option<SendStream<Bytes>>,
    /// The handle for the request's body; `None` if it has none.
    pub(crate) recv: Option<RecvStream>,
    /// Bytes of the request's body that were not released.
    pub(crate) held: usize,
    /// The request's method is HEAD.
    pub(crate) is_head: bool,
    /// Body bytes that the announced content-length still allows.
    pub(crate) length_left: Option<u64>,
    /// The response has no body on the wire (HEAD, 204, 304), whatever the app sends.
    pub(crate) bodiless: bool,
    /// Pieces of the response's body that were not passed to `h2`.
    pub(crate) pending: VecDeque<Bytes>,
    /// The pending pieces are the last.
    pub(crate) pending_end: bool,
    /// Trailers to be sent after the last piece.
    pub(crate) trailers: Option<HeaderMap>,
    /// Since when the pending pieces have waited without a byte of progress.
    pub(crate) waiting_since: Option<Instant>,
}

/// The progress made by [`Stream::pump`].
#[derive(Debug, Default)]
pub(crate) struct Pumped {
    /// Number of bytes that were passed to `h2`.
    pub(crate) taken: usize,
    /// Number of pieces that were passed to `h2`.
    pub(crate) pieces: u32,
    /// Whether the stream begins to wait for the client's window.
    pub(crate) stalls: bool,
    pub(crate) outcome: Outcome,
}

/// The state of a stream after a step.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The stream goes on.
    #[default]
    Open,
    /// The response is complete.
    Done,
    /// The client has reset the stream.
    Reset,
}

impl Stream {
    pub(crate) fn new(
        respond: SendResponse<Bytes>,
        recv: Option<RecvStream>,
        is_head: bool,
        takes_pushes: bool,
    ) -> Self {
        let id = respond.stream_id().as_u32();
        let stream = Self::begun(id, Respond::Requested(respond), true);
        Self { takes_pushes, recv, is_head, ..stream }
    }

    /// Creates a stream that was promised to the client.
    pub(crate) fn pushed(respond: SendPushedResponse<Bytes>) -> Self {
        Self::begun(respond.stream_id().as_u32(), Respond::Pushed(respond), false)
    }

    fn begun(id: u32, respond: Respond, is_open: bool) -> Self {
        Self {
            id,
            respond: Some(respond),
            promiser: None,
            takes_pushes: false,
            is_open,
            send: None,
            recv: None,
            held: 0,
            is_head: false,
            length_left: None,
            bodiless: false,
            pending: VecDeque::new(),
            pending_end: false,
            trailers: None,
            waiting_since: None,
        }
    }

    /// Keeps the handle for promises after the head is sent. It is dropped once the body begins, because a
    /// promise could be stuck behind the body in `h2`.
    pub(crate) fn keep_promiser(&mut self, respond: Respond) {
        if let Respond::Requested(respond) = respond
            && self.takes_pushes
        {
            self.promiser = Some(respond);
        }
    }

    /// Returns the handle for promises; `None` on a stream that was itself pushed.
    pub(crate) fn promiser(&mut self) -> Option<&mut SendResponse<Bytes>> {
        match &mut self.respond {
            Some(Respond::Requested(respond)) => Some(respond),
            Some(Respond::Pushed(_)) => None,
            None => self.promiser.as_mut(),
        }
    }

    /// Whether a stream whose reset the meter has seen is over: not before `h2` has processed the frame.
    pub(crate) fn is_reset(&mut self) -> bool {
        // Streams wake no task: each poll of the connection checks all streams that may have changed.
        let cx = &mut Context::from_waker(Waker::noop());
        match (&mut self.respond, &mut self.send) {
            (Some(respond), _) => respond.poll_reset(cx).is_ready(),
            // h2 has closed such a stream already, and forgets a reset that comes after.
            (None, Some(_)) if self.bodiless => true,
            (None, Some(send)) => send.poll_reset(cx).is_ready(),
            (None, None) => true,
        }
    }

    /// Counts body bytes against the announced length. The error means that the body breaks it.
    pub(crate) fn spend_length(&mut self, len: usize, end: bool) -> Result<(), Fault> {
        if let Some(left) = &mut self.length_left {
            *left = left.checked_sub(len as u64).ok_or(Fault::AppFailed)?;
            if end && *left > 0 {
                return Err(Fault::AppFailed);
            }
        }
        Ok(())
    }

    /// Passes as much of the pending body to `h2` as the client's window allows, and at most `room` bytes.
    pub(crate) fn pump(&mut self, now: Instant, room: usize) -> Pumped {
        let mut pumped = Pumped::default();
        if !self.is_open {
            self.waiting_since.get_or_insert(now);
            return pumped;
        }
        let Some(send) = &mut self.send else { return pumped };
        self.promiser = None;
        let end = self.pending_end && self.trailers.is_none();
        pumped.outcome = pass_on(send, &mut self.pending, end, room, &mut pumped);
        if self.pending.is_empty()
            && pumped.outcome == Outcome::Open
            && let Some(trailers) = self.trailers.take()
        {
            pumped.outcome =
                if send.send_trailers(trailers).is_err() { Outcome::Reset } else { Outcome::Done };
        }
        // Without a byte of progress the stream has waited before.
        pumped.stalls &= pumped.taken > 0 || self.waiting_since.is_none();
        if self.pending.is_empty() {
            self.waiting_since = None;
        } else if pumped.taken > 0 || self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
        pumped
    }
}

fn pass_on(
    send: &mut SendStream<Bytes>,
    pending: &mut VecDeque<Bytes>,
    end: bool,
    room: usize,
    pumped: &mut Pumped,
) -> Outcome {
    while let Some(front) = pending.front_mut() {
        let room = room - pumped.taken;
        if room == 0 {
            // A reset has to be noticed even so.
            let reset = send.poll_reset(&mut Context::from_waker(Waker::noop()));
            return if reset.is_ready() { Outcome::Reset } else { Outcome::Open };
        }
        send.reserve_capacity(front.len().min(room));
        let capacity = send.capacity();
        if capacity == 0 {
            match send.poll_capacity(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(_))) => continue,
                Poll::Ready(_) => return Outcome::Reset,
                Poll::Pending => {
                    pumped.stalls = true;
                    return Outcome::Open;
                }
            }
        }
        let piece = front.split_to(front.len().min(capacity).min(room));
        if front.is_empty() {
            pending.pop_front();
        }
        pumped.taken += piece.len();
        pumped.pieces += 1;
        let is_last = end && pending.is_empty();
        if send.send_data(piece, is_last).is_err() {
            return Outcome::Reset;
        }
        if is_last {
            return Outcome::Done;
        }
    }
    if !end {
        return Outcome::Open;
    }
    // No piece is left to carry END_STREAM, so an empty frame does.
    if send.send_data(Bytes::new(), true).is_err() { Outcome::Reset } else { Outcome::Done }
}

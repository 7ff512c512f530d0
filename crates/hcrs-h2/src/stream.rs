//! One stream: what `h2` has of it, and what of its response waits for the client's window.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::server::{SendPushedResponse, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use hcrs_http::Fault;
use http::{HeaderMap, Response};

/// What a response's head is sent with.
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
            // h2 has no way to; hints for what was not asked for would be of little use.
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
    /// Until the response's head is sent.
    pub(crate) respond: Option<Respond>,
    /// From then on until the body begins, if the client takes pushes.
    promiser: Option<SendResponse<Bytes>>,
    takes_pushes: bool,
    /// Its body may follow its head: that of a pushed response not before the head has left.
    pub(crate) is_open: bool,
    /// From then on.
    pub(crate) send: Option<SendStream<Bytes>>,
    /// The request's body.
    pub(crate) recv: Option<RecvStream>,
    /// Bytes of it that were not released.
    pub(crate) held: usize,
    pub(crate) is_head: bool,
    /// Body bytes that the announced content-length still allows.
    pub(crate) length_left: Option<u64>,
    /// The response has no body on the wire (HEAD, 204, 304), whatever the app sends.
    pub(crate) bodiless: bool,
    /// Pieces of the body that `h2` has not been given.
    pub(crate) pending: VecDeque<Bytes>,
    /// They are the last.
    pub(crate) pending_end: bool,
    /// What follows the last piece.
    pub(crate) trailers: Option<HeaderMap>,
    /// Since when they have waited, without a byte of progress.
    pub(crate) waiting_since: Option<Instant>,
}

/// How far [`Stream::pump`] came.
#[derive(Debug, Default)]
pub(crate) struct Pumped {
    /// Bytes that were given to `h2`.
    pub(crate) taken: usize,
    /// Pieces that they were.
    pub(crate) pieces: u32,
    pub(crate) outcome: Outcome,
}

/// How a stream stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on.
    #[default]
    Open,
    /// The response is complete.
    Done,
    /// The client has reset it.
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

    /// A stream that was promised to the client.
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

    /// Keeps what requests are promised with, once the head is sent: until the body begins, behind which a promise could
    /// be stuck in `h2`.
    pub(crate) fn keep_promiser(&mut self, respond: Respond) {
        if let Respond::Requested(respond) = respond
            && self.takes_pushes
        {
            self.promiser = Some(respond);
        }
    }

    /// What requests are promised with; `None` on a stream that was itself pushed.
    pub(crate) fn promiser(&mut self) -> Option<&mut SendResponse<Bytes>> {
        match &mut self.respond {
            Some(Respond::Requested(respond)) => Some(respond),
            Some(Respond::Pushed(_)) => None,
            None => self.promiser.as_mut(),
        }
    }

    /// Whether a stream whose reset was seen is over: not before `h2` has come to the frame.
    pub(crate) fn is_reset(&mut self) -> bool {
        // Nobody is woken by a stream: after each poll of the connection all are looked at that may have changed.
        let cx = &mut Context::from_waker(Waker::noop());
        match (&mut self.respond, &mut self.send) {
            (Some(respond), _) => respond.poll_reset(cx).is_ready(),
            // h2 has closed such a stream already, and forgets a reset that comes after.
            (None, Some(_)) if self.bodiless => true,
            (None, Some(send)) => send.poll_reset(cx).is_ready(),
            (None, None) => true,
        }
    }

    /// Counts body bytes against the announced length.
    pub(crate) fn spend_length(&mut self, len: usize, end: bool) -> Result<(), Fault> {
        if let Some(left) = &mut self.length_left {
            *left = left.checked_sub(len as u64).ok_or(Fault::AppFailed)?;
            if end && *left > 0 {
                return Err(Fault::AppFailed);
            }
        }
        Ok(())
    }

    /// Gives `h2` as much of the pending body as the client's window takes, and at most `room` bytes.
    pub(crate) fn pump(&mut self, now: Instant, room: usize) -> Pumped {
        let mut pumped = Pumped::default();
        if !self.is_open {
            self.waiting_since.get_or_insert(now);
            return pumped;
        }
        let Some(send) = &mut self.send else { return pumped };
        self.promiser = None;
        let end = self.pending_end && self.trailers.is_none();
        pumped.outcome = give(send, &mut self.pending, end, room, &mut pumped);
        if self.pending.is_empty()
            && pumped.outcome == Outcome::Open
            && let Some(trailers) = self.trailers.take()
        {
            pumped.outcome =
                if send.send_trailers(trailers).is_err() { Outcome::Reset } else { Outcome::Done };
        }
        if self.pending.is_empty() {
            self.waiting_since = None;
        } else if pumped.taken > 0 || self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
        pumped
    }
}

fn give(
    send: &mut SendStream<Bytes>,
    pending: &mut VecDeque<Bytes>,
    end: bool,
    room: usize,
    pumped: &mut Pumped,
) -> Outcome {
    while let Some(front) = pending.front_mut() {
        let room = room - pumped.taken;
        if room == 0 {
            // A reset is seen all the same.
            let reset = send.poll_reset(&mut Context::from_waker(Waker::noop()));
            return if reset.is_ready() { Outcome::Reset } else { Outcome::Open };
        }
        send.reserve_capacity(front.len().min(room));
        let capacity = send.capacity();
        if capacity == 0 {
            match send.poll_capacity(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(_))) => continue,
                Poll::Ready(_) => return Outcome::Reset,
                Poll::Pending => return Outcome::Open,
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
    // Nothing was left to carry END_STREAM: an empty frame does.
    if send.send_data(Bytes::new(), true).is_err() { Outcome::Reset } else { Outcome::Done }
}

//! A request's body on its way from the exchange to an upstream.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hcrs_http::ResponseHead;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Frame, SizeHint};

use super::job::Job;
use crate::clock;

/// The length up to which bytes that wait are joined, so that a body of tiny pieces takes little more memory than its bytes.
const JOINED_MAX: usize = 16 << 10;

/// The bytes of a body that wait for the upstream; at most a request's window.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    waiting: RefCell<VecDeque<BytesMut>>,
    ended: Cell<bool>,
    /// The trailers, until the upstream's connection takes them.
    trailers: RefCell<Option<ResponseHead>>,
    /// Whether the rest will not be sent.
    is_aborted: Cell<bool>,
    /// Whether the upstream's connection has asked for the body.
    has_begun: Cell<bool>,
    /// The number of bytes that the upstream's connection has taken.
    taken: Cell<u64>,
    /// When it has taken the last ones.
    taken_at: Cell<Option<Instant>>,
    /// Since when bytes wait.
    stuck_since: Cell<Option<Instant>>,
    reader: RefCell<Option<Waker>>,
}

impl Pipe {
    /// Returns the pipe of a request that has a body, or has none.
    pub(super) fn new(has_body: bool) -> Self {
        Self { ended: Cell::new(!has_body), ..Self::default() }
    }

    /// Appends bytes; the last ones if `end`.
    pub(super) fn push(&self, bytes: &[u8], end: bool) {
        if !bytes.is_empty() {
            if self.stuck_since.get().is_none() {
                self.stuck_since.set(Some(clock::now()));
            }
            let mut waiting = self.waiting.borrow_mut();
            match waiting.back_mut() {
                Some(last) if last.len() + bytes.len() <= JOINED_MAX => last.extend_from_slice(bytes),
                _ => waiting.push_back(bytes.into()),
            }
        }
        if end {
            self.ended.set(true);
        }
        self.wake();
    }

    /// Sets the trailers, before the last bytes.
    pub(super) fn set_trailers(&self, trailers: ResponseHead) {
        self.trailers.replace(Some(trailers));
    }

    /// Takes the trailers, once all bytes were taken.
    pub(super) fn take_trailers(&self) -> Option<ResponseHead> {
        self.trailers.take()
    }

    /// Ends the body before it is complete, so that the upstream's connection ends.
    pub(super) fn abort(&self) {
        self.is_aborted.set(true);
        self.wake();
    }

    /// Whether the exchange has given the last bytes.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether the rest will not be sent.
    pub(super) fn is_aborted(&self) -> bool {
        self.is_aborted.get()
    }

    /// Notes that the upstream's connection asks for the body. Returns whether it is the first to do so.
    pub(super) fn begin(&self) -> bool {
        !self.has_begun.replace(true)
    }

    /// Whether the upstream's connection has taken the whole body.
    pub(super) fn is_done(&self) -> bool {
        self.ended.get() && self.waiting.borrow().is_empty() && self.trailers.borrow().is_none()
    }

    /// Returns since when the upstream's connection has not taken bytes that wait.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.stuck_since.get()
    }

    /// Returns when the upstream's connection has last taken bytes.
    pub(super) fn taken_at(&self) -> Option<Instant> {
        self.taken_at.get()
    }

    /// Returns the number of bytes that the upstream's connection has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Takes the next bytes; `None` if none wait.
    pub(super) fn pop(&self) -> Option<Bytes> {
        let mut waiting = self.waiting.borrow_mut();
        let piece = waiting.pop_front()?;
        let now = clock::now();
        self.taken_at.set(Some(now));
        self.stuck_since.set((!waiting.is_empty()).then_some(now));
        self.taken.set(self.taken.get() + piece.len() as u64);
        Some(piece.freeze())
    }

    /// Registers the task that takes the bytes.
    pub(super) fn listen(&self, waker: &Waker) {
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|reader| reader.will_wake(waker)) {
            *reader = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}

/// The body in the form that `hyper` takes.
#[derive(Debug)]
pub(super) struct Body {
    /// The request whose body it is; `None` if there is no body.
    job: Option<Rc<Job>>,
    length: Option<u64>,
}

impl Body {
    /// Returns the body of a request; `length` is what its head announces.
    pub(super) fn new(job: &Rc<Job>, length: Option<u64>) -> Self {
        Self { job: Some(Rc::clone(job)), length }
    }

    /// Returns no body.
    pub(super) fn none() -> Self {
        Self { job: None, length: Some(0) }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(job) = &self.job else { return Poll::Ready(None) };
        if job.body.begin() {
            job.exchange.app_awaits_body();
        }
        if job.body.is_aborted() {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        if let Some(piece) = job.body.pop() {
            job.exchange.app_took(piece.len() as u32);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if job.body.has_ended() {
            let trailers = job.body.take_trailers().and_then(|trailers| header_map(&trailers));
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        job.body.listen(cx.waker());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.job.as_ref().is_none_or(|job| job.body.is_done() && !job.body.is_aborted())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(job) = &self.job else { return SizeHint::with_exact(0) };
        if job.body.is_done() && job.body.taken() == 0 {
            return SizeHint::with_exact(0);
        }
        let Some(length) = self.length else { return SizeHint::default() };
        SizeHint::with_exact(length.saturating_sub(job.body.taken()))
    }
}

/// Returns trailers in the form that `hyper` takes; `None` if there is one that it does not take.
fn header_map(trailers: &ResponseHead) -> Option<HeaderMap> {
    let pairs = trailers.fields().map(|(name, value)| {
        Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_pieces_are_joined_and_long_ones_are_not() {
        let pipe = Pipe::new(true);
        (0..JOINED_MAX + 5).for_each(|_| pipe.push(b"x", false));
        pipe.push(&[b'y'; JOINED_MAX], true);
        let lens: Vec<_> = std::iter::from_fn(|| pipe.pop()).map(|piece| piece.len()).collect();
        assert_eq!(lens, [JOINED_MAX, 5, JOINED_MAX]);
        assert_eq!(pipe.taken(), 2 * JOINED_MAX as u64 + 5);
    }
}

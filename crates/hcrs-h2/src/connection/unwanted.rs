//! Request bodies that still arrive although their streams were answered. They are read and dropped while the
//! client sends, within a limit, and only then is the stream reset (RFC 9113 §8.1).
//!
//! Some clients read no response before they have sent their body (httpx), and some lose a response that a
//! reset follows at once (curl 7.88, which stops by itself and waits for the reset). So the window is opened
//! meanwhile.
//!
//! `h2` forgets a stream soon after it has reset it, the sooner the more there are, and then treats frames in
//! flight as an offence: it resets the stream again for each frame, and allows a bounded number of resets in
//! a connection's life. So the window is no longer opened before the reset, and frames that can still be in
//! flight are awaited.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use h2::RecvStream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;

/// Time for which the client's window is opened for an unwanted body. Its stream counts as open meanwhile.
const OPEN: Duration = Duration::from_secs(5);

/// Time without a byte after which an unwanted body is over. The client has had the response for that long.
const QUIET: Duration = Duration::from_millis(500);

/// An unwanted body. Dropping it resets the stream, so that the client stops sending.
#[derive(Debug)]
pub(super) struct Unwanted {
    recv: RecvStream,
    /// Unset until the body is first polled.
    times: Option<Times>,
    /// Bytes of the body that `h2` counts as unread.
    in_flight: usize,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    /// The first poll of the body.
    since: Instant,
    /// The last arrival of a byte.
    last: Instant,
}

impl Times {
    /// Returns the next instant at which a deadline passes.
    fn next(self, now: Instant) -> Instant {
        let quiet = self.last + QUIET;
        [self.since + OPEN, self.since + OPEN + QUIET]
            .into_iter()
            .filter(|at| *at > now)
            .fold(quiet, Instant::min)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Goes on reading the body of a stream that was answered, unless the connection is about to end.
    pub(super) fn keep_unwanted(&mut self, recv: RecvStream) {
        if !self.goes_away && !recv.is_end_stream() {
            let mut unwanted = Unwanted { recv, times: None, in_flight: 0 };
            unwanted.count();
            self.unwanted.push(unwanted);
        }
    }

    /// Returns the instant at which a turn has to poll for events because of unwanted bodies at the latest;
    /// `None` if there are none.
    pub fn unwanted_until(&self, now: Instant) -> Option<Instant> {
        self.unwanted.iter().map(|body| body.times.map_or(now, |times| times.next(now))).min()
    }

    pub(super) fn poll_unwanted(&mut self, now: Instant) {
        if self.goes_away {
            self.unwanted.clear();
        }
        if self.unwanted.is_empty() {
            return;
        }
        self.unwanted.retain_mut(|body| body.goes_on(now));
        self.narrow_window();
    }
}

impl Unwanted {
    /// Returns the number of bytes that `h2` counts as unread.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn count(&mut self) {
        self.in_flight = self.recv.flow_control().used_capacity();
    }

    /// Drops the bytes that have arrived. Returns false once the body has ended, or the stream has to be
    /// reset.
    fn goes_on(&mut self, now: Instant) -> bool {
        let times = self.times.get_or_insert(Times { since: now, last: now });
        loop {
            match self.recv.poll_data(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(_))) => times.last = now,
                Poll::Ready(Some(Err(_)) | None) => return false,
                Poll::Pending => break,
            }
        }
        let passed = |since, limit| now.saturating_duration_since(since) >= limit;
        if passed(times.last, QUIET) {
            return false;
        }
        let flow = self.recv.flow_control();
        if !passed(times.since, OPEN) {
            // Includes bytes that arrived before the response ended and that the app has not taken.
            let used = flow.used_capacity();
            let has_opened = flow.release_capacity(used).is_ok();
            self.count();
            return has_opened;
        }
        let (since, has_room) = (times.since, flow.available_capacity() > 0);
        self.count();
        has_room && !passed(since, OPEN + QUIET)
    }
}

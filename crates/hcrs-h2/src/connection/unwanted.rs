//! Bodies that still arrive although their streams were answered: they are read and dropped for as long as their clients
//! go on, within a limit, and only then is a client told to stop (RFC 9113 §8.1).
//!
//! There are clients that do not look at a response before their body has left (httpx), and some that lose one that a
//! reset follows at once (curl 7.88, which stops by itself and waits for the reset). So the window is opened meanwhile.
//!
//! `h2` forgets a stream soon after it has reset it, the sooner the more there are, and then takes what was on its way
//! for an offence: it resets the stream again for each frame, and bears only so many resets in a connection's life. So
//! before the reset the window is no longer opened, and what can still be on its way is awaited.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use h2::RecvStream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;

/// How long the client's window is opened for such a body. Its stream counts among those that are open meanwhile.
const OPEN: Duration = Duration::from_secs(5);

/// A body of which nothing has come for so long is over, and the client has had the response for as long.
const QUIET: Duration = Duration::from_millis(500);

/// Such a body. To drop it tells the client to stop.
#[derive(Debug)]
pub(super) struct Unwanted {
    recv: RecvStream,
    /// When it was first looked at, and when something of it came last.
    times: Option<Times>,
    /// What `h2` takes for unread of it.
    in_flight: usize,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    since: Instant,
    last: Instant,
}

impl Times {
    /// The next instant at which time alone changes something.
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

    /// When [`Connection::poll_event`] has to be called for such bodies at the latest; `None` if there are none.
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
    /// Its bytes that `h2` takes for unread.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn count(&mut self) {
        self.in_flight = self.recv.flow_control().used_capacity();
    }

    /// Drops what has come. False once it has ended, or the client is to be told to stop.
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
            // Also what was taken before the response had ended, and given to nobody.
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

//! Bodies that still arrive although their streams were answered: they are read and dropped until nothing more of them
//! can be on its way, and only then is the client told to stop (RFC 9113 §8.1).
//!
//! `h2` forgets a stream soon after it has reset it, the sooner the more there are, and then takes what was on its way
//! for an offence: it resets the stream again for each frame, and bears only so many resets in a connection's life.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use h2::RecvStream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;

/// How long such a body is read and dropped. Its stream counts among those that are open meanwhile.
const LINGER: Duration = Duration::from_secs(2);

/// Such a body. To drop it tells the client to stop.
#[derive(Debug)]
pub(super) struct Unwanted {
    recv: RecvStream,
    since: Option<Instant>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Goes on reading the body of a stream that was answered, unless the connection is about to end.
    pub(super) fn keep_unwanted(&mut self, recv: RecvStream) {
        if !self.goes_away && !recv.is_end_stream() {
            self.unwanted.push(Unwanted { recv, since: None });
        }
    }

    /// Whether such bodies are being read: they have a deadline, for which [`Connection::poll_event`] has to be called in
    /// time.
    pub fn has_unwanted(&self) -> bool {
        !self.unwanted.is_empty()
    }

    pub(super) fn poll_unwanted(&mut self, now: Instant) {
        if self.goes_away {
            self.unwanted.clear();
        }
        self.unwanted.retain_mut(|body| body.goes_on(now));
    }
}

impl Unwanted {
    /// Drops what has come. False once it has ended, the client can send no more, or the time is over.
    fn goes_on(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        loop {
            match self.recv.poll_data(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return false,
                Poll::Pending => break,
            }
        }
        // The window is not opened, so that a client that is quicker than the news comes to its end.
        self.recv.flow_control().available_capacity() > 0 && now.saturating_duration_since(since) < LINGER
    }
}

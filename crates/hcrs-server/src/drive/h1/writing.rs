//! The output of a connection: buffered bytes, files behind them, and the end of the connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::{Driver, End, LINGER_MAX, OUT_MAX, READ};
use crate::exchange::SentOfFile;
use crate::exchange::send_file::SendFile;
use crate::hangup::Hangup;

/// The bytes that wait for the socket, and what follows them.
#[derive(Debug, Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    /// The number of those bytes that the socket has taken.
    written: usize,
    /// Whether bytes were written that the transport may still hold back.
    flush_owed: bool,
    /// Whether the response continues behind the bytes with a file that the socket sends directly.
    is_before_file: bool,
}

impl Out {
    /// Returns the end of the bytes, to append to.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Whether more of the response may be taken from the exchange.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < OUT_MAX && !self.is_before_file
    }

    /// Returns the number of bytes that the socket has not taken.
    pub(super) fn unwritten(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether the transport has sent all bytes.
    pub(super) fn is_drained(&self) -> bool {
        self.bytes.is_empty() && !self.flush_owed
    }

    /// Notes that a file follows the bytes.
    pub(super) fn await_file(&mut self) {
        self.is_before_file = true;
    }

    /// Notes that no file follows the bytes, or that it was sent.
    pub(super) fn forget_file(&mut self) {
        self.is_before_file = false;
    }

    /// Whether a file follows the bytes.
    pub(super) fn is_before_file(&self) -> bool {
        self.is_before_file
    }
}

impl<T: AsyncRead + AsyncWrite + SendFile + Hangup + Unpin> Driver<T> {
    /// Writes the bytes that wait. Ready when the transport has sent all of them.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Poll<()>, End> {
        let out = &mut self.out;
        while out.written < out.bytes.len() {
            match Pin::new(&mut self.io).poll_write(cx, &out.bytes[out.written..])? {
                Poll::Ready(0) => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
                Poll::Ready(n) => {
                    out.written += n;
                    out.flush_owed = true;
                    self.lifecycle.unblock_writing();
                }
                Poll::Pending => {
                    self.lifecycle.block_writing(now);
                    // Written bytes make room for the next.
                    out.bytes.drain(..out.written);
                    out.written = 0;
                    return Ok(Poll::Pending);
                }
            }
        }
        out.bytes.clear();
        out.bytes.shrink_to(READ);
        out.written = 0;
        if out.flush_owed {
            if Pin::new(&mut self.io).poll_flush(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            out.flush_owed = false;
        }
        if !out.is_before_file {
            self.lifecycle.unblock_writing();
        }
        Ok(Poll::Ready(()))
    }

    /// Whether the body continues with a file that the socket can send directly.
    pub(super) fn has_file_next(&self) -> bool {
        let room = if self.io.sends_files() { self.connection.plain_room() } else { None };
        room.zip(self.in_flight.as_ref())
            .is_some_and(|(room, in_flight)| in_flight.exchange.may_send_file(room))
    }

    /// Sends the file that follows the written bytes. Ready when something else is next.
    pub(super) fn poll_file(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Poll<()>, End> {
        while let Some(in_flight) = self.in_flight.as_mut().filter(|_| self.out.is_before_file) {
            if self.share.file == 0 {
                // Yields to other connections; the file continues in the next turn.
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            match in_flight.exchange.poll_send_file(cx, &mut self.io, self.share.file)? {
                Poll::Pending => {
                    self.lifecycle.block_writing(now);
                    return Ok(Poll::Pending);
                }
                Poll::Ready(SentOfFile::Bytes { len, last, end }) => {
                    self.lifecycle.unblock_writing();
                    self.share.file -= len;
                    self.out.is_before_file = !last;
                    in_flight.note_sent(len);
                    self.connection.wrote_plain(len as u64);
                    if end {
                        match self.connection.write_end(self.out.end()) {
                            Ok(()) => self.finish(now),
                            Err(fault) => self.fail(fault, now),
                        }
                    }
                }
                Poll::Ready(SentOfFile::Read) => self.out.forget_file(),
                Poll::Ready(SentOfFile::Failed(fault)) => self.fail(fault, now),
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Closes the sending side and, where the client may still be sending, waits for it to close its own.
    pub(super) async fn close(&mut self) -> std::io::Result<()> {
        poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await?;
        let has_arrived = !self.connection.unparsed().is_empty();
        let is_over = self.connection.is_idle() || self.connection.request_ended();
        let mut dropped = 0;
        while (has_arrived || !is_over) && dropped < LINGER_MAX {
            self.connection.discard_input();
            let mut input = self.connection.input_mut(READ);
            let n = poll_fn(|cx| poll_read_buf(Pin::new(&mut self.io), cx, &mut input)).await?;
            if n == 0 {
                break;
            }
            dropped += n;
        }
        Ok(())
    }
}

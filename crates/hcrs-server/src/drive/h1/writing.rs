//! The output of a connection: buffered bytes, files behind them, and the end of the connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::{Driver, End, LINGER_MAX, READ};
use crate::exchange::SentOfFile;
use crate::exchange::send_file::SendFile;

impl<T: AsyncRead + AsyncWrite + SendFile + Unpin> Driver<T> {
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Poll<()>, End> {
        while self.written < self.out.len() {
            match Pin::new(&mut self.io).poll_write(cx, &self.out[self.written..])? {
                Poll::Ready(0) => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
                Poll::Ready(n) => {
                    self.written += n;
                    self.lifecycle.unblock_writing();
                    self.flush_owed = true;
                }
                Poll::Pending => {
                    self.lifecycle.block_writing(now);
                    // Written bytes make room for the next.
                    self.out.drain(..self.written);
                    self.written = 0;
                    return Ok(Poll::Pending);
                }
            }
        }
        self.out.clear();
        self.out.shrink_to(READ);
        self.written = 0;
        if self.flush_owed {
            if Pin::new(&mut self.io).poll_flush(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            self.flush_owed = false;
        }
        if !self.file_is_next {
            self.lifecycle.unblock_writing();
        }
        Ok(Poll::Ready(()))
    }

    pub(super) fn is_drained(&self) -> bool {
        self.out.is_empty() && !self.flush_owed
    }

    /// Whether the body continues with a file that the socket can send directly.
    pub(super) fn has_file_next(&self) -> bool {
        let room = if self.io.sends_files() { self.connection.plain_room() } else { None };
        room.zip(self.in_flight.as_ref())
            .is_some_and(|(room, in_flight)| in_flight.exchange.may_send_file(room))
    }

    /// Sends the file that follows the written bytes. Ready when something else is next.
    pub(super) fn poll_file(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Poll<()>, End> {
        while let Some(in_flight) = self.in_flight.as_mut().filter(|_| self.file_is_next) {
            if self.file_room == 0 {
                // Yields to other connections; the file continues in the next turn.
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            match in_flight.exchange.poll_send_file(cx, &mut self.io, self.file_room)? {
                Poll::Pending => {
                    self.lifecycle.block_writing(now);
                    return Ok(Poll::Pending);
                }
                Poll::Ready(SentOfFile::Bytes { len, last, end }) => {
                    self.lifecycle.unblock_writing();
                    self.file_room -= len;
                    self.file_is_next = !last;
                    in_flight.note_sent(len);
                    self.connection.wrote_plain(len as u64);
                    if end {
                        match self.connection.write_end(&mut self.out) {
                            Ok(()) => self.finish(now),
                            Err(fault) => self.fail(fault, now),
                        }
                    }
                }
                Poll::Ready(SentOfFile::Read) => self.file_is_next = false,
                Poll::Ready(SentOfFile::Failed(fault)) => self.fail(fault, now),
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Closes the sending side and, where the client may still be sending, waits for it to close its own.
    pub(super) async fn close(&mut self) -> std::io::Result<()> {
        poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await?;
        let is_quiet =
            self.input.is_empty() && (self.connection.is_idle() || self.connection.request_ended());
        let mut dropped = 0;
        while !is_quiet && !self.input_ended && dropped < LINGER_MAX {
            self.input.clear();
            self.input.reserve(READ);
            let n = poll_fn(|cx| poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input)).await?;
            self.input_ended = n == 0;
            dropped += n;
        }
        Ok(())
    }
}

//! A turn: one poll of the connection by its task.

use std::io;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};
use hcrs_mux::{Event, Sent, StreamKey};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::ended::Ended;

/// A turn of a connection, which [`Connection::begin_turn`] returns and [`Turn::end`] ends. What may be done
/// between turns, too, is on the [`Connection`] that it dereferences to.
///
/// Frames of a turn are written at its end. A turn that is dropped before that, or in which the last poll for
/// events has found another one, wakes the task.
#[derive(Debug)]
#[must_use = "frames are written at the end of the turn"]
pub struct Turn<'a, T> {
    connection: &'a mut Connection<T>,
    progress: Progress,
}

/// The progress of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There may be events, or bytes to read.
    Begun,
    /// Events were polled for until there were none: whatever comes wakes the task.
    Polled,
    /// The output was written.
    Ended,
}

impl<'a, T> Turn<'a, T> {
    pub(super) fn new(connection: &'a mut Connection<T>) -> Self {
        Self { connection, progress: Progress::Begun }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Turn<'_, T> {
    /// Returns the next event. `Pending` means that there is none for now. After an error the connection is
    /// over, and only [`Connection::abrupt_shutdown`] and [`Connection::poll_close`] may follow.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>> {
        self.connection.note_task(cx);
        let polled = self.connection.poll_event(cx, now);
        self.progress = match polled {
            Poll::Ready(Ok(_)) => Progress::Begun,
            Poll::Ready(Err(_)) | Poll::Pending => Progress::Polled,
        };
        polled
    }

    /// Ends the turn: writes the frames of all streams at once. `Pending` means that the socket is full; the
    /// task is woken once it is not.
    pub fn end(mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.note_task(cx);
        if self.progress == Progress::Begun {
            cx.waker().wake_by_ref();
        }
        self.progress = Progress::Ended;
        self.connection.in_turn = false;
        self.connection.poll_turn_end(cx)
    }

    /// Sends the head of an interim response, before the final one.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`] for a head that cannot be sent; the stream is as before.
    pub fn send_interim(&mut self, key: StreamKey, interim: &ResponseHead) -> Result<(), Fault> {
        self.connection.protocol.send_interim(key, interim)
    }

    /// Sends a response's head, with `end` if no body follows. Returns whether the stream is over.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`] for a head that cannot be sent; the stream is as before.
    pub fn send_head(&mut self, key: StreamKey, response: &ResponseHead, end: bool) -> Result<bool, Fault> {
        self.connection.protocol.send_head(key, response, end)
    }

    /// Sends body bytes, with `end` if they are the last. Returns the number of bytes that were taken at
    /// once; an [`Event::Sent`] follows for the rest.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`] if no head was sent, or if the body breaks the app's `content-length`. The caller
    /// then has to fail the stream.
    pub fn send_data(&mut self, now: Instant, key: StreamKey, data: Bytes, end: bool) -> Result<Sent, Fault> {
        self.connection.protocol.send_data(now, key, data, end)
    }

    /// Ends a response with trailers, once its body is sent. Returns whether the stream is over; otherwise an
    /// [`Event::Sent`] reports its end later.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`] if no head was sent, if the body breaks the app's `content-length`, or for a
    /// field that may not be sent in trailers. The caller then has to fail the stream.
    pub fn send_trailers(
        &mut self,
        now: Instant,
        key: StreamKey,
        trailers: &ResponseHead,
    ) -> Result<bool, Fault> {
        self.connection.protocol.send_trailers(now, key, trailers)
    }

    /// Promises a request to the client of a stream on which no body was sent yet. Once the promise has left,
    /// the request comes as [`Event::Pushed`]. The error has the head of a request that cannot be promised;
    /// it may be dropped silently, because the client has not asked for it.
    pub fn push(&mut self, parent: StreamKey, head: RequestHead) -> Result<(), RequestHead> {
        if self.connection.is_full { Err(head) } else { self.connection.protocol.push(parent, head) }
    }

    /// Opens the client's window again by `len` body bytes that the app has taken.
    pub fn release(&mut self, key: StreamKey, len: usize) {
        self.connection.protocol.release(key, len);
    }

    /// Opens the window of the connection as far as there is room. Beyond the connection's own room it is
    /// opened only if `is_hungry` returns true, that is, if an app reads a stream of which no byte is there.
    /// To be called once in each turn, after the events.
    pub fn open_window(&mut self, is_hungry: impl FnOnce() -> bool) {
        self.connection.protocol.widen_window(is_hungry);
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = Connection<T>;

    fn deref(&self) -> &Connection<T> {
        self.connection
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut Connection<T> {
        self.connection
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        if self.progress != Progress::Ended {
            self.connection.in_turn = false;
            self.connection.wake();
        }
    }
}

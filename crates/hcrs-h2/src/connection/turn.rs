//! A turn: one poll of the connection by its task.

use std::io;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::event::{Ended, Event, Sent, StreamKey};
use crate::head::{self, ConvertedHead};

/// A turn of a connection, which [`Connection::begin_turn`] returns and [`Turn::end`] ends. What may be done
/// between turns, too, is on the [`Connection`] that it dereferences to.
///
/// Within a turn `h2` does not wake the task, since the turn polls `h2` and writes all frames at its end. A turn
/// that is dropped before that, or after the last poll for events has found another one, wakes the task.
#[derive(Debug)]
#[must_use = "frames are written at the end of the turn"]
pub struct Turn<'a, T> {
    connection: &'a mut Connection<T>,
    progress: Progress,
    /// The last head that was sent, if others may share its memory.
    last_head: Option<LastHead>,
}

/// A head, and what it is for `h2`: many requests of a turn may be answered with one head.
#[derive(Debug)]
struct LastHead {
    head: ResponseHead,
    converted: ConvertedHead,
}

/// The progress of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// `h2` has to be polled: it may have frames that were passed to it, or bytes to read.
    Begun,
    /// `h2` was polled until it had nothing more to do, and wakes the task since.
    Polled,
}

impl<'a, T> Turn<'a, T> {
    pub(super) fn new(connection: &'a mut Connection<T>) -> Self {
        Self { connection, progress: Progress::Begun, last_head: None }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Turn<'_, T> {
    /// Returns the next event. `Pending` means that there is none for now. After an error the connection is
    /// over, and only [`Connection::abrupt_shutdown`] and [`Connection::poll_close`] may follow.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>> {
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
        if self.progress == Progress::Begun {
            let _noted = self.connection.turn.end(cx);
            cx.waker().wake_by_ref();
            self.progress = Progress::Polled;
        }
        self.connection.poll_drain(cx)
    }

    /// Sends the head of an interim response, before the final one.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`] for a head that cannot be sent; the stream is as before.
    pub fn send_interim(&mut self, key: StreamKey, interim: &ResponseHead) -> Result<(), Fault> {
        self.connection.send_interim(key, interim)
    }

    fn converted(&mut self, head: &ResponseHead) -> Result<ConvertedHead, Fault> {
        if !head.is_shared() {
            return head::response(head, &self.connection.server_fields);
        }
        if let Some(last) = self.last_head.as_ref().filter(|last| last.head.is_same(head)) {
            return Ok(last.converted.clone());
        }
        let converted = head::response(head, &self.connection.server_fields)?;
        self.last_head = Some(LastHead { head: head.clone(), converted: converted.clone() });
        Ok(converted)
    }

    /// Sends a response's head, with `end` if no body follows. Returns whether the stream is over.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`] for a head that cannot be sent; the stream is as before.
    pub fn send_head(&mut self, key: StreamKey, response: &ResponseHead, end: bool) -> Result<bool, Fault> {
        let converted = self.converted(response)?;
        self.connection.send_head(key, converted, end)
    }

    /// Sends body bytes, with `end` if they are the last. Returns the number of bytes that were taken at
    /// once; an [`Event::Sent`] follows for the rest.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`] if no head was sent, or if the body breaks the app's `content-length`. The caller
    /// then has to fail the stream.
    pub fn send_data(&mut self, now: Instant, key: StreamKey, data: Bytes, end: bool) -> Result<Sent, Fault> {
        self.connection.send_data(now, key, data, end)
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
        self.connection.send_trailers(now, key, trailers)
    }

    /// Promises a request to the client of a stream on which no body was sent yet. Once the promise has left,
    /// the request comes as [`Event::Pushed`]. The error has the head of a request that cannot be promised;
    /// it may be dropped silently, because the client has not asked for it.
    pub fn push(&mut self, parent: StreamKey, head: RequestHead) -> Result<(), RequestHead> {
        self.connection.push(parent, head)
    }

    /// Opens the client's window again by `len` body bytes that the app has taken.
    pub fn release(&mut self, key: StreamKey, len: usize) {
        self.connection.release(key, len);
    }

    /// Opens the window of the connection as far as there is room. Beyond the connection's own room it is
    /// opened only if `is_hungry` returns true, that is, if an app reads a stream of which no byte is there.
    /// To be called once in each turn, after the events.
    pub fn open_window(&mut self, is_hungry: impl FnOnce() -> bool) {
        self.connection.open_window(is_hungry);
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
        if self.progress == Progress::Begun {
            self.connection.turn.cancel();
        }
    }
}

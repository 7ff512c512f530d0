//! A turn: one poll of the connection by its task.

use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, ResponseHead};
use hcrs_mux::{Event, Sent, StreamKey};

use super::Connection;
use crate::ended::Ended;
use crate::transport::Transport;

/// A turn of a connection, which [`Connection::begin_turn`] returns and [`Turn::end`] ends. What may be done
/// between turns, too, is on the [`Connection`] that it dereferences to.
///
/// Heads of a turn are written at its end, if not with their bodies. A turn that is dropped before that, or in
/// which the last poll for events has found another one, wakes the task.
#[must_use = "frames are written at the end of the turn"]
pub struct Turn<'a> {
    connection: &'a mut Connection,
    io: &'a mut dyn Transport,
    progress: Progress,
}

/// The progress of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There may be events, or bytes to read.
    Begun,
    /// Events were polled for until there were none.
    Polled,
    /// What was sent was written.
    Ended,
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl<'a> Turn<'a> {
    pub(super) fn new(connection: &'a mut Connection, io: &'a mut dyn Transport) -> Self {
        Self { connection, io, progress: Progress::Begun }
    }

    /// Returns the next event. `Pending` means that there is none for now; the task is woken if that is because
    /// the turn has read its share. An error means that the connection is over, and the transport closed.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>> {
        self.connection.note_task(cx);
        let polled = self.connection.protocol.poll(self.io, now);
        self.progress = if matches!(polled, Some(Ok(_))) { Progress::Begun } else { Progress::Polled };
        polled.map_or(Poll::Pending, Poll::Ready)
    }

    /// Ends the turn: writes what was not written yet.
    pub fn end(mut self, cx: &mut Context<'_>, now: Instant) {
        self.connection.note_task(cx);
        self.connection.protocol.end_turn(self.io, now);
        if self.progress == Progress::Begun || self.connection.protocol.has_more() {
            cx.waker().wake_by_ref();
        }
        self.progress = Progress::Ended;
        self.connection.in_turn = false;
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
        let protocol = &mut self.connection.protocol;
        Ok(match protocol.queue_data(key, data, end)? {
            Some(sent) => sent,
            None => protocol.write_queued(self.io, key, now),
        })
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
        let protocol = &mut self.connection.protocol;
        Ok(match protocol.queue_trailers(key, trailers)? {
            Some(sent) => sent.done,
            None => protocol.write_queued(self.io, key, now).done,
        })
    }

    /// Takes more of a request's body from the transport, for `len` body bytes that the app has taken.
    pub fn release(&mut self, key: StreamKey, len: usize) {
        self.connection.protocol.release(key, len);
    }
}

impl Deref for Turn<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.progress != Progress::Ended {
            self.connection.in_turn = false;
            self.connection.wake();
        }
    }
}

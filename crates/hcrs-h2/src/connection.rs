//! One HTTP/2 connection over a transport: in each turn its caller polls it for events and sends responses.

mod turn;

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use hcrs_http::{Endpoints, Fault, Field, PIECE, Scheme};
use hcrs_mux::{BodyRoom, Event, ServerFields, StreamKey};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::PREFACE;
use crate::ended::Ended;
use crate::frame::ErrorCode;
use crate::output::SLICES;
use crate::protocol::{Error, Protocol};
use crate::settings::Settings;

pub use turn::Turn;

/// Number of bytes that one turn of a connection may read before other connections get theirs.
const READ_PER_TURN: usize = 64 << 10;

/// Number of bytes of frames that may wait for the socket before no more is read: the client has to read the
/// answers to what it sends.
const READ_UNTIL: usize = 64 << 10;

thread_local! {
    /// The buffer into which connections read, one after another, so that none has its own.
    static INPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The server side of one HTTP/2 connection.
///
/// A poll of its task is a [`Turn`], with which events are taken and responses sent.
#[derive(Debug)]
pub struct Connection<T> {
    io: T,
    protocol: Protocol,
    /// The task that was last in a turn.
    task: Option<Waker>,
    in_turn: bool,
    /// The bytes that were read in this turn.
    read_in_turn: usize,
    /// The last read of this turn found no bytes.
    is_dry: bool,
    flush_owed: bool,
    /// The last write found the socket full.
    is_full: bool,
    /// The socket has taken bytes since that was last asked.
    has_written: bool,
    /// The connection ends so, once GOAWAY has left.
    ending: Option<Ended>,
}

/// Exchanges prefaces and settings. The request bodies that the connection holds count against `room`.
pub async fn handshake<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    settings: &Settings,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
    room: &Rc<BodyRoom>,
) -> Result<Connection<T>, Ended> {
    let mut connection = Connection {
        io,
        protocol: Protocol::new(settings, scheme, endpoints, room),
        task: None,
        in_turn: false,
        read_in_turn: 0,
        is_dry: false,
        flush_owed: false,
        is_full: false,
        has_written: false,
        ending: None,
    };
    let mut seen = 0;
    std::future::poll_fn(|cx| {
        // A socket that is full is written again in the first turn.
        if let Poll::Ready(Err(error)) = connection.poll_drain(cx) {
            return Poll::Ready(Err(Ended::Io(error)));
        }
        connection.poll_preface(cx, &mut seen)
    })
    .await?;
    Ok(connection)
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Reads the rest of the client's preface and nothing behind it.
    fn poll_preface(&mut self, cx: &mut Context<'_>, seen: &mut usize) -> Poll<Result<(), Ended>> {
        while *seen < PREFACE.len() {
            let mut bytes = [0; PREFACE.len()];
            let mut buf = ReadBuf::new(&mut bytes[*seen..]);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)).map_err(Ended::Io)?;
            let read = buf.filled();
            if read.is_empty() {
                return Poll::Ready(Err(Ended::Closed));
            }
            if !PREFACE[*seen..].starts_with(read) {
                return Poll::Ready(Err(Ended::Protocol(ErrorCode::PROTOCOL_ERROR)));
            }
            *seen += read.len();
        }
        Poll::Ready(Ok(()))
    }

    /// Begins a turn: a poll of the connection by its task. Responses of this turn get the server's fields.
    pub fn begin_turn(&mut self, server_fields: &ServerFields) -> Turn<'_, T> {
        self.begin();
        self.protocol.begin_turn(server_fields);
        Turn::new(self)
    }

    fn begin(&mut self) {
        self.in_turn = true;
        self.read_in_turn = 0;
        self.is_dry = false;
    }

    fn note_task(&mut self, cx: &Context<'_>) {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>> {
        loop {
            if let Some(event) = self.protocol.next_event() {
                return Poll::Ready(Ok(event));
            }
            if let Some(ended) = self.ending.take() {
                return self.poll_end(cx, ended);
            }
            self.protocol.advance(now);
            if let Some(event) = self.protocol.next_event() {
                return Poll::Ready(Ok(event));
            }
            self.protocol.follow_peer();
            if self.protocol.is_over() {
                self.ending = Some(Ended::Closed);
                continue;
            }
            match self.poll_read(cx, now) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Ended::Closed)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(Ended::Fault(fault))) => return Poll::Ready(Err(Ended::Fault(fault))),
                Poll::Ready(Err(ended)) => self.ending = Some(ended),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes what is left, closes the transport, and then reports the end.
    fn poll_end(&mut self, cx: &mut Context<'_>, ended: Ended) -> Poll<Result<Event, Ended>> {
        if !matches!(ended, Ended::Io(_)) && self.poll_shutdown(cx).is_pending() {
            self.ending = Some(ended);
            return Poll::Pending;
        }
        Poll::Ready(Err(ended))
    }

    /// Reads once, and passes the bytes to the protocol. Returns their number, 0 at the end of the client's
    /// stream. `Pending` wakes the task once there are more, or more may be read.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<usize, Ended>> {
        if self.is_dry {
            return Poll::Pending;
        }
        if self.protocol.output.frames_len() >= READ_UNTIL {
            ready!(self.poll_drain(cx)).map_err(Ended::Io)?;
        }
        let left = READ_PER_TURN.saturating_sub(self.read_in_turn);
        if left == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut input = INPUT.take();
        input.resize(READ_PER_TURN, 0);
        let mut buf = ReadBuf::new(&mut input[..left]);
        let read = Pin::new(&mut self.io).poll_read(cx, &mut buf).map_err(Ended::Io);
        let bytes = buf.filled();
        self.is_dry = read.is_pending();
        self.read_in_turn += bytes.len();
        let received = self.protocol.receive(bytes, now);
        let len = bytes.len();
        INPUT.set(input);
        ready!(read)?;
        match received {
            Ok(()) => Poll::Ready(Ok(len)),
            Err(Error::Protocol(code)) => {
                self.protocol.leave_now(code);
                Poll::Ready(Err(Ended::Protocol(code)))
            }
            Err(Error::Fault(fault)) => {
                self.protocol.leave_now(code(fault));
                Poll::Ready(Err(Ended::Fault(fault)))
            }
        }
    }

    /// Writes the output. `Pending` means that the socket is full; the task is woken once it is not.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let drained = self.poll_drain_output(cx);
        self.is_full = drained.is_pending();
        drained
    }

    fn poll_drain_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.protocol.output.is_empty() {
            let written = ready!(self.poll_write(cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.protocol.output.advance(written);
            self.flush_owed = true;
            self.has_written = true;
        }
        if self.flush_owed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.flush_owed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let output = &self.protocol.output;
        let front = output.front();
        if front.len() == output.len() && front.len() <= PIECE || !self.io.is_write_vectored() {
            return Pin::new(&mut self.io).poll_write(cx, front);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = output.slices(&mut slices);
        Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..used])
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Writes the output at the end of a turn.
    fn poll_turn_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.protocol.end_turn();
        let drained = self.poll_drain(cx);
        if drained.is_ready() && self.protocol.waits_for_room() {
            cx.waker().wake_by_ref();
        }
        drained
    }

    /// Returns the streams whose response has waited for the client's window since `instant` or longer.
    pub fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        self.protocol.stalled_since(instant)
    }

    /// Writes the frames that are left, closes the transport, and reads meanwhile what the client answers.
    pub fn poll_close(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        self.note_task(cx);
        self.begin();
        self.in_turn = false;
        loop {
            while self.protocol.next_event().is_some() {}
            self.protocol.advance(now);
            if self.protocol.is_over() || self.ending.is_some() {
                return self.poll_shutdown(cx).map(|_| ());
            }
            match self.poll_read(cx, now) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(Ended::Io(_) | Ended::Closed)) => return Poll::Ready(()),
                Poll::Ready(Err(ended)) => self.ending = Some(ended),
                Poll::Pending => {
                    return match self.poll_turn_end(cx) {
                        Poll::Ready(Err(_)) => Poll::Ready(()),
                        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Reads and drops the client's bytes after the connection has ended with [`Ended::Closed`], until the
    /// client closes its side or has sent `max` bytes. A socket that is closed with unread bytes is reset,
    /// and the client might lose the end of its last responses.
    pub async fn linger(&mut self, max: usize) {
        let mut left = max;
        while left > 0 {
            let read = std::future::poll_fn(|cx| {
                let mut room = [0; 4 << 10];
                let mut buf = ReadBuf::new(&mut room);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
                Poll::Ready(io::Result::Ok(buf.filled().len()))
            });
            match read.await {
                Ok(len @ 1..) => left = left.saturating_sub(len),
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// What may be done between turns, too. It wakes the task then, whose next turn writes the frames.
impl<T> Connection<T> {
    /// Ends a stream with a fault: sends a response with the fault's status if no head was sent, and resets
    /// the stream otherwise, after the bytes that were taken before.
    pub fn fail(&mut self, key: StreamKey, fault: Fault) {
        self.fail_with(key, fault, None);
    }

    /// Like [`Connection::fail`]; the response has the field `own` too.
    pub fn fail_with(&mut self, key: StreamKey, fault: Fault, own: Option<Field<'_>>) {
        self.protocol.fail(key, fault, own);
        self.wake();
    }

    /// Sends GOAWAY, lets the open streams end, and then ends with [`Ended::Closed`].
    pub fn graceful_shutdown(&mut self) {
        self.protocol.leave();
        self.wake();
    }

    /// Sends the final GOAWAY, which names the last stream that was served, and ends as soon as it is
    /// written.
    pub fn final_shutdown(&mut self) {
        self.protocol.leave_now(ErrorCode::NO_ERROR);
        self.wake();
    }

    /// Sends GOAWAY with the fault's code and ends as soon as it is written.
    pub fn abrupt_shutdown(&mut self, fault: Fault) {
        self.protocol.leave_now(code(fault));
        self.wake();
    }

    /// Takes the number of times that a response began to wait for the client's window.
    pub fn take_stalls(&mut self) -> u64 {
        self.protocol.take_stalls()
    }

    /// Whether the transport has taken bytes since the last call. A client that reads steadily may never find all of
    /// the output taken, because more follows.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_written)
    }

    /// Returns the instant at which a turn has to poll for events because of unwanted bodies at the latest;
    /// `None` if there are none.
    pub fn unwanted_until(&self, now: Instant) -> Option<Instant> {
        self.protocol.unwanted_until(now)
    }

    /// Whether the client has stopped in the middle of a header block, of another frame that is no body, or
    /// of the preface. A client that completed a frame in this turn has not stopped.
    pub fn awaits_head(&self) -> bool {
        self.protocol.awaits_head()
    }

    fn wake(&self) {
        if !self.in_turn
            && let Some(task) = &self.task
        {
            task.wake_by_ref();
        }
    }
}

/// Returns the fault's error code.
fn code(fault: Fault) -> ErrorCode {
    ErrorCode(fault.h2_code() as u32)
}

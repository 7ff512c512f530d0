//! The I/O under `h2`: frames are gathered and leave in one write, and the frames of both directions are
//! metered.
//!
//! `h2` makes a write for each DATA frame of more than 256 bytes. Here its writes go into a buffer and its
//! flushes do nothing; the connection drains the buffer itself, once it has polled `h2` until it was pending.
//! The buffer must never be drained by a timer: its bytes wait for the next poll.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use hcrs_http::{PIECE, append};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::meter::Meter;
use crate::turn_waker::{Arrival, TurnWaker};

/// Number of bytes at which the buffer is written in any case.
const GATHER: usize = 64 << 10;

/// Number of bytes that one turn of a connection may read before other connections get theirs. It also bounds
/// the frames that `h2` holds before this crate counts them: 64 KiB are 6500 DATA frames of one byte each, a
/// third of their budget.
const READ_PER_TURN: usize = 64 << 10;

thread_local! {
    /// A buffer that is kept between drains, so that idle connections hold none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A handle to the I/O. `h2` has one, the connection the other.
#[derive(Debug)]
pub(crate) struct Transport<T>(Rc<RefCell<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    io: T,
    out: Vec<u8>,
    written: usize,
    read_this_turn: usize,
    /// The turn's share was read, and more bytes may be there.
    read_owed: bool,
    /// Reads are paused.
    reads_are_paused: bool,
    /// The last read of this turn found no bytes. `h2` tries again for each stream that it returns.
    is_dry: bool,
    arrival: Arc<Arrival>,
    /// The waker of `arrival`, with which the I/O is polled.
    arrival_waker: Waker,
    flush_owed: bool,
    /// The last write found the socket full.
    is_full: bool,
    meter: Meter,
}

impl<T> Clone for Transport<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport<T> {
    pub(crate) fn new(io: T, turn: Arc<TurnWaker>) -> Self {
        let arrival = Arc::new(Arrival::new(turn));
        Self(Rc::new(RefCell::new(Inner {
            io,
            out: Vec::new(),
            written: 0,
            read_this_turn: 0,
            read_owed: false,
            reads_are_paused: false,
            is_dry: false,
            arrival_waker: Waker::from(Arc::clone(&arrival)),
            arrival,
            flush_owed: false,
            is_full: false,
            meter: Meter::new(),
        })))
    }

    /// Begins a turn of the connection, which may read a share of its own.
    pub(crate) fn begin_turn(&self) {
        let inner = &mut *self.0.borrow_mut();
        inner.read_this_turn = 0;
        inner.read_owed = false;
        inner.is_dry = false;
        inner.meter.begin_turn();
    }

    /// Whether another turn has to follow because this one's share was read.
    pub(crate) fn owes_read(&self) -> bool {
        self.0.borrow().read_owed
    }

    /// Calls a closure with the meter.
    pub(crate) fn with_meter<R>(&self, inspect: impl FnOnce(&mut Meter) -> R) -> R {
        inspect(&mut self.0.borrow_mut().meter)
    }

    /// Whether the last write found the socket full.
    pub(crate) fn is_full(&self) -> bool {
        self.0.borrow().is_full
    }

    /// Pauses or resumes reading. No task is woken for bytes that arrive meanwhile.
    pub(crate) fn pause_reads(&self, pause: bool) {
        self.0.borrow_mut().reads_are_paused = pause;
    }

    /// Writes the buffer. `Pending` means that the socket is full; the task is woken once it is not.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_drain(cx)
    }

    /// Reads once and drops the bytes. Returns their number, 0 at the end of the client's stream.
    pub(crate) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [0; 4 << 10];
        let mut buf = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Inner<T> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let drained = self.poll_drain_out(cx);
        self.is_full = drained.is_pending();
        drained
    }

    fn poll_drain_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let n = ready!(poll_write_pieces(&mut self.io, cx, &self.out[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.flush_owed = true;
        }
        if !self.out.is_empty() {
            let mut out = std::mem::take(&mut self.out);
            out.clear();
            self.written = 0;
            SPARE.set(out);
        }
        if self.flush_owed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.flush_owed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.out.len() >= GATHER {
            ready!(self.poll_drain(cx))?;
        }
        if self.out.is_empty() && self.out.capacity() == 0 {
            self.out = SPARE.take();
        }
        Poll::Ready(Ok(GATHER - self.out.len()))
    }
}

/// Writes in slices of [`PIECE`], because TLS copies slice by slice (see [`append`]).
fn poll_write_pieces<T: AsyncWrite + Unpin>(
    io: &mut T,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    if bytes.len() <= PIECE || !io.is_write_vectored() {
        return Pin::new(io).poll_write(cx, bytes);
    }
    let mut slices = [IoSlice::new(&[]); GATHER / PIECE];
    let mut used = 0;
    for (slice, piece) in slices.iter_mut().zip(bytes.chunks(PIECE)) {
        *slice = IoSlice::new(piece);
        used += 1;
    }
    Pin::new(io).poll_write_vectored(cx, &slices[..used])
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<T> {
    /// Wakes the turn that the transport was created with, not the task. Returns `Pending` without a wake-up
    /// once the turn's share was read, which [`Transport::owes_read`] reports.
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.reads_are_paused {
            return Poll::Pending;
        }
        if inner.read_this_turn >= READ_PER_TURN {
            inner.read_owed = true;
            return Poll::Pending;
        }
        if inner.is_dry && !inner.arrival.take() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        inner.is_dry = true;
        ready!(Pin::new(&mut inner.io).poll_read(&mut Context::from_waker(&inner.arrival_waker), buf))?;
        inner.is_dry = false;
        let bytes = &buf.filled()[before..];
        inner.read_this_turn += bytes.len();
        inner.meter.inspect_incoming(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.borrow_mut();
        let n = ready!(inner.room(cx))?.min(bytes.len());
        append(&mut inner.out, &bytes[..n]);
        inner.meter.inspect_outgoing(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.borrow_mut();
        let room = ready!(inner.room(cx))?;
        let mut left = room;
        for slice in slices {
            let n = left.min(slice.len());
            append(&mut inner.out, &slice[..n]);
            inner.meter.inspect_outgoing(&slice[..n]);
            left -= n;
            if left == 0 {
                break;
            }
        }
        Poll::Ready(Ok(room - left))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        ready!(inner.poll_drain(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

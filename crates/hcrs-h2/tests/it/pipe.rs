//! Two ends of an in-memory connection, of one thread, that count reads and writes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are on their way in one direction, as many as a socket would hold.
const CAPACITY: usize = 256 << 10;

/// One end.
#[derive(Debug)]
pub(crate) struct End {
    incoming: Rc<RefCell<Lane>>,
    outgoing: Rc<RefCell<Lane>>,
}

#[derive(Debug)]
struct Lane {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Bytes that arrive right after a read that found nothing.
    late: Vec<u8>,
    /// Each read is pending, and wakes its task at once.
    restless: bool,
    closed: bool,
    writes: usize,
    reads: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Returns both ends of a new connection.
pub(crate) fn pipe() -> (End, End) {
    pipe_of(CAPACITY)
}

/// Returns both ends of a new connection that holds no more than `capacity` bytes in each direction.
pub(crate) fn pipe_of(capacity: usize) -> (End, End) {
    let lane = || {
        Rc::new(RefCell::new(Lane {
            bytes: VecDeque::with_capacity(capacity),
            capacity,
            late: Vec::new(),
            restless: false,
            closed: false,
            writes: 0,
            reads: 0,
            reader: None,
            writer: None,
        }))
    };
    let (one, other) = (lane(), lane());
    (End { incoming: Rc::clone(&one), outgoing: Rc::clone(&other) }, End { incoming: other, outgoing: one })
}

impl End {
    /// Writes as many bytes as fit. Returns their number.
    pub(crate) fn send(&self, bytes: &[u8]) -> usize {
        self.outgoing.borrow_mut().push(bytes)
    }

    /// Writes as soon as the other end has read all there was, and found nothing more.
    pub(crate) fn send_late(&self, bytes: &[u8]) {
        self.outgoing.borrow_mut().late.extend_from_slice(bytes);
    }

    /// Makes each read of the other end pending and wakes its task at once, or no longer.
    pub(crate) fn be_restless(&self, restless: bool) {
        self.outgoing.borrow_mut().restless = restless;
    }

    /// Reads all that is there.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut lane = self.incoming.borrow_mut();
        if let Some(writer) = lane.writer.take() {
            writer.wake();
        }
        lane.bytes.drain(..).collect()
    }

    /// Closes this end's direction.
    pub(crate) fn close(&self) {
        self.outgoing.borrow_mut().close();
    }

    /// Whether the other end has closed its direction.
    pub(crate) fn is_closed(&self) -> bool {
        self.incoming.borrow().closed
    }

    /// Attempts of the other end to read so far.
    pub(crate) fn reads_seen(&self) -> usize {
        self.outgoing.borrow().reads
    }

    /// Writes by the other end so far.
    pub(crate) fn writes_seen(&self) -> usize {
        self.incoming.borrow().writes
    }
}

impl Lane {
    fn push(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.capacity - self.bytes.len());
        self.bytes.extend(&bytes[..n]);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        n
    }

    fn close(&mut self) {
        self.closed = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let lane = &mut *self.incoming.borrow_mut();
        lane.reads += 1;
        if lane.restless {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if lane.bytes.is_empty() && !lane.closed {
            lane.reader = Some(cx.waker().clone());
            let more = std::mem::take(&mut lane.late);
            if !more.is_empty() {
                lane.push(&more);
            }
            return Poll::Pending;
        }
        while buf.remaining() > 0 && !lane.bytes.is_empty() {
            let (front, _) = lane.bytes.as_slices();
            let count = front.len().min(buf.remaining());
            buf.put_slice(&front[..count]);
            lane.bytes.drain(..count);
        }
        if let Some(writer) = lane.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let lane = &mut *self.outgoing.borrow_mut();
        if lane.bytes.len() == lane.capacity {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        lane.writes += 1;
        Poll::Ready(Ok(lane.push(bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.borrow_mut().close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.outgoing.borrow_mut().close();
    }
}

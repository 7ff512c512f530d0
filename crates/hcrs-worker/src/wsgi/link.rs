//! A link that serves a WSGI app: its streams, and the write side, which the pool's threads use.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hcrs_http::RequestView;
use hcrs_link::{FileOut, FromWorker, Next, Outbox, Request, Stalled, Stream, StreamId, StreamMap};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::MutexExt;
use rustix::event::{PollFd, PollFlags, poll};

use crate::link::LinkEnd;
use crate::lock;
use crate::socket;

/// Microseconds after a link's last write in which a thread with further requests leaves its response in the
/// outbox, so that one write wakes the edge for several responses.
const GATHER: u64 = 500;

/// A link, shared by its reader and the pool.
#[derive(Debug)]
pub(crate) struct WsgiLink {
    pub(super) end: LinkEnd,
    pub(super) out: Mutex<Outbox>,
    /// Whether a request was begun, or a response was left in the outbox, since the last write.
    pub(super) unannounced: AtomicBool,
    /// The time at which the link was created.
    made: Instant,
    /// The time of the last write, in microseconds since `made`.
    written: AtomicU64,
    pub(super) streams: Mutex<StreamMap<Arc<WsgiStream>>>,
    /// Number of threads that wait for a client to send more of a body or to take more of a response.
    waiting: AtomicUsize,
}

/// A request's stream, on which a thread of the pool can wait.
#[derive(Debug)]
pub(crate) struct WsgiStream {
    /// The head of the request.
    head: Arc<[u8]>,
    state: Mutex<Stream<PyBackedBytes>>,
    changed: Condvar,
}

impl WsgiLink {
    pub(crate) fn new(mut end: LinkEnd) -> Self {
        let out = Mutex::new(Outbox::new(end.blocks.take()));
        Self {
            end,
            out,
            unannounced: AtomicBool::new(false),
            made: Instant::now(),
            written: AtomicU64::new(0),
            streams: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Creates and stores the stream of a request that has just arrived.
    pub(crate) fn add_stream(&self, request: &Request<'_>, head: Arc<[u8]>) -> Arc<WsgiStream> {
        let state = Mutex::new(Stream::new(request));
        let stream = Arc::new(WsgiStream { head, state, changed: Condvar::new() });
        lock(&self.streams).insert(request.stream, stream.clone());
        stream
    }

    /// Returns the methods and paths of the requests that have not ended, as in `GET /mail`.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let streams: Vec<_> = lock(&self.streams).values().cloned().collect();
        let heads = streams.iter().filter_map(|stream| RequestView::parse(&stream.head).ok());
        let named = |bytes| String::from_utf8_lossy(bytes);
        heads.map(|head| format!("{} {}", named(head.method), named(head.path))).collect()
    }

    /// Returns whether a thread waits for a client rather than for the app.
    pub(crate) fn awaits_client(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Removes a stream that is over.
    pub(crate) fn remove_stream(&self, stream: StreamId) {
        lock(&self.streams).remove(&stream);
    }

    /// Sends a frame at once. Must not be called with the interpreter attached.
    pub(crate) fn send(&self, frame: &FromWorker<'_>) -> io::Result<()> {
        let mut out = lock(&self.out);
        out.push(frame);
        self.write_all(&mut out)
    }

    /// Locks the outbox for a thread that holds the GIL, which is released while another thread writes.
    pub(crate) fn out(&self, py: Python<'_>) -> MutexGuard<'_, Outbox> {
        self.out.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the outbox, or leaves that to the end of the thread's next request if the last write was within
    /// [`GATHER`].
    pub(crate) fn flush_or_gather(&self, py: Python<'_>) {
        let now = self.made.elapsed().as_micros() as u64;
        if now.saturating_sub(self.written.load(Ordering::Relaxed)) < GATHER {
            self.unannounced.store(true, Ordering::Release);
        } else {
            self.flush(py);
        }
    }

    /// Writes the responses that threads have left in the outbox.
    pub(crate) fn flush_gathered(&self, py: Python<'_>) {
        if self.unannounced.load(Ordering::Acquire) {
            self.flush(py);
        }
    }

    /// Writes the outbox, without releasing the GIL unless the socket is full.
    pub(crate) fn flush(&self, py: Python<'_>) {
        let written = {
            let mut out = self.out(py);
            if out.is_empty() {
                return;
            }
            self.unannounced.store(false, Ordering::Release);
            self.written.store(self.made.elapsed().as_micros() as u64, Ordering::Relaxed);
            socket::write(&mut out, &self.end.socket)
        };
        if written.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            // Other errors mean that the edge is gone, which the reader notices.
            let _written = py.detach(|| self.write_all(&mut lock(&self.out)));
        }
    }

    /// Writes the outbox, blocking while the socket is full.
    pub(super) fn write_all(&self, out: &mut Outbox) -> io::Result<()> {
        loop {
            match socket::write(out, &self.end.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ready =
                        poll(&mut [PollFd::from_borrowed_fd(self.end.socket.as_fd(), PollFlags::OUT)], None);
                }
                written => return written,
            }
        }
    }
}

/// Returns the content-length of a request.
pub(crate) fn content_length(head: &RequestView<'_>) -> Option<u64> {
    hcrs_http::content_length(head.fields().first(b"content-length")?)
}

impl WsgiStream {
    /// Locks the state of the link's protocol.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Stream<PyBackedBytes>> {
        lock(&self.state)
    }

    /// Changes the state and wakes the thread that waits on it.
    pub(super) fn update<R>(&self, change: impl FnOnce(&mut Stream<PyBackedBytes>) -> R) -> R {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }

    /// Waits for the next piece of the request's body. Never returns [`Next::Wait`].
    pub(crate) fn next(&self, py: Python<'_>, link: &WsgiLink, max: usize) -> Next {
        loop {
            let next = {
                let mut out = link.out(py);
                self.lock().next(max, &mut out)
            };
            link.flush(py);
            if next != Next::Wait {
                return next;
            }
            self.wait(py, link, Stream::has_next);
        }
    }

    /// Sends a piece of the response's body and waits for the client. Returns false once the client is gone.
    /// The caller has to flush the link after the last piece.
    pub(crate) fn body(&self, py: Python<'_>, link: &WsgiLink, piece: PyBackedBytes, end: bool) -> bool {
        let stalled = {
            let mut out = link.out(py);
            self.lock().body(piece, end, &mut out)
        };
        if end && self.lock().is_flushed() {
            return true; // the caller writes it, perhaps together with other responses
        }
        self.drain(py, link, stalled)
    }

    /// Sends a part of a file as the last piece of the response's body and waits for the client.
    pub(crate) fn file(&self, py: Python<'_>, link: &WsgiLink, file: FileOut) {
        let stalled = {
            let mut out = link.out(py);
            let mut state = self.lock();
            if !state.takes_files() {
                return;
            }
            state.file(file, true, &mut out)
        };
        self.drain(py, link, stalled);
    }

    /// Writes until nothing of the response is left, waiting for the client. Returns false once the client is
    /// gone.
    fn drain(&self, py: Python<'_>, link: &WsgiLink, mut stalled: Stalled) -> bool {
        loop {
            link.flush(py);
            if self.lock().is_flushed() {
                return !self.lock().is_gone();
            }
            if stalled == Stalled::Window {
                self.wait(py, link, Stream::can_send);
            }
            let mut out = link.out(py);
            let mut state = self.lock();
            stalled = state.pump(&mut out);
            while stalled == Stalled::No && !state.is_flushed() {
                stalled = state.pump(&mut out);
            }
        }
    }

    /// Waits until `ready`. The wait has no deadline here because the edge has deadlines for the client.
    fn wait(&self, py: Python<'_>, link: &WsgiLink, ready: fn(&Stream<PyBackedBytes>) -> bool) {
        link.waiting.fetch_add(1, Ordering::Relaxed);
        py.detach(|| {
            let mut state = self.lock();
            while !ready(&state) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        });
        link.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

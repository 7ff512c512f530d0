//! A link that serves a WSGI app, as the pool's threads write to it.

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

/// Microseconds since a link's last write in which a thread that has more to do leaves its response for later:
/// one write then wakes the edge for several of them.
const GATHER: u64 = 500;

/// One link, shared by its reader and the pool.
#[derive(Debug)]
pub(crate) struct WsgiLink {
    pub(super) end: LinkEnd,
    pub(super) out: Mutex<Outbox>,
    /// A request was begun, or a response left for later, since the last write.
    pub(super) unannounced: AtomicBool,
    /// When it was made.
    made: Instant,
    /// When it was last written, in microseconds since then.
    written: AtomicU64,
    pub(super) streams: Mutex<StreamMap<Arc<WsgiStream>>>,
    /// Threads that wait for a client: for more of a body, or for it to take more of a response.
    waiting: AtomicUsize,
}

/// A request's stream, which a thread of the pool waits on.
#[derive(Debug)]
pub(crate) struct WsgiStream {
    /// The head of its request.
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

    /// The stream of a request that has just come.
    pub(crate) fn remember(&self, request: &Request<'_>, head: Arc<[u8]>) -> Arc<WsgiStream> {
        let state = Mutex::new(Stream::new(request));
        let stream = Arc::new(WsgiStream { head, state, changed: Condvar::new() });
        lock(&self.streams).insert(request.stream, stream.clone());
        stream
    }

    /// The methods and paths of the requests that have not ended, as in `GET /mail`.
    pub(crate) fn left(&self) -> Vec<String> {
        let streams: Vec<_> = lock(&self.streams).values().cloned().collect();
        let heads = streams.iter().filter_map(|stream| RequestView::parse(&stream.head).ok());
        let named = |bytes| String::from_utf8_lossy(bytes);
        heads.map(|head| format!("{} {}", named(head.method), named(head.path))).collect()
    }

    /// Whether a thread waits for a client, and not for the app.
    pub(crate) fn awaits_client(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Drops a stream that is over.
    pub(crate) fn forget(&self, stream: StreamId) {
        lock(&self.streams).remove(&stream);
    }

    /// Says something about the link itself.
    pub(crate) fn say(&self, frame: &FromWorker<'_>) -> io::Result<()> {
        let mut out = lock(&self.out);
        out.push(frame);
        self.write_all(&mut out)
    }

    /// The outbox, for a thread that holds the GIL: it lets go of it while another one writes.
    pub(crate) fn out(&self, py: Python<'_>) -> MutexGuard<'_, Outbox> {
        self.out.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits, or leaves it for the end of the thread's next request if the last write was just now.
    pub(crate) fn flush_or_gather(&self, py: Python<'_>) {
        let now = self.made.elapsed().as_micros() as u64;
        if now.saturating_sub(self.written.load(Ordering::Relaxed)) < GATHER {
            self.unannounced.store(true, Ordering::Release);
        } else {
            self.flush(py);
        }
    }

    /// Writes what a thread has left for later.
    pub(crate) fn flush_gathered(&self, py: Python<'_>) {
        if self.unannounced.load(Ordering::Acquire) {
            self.flush(py);
        }
    }

    /// Writes what waits, keeping the GIL as long as the socket takes it at once.
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
            // Other errors mean that the edge is gone, which the reader sees.
            let _written = py.detach(|| self.write_all(&mut lock(&self.out)));
        }
    }

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

/// The length that a request announces for its body.
pub(crate) fn content_length(head: &RequestView<'_>) -> Option<u64> {
    std::str::from_utf8(head.fields().first(b"content-length")?).ok()?.parse().ok()
}

impl WsgiStream {
    /// The protocol's state.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Stream<PyBackedBytes>> {
        lock(&self.state)
    }

    pub(super) fn update<R>(&self, change: impl FnOnce(&mut Stream<PyBackedBytes>) -> R) -> R {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }

    /// The next piece of the request's body, waiting for it; `Next::Wait` is never given.
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

    /// Sends a piece of the response's body, waiting for the client; false once the client is gone. The caller
    /// flushes the link after the last piece.
    pub(crate) fn body(&self, py: Python<'_>, link: &WsgiLink, piece: PyBackedBytes, end: bool) -> bool {
        let stalled = {
            let mut out = link.out(py);
            self.lock().body(piece, end, &mut out)
        };
        if end && self.lock().is_flushed() {
            return true; // written by the caller, perhaps together with other responses
        }
        self.leave(py, link, stalled)
    }

    /// Sends a part of a file as the last piece of the response's body, waiting for the client.
    pub(crate) fn file(&self, py: Python<'_>, link: &WsgiLink, file: FileOut) {
        let stalled = {
            let mut out = link.out(py);
            let mut state = self.lock();
            if !state.takes_files() {
                return;
            }
            state.file(file, true, &mut out)
        };
        self.leave(py, link, stalled);
    }

    /// Writes what was sent, waiting for the client; false once the client is gone.
    fn leave(&self, py: Python<'_>, link: &WsgiLink, mut stalled: Stalled) -> bool {
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

    /// Waits for the client, which has deadlines at the edge.
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

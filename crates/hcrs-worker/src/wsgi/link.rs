//! A link that serves a WSGI app: a thread without Python reads it, the pool's threads write to it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hcrs_exchange::RequestView;
use hcrs_link::{FrameHeader, HALF, Kind, LinkError, REQUEST_WINDOW};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::MutexExt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;

use crate::inbox::{Inbox, Received};
use crate::link::LinkEnd;
use crate::lock;
use crate::outbox::{FileOut, Outbox};
use crate::stream::{Next, Stalled, Stream};
use crate::wsgi::queue::{Queue, Waiting};

/// Milliseconds after which the edge is told of requests that were begun and have not answered yet, and given
/// what a thread has left for later; while nothing changes the reader looks less and less often.
const ANNOUNCE_FIRST: i64 = 1;
const ANNOUNCE_LAST: i64 = 8;

/// Microseconds since a link's last write in which a thread that has more to do leaves its response for later:
/// one write then wakes the edge for several of them.
const GATHER: u64 = 500;

/// Bytes of a request's body that have to be there before it gets a thread, if it is longer: no slow upload of less
/// holds one. Below the window, of which a client may use some for padding.
const UPLOADED: usize = REQUEST_WINDOW as usize / 4 * 3;

/// Requests of a link that are begun while their bodies arrive, and wait for a thread. They take no start credit,
/// so their number is bounded here; further ones get a thread before their bodies are there.
const UPLOADS_MAX: usize = 256;

/// How long a thread waits for the edge to open a file: much longer than it takes.
const OPENING: Duration = Duration::from_secs(5);

/// One link, shared by its reader and the pool.
#[derive(Debug)]
pub(crate) struct WsgiLink {
    number: usize,
    end: LinkEnd,
    out: Mutex<Outbox>,
    /// A request was begun, or a response left for later, since the last write.
    unannounced: AtomicBool,
    /// When it was made.
    made: Instant,
    /// When it was last written, in microseconds since then.
    written: AtomicU64,
    streams: Mutex<HashMap<u32, Arc<WsgiStream>>>,
    /// Requests that were begun by the reader and have no thread yet.
    uploads: AtomicUsize,
    /// Threads that wait for a client: for more of a body, or for it to take more of a response.
    waiting: AtomicUsize,
    /// Descriptors of files that the edge was told of and has not opened.
    unopened: Mutex<HashSet<u32>>,
    opened: Condvar,
    /// Announced bodies above this are not waited for: the answer is 413.
    max_body_size: usize,
}

/// A request's stream, which a thread of the pool waits on.
#[derive(Debug)]
pub(crate) struct WsgiStream {
    state: Mutex<Stream<PyBackedBytes>>,
    changed: Condvar,
}

/// A request that waits for a thread of the pool.
#[derive(Debug)]
pub(crate) struct Job {
    /// Its link.
    pub(crate) link: Arc<WsgiLink>,
    /// Its stream.
    pub(crate) stream: Arc<WsgiStream>,
    /// Its head, as it came.
    pub(crate) head: Vec<u8>,
    header: FrameHeader,
    /// The reader has begun it already.
    claimed: bool,
}

impl Waiting for Job {
    fn place(&self) -> Option<(usize, u16)> {
        (!self.claimed).then_some((self.link.number, self.header.slot))
    }
}

impl Job {
    /// Begins the request for a thread; false if the edge has withdrawn it.
    pub(crate) fn begin(&self) -> bool {
        if self.claimed {
            self.link.uploads.fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        self.claim()
    }

    fn claim(&self) -> bool {
        let claimed = self.link.end.claim(usize::from(self.header.slot), self.header.stream);
        if claimed {
            self.link.unannounced.store(true, Ordering::Release);
        } else {
            self.link.forget(self.header.stream);
        }
        claimed
    }
}

/// Why a link is read no more.
#[derive(Debug)]
pub(crate) enum Over {
    /// The edge has nothing more to send.
    Drained,
    /// The edge is gone, or has broken the protocol as the text says.
    Gone(Option<String>),
}

impl WsgiLink {
    pub(crate) fn new(number: usize, mut end: LinkEnd, max_body_size: usize) -> Self {
        let out = Mutex::new(Outbox::new(end.blocks.take()));
        Self {
            number,
            end,
            out,
            unannounced: AtomicBool::new(false),
            made: Instant::now(),
            written: AtomicU64::new(0),
            streams: Mutex::default(),
            uploads: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            unopened: Mutex::default(),
            opened: Condvar::new(),
            max_body_size,
        }
    }

    /// Reads until the edge has nothing more to say. Runs in a thread of its own that never touches Python.
    pub(crate) fn read(self: &Arc<Self>, jobs: &Queue<Job>, over: &dyn Fn(Over)) {
        let gone = match self.read_frames(jobs, over) {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        lock(&self.out).close();
        for stream in lock(&self.streams).values() {
            stream.update(Stream::reset);
        }
        lock(&self.unopened).clear();
        self.opened.notify_all();
        over(Over::Gone(gone));
    }

    fn read_frames(self: &Arc<Self>, jobs: &Queue<Job>, over: &dyn Fn(Over)) -> io::Result<()> {
        let mut inbox = Inbox::default();
        let mut begun: Vec<Job> = Vec::new();
        let mut uploads: HashMap<u32, Job> = HashMap::new();
        let mut pause = None;
        loop {
            if !self.readable(pause)? {
                pause = self.announce(jobs, pause)?;
                continue;
            }
            if inbox.receive(&self.end.socket, RecvFlags::DONTWAIT)? == Received::Eof {
                return Ok(());
            }
            while let Some((header, payload)) = inbox.next_frame().map_err(broken)? {
                if header.kind == Kind::Request {
                    begun.push(self.job(header, payload));
                } else if header.kind == Kind::Drain {
                    over(Over::Drained);
                } else {
                    self.take_frame(header, payload).map_err(broken)?;
                    if uploads.get(&header.stream).is_some_and(|job| job.stream.lock().has_uploaded(UPLOADED))
                    {
                        begun.extend(uploads.remove(&header.stream));
                    }
                }
            }
            for job in begun.extract_if(.., |job| !job.claimed && self.waits_for_body(job)) {
                if let Some(job) = self.hold(job)? {
                    uploads.insert(job.header.stream, job);
                    pause = Some(ANNOUNCE_FIRST);
                }
            }
            if !begun.is_empty() {
                jobs.push(begun.drain(..));
                pause = Some(ANNOUNCE_FIRST);
            }
        }
    }

    /// Whether a request should have more of its body before it gets a thread.
    fn waits_for_body(&self, job: &Job) -> bool {
        if job.stream.lock().has_uploaded(UPLOADED) || self.uploads.load(Ordering::Relaxed) >= UPLOADS_MAX {
            return false;
        }
        let announced = RequestView::parse(&job.head).ok().and_then(|head| content_length(&head));
        announced.is_none_or(|length| length <= self.max_body_size as u64)
    }

    /// Begins a request whose body is to arrive first; `None` if the edge has withdrawn it.
    fn hold(&self, mut job: Job) -> io::Result<Option<Job>> {
        if !job.claim() {
            return Ok(None);
        }
        job.claimed = true;
        self.uploads.fetch_add(1, Ordering::Relaxed);
        // A client that expects 100 (Continue) sends nothing before it.
        if RequestView::parse(&job.head).is_ok_and(|head| head.fields().first(b"expect").is_some()) {
            let mut out = lock(&self.out);
            job.stream.lock().ask(&mut out);
            self.write_all(&mut out)?;
        }
        Ok(Some(job))
    }

    fn readable(&self, pause: Option<i64>) -> io::Result<bool> {
        let pause = pause.map(|ms| Timespec { tv_sec: 0, tv_nsec: ms * 1_000_000 });
        match poll(&mut [PollFd::new(&self.end.socket, PollFlags::IN)], pause.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Wakes the edge if requests were begun that it does not know of; gives the time to look again.
    fn announce(&self, jobs: &Queue<Job>, pause: Option<i64>) -> io::Result<Option<i64>> {
        if self.unannounced.swap(false, Ordering::AcqRel) {
            let mut out = lock(&self.out);
            if out.is_empty() {
                out.push(Kind::Begun, 0, 0, b"");
            }
            self.write_all(&mut out)?;
            return Ok(Some(ANNOUNCE_FIRST));
        }
        if jobs.is_empty() && lock(&self.streams).is_empty() {
            return Ok(None);
        }
        Ok(pause.map(|ms| (ms * 2).min(ANNOUNCE_LAST)))
    }

    fn job(self: &Arc<Self>, header: FrameHeader, payload: &[u8]) -> Job {
        let stream = Arc::new(WsgiStream {
            state: Mutex::new(Stream::new(header.stream, !header.is_end())),
            changed: Condvar::new(),
        });
        lock(&self.streams).insert(header.stream, stream.clone());
        Job { link: self.clone(), stream, head: payload.to_vec(), header, claimed: false }
    }

    fn take_frame(&self, header: FrameHeader, payload: &[u8]) -> Result<(), LinkError> {
        let unexpected = LinkError::Unexpected(header.kind);
        // A stream that is not known is over, or was withdrawn: its frames mean nothing any more.
        let stream = || lock(&self.streams).get(&header.stream).cloned();
        match header.kind {
            Kind::Data => {
                let Some(stream) = stream() else { return Ok(()) };
                stream.update(
                    |state| if state.is_gone() { Ok(()) } else { state.arrive(payload, header.is_end()) },
                )
            }
            Kind::Credit => {
                let credit = payload.try_into().map(u32::from_le_bytes).map_err(|_| unexpected)?;
                if let Some(stream) = stream() {
                    stream.update(|state| state.credit(credit));
                }
                Ok(())
            }
            // WSGI has no place for it.
            Kind::Tls => Ok(()),
            // A WSGI app has no way to hear of it.
            Kind::Reset if header.flags & HALF != 0 => Ok(()),
            Kind::Reset => {
                if let Some(stream) = stream() {
                    stream.update(Stream::reset);
                }
                Ok(())
            }
            Kind::Ping => {
                let mut out = lock(&self.out);
                out.push(Kind::Pong, 0, 0, b"");
                // A dead socket is seen by the next read.
                let _written = self.write_all(&mut out);
                Ok(())
            }
            Kind::Opened => {
                let descriptor = payload.try_into().map(u32::from_le_bytes).map_err(|_| unexpected)?;
                lock(&self.out).close_file(descriptor);
                lock(&self.unopened).remove(&descriptor);
                self.opened.notify_all();
                Ok(())
            }
            Kind::Request
            | Kind::Drain
            | Kind::Response
            | Kind::Done
            | Kind::Begun
            | Kind::Ready
            | Kind::Failed
            | Kind::Pong
            | Kind::Block
            | Kind::Trailers
            | Kind::Interim
            | Kind::Push
            | Kind::File
            | Kind::Text
            | Kind::Binary
            | Kind::Close => Err(unexpected),
        }
    }

    /// Whether a thread waits for a client, and not for the app.
    pub(crate) fn awaits_client(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Drops a stream that is over.
    pub(crate) fn forget(&self, stream: u32) {
        lock(&self.streams).remove(&stream);
    }

    /// Says Ready.
    pub(crate) fn say_ready(&self) -> io::Result<()> {
        let mut out = lock(&self.out);
        out.push(Kind::Ready, 0, 0, b"");
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
            out.write_to(&self.end.socket)
        };
        if written.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            // Other errors mean that the edge is gone, which the reader sees.
            let _written = py.detach(|| self.write_all(&mut lock(&self.out)));
        }
    }

    /// Waits until the edge has opened a file that it was told of, so that the app may do with it what it likes, or the
    /// process end; not for ever, because only the file of this one response depends on it.
    fn wait_until_opened(&self, py: Python<'_>, descriptor: u32) {
        py.detach(|| {
            let waiting = lock(&self.unopened);
            let waited =
                self.opened.wait_timeout_while(waiting, OPENING, |files| files.contains(&descriptor));
            waited.unwrap_or_else(PoisonError::into_inner).0.remove(&descriptor);
        });
    }

    fn write_all(&self, out: &mut Outbox) -> io::Result<()> {
        loop {
            match out.write_to(&self.end.socket) {
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

fn broken(error: LinkError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl WsgiStream {
    /// The protocol's state.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Stream<PyBackedBytes>> {
        lock(&self.state)
    }

    fn update<R>(&self, change: impl FnOnce(&mut Stream<PyBackedBytes>) -> R) -> R {
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

    /// Sends a part of a file as the last piece of the response's body, and waits until the edge has opened it.
    pub(crate) fn file(&self, py: Python<'_>, link: &WsgiLink, file: FileOut) {
        let descriptor = file.descriptor.as_raw_fd().cast_unsigned();
        let stalled = {
            let mut out = link.out(py);
            let mut state = self.lock();
            if !state.takes_files() {
                return;
            }
            lock(&link.unopened).insert(descriptor);
            state.file(file, true, &mut out)
        };
        if self.leave(py, link, stalled) {
            link.wait_until_opened(py, descriptor);
        } else {
            lock(&link.unopened).remove(&descriptor);
        }
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

//! The reader of a link: a thread that does not use Python and passes the edge's requests on to the pool.
//!
//! A request whose body is incomplete is begun and held, and its body is spooled as it arrives, so that no
//! slow upload occupies a thread of the pool.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hcrs_http::RequestView;
use hcrs_link::{FromEdge, FromWorker, Inbox, LinkError, Next, StreamId, StreamMap};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;

use crate::lock;
use crate::socket::{self, Received, TURN};
use crate::wsgi::job::{Held, Job};
use crate::wsgi::link::{WsgiLink, WsgiStream, content_length};
use crate::wsgi::queue::Queue;
use crate::wsgi::spool::{MEMORY_MAX, Spool};

/// Milliseconds after which begun requests without a response are announced to the edge, and responses that
/// threads have left in the outbox are written.
const ANNOUNCE_FIRST: i64 = 1;

/// Milliseconds between two such checks at most; the interval doubles while there is nothing to announce.
const ANNOUNCE_LAST: i64 = 8;

/// An event of a link that concerns the worker as a whole.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The worker is to end, because the edge got the signal of this number or would send it.
    Stopping(u16),
    /// The edge has nothing more to send, and the app has this time left.
    Drained(Duration),
    /// The edge is gone; or, with an error text, it has broken the protocol.
    Gone(Option<String>),
}

/// The reading end of one link.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    link: &'a Arc<WsgiLink>,
    jobs: &'a Queue<Job>,
    spool: &'a Arc<Spool>,
    /// Bytes of the longest body that is accepted.
    body_max: usize,
    /// Requests that have arrived in this turn, and held requests whose bodies are complete.
    ready: Vec<Job>,
    /// Requests that were begun and wait for the rest of their bodies.
    held: StreamMap<Job>,
    /// Held requests of whose bodies more has arrived in this turn.
    grown: Vec<StreamId>,
    /// Whether frames were put into the outbox.
    has_pushed: bool,
    /// Milliseconds to the next check for requests to announce; `None` if there are no requests.
    pause: Option<i64>,
}

impl<'a> Reader<'a> {
    /// Creates a reader of `link`, which passes requests with bodies of at most `body_max` bytes on to
    /// `jobs`.
    pub(crate) fn new(
        link: &'a Arc<WsgiLink>,
        jobs: &'a Queue<Job>,
        spool: &'a Arc<Spool>,
        body_max: usize,
    ) -> Self {
        Self {
            link,
            jobs,
            spool,
            body_max,
            ready: Vec::new(),
            held: StreamMap::default(),
            grown: Vec::new(),
            has_pushed: false,
            pause: None,
        }
    }

    /// Reads until the edge closes the link. Runs in a thread of its own that never uses Python.
    pub(crate) fn run(mut self, report: &dyn Fn(LinkEvent)) {
        let gone = match self.read_frames(report) {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        {
            let mut out = lock(&self.link.out);
            out.close();
            let streams: Vec<_> = lock(&self.link.streams).values().cloned().collect();
            for stream in streams {
                stream.update(|state| state.reset(&mut out));
            }
        }
        report(LinkEvent::Gone(gone));
    }

    fn read_frames(&mut self, report: &dyn Fn(LinkEvent)) -> io::Result<()> {
        let mut inbox = Inbox::new(TURN);
        loop {
            self.pass_withdrawn();
            if !self.is_readable()? {
                self.announce();
                continue;
            }
            if socket::receive(&mut inbox, &self.link.end.socket, RecvFlags::DONTWAIT)? == Received::Eof {
                return Ok(());
            }
            while let Some((header, payload)) = inbox.next_frame().map_err(broken)? {
                let frame = FromEdge::parse(&header, payload).map_err(broken)?;
                self.take_frame(&frame, report).map_err(broken)?;
            }
            for id in std::mem::take(&mut self.grown) {
                self.check_body(id);
            }
            self.pass_to_pool();
            if std::mem::take(&mut self.has_pushed) {
                // An error shows in the next read as well.
                let _written = self.link.write_all(&mut lock(&self.link.out));
            }
        }
    }

    /// Passes the requests that the edge has withdrawn, which frees their slots in the claim table.
    fn pass_withdrawn(&mut self) {
        for mut job in self.jobs.take_withdrawn() {
            let begun = job.claim();
            debug_assert!(!begun, "invariant: a request that was withdrawn is not offered again");
        }
    }

    /// Passes requests on to the pool, but holds those whose bodies are incomplete.
    fn pass_to_pool(&mut self) {
        for mut job in std::mem::take(&mut self.ready) {
            if job.stream.lock().is_gone() {
                self.end(job);
                continue;
            }
            let held = self.waits_for_body(&job).then(|| job.hold(self.spool));
            match held {
                Some(Held::Yes) => self.store_held(job),
                Some(Held::Withdrawn) => {}
                Some(Held::Refused) | None => self.ready.push(job),
            }
        }
        if !self.ready.is_empty() {
            self.jobs.push(self.ready.drain(..));
            self.pause = Some(ANNOUNCE_FIRST);
        }
    }

    /// Returns whether the request is to be held until its body has arrived.
    fn waits_for_body(&self, job: &Job) -> bool {
        if job.body.is_some() || job.is_whole(self.body_max) {
            return false;
        }
        let announced = RequestView::parse(&job.head).ok().and_then(|head| content_length(&head));
        announced.is_none_or(|length| length <= self.body_max as u64)
    }

    /// Stores a request that is held.
    fn store_held(&mut self, job: Job) {
        // A client that expects 100 (Continue) sends nothing before it.
        if job.expects_continue() {
            let mut out = lock(&self.link.out);
            job.stream.lock().ask(&mut out);
            self.has_pushed = true;
        }
        let id = job.id();
        self.held.insert(id, job);
        // The part of the body that came with the request may be all that comes without credit.
        self.check_body(id);
        self.pause = Some(ANNOUNCE_FIRST);
    }

    /// Spools the arrived part of a body if it is large, or readies the request if the body is complete.
    fn check_body(&mut self, id: StreamId) {
        let Some(job) = self.held.get_mut(&id) else { return };
        let mut is_ready = job.is_whole(self.body_max);
        if !is_ready && job.stream.lock().has_uploaded(MEMORY_MAX) {
            let next = {
                let mut out = lock(&self.link.out);
                job.stream.lock().next(usize::MAX, &mut out)
            };
            self.has_pushed = true;
            if let (Next::Body { piece, .. }, Some(body)) = (next, &mut job.body) {
                job.cut = body.store(&piece).err();
                is_ready = job.cut.is_some();
            }
        }
        if is_ready {
            self.ready.extend(self.held.remove(&id));
        }
    }

    /// Ends a request that no thread has taken, because its client is gone.
    fn end(&mut self, mut job: Job) {
        if job.claim() {
            let mut out = lock(&self.link.out);
            job.stream.lock().finish(&mut out);
            self.has_pushed = true;
        }
    }

    fn is_readable(&self) -> io::Result<bool> {
        let pause = self.pause.map(|ms| Timespec { tv_sec: 0, tv_nsec: ms * 1_000_000 });
        match poll(&mut [PollFd::new(&self.link.end.socket, PollFlags::IN)], pause.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Announces begun requests to the edge, if there are any, and sets the time of the next check.
    fn announce(&mut self) {
        if self.link.unannounced.swap(false, Ordering::AcqRel) {
            let mut out = lock(&self.link.out);
            if out.is_empty() {
                out.push(&FromWorker::Begun);
            }
            // An error shows in the next read as well.
            let _written = self.link.write_all(&mut out);
            self.pause = Some(ANNOUNCE_FIRST);
        } else if self.jobs.is_empty() && lock(&self.link.streams).is_empty() {
            self.pause = None;
        } else {
            self.pause = self.pause.map(|ms| (ms * 2).min(ANNOUNCE_LAST));
        }
    }

    fn take_frame(&mut self, frame: &FromEdge<'_>, report: &dyn Fn(LinkEvent)) -> Result<(), LinkError> {
        // A frame of an unknown stream has no effect: its request is over, or was withdrawn.
        let known = |id: StreamId| lock(&self.link.streams).get(&id).cloned();
        match *frame {
            FromEdge::Request(request) => self.ready.push(Job::new(self.link.clone(), &request)),
            FromEdge::Data { stream: id, bytes, end } => {
                let Some(stream) = known(id) else { return Ok(()) };
                stream.update(|state| if state.is_gone() { Ok(()) } else { state.arrive(bytes, end) })?;
                if self.held.contains_key(&id) && self.grown.last() != Some(&id) {
                    self.grown.push(id);
                }
            }
            FromEdge::Credit { stream: id, amount } => {
                if let Some(stream) = known(id) {
                    stream.update(|state| state.credit(amount));
                }
            }
            // A thread cannot be cancelled.
            FromEdge::Reset { stream: id, cancel: _ } => {
                if let Some(stream) = known(id) {
                    self.reset(&stream);
                }
            }
            FromEdge::Stopping { signal } => report(LinkEvent::Stopping(signal)),
            FromEdge::Drain { left_ms } => {
                report(LinkEvent::Drained(Duration::from_millis(u64::from(left_ms))));
            }
            // WSGI has no interface for either.
            FromEdge::Tls { .. } | FromEdge::HalfClose { .. } => {}
            FromEdge::Message { .. } => return Err(LinkError::Unexpected("Message")),
            FromEdge::Close { .. } => return Err(LinkError::Unexpected("Close")),
        }
        Ok(())
    }

    /// Resets a stream, whose client is gone. A request that no thread has taken ends here and releases its
    /// resources.
    fn reset(&mut self, stream: &Arc<WsgiStream>) {
        {
            let mut out = lock(&self.link.out);
            stream.update(|state| state.reset(&mut out));
        }
        let id = stream.lock().id();
        let job = self.held.remove(&id).or_else(|| self.jobs.remove(|job| Arc::ptr_eq(&job.stream, stream)));
        if let Some(job) = job {
            self.end(job);
        }
    }
}

fn broken(error: LinkError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

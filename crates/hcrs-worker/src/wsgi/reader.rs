//! What comes from the edge: a thread without Python reads a link, and gives requests to the pool.
//!
//! A request whose body is not whole yet is begun and held, and its body spooled as it arrives, so that no slow upload
//! has a thread.

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

/// Milliseconds after which the edge is told of requests that were begun and have not answered yet, and given
/// what a thread has left for later; while nothing changes the reader looks less and less often.
const ANNOUNCE_FIRST: i64 = 1;
const ANNOUNCE_LAST: i64 = 8;

/// What a link says to the worker as a whole.
#[derive(Debug)]
pub(crate) enum News {
    /// The worker is to end, because the edge got the signal of this number or would send it.
    Stopping(u16),
    /// The edge has nothing more to send. The app has so much time left for what it still does.
    Drained(Duration),
    /// The edge is gone, or has broken the protocol as the text says.
    Gone(Option<String>),
}

/// The reading end of one link.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    link: &'a Arc<WsgiLink>,
    jobs: &'a Queue<Job>,
    spool: &'a Arc<Spool>,
    /// Longer bodies are refused.
    body_max: usize,
    /// Requests that have come in this turn, and those whose bodies have become whole.
    ready: Vec<Job>,
    /// Requests that were begun and have no thread until their bodies are whole.
    held: StreamMap<Job>,
    /// Those of them whose bodies have grown in this turn.
    grown: Vec<StreamId>,
    /// Something was put into the outbox.
    has_pushed: bool,
    /// Milliseconds to the next look, if anything is to be looked after.
    pause: Option<i64>,
}

impl<'a> Reader<'a> {
    /// A reader of `link`, which gives requests to `jobs` with bodies of at most `body_max` bytes.
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

    /// Reads until the edge has nothing more to say. Runs in a thread of its own that never touches Python.
    pub(crate) fn run(mut self, tell: &dyn Fn(News)) {
        let gone = match self.read_frames(tell) {
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
        tell(News::Gone(gone));
    }

    fn read_frames(&mut self, tell: &dyn Fn(News)) -> io::Result<()> {
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
                self.take_frame(&frame, tell).map_err(broken)?;
            }
            for id in std::mem::take(&mut self.grown) {
                self.look_at_body(id);
            }
            self.give_to_pool();
            if std::mem::take(&mut self.has_pushed) {
                // A dead socket is seen by the next read.
                let _written = self.link.write_all(&mut lock(&self.link.out));
            }
        }
    }

    /// Tells the edge of the requests that it has withdrawn that no thread will run them.
    fn pass_withdrawn(&mut self) {
        for mut job in self.jobs.take_withdrawn() {
            let begun = job.claim();
            debug_assert!(!begun, "invariant: a request that was withdrawn is not offered again");
        }
    }

    /// Gives requests to the pool, but holds those whose bodies are not whole.
    fn give_to_pool(&mut self) {
        for mut job in std::mem::take(&mut self.ready) {
            if job.stream.lock().is_gone() {
                self.end(job);
                continue;
            }
            let held = self.waits_for_body(&job).then(|| job.hold(self.spool));
            match held {
                Some(Held::Yes) => self.keep(job),
                Some(Held::Withdrawn) => {}
                Some(Held::Refused) | None => self.ready.push(job),
            }
        }
        if !self.ready.is_empty() {
            self.jobs.push(self.ready.drain(..));
            self.pause = Some(ANNOUNCE_FIRST);
        }
    }

    /// Whether the request's body is to arrive before it gets a thread.
    fn waits_for_body(&self, job: &Job) -> bool {
        if job.body.is_some() || job.is_whole(self.body_max) {
            return false;
        }
        let announced = RequestView::parse(&job.head).ok().and_then(|head| content_length(&head));
        announced.is_none_or(|length| length <= self.body_max as u64)
    }

    /// Keeps a request that is held.
    fn keep(&mut self, job: Job) {
        // A client that expects 100 (Continue) sends nothing before it.
        if job.expects_continue() {
            let mut out = lock(&self.link.out);
            job.stream.lock().ask(&mut out);
            self.has_pushed = true;
        }
        let id = job.id();
        self.held.insert(id, job);
        // What has come with the request may be all that comes without credit.
        self.look_at_body(id);
        self.pause = Some(ANNOUNCE_FIRST);
    }

    /// Spools what has come of a body if it is much, or lets its request go on if that is all.
    fn look_at_body(&mut self, id: StreamId) {
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

    /// Ends a request that no thread has taken: its client is gone.
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

    /// Wakes the edge if requests were begun that it does not know of; sets the time to look again.
    fn announce(&mut self) {
        if self.link.unannounced.swap(false, Ordering::AcqRel) {
            let mut out = lock(&self.link.out);
            if out.is_empty() {
                out.push(&FromWorker::Begun);
            }
            // A dead socket is seen by the next read.
            let _written = self.link.write_all(&mut out);
            self.pause = Some(ANNOUNCE_FIRST);
        } else if self.jobs.is_empty() && lock(&self.link.streams).is_empty() {
            self.pause = None;
        } else {
            self.pause = self.pause.map(|ms| (ms * 2).min(ANNOUNCE_LAST));
        }
    }

    fn take_frame(&mut self, frame: &FromEdge<'_>, tell: &dyn Fn(News)) -> Result<(), LinkError> {
        // A stream that is not known is over, or was withdrawn: its frames mean nothing any more.
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
            FromEdge::Reset { stream: id } => {
                if let Some(stream) = known(id) {
                    self.reset(&stream);
                }
            }
            FromEdge::Stopping { signal } => tell(News::Stopping(signal)),
            FromEdge::Drain { left_ms } => {
                tell(News::Drained(Duration::from_millis(u64::from(left_ms))));
            }
            // WSGI has no place for either: an app cannot hear of a half-closed connection.
            FromEdge::Tls { .. } | FromEdge::HalfClose { .. } => {}
            FromEdge::Message { .. } => return Err(LinkError::Unexpected("Message")),
            FromEdge::Close { .. } => return Err(LinkError::Unexpected("Close")),
        }
        Ok(())
    }

    /// The client is gone: a request that has no thread ends here, and gives back all that it holds.
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

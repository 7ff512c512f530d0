//! A request on its way to a thread of the pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hcrs_link::{Request, StreamId};

use crate::pulse::note_step;
use crate::wsgi::link::{WsgiLink, WsgiStream};
use crate::wsgi::queue::Waiting;
use crate::wsgi::spool::{Cut, Spool, Spooled};

/// Whether a request is held until its body is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// It is.
    Yes,
    /// There are too many: it needs a thread that says so, and is not begun.
    Refused,
    /// The edge has withdrawn it.
    Withdrawn,
}

/// A request, from the frame that has brought it to the end of its response. It owns its stream's place among those of
/// the link.
#[derive(Debug)]
pub(crate) struct Job {
    /// Its link.
    pub(crate) link: Arc<WsgiLink>,
    /// Its stream.
    pub(crate) stream: Arc<WsgiStream>,
    /// Its head, as it came.
    pub(crate) head: Arc<[u8]>,
    /// What of its body is not in the stream; `None` if all is.
    pub(crate) body: Option<Spooled>,
    /// Why its body is not whole, though it may be.
    pub(crate) cut: Option<Cut>,
    id: StreamId,
    slot: u16,
    /// Its client sends the body only after `100 Continue`.
    expects_continue: bool,
    /// It was begun.
    claimed: bool,
}

impl Waiting for Job {
    fn is_withdrawn(&self) -> bool {
        !self.claimed && !self.link.end.claims.is_offered(usize::from(self.slot), self.id)
    }
}

impl Job {
    /// A job for a request that has just come.
    pub(crate) fn new(link: Arc<WsgiLink>, request: &Request<'_>) -> Self {
        let head = Arc::from(request.head);
        let stream = link.remember(request, Arc::clone(&head));
        Self {
            link,
            stream,
            head,
            body: None,
            cut: None,
            id: request.stream,
            slot: request.slot,
            expects_continue: request.expects_continue,
            claimed: false,
        }
    }

    /// The name of its stream.
    pub(crate) fn id(&self) -> StreamId {
        self.id
    }

    /// Whether its client sends the body only after `100 Continue`.
    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Begins the request; false if the edge has withdrawn it, which then knows that it was passed over.
    pub(crate) fn claim(&mut self) -> bool {
        if !self.claimed {
            self.claimed = self.link.end.claims.claim(usize::from(self.slot), self.id);
            if self.claimed {
                self.link.unannounced.store(true, Ordering::Release);
            }
        }
        self.claimed
    }

    /// Whether its body has arrived, or more of it than the `max` bytes that it may have.
    pub(crate) fn is_whole(&self, max: usize) -> bool {
        let spooled = self.body.as_ref().map_or(0, Spooled::len);
        let left = usize::try_from((max as u64).saturating_sub(spooled)).unwrap_or(usize::MAX);
        let stream = self.stream.lock();
        stream.has_uploaded(usize::MAX) || stream.has_uploaded(left.saturating_add(1))
    }

    /// Begins the request for a thread; false if the edge has withdrawn it.
    pub(crate) fn begin(&mut self) -> bool {
        if let Some(body) = &mut self.body {
            body.leave();
        }
        // What the reader claims says nothing about whether the pool gets on.
        note_step();
        self.claim()
    }

    /// Begins the request, so that its body arrives before it gets a thread.
    pub(crate) fn hold(&mut self, spool: &Arc<Spool>) -> Held {
        let Some(body) = spool.begin() else {
            self.cut = Some(Cut::Full);
            return Held::Refused;
        };
        if !self.claim() {
            return Held::Withdrawn;
        }
        self.body = Some(body);
        Held::Yes
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.link.forget(self.id);
    }
}

//! A request on its way to a thread of the pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hcrs_link::{Request, StreamId};

use crate::pulse::note_step;
use crate::wsgi::link::{WsgiLink, WsgiStream};
use crate::wsgi::queue::Waiting;
use crate::wsgi::spool::{Cut, Spool, Spooled};

/// The outcome of [`Job::hold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// The request is held until its body has arrived.
    Yes,
    /// Too many requests are held. A thread has to respond with the error, and the request is not begun yet.
    Refused,
    /// The edge has withdrawn the request.
    Withdrawn,
}

/// A request, from its arrival to the end of its response. Its drop removes its stream from the link.
#[derive(Debug)]
pub(crate) struct Job {
    /// The link of the request.
    pub(crate) link: Arc<WsgiLink>,
    /// The stream of the request.
    pub(crate) stream: Arc<WsgiStream>,
    /// The head of the request, as encoded on the link.
    pub(crate) head: Arc<[u8]>,
    /// The part of the body that is not in the stream; `None` if there is none.
    pub(crate) body: Option<Spooled>,
    /// The reason for which the body was not spooled to its end.
    pub(crate) cut: Option<Cut>,
    id: StreamId,
    slot: u16,
    /// Whether the client sends the body only after `100 Continue`.
    expects_continue: bool,
    /// Whether the request was begun.
    claimed: bool,
}

impl Waiting for Job {
    fn is_withdrawn(&self) -> bool {
        !self.claimed && !self.link.end.claims.is_offered(usize::from(self.slot), self.id)
    }
}

impl Job {
    /// Creates the job of a request that has just arrived.
    pub(crate) fn new(link: Arc<WsgiLink>, request: &Request<'_>) -> Self {
        let head = Arc::from(request.head);
        let stream = link.add_stream(request, Arc::clone(&head));
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

    /// Returns the number of the stream.
    pub(crate) fn id(&self) -> StreamId {
        self.id
    }

    /// Returns whether the client sends the body only after `100 Continue`.
    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Begins the request. Returns false if the edge has withdrawn it; the claim table then shows that it was
    /// passed.
    pub(crate) fn claim(&mut self) -> bool {
        if !self.claimed {
            self.claimed = self.link.end.claims.claim(usize::from(self.slot), self.id);
            if self.claimed {
                self.link.unannounced.store(true, Ordering::Release);
            }
        }
        self.claimed
    }

    /// Returns whether the body has arrived, or more of it than the allowed `max` bytes.
    pub(crate) fn is_whole(&self, max: usize) -> bool {
        let spooled = self.body.as_ref().map_or(0, Spooled::len);
        let left = usize::try_from((max as u64).saturating_sub(spooled)).unwrap_or(usize::MAX);
        let stream = self.stream.lock();
        stream.has_uploaded(usize::MAX) || stream.has_uploaded(left.saturating_add(1))
    }

    /// Begins the request in a thread of the pool. Returns false if the edge has withdrawn it.
    pub(crate) fn begin(&mut self) -> bool {
        if let Some(body) = &mut self.body {
            body.end_upload();
        }
        // Not in claim, because a claim by the reader shows no progress of the pool.
        note_step();
        self.claim()
    }

    /// Begins the request before it gets a thread, so that its body arrives meanwhile.
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
        self.link.remove_stream(self.id);
    }
}

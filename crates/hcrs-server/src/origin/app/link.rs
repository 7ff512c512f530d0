//! The edge's end of a link: requests and credits out, responses in, many frames per read and per write.
//!
//! The task of a link runs after the connections that became ready with it, so that what they send in one
//! turn of the loop leaves in one write.

mod arrivals;
mod as_origin;
mod describe;
mod out;
mod pump;
mod requests;
mod retire;
#[cfg(test)]
mod seam;
mod streams;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use hcrs_http::Fault;
use hcrs_link::{BlockArea, ClaimTable, FromEdge, LinkError, StreamId, StreamIds};
use hcrs_metrics::{Stalls, WorkerName};
use tokio::sync::Notify;

pub(crate) use self::retire::Cut;

use self::out::Out;
use self::pump::Pump;
use self::streams::Streams;
use crate::clock;
use crate::exchange::Exchange;
use crate::exchange::tls_info::SentInfo;
use crate::origin::app::request_quota::RequestQuota;
use crate::origin::app::{WorkerEvent, WorkerId};

/// An event that a link reports to its thread.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The worker has begun requests, ended streams or read pending frames, so start credits may be free.
    Progress,
    /// An event in the worker's life.
    Worker(WorkerEvent),
}

/// The parts that a link is made of.
#[derive(Debug)]
pub(crate) struct LinkParts {
    /// The number of the worker at the other end.
    pub worker: WorkerId,
    /// The worker's process id.
    pub pid: u32,
    /// The worker's slot, counted from 0.
    pub slot: usize,
    /// The claim table.
    pub claims: ClaimTable,
    /// The blocks, if the link's memory has them.
    pub blocks: Option<BlockArea>,
    /// Counts the requests that all links of the worker have sent, if there is a limit.
    pub quota: Option<Arc<RequestQuota>>,
}

/// The stage of a link's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// The worker has not reported that it is ready.
    Starting,
    /// Requests are sent.
    Ready,
    /// No more requests are sent; those in flight finish.
    Retired,
    /// `Drain` was sent.
    Drained,
    /// The worker's process has ended; frames that it has sent are still to be read.
    Orphaned,
    /// The link has ended.
    Lost,
}

/// The link to one worker.
#[derive(Debug)]
pub(crate) struct Link {
    worker: WorkerId,
    name: WorkerName,
    claims: ClaimTable,
    blocks: Option<Arc<BlockArea>>,
    life: Cell<Life>,
    /// When the worker has last sent, begun or passed something.
    progress_at: Cell<Instant>,
    /// Whether the worker has left a request unbegun for the stall timeout and has made no progress since.
    is_suspect: Cell<bool>,
    quota: Option<Arc<RequestQuota>>,
    /// Whether the worker is to be replaced, which was not reported yet.
    is_spent: Cell<bool>,
    /// Notified, once the link is retired, after the worker's frames were handled and when the link ends.
    changed: Notify,
    out: RefCell<Out>,
    /// Streams whose bodies wait for room in `out`, in order.
    starved: RefCell<VecDeque<StreamId>>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
    streams: RefCell<Streams>,
    sent_info: RefCell<SentInfo>,
    /// The number of times that bodies began to wait for credit.
    stalls: Stalls,
}

impl Link {
    pub(crate) fn new(parts: LinkParts, start_credits: usize, now: Instant) -> Rc<Self> {
        Self::with_ids(parts, start_credits, now, StreamIds::default())
    }

    /// Returns a link that takes the numbers of its streams from `ids`.
    pub(crate) fn with_ids(parts: LinkParts, start_credits: usize, now: Instant, ids: StreamIds) -> Rc<Self> {
        let LinkParts { worker, pid, slot, claims, blocks, quota } = parts;
        Rc::new(Self {
            worker,
            name: WorkerName { slot, pid },
            claims,
            blocks: blocks.map(Arc::new),
            life: Cell::new(Life::Starting),
            progress_at: Cell::new(now),
            is_suspect: Cell::new(false),
            quota,
            is_spent: Cell::new(false),
            changed: Notify::new(),
            out: RefCell::default(),
            starved: RefCell::default(),
            waker: RefCell::default(),
            woken: Cell::new(false),
            streams: RefCell::new(Streams::new(start_credits, ids)),
            sent_info: RefCell::default(),
            stalls: Stalls::default(),
        })
    }

    /// Returns the number of the worker at the other end.
    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Returns the worker's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.name.pid
    }

    /// Returns the worker's slot, counted from 0.
    pub(crate) fn slot(&self) -> usize {
        self.name.slot
    }

    /// Returns the number of times that bodies began to wait for credit.
    pub(crate) fn stalls(&self) -> &Stalls {
        &self.stalls
    }

    /// Returns the number of streams that the worker has not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.streams.borrow().len()
    }

    /// Notes that the worker has sent, begun or passed something.
    fn note_progress(&self, now: Instant) {
        self.progress_at.set(now);
        self.is_suspect.set(false);
    }

    /// Notes that the worker's process has ended: frames that it has sent are still read, and then the link
    /// ends, even if another process holds the other end open.
    pub(crate) fn worker_has_ended(&self) {
        if self.life.get() != Life::Lost {
            self.life.set(Life::Orphaned);
            self.wake();
        }
    }

    /// Ends the link. Returns the unbegun requests, the oldest arrival first, and fails the others.
    pub(crate) fn disconnect(&self) -> Vec<Rc<Exchange>> {
        self.life.set(Life::Lost);
        let entries = self.streams.borrow_mut().take_all(&self.claims);
        let mut unbegun = Vec::new();
        for (entry, is_unbegun) in entries {
            let Some(exchange) = entry.exchange else { continue };
            if is_unbegun {
                exchange.withdrawn();
                unbegun.push(exchange);
            } else {
                exchange.fail(Fault::WorkerLost);
            }
        }
        self.out.borrow_mut().clear();
        self.starved.borrow_mut().clear();
        self.changed.notify_one();
        unbegun.sort_by_key(|exchange| exchange.arrived());
        unbegun
    }

    /// Describes the streams and start credits that remain after the worker has ended all streams; `None` if
    /// there are none.
    pub(crate) fn left_over(&self, now: Instant) -> Option<String> {
        self.note_begun_all(now);
        let streams = self.streams.borrow();
        (!streams.is_clear()).then(|| streams.describe())
    }

    fn push(&self, frame: &FromEdge<'_>) {
        if self.life.get() != Life::Lost {
            self.out.borrow_mut().push(frame);
            self.wake();
        }
    }

    /// Fails if more bytes wait for the worker than the protocol allows, which means that the worker does not
    /// read as it must.
    fn check_out(&self) -> Result<(), LinkError> {
        let waiting = self.out.borrow().len();
        if waiting <= Out::limit(self.streams.borrow().len()) {
            Ok(())
        } else {
            Err(LinkError::Unread(waiting))
        }
    }

    fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    fn listen(&self, waker: &Waker) {
        self.woken.set(false);
        let mut current = self.waker.borrow_mut();
        if !current.as_ref().is_some_and(|current| current.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    /// Runs the link until the worker is gone or breaks the protocol.
    pub(crate) async fn run(self: Rc<Self>, socket: UnixStream, mut on_event: impl FnMut(LinkEvent)) {
        let ended = match Pump::new(&self, socket) {
            Ok(mut pump) => {
                std::future::poll_fn(|cx| {
                    self.listen(cx.waker());
                    pump.poll(cx, clock::now(), &mut on_event)
                })
                .await
            }
            Err(error) => Err(error.into()),
        };
        match ended {
            Ok(()) => tracing::debug!(worker = self.pid(), "Link closed"),
            Err(pump::LinkIoError::Protocol(error)) => {
                tracing::error!("Worker {} has broken the protocol of its link: {error}", self.pid());
            }
            Err(pump::LinkIoError::Io(error)) => tracing::debug!(worker = self.pid(), "Link lost: {error}"),
        }
    }
}

//! The edge's end of a link: requests and credits out, responses in, many frames per read and per write.
//!
//! The task of a link runs after the connections that became ready with it, so that what they send in one
//! turn of the loop leaves in one write.

mod arrivals;
mod describe;
mod out;
mod pump;
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
use std::time::{Duration, Instant};

use hcrs_http::Fault;
use hcrs_link::{
    BlockArea, ClaimTable, FromEdge, LinkError, MessageKind, Request, StreamId, StreamIds, TlsInfo,
};
use hcrs_metrics::{Stall, Stalls, WorkerName};
use tokio::sync::Notify;

pub(crate) use self::retire::Cut;

use self::out::Out;
use self::pump::Pump;
use self::streams::{Entry, Streams};
use crate::clock;
use crate::exchange::tls_info::{NumberedTlsInfo, SentInfo};
use crate::exchange::{Exchange, Origin, SentTo};
#[cfg(test)]
use crate::model::planted::{self, Planted};
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

    /// Whether a request may be started. Looks for requests that were begun meanwhile, if that matters.
    pub(crate) fn has_start_credit(&self, now: Instant) -> bool {
        if self.life.get() != Life::Ready {
            return false;
        }
        if !self.streams.borrow().has_start_credit() {
            self.note_begun_all(now);
        }
        self.streams.borrow().has_start_credit() && self.out.borrow().has_room()
    }

    /// Whether a request may be started, the worker is not suspect, and fewer than `ahead` requests are
    /// unbegun.
    pub(crate) fn is_fit(&self, now: Instant, ahead: usize) -> bool {
        if self.is_suspect.get() || !self.streams.borrow().has_fewer_offered(ahead) {
            self.note_begun_all(now);
        }
        !self.is_suspect.get() && self.has_start_credit(now) && self.streams.borrow().has_fewer_offered(ahead)
    }

    /// Returns the number of streams that the worker has not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.streams.borrow().len()
    }

    /// Offers a request to the worker, which has a start credit. Does nothing if the client has gone.
    pub(crate) fn start(self: &Rc<Self>, exchange: &Rc<Exchange>, now: Instant) {
        let stream = {
            let (expects_continue, takes_files) = (exchange.expects_continue(), exchange.takes_files());
            let Some(head) = exchange.head() else { return };
            let mut streams = self.streams.borrow_mut();
            let Some((stream, slot)) = streams.offer(&self.claims, exchange, now) else {
                debug_assert!(false, "invariant: the caller has seen a start credit");
                return;
            };
            let is_last = streams.ids_are_used_up();
            if self.quota.as_ref().is_some_and(|quota| quota.take()) || is_last {
                self.is_spent.set(true);
            }
            let out = &mut *self.out.borrow_mut();
            if let Some(info) = exchange.tls()
                && self.sent_info.borrow_mut().is_new(info)
            {
                send_tls_info(info, out);
            }
            out.push(&FromEdge::Request(Request {
                stream,
                slot: slot as u16,
                head: head.as_bytes(),
                has_body: head.has_body(),
                expects_continue,
                takes_files,
            }));
            stream
        };
        exchange.sent(Rc::<Self>::clone(self), stream, SentTo { worker: self.name, at: now });
        self.wake();
    }

    /// Withdraws the unbegun requests that `which` picks by exchange and time of sending. Returns them, the
    /// oldest arrival first.
    pub(crate) fn withdraw(
        &self,
        now: Instant,
        which: impl Fn(&Exchange, Instant) -> bool,
    ) -> Vec<Rc<Exchange>> {
        self.note_begun_all(now);
        let streams = self.streams.borrow();
        let is_picked =
            |entry: &Entry| entry.exchange.as_ref().is_some_and(|exchange| which(exchange, entry.sent_at()));
        let picked =
            streams.offered().filter(|(_, entry)| is_picked(entry)).map(|(stream, _)| stream).collect();
        drop(streams);
        self.withdraw_streams(picked)
    }

    /// Withdraws the unbegun requests except the `ahead` that were sent first. Returns them, the oldest
    /// arrival first.
    pub(crate) fn withdraw_beyond(&self, now: Instant, ahead: usize) -> Vec<Rc<Exchange>> {
        self.note_begun_all(now);
        let mut unbegun: Vec<_> = self.streams.borrow().offered().map(|(stream, _)| stream).collect();
        unbegun.sort_unstable();
        unbegun.drain(..ahead.min(unbegun.len()));
        self.withdraw_streams(unbegun)
    }

    fn withdraw_streams(&self, picked: Vec<StreamId>) -> Vec<Rc<Exchange>> {
        let mut withdrawn = Vec::new();
        {
            let mut streams = self.streams.borrow_mut();
            for stream in picked {
                let Some(entry) = streams.withdraw(&self.claims, stream) else { continue };
                self.restore_quota();
                self.out.borrow_mut().push(&FromEdge::Reset { stream, cancel: false });
                withdrawn.extend(entry.exchange);
            }
        }
        if !withdrawn.is_empty() {
            self.wake();
        }
        for exchange in &withdrawn {
            exchange.withdrawn();
        }
        withdrawn.sort_by_key(|exchange| exchange.arrived());
        withdrawn
    }

    /// Uncounts a request that was withdrawn.
    fn restore_quota(&self) {
        if let Some(quota) = &self.quota {
            quota.restore();
        }
    }

    /// Whether there are requests that are not known to be begun.
    pub(crate) fn has_unbegun(&self, now: Instant) -> bool {
        self.note_begun_all(now);
        self.streams.borrow().has_offered()
    }

    /// Returns the arrival of the oldest request that is not known to be begun.
    pub(crate) fn oldest_unbegun(&self) -> Option<Instant> {
        let streams = self.streams.borrow();
        streams.offered().filter_map(|(_, entry)| Some(entry.exchange.as_ref()?.arrived())).min()
    }

    /// Returns how long the worker has left a request unbegun without any progress, if that is at least
    /// `timeout`. It is then suspect until it makes progress.
    pub(crate) fn stalled_for(&self, now: Instant, timeout: Duration) -> Option<Duration> {
        self.note_begun_all(now);
        let oldest = self.streams.borrow().offered().map(|(_, entry)| entry.sent_at()).min()?;
        let stalled = now.saturating_duration_since(oldest.max(self.progress_at.get()));
        if stalled < timeout {
            return None;
        }
        self.is_suspect.set(true);
        Some(stalled)
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

    /// Notes the requests that were begun and passed since the last look.
    fn note_begun_all(&self, now: Instant) {
        let newly = self.streams.borrow_mut().note_begun_all(&self.claims);
        if newly.has_progress {
            self.note_progress(now);
        }
        for exchange in newly.begun {
            exchange.begun();
        }
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

    /// Resumes bodies that have waited for room.
    fn feed_starved(&self) {
        let mut left = self.starved.borrow().len();
        while left > 0 && self.out.borrow().has_room() {
            left -= 1;
            let Some(stream) = self.starved.borrow_mut().pop_front() else { return };
            let exchange = self.streams.borrow().get(stream).and_then(|entry| entry.exchange.clone());
            if let Some(exchange) = exchange {
                exchange.resume_body(stream);
            }
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

impl Origin for Link {
    fn has_room(&self, stream: StreamId) -> bool {
        let has_room = self.out.borrow().has_room();
        if !has_room {
            self.starved.borrow_mut().push_back(stream);
            self.note_stall(Stall::Link);
        }
        has_room
    }

    fn note_stall(&self, stall: Stall) {
        self.stalls.of(stall).increment();
    }

    fn send_data(&self, stream: StreamId, bytes: &[u8], end: bool) {
        self.push(&FromEdge::Data { stream, bytes, end });
    }

    fn send_credit(&self, stream: StreamId, amount: u32) {
        self.push(&FromEdge::Credit { stream, amount });
    }

    fn send_message(&self, stream: StreamId, kind: MessageKind, bytes: &[u8], end: bool) {
        self.push(&FromEdge::Message { stream, kind, bytes, end });
    }

    fn send_close(&self, stream: StreamId, code: u16, reason: &str) {
        self.push(&FromEdge::Close { stream, code, reason: reason.as_bytes() });
    }

    fn send_half_close(&self, stream: StreamId) {
        self.push(&FromEdge::HalfClose { stream });
    }

    fn abandon(&self, stream: StreamId) {
        self.end(stream, false);
    }

    fn cancel(&self, stream: StreamId) {
        self.end(stream, true);
    }

    fn give_up(&self, stream: StreamId) -> bool {
        let is_withdrawn = self.streams.borrow_mut().withdraw(&self.claims, stream).is_some();
        if is_withdrawn {
            self.restore_quota();
            self.push(&FromEdge::Reset { stream, cancel: false });
        }
        is_withdrawn
    }
}

impl Link {
    /// Ends the edge's interest in the stream. With `cancel`, the app's task is cancelled.
    fn end(&self, stream: StreamId, cancel: bool) {
        {
            let mut streams = self.streams.borrow_mut();
            let mut is_withdrawn = || streams.withdraw(&self.claims, stream).is_some();
            #[cfg(test)]
            let mut is_withdrawn = || !planted::is(Planted::GoneBegun) && is_withdrawn();
            if is_withdrawn() {
                self.restore_quota();
            } else {
                let Some(entry) = streams.get_mut(stream) else { return };
                entry.count = entry.exchange.take().and_then(|exchange| exchange.take_count());
            }
        }
        // Sent even for a withdrawn request: a worker that has read it and keeps it for later can then drop
        // it.
        self.push(&FromEdge::Reset { stream, cancel });
    }
}

/// Sends the meaning of a TLS info number.
fn send_tls_info(NumberedTlsInfo { info, number, .. }: &NumberedTlsInfo, out: &mut Out) {
    let meaning = TlsInfo {
        version: info.version().unwrap_or(0),
        cipher_suite: info.cipher_suite().unwrap_or(0),
        server_certificate: info.server_certificate(),
        client_name: info.client_name(),
        client_certificates: info.client_certificates().iter().map(String::as_str).collect(),
    };
    out.push(&FromEdge::Tls { number: u16::from(number.get()), info: &meaning.to_bytes() });
}

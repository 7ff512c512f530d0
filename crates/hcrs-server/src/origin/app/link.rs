//! The edge's end of a link: requests and credits out, responses in, many frames per read and per write.
//!
//! The task of a link runs after the connections that were ready with it, so what they send in one turn of the
//! loop leaves in one write.

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
use tokio::sync::Notify;

pub(crate) use self::retire::Cut;

use self::out::Out;
use self::pump::Pump;
use self::streams::Streams;
use crate::clock;
use crate::exchange::tls_info::{NumberedFacts, Told};
use crate::exchange::{Exchange, Origin, SentTo};
use crate::origin::app::WorkerId;
use crate::origin::app::tally::Tally;

/// What a link tells those who live with it.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The worker is ready for requests.
    Ready,
    /// The worker cannot serve, and says why.
    Failed(String),
    /// The worker has begun requests or ended streams, or has read what waited: there may be start credits again.
    Progress,
    /// The worker has been given as many requests as it is meant to, or as the link has numbers for.
    Spent,
    /// The worker has finished, or given up, what it had to do for requests.
    Finished,
}

/// What a link joins.
#[derive(Debug)]
pub(crate) struct LinkParts {
    /// The worker at the other end.
    pub worker: WorkerId,
    /// Its process id.
    pub pid: u32,
    /// The claim table.
    pub claims: ClaimTable,
    /// The blocks, if the link's memory has some.
    pub blocks: Option<BlockArea>,
    /// Counts the requests that all links of the worker are given, if there is to be an end.
    pub tally: Option<Arc<Tally>>,
}

/// Where a link is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// The worker has not said yet that it is ready.
    Starting,
    /// Requests are welcome.
    Ready,
    /// No more requests; what is under way is finished.
    Retired,
    /// The worker was told that nothing more will come.
    Drained,
    /// The worker's process has ended; what it has said is still to be read.
    Orphaned,
    /// The link has ended.
    Lost,
}

/// The link to one worker.
#[derive(Debug)]
pub(crate) struct Link {
    worker: WorkerId,
    pid: u32,
    claims: ClaimTable,
    blocks: Option<Arc<BlockArea>>,
    life: Cell<Life>,
    /// When the worker has last said, begun or passed something.
    progress_at: Cell<Instant>,
    /// It has left a request lie for the stall timeout, and has said and begun nothing since.
    is_suspect: Cell<bool>,
    tally: Option<Arc<Tally>>,
    /// It is to be replaced, which nobody was told yet.
    is_spent: Cell<bool>,
    /// Something has happened after it was retired.
    stir: Notify,
    out: RefCell<Out>,
    /// Streams whose bodies wait for room in `out`, in order.
    starved: RefCell<VecDeque<StreamId>>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
    streams: RefCell<Streams>,
    told: RefCell<Told>,
}

impl Link {
    pub(crate) fn new(parts: LinkParts, start_credits: usize, now: Instant) -> Rc<Self> {
        Self::with_ids(parts, start_credits, now, StreamIds::default())
    }

    /// A link that has these numbers for its streams.
    pub(crate) fn with_ids(parts: LinkParts, start_credits: usize, now: Instant, ids: StreamIds) -> Rc<Self> {
        let LinkParts { worker, pid, claims, blocks, tally } = parts;
        Rc::new(Self {
            worker,
            pid,
            claims,
            blocks: blocks.map(Arc::new),
            life: Cell::new(Life::Starting),
            progress_at: Cell::new(now),
            is_suspect: Cell::new(false),
            tally,
            is_spent: Cell::new(false),
            stir: Notify::new(),
            out: RefCell::default(),
            starved: RefCell::default(),
            waker: RefCell::default(),
            woken: Cell::new(false),
            streams: RefCell::new(Streams::new(start_credits, ids)),
            told: RefCell::default(),
        })
    }

    /// The worker at the other end.
    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether a request may be started, after a look at what was begun meanwhile.
    pub(crate) fn has_start_credit(&self, now: Instant) -> bool {
        if self.life.get() != Life::Ready {
            return false;
        }
        if !self.streams.borrow().has_start_credit() {
            self.sweep(now);
        }
        self.streams.borrow().has_start_credit() && self.out.borrow().has_room()
    }

    /// Whether a request may be started and the worker is not one that leaves requests lie.
    pub(crate) fn is_fit(&self, now: Instant) -> bool {
        if self.is_suspect.get() {
            self.sweep(now);
        }
        !self.is_suspect.get() && self.has_start_credit(now)
    }

    /// Streams that the worker has and has not ended.
    pub(crate) fn under_way(&self) -> usize {
        self.streams.borrow().len()
    }

    /// Offers a request to the worker, which has a start credit. Nothing happens if its client has gone.
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
            if self.tally.as_ref().is_some_and(|tally| tally.give()) || is_last {
                self.is_spent.set(true);
            }
            let out = &mut *self.out.borrow_mut();
            if let Some(known) = exchange.tls()
                && self.told.borrow_mut().is_news(known)
            {
                tell(known, out);
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
        exchange.sent(Rc::<Self>::clone(self), stream, SentTo { pid: self.pid, at: now });
        self.wake();
    }

    /// Takes back the requests that the worker has not begun and that `which` picks, by when they were sent; the oldest
    /// arrival first.
    pub(crate) fn withdraw(
        &self,
        now: Instant,
        which: impl Fn(&Exchange, Instant) -> bool,
    ) -> Vec<Rc<Exchange>> {
        self.sweep(now);
        let mut withdrawn = Vec::new();
        {
            let mut streams = self.streams.borrow_mut();
            let picked: Vec<_> = streams
                .offered()
                .filter(|(_, entry)| {
                    entry.exchange.as_ref().is_some_and(|exchange| which(exchange, entry.sent_at()))
                })
                .map(|(stream, _)| stream)
                .collect();
            for stream in picked {
                let Some(entry) = streams.withdraw(&self.claims, stream) else { continue };
                self.take_back();
                self.out.borrow_mut().push(&FromEdge::Reset { stream });
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

    /// A request was withdrawn.
    fn take_back(&self) {
        if let Some(tally) = &self.tally {
            tally.take_back();
        }
    }

    /// Whether requests were sent that are not known to be begun.
    pub(crate) fn has_unbegun(&self, now: Instant) -> bool {
        self.sweep(now);
        self.streams.borrow().has_offered()
    }

    /// Looks for how long the worker has left a request lie while it has said, begun and passed nothing. One that has for
    /// `timeout` is suspect until it does any of these.
    pub(crate) fn stalled_for(&self, now: Instant, timeout: Duration) -> Option<Duration> {
        self.sweep(now);
        let oldest = self.streams.borrow().offered().map(|(_, entry)| entry.sent_at()).min()?;
        let stalled = now.saturating_duration_since(oldest.max(self.progress_at.get()));
        if stalled < timeout {
            return None;
        }
        self.is_suspect.set(true);
        Some(stalled)
    }

    /// The worker has said, begun or passed something.
    fn note_progress(&self, now: Instant) {
        self.progress_at.set(now);
        self.is_suspect.set(false);
    }

    /// The worker's process has ended: what it has said is read, and then the link is over, whoever still holds its
    /// other end.
    pub(crate) fn worker_has_ended(&self) {
        if self.life.get() != Life::Lost {
            self.life.set(Life::Orphaned);
            self.wake();
        }
    }

    /// Ends what the worker has: gives back what it had not begun, the oldest arrival first, and fails the rest.
    pub(crate) fn lose(&self) -> Vec<Rc<Exchange>> {
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
        self.stir.notify_one();
        unbegun.sort_by_key(|exchange| exchange.arrived());
        unbegun
    }

    /// Notes which requests were begun and passed since the last look.
    fn sweep(&self, now: Instant) {
        let sweep = self.streams.borrow_mut().sweep(&self.claims);
        if sweep.has_progress {
            self.note_progress(now);
        }
        for exchange in sweep.begun {
            exchange.begun();
        }
    }

    /// What is left of streams and start credits after the worker has ended all it had; `None` if that is nothing.
    pub(crate) fn left_over(&self, now: Instant) -> Option<String> {
        self.sweep(now);
        let streams = self.streams.borrow();
        (!streams.is_clear()).then(|| streams.describe())
    }

    fn push(&self, frame: &FromEdge<'_>) {
        if self.life.get() != Life::Lost {
            self.out.borrow_mut().push(frame);
            self.wake();
        }
    }

    /// More waits for the worker than can come of what it is given: it does not keep to the protocol.
    fn check_out(&self) -> Result<(), LinkError> {
        let waiting = self.out.borrow().len();
        if waiting <= Out::limit(self.streams.borrow().len()) {
            Ok(())
        } else {
            Err(LinkError::Unread(waiting))
        }
    }

    /// Lets bodies that have waited for room go on.
    fn feed_starved(&self) {
        let mut left = self.starved.borrow().len();
        while left > 0 && self.out.borrow().has_room() {
            left -= 1;
            let Some(stream) = self.starved.borrow_mut().pop_front() else { return };
            let exchange = self.streams.borrow().get(stream).and_then(|entry| entry.exchange.clone());
            if let Some(exchange) = exchange {
                exchange.room_came(stream);
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
    pub(crate) async fn run(self: Rc<Self>, socket: UnixStream, mut notice: impl FnMut(Notice)) {
        let ended = match Pump::new(&self, socket) {
            Ok(mut pump) => {
                std::future::poll_fn(|cx| {
                    self.listen(cx.waker());
                    pump.poll(cx, clock::now(), &mut notice)
                })
                .await
            }
            Err(error) => Err(error.into()),
        };
        match ended {
            Ok(()) => tracing::debug!("link to worker {} closed", self.pid),
            Err(pump::LinkIoError::Protocol(error)) => {
                tracing::error!("Worker {} has broken the protocol of its link: {error}", self.pid);
            }
            Err(pump::LinkIoError::Io(error)) => tracing::debug!("link to worker {}: {error}", self.pid),
        }
    }
}

impl Origin for Link {
    fn has_room(&self, stream: StreamId) -> bool {
        let has_room = self.out.borrow().has_room();
        if !has_room {
            self.starved.borrow_mut().push_back(stream);
        }
        has_room
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
        {
            let mut streams = self.streams.borrow_mut();
            if streams.withdraw(&self.claims, stream).is_some() {
                self.take_back();
            } else {
                let Some(entry) = streams.get_mut(stream) else { return };
                entry.count = entry.exchange.take().and_then(|exchange| exchange.take_count());
            }
        }
        // A worker that has read a withdrawn request, and keeps it for later, need not keep it any longer.
        self.push(&FromEdge::Reset { stream });
    }

    fn give_up(&self, stream: StreamId) -> bool {
        let is_withdrawn = self.streams.borrow_mut().withdraw(&self.claims, stream).is_some();
        if is_withdrawn {
            self.take_back();
            self.push(&FromEdge::Reset { stream });
        }
        is_withdrawn
    }
}

/// Says what a number of TLS facts means from now on.
fn tell(NumberedFacts { facts, number, .. }: &NumberedFacts, out: &mut Out) {
    let told = TlsInfo {
        version: facts.version().unwrap_or(0),
        cipher_suite: facts.cipher_suite().unwrap_or(0),
        server_certificate: facts.server_certificate(),
        client_name: facts.client_name(),
        client_certificates: facts.client_certificates().iter().map(String::as_str).collect(),
    };
    out.push(&FromEdge::Tls { number: u16::from(number.get()), info: &told.to_bytes() });
}

//! The edge's end of a link: requests and credits out, responses in, many frames per read and per write.
//!
//! The task of a link runs after the connections that were ready with it, so what they send in one turn of the
//! loop leaves in one write.

mod arrivals;
mod describe;
mod pump;
mod retire;

use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use hcrs_exchange::Fault;
use hcrs_link::{BlockArea, ClaimTable, END, EXPECT, FrameHeader, HALF, Kind, SLOTS, TlsFacts, push_frame};
use slab::Slab;
use tokio::sync::Notify;

use self::pump::Pump;
use crate::control::WorkerId;
use crate::exchange::Exchange;
use crate::tally::Tally;
use crate::tls_facts::{NumberedFacts, Told};

/// What a link tells those who live with it.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The worker is ready for requests.
    Ready,
    /// The worker cannot serve, and says why.
    Failed(String),
    /// The worker has begun requests or ended streams: there may be start credits again.
    Progress,
    /// The worker has been given more requests than it is meant to.
    Spent,
}

/// The link to one worker.
#[derive(Debug)]
pub(crate) struct Link {
    worker: WorkerId,
    /// The worker's process id.
    pid: u32,
    claims: ClaimTable,
    blocks: Option<Arc<BlockArea>>,
    ready: Cell<bool>,
    /// It gets no more requests.
    is_retired: Cell<bool>,
    /// It was told that nothing more will come.
    is_drained: Cell<bool>,
    /// Its process has ended.
    is_orphaned: Cell<bool>,
    tally: Option<Arc<Tally>>,
    /// The tally is full, which nobody was told yet.
    is_spent: Cell<bool>,
    /// Something has happened after it was retired.
    stir: Notify,
    out: RefCell<Vec<u8>>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
    streams: RefCell<Streams>,
    told: RefCell<Told>,
}

#[derive(Debug)]
struct Streams {
    entries: Slab<Entry>,
    /// The stream in each claim slot; 0 where the slot is free.
    slots: [u32; SLOTS],
    free_slots: u64,
    serial: u16,
}

#[derive(Debug)]
struct Entry {
    stream: u32,
    /// The claim slot while the request is not known to be begun.
    slot: Option<usize>,
    /// `None` once the edge has lost interest; the worker's last word is still awaited.
    exchange: Option<Rc<Exchange>>,
    /// Counts an abandoned request among those of its connection.
    count: Option<Rc<()>>,
}

impl Link {
    pub(crate) fn new(
        (worker, pid): (WorkerId, u32),
        claims: ClaimTable,
        blocks: Option<BlockArea>,
        tally: Option<Arc<Tally>>,
        start_credits: usize,
    ) -> Rc<Self> {
        let credits = start_credits.clamp(1, SLOTS);
        Rc::new(Self {
            worker,
            pid,
            claims,
            blocks: blocks.map(Arc::new),
            ready: Cell::new(false),
            is_retired: Cell::new(false),
            is_drained: Cell::new(false),
            is_orphaned: Cell::new(false),
            tally,
            is_spent: Cell::new(false),
            stir: Notify::new(),
            out: RefCell::default(),
            waker: RefCell::default(),
            woken: Cell::new(false),
            streams: RefCell::new(Streams {
                entries: Slab::new(),
                slots: [0; SLOTS],
                free_slots: u64::MAX >> (SLOTS - credits),
                serial: 0,
            }),
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
    pub(crate) fn has_start_credit(&self) -> bool {
        if !self.ready.get() {
            return false;
        }
        if self.streams.borrow().free_slots == 0 {
            self.sweep();
        }
        self.streams.borrow().free_slots != 0
    }

    /// Streams that the worker has and has not ended.
    pub(crate) fn under_way(&self) -> usize {
        self.streams.borrow().entries.len()
    }

    /// Offers a request to the worker, which has a start credit. Nothing happens if its client has gone.
    pub(crate) fn start(self: &Rc<Self>, exchange: &Rc<Exchange>, now: Instant) {
        let stream = {
            let expects = exchange.expects_continue();
            let Some(head) = exchange.head() else { return };
            if self.tally.as_ref().is_some_and(|tally| tally.give()) {
                self.is_spent.set(true);
            }
            let mut streams = self.streams.borrow_mut();
            let slot = streams.free_slots.trailing_zeros() as usize;
            debug_assert!(slot < SLOTS, "invariant: the caller has seen a start credit");
            streams.free_slots &= !(1 << slot);
            streams.serial = streams.serial.wrapping_add(1).max(1);
            let serial = u32::from(streams.serial);
            let vacant = streams.entries.vacant_entry();
            let stream = serial << 16 | vacant.key() as u32;
            vacant.insert(Entry {
                stream,
                slot: Some(slot),
                exchange: Some(Rc::clone(exchange)),
                count: None,
            });
            streams.slots[slot] = stream;
            self.claims.offer(slot, stream);
            let flags = match (head.has_body(), expects) {
                (false, _) => END,
                (true, true) => EXPECT,
                (true, false) => 0,
            };
            let out = &mut *self.out.borrow_mut();
            if let Some(known) = exchange.tls()
                && self.told.borrow_mut().is_news(known)
            {
                tell(known, out);
            }
            let header = FrameHeader { len: 0, kind: Kind::Request, flags, slot: slot as u16, stream };
            push_frame(out, header, head.as_bytes());
            stream
        };
        exchange.sent(Rc::clone(self), stream, now);
        self.wake();
    }

    /// Sends body bytes, which the stream's window allows.
    pub(crate) fn send_data(&self, stream: u32, data: &[u8], end: bool) {
        self.push(Kind::Data, if end { END } else { 0 }, stream, data);
    }

    /// Lets the worker send so many more bytes of a response's body.
    pub(crate) fn send_credit(&self, stream: u32, credit: u32) {
        self.push(Kind::Credit, 0, stream, &credit.to_le_bytes());
    }

    /// Sends a piece of a WebSocket's message, which the stream's window allows.
    pub(crate) fn send_message(&self, stream: u32, kind: Kind, data: &[u8], end: bool) {
        self.push(kind, if end { END } else { 0 }, stream, data);
    }

    /// Tells the worker that a WebSocket is closed.
    pub(crate) fn send_close(&self, stream: u32, code: u16, reason: &str) {
        self.push(Kind::Close, 0, stream, &[&code.to_le_bytes(), reason.as_bytes()].concat());
    }

    /// Tells the worker that the client has closed its side, and that the response is still wanted.
    pub(crate) fn send_half_close(&self, stream: u32) {
        self.push(Kind::Reset, HALF, stream, &[]);
    }

    /// The edge has lost interest in a stream.
    pub(crate) fn abandon(&self, stream: u32) {
        let mut streams = self.streams.borrow_mut();
        let Some(entry) = streams.get(stream) else { return };
        entry.count = entry.exchange.take().and_then(|exchange| exchange.take_count());
        if let Some(slot) = entry.slot
            && self.claims.withdraw(slot, stream)
        {
            streams.free(slot);
            streams.remove(stream);
            self.take_back();
        }
        drop(streams);
        // Even a request that was withdrawn is reset: its frames are on their way, and the worker skips them.
        self.push(Kind::Reset, 0, stream, &[]);
    }

    /// Takes back the requests that were sent before `before` and not begun.
    pub(crate) fn withdraw_stalled(&self, before: Instant) -> Vec<Rc<Exchange>> {
        self.sweep();
        let mut stalled = Vec::new();
        let mut streams = self.streams.borrow_mut();
        for slot in 0..SLOTS {
            let stream = streams.slots[slot];
            let Some(entry) = streams.get(stream) else { continue };
            let Some(exchange) = entry.exchange.clone().filter(|exchange| exchange.since() <= before) else {
                continue;
            };
            if self.claims.withdraw(slot, stream) {
                streams.free(slot);
                streams.remove(stream);
                self.take_back();
                stalled.push(exchange);
            }
        }
        drop(streams);
        for exchange in &stalled {
            exchange.withdrawn();
        }
        stalled
    }

    /// A request was withdrawn.
    fn take_back(&self) {
        if let Some(tally) = &self.tally {
            tally.take_back();
        }
    }

    /// Whether requests were sent that are not known to be begun.
    pub(crate) fn has_unbegun(&self) -> bool {
        self.sweep();
        self.streams.borrow().slots.iter().any(|&stream| stream != 0)
    }

    /// The worker's process has ended: what it has said is read, and then the link is over, whoever still holds its
    /// other end.
    pub(crate) fn worker_has_ended(&self) {
        self.is_orphaned.set(true);
        self.wake();
    }

    /// Ends what the worker has: gives back what it had not begun, and fails the rest.
    fn lose(&self) -> Vec<Rc<Exchange>> {
        self.retire();
        let entries = std::mem::take(&mut self.streams.borrow_mut().entries);
        let mut unbegun = Vec::new();
        for (_, entry) in entries {
            let Some(exchange) = entry.exchange else { continue };
            if entry.slot.is_some_and(|slot| self.claims.withdraw(slot, entry.stream)) {
                exchange.withdrawn();
                unbegun.push(exchange);
            } else {
                exchange.fail(Fault::WorkerLost);
            }
        }
        self.stir.notify_one();
        unbegun
    }

    /// Notes which requests were begun since the last look.
    fn sweep(&self) {
        let mut begun = Vec::new();
        let mut streams = self.streams.borrow_mut();
        for slot in 0..SLOTS {
            let stream = streams.slots[slot];
            if stream != 0 && self.claims.is_begun(slot) {
                begun.extend(self.note_begun(&mut streams, stream));
            }
        }
        drop(streams);
        for exchange in begun {
            exchange.begun();
        }
    }

    fn note_begun(&self, streams: &mut Streams, stream: u32) -> Option<Rc<Exchange>> {
        let entry = streams.get(stream)?;
        let slot = entry.slot.take()?;
        let exchange = entry.exchange.clone();
        self.claims.release(slot);
        streams.free(slot);
        exchange
    }

    fn push(&self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        let header = FrameHeader { len: 0, kind, flags, slot: 0, stream };
        push_frame(&mut self.out.borrow_mut(), header, payload);
        self.wake();
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

    /// Runs the link until the worker is gone or breaks the protocol; gives what it had not begun.
    pub(crate) async fn run(
        self: Rc<Self>,
        socket: UnixStream,
        mut notice: impl FnMut(Notice),
    ) -> Vec<Rc<Exchange>> {
        let ended = match Pump::new(&self, socket) {
            Ok(mut pump) => {
                std::future::poll_fn(|cx| {
                    self.listen(cx.waker());
                    pump.poll(cx, &mut notice)
                })
                .await
            }
            Err(error) => Err(error.into()),
        };
        match ended {
            Ok(()) => tracing::debug!("link to worker {} closed", self.worker),
            Err(error) => tracing::debug!("link to worker {}: {error}", self.worker),
        }
        self.lose()
    }
}

/// Says what a number of TLS facts means from now on.
fn tell(NumberedFacts { facts, number, .. }: &NumberedFacts, out: &mut Vec<u8>) {
    let told = TlsFacts {
        version: facts.version().unwrap_or(0),
        cipher_suite: facts.cipher_suite().unwrap_or(0),
        server_certificate: facts.server_certificate(),
        client_name: facts.client_name(),
        client_certificates: facts.client_certificates().iter().map(String::as_str).collect(),
    };
    let header = FrameHeader { len: 0, kind: Kind::Tls, flags: 0, slot: u16::from(number.get()), stream: 0 };
    push_frame(out, header, &told.to_bytes());
}

impl Streams {
    fn get(&mut self, stream: u32) -> Option<&mut Entry> {
        self.entries.get_mut((stream & 0xffff) as usize).filter(|entry| entry.stream == stream)
    }

    fn remove(&mut self, stream: u32) {
        if self.get(stream).is_some() {
            self.entries.remove((stream & 0xffff) as usize);
        }
    }

    fn free(&mut self, slot: usize) {
        self.slots[slot] = 0;
        self.free_slots |= 1 << slot;
    }
}

//! The edge's end of a link: requests and credits out, responses in, many frames per read and per write.
//!
//! The task of a link runs after the connections that were ready with it, so what they send in one turn of the
//! loop leaves in one write.

mod retire;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use hcrs_exchange::{Fault, ResponseHead, append, is_field_name, is_field_value, is_promise_name};
use hcrs_link::{
    BlockArea, ClaimTable, END, EXPECT, FilePart, FrameHeader, HALF, HEADER_LEN, INTERIM_LEN_MAX, Kind,
    LinkError, SLOTS, TlsFacts, push_frame, split_promise,
};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::control::WorkerId;
use crate::exchange::Exchange;
use crate::file_body::FileBody;
use crate::tally::Tally;
use crate::tls_facts::{NumberedFacts, Told};

/// Room for one read.
const READ: usize = 128 << 10;

/// Payloads up to this are copied out of the read buffer, so that a small one that has to wait for a slow client
/// does not hold on to all of it.
const COPY: usize = 4 << 10;

/// Capacity that an empty output buffer may keep.
const KEEP: usize = 256 << 10;

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

    fn handle(
        &self,
        header: FrameHeader,
        payload: Bytes,
        notice: &mut impl FnMut(Notice),
    ) -> Result<(), LinkError> {
        let malformed = LinkError::Unexpected(header.kind);
        match header.kind {
            Kind::Response => {
                let head = ResponseHead::parse(payload).map_err(|_| malformed)?;
                if let Some(exchange) = self.exchange(&header)
                    && !exchange.push_head(head, header.is_end())
                {
                    return Err(malformed);
                }
                self.end_stream_if(header.is_end(), header.stream);
            }
            Kind::Interim | Kind::Push => self.take_hint(&header, payload)?,
            Kind::Trailers => {
                let trailers = ResponseHead::parse(payload).map_err(|_| malformed)?;
                if let Some(exchange) = self.exchange(&header)
                    && !exchange.push_trailers(trailers)
                {
                    return Err(malformed);
                }
                self.end_stream_if(true, header.stream);
            }
            Kind::Data | Kind::Block => {
                let data = match header.kind {
                    Kind::Block => self.lend(&payload).ok_or(malformed)?,
                    _ => payload,
                };
                if let Some(exchange) = self.exchange(&header)
                    && !exchange.push_data(data, header.is_end())
                {
                    return Err(malformed);
                }
                self.end_stream_if(header.is_end(), header.stream);
            }
            Kind::Text | Kind::Binary => self.handle_message(header, &payload)?,
            Kind::Close => {
                if let Some(exchange) = self.exchange(&header)
                    && !exchange.push_close(&payload)
                {
                    return Err(malformed);
                }
            }
            Kind::File => {
                let FilePart { offset, len, process, descriptor } =
                    FilePart::parse(&payload).filter(|part| part.len > 0).ok_or(malformed)?;
                let exchange = self.exchange(&header);
                let file = exchange.map(|to| (to, FileBody::open(process, descriptor, offset, len)));
                self.push(Kind::Opened, 0, 0, &descriptor.to_le_bytes());
                if let Some((exchange, file)) = file
                    && !exchange.push_file(file, header.is_end())
                {
                    return Err(malformed);
                }
                self.end_stream_if(header.is_end(), header.stream);
            }
            Kind::Credit => {
                let credit =
                    payload.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(malformed)?;
                if let Some(exchange) = self.exchange(&header) {
                    exchange.app_took(credit);
                }
            }
            Kind::Reset => {
                let exchange = self.exchange(&header);
                self.end_stream_if(true, header.stream);
                if let Some(exchange) = exchange {
                    exchange.fail(Fault::AppFailed);
                }
            }
            Kind::Done => self.end_stream_if(true, header.stream),
            Kind::Ready => {
                self.ready.set(!self.is_retired.get());
                notice(Notice::Ready);
            }
            Kind::Failed => notice(Notice::Failed(String::from_utf8_lossy(&payload).into_owned())),
            Kind::Begun | Kind::Pong => {}
            Kind::Request | Kind::Drain | Kind::Ping | Kind::Opened | Kind::Tls => return Err(malformed),
        }
        Ok(())
    }

    /// A piece of a WebSocket's message, which is framed from where it stands.
    fn handle_message(&self, header: FrameHeader, payload: &[u8]) -> Result<(), LinkError> {
        match self.exchange(&header) {
            Some(exchange) if !exchange.push_message(header.kind, payload, header.is_end()) => {
                Err(LinkError::Unexpected(header.kind))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Passes on what comes before a response, or beside it, and no window bounds.
    fn take_hint(&self, header: &FrameHeader, payload: Bytes) -> Result<(), LinkError> {
        let malformed = LinkError::Unexpected(header.kind);
        if payload.len() > INTERIM_LEN_MAX {
            return Err(malformed);
        }
        let exchange = self.exchange(header);
        let taken = if header.kind == Kind::Push {
            let (target, fields) = promise(&payload).ok_or(malformed)?;
            exchange.is_none_or(|exchange| exchange.push_promise(target, &fields))
        } else {
            let head = ResponseHead::parse(payload).map_err(|_| malformed)?;
            exchange.is_none_or(|exchange| exchange.push_interim(head))
        };
        if taken { Ok(()) } else { Err(malformed) }
    }

    /// The bytes in the block that a payload names, which is free again when they are dropped.
    fn lend(&self, payload: &[u8]) -> Option<Bytes> {
        let (block, rest) = payload.split_first_chunk()?;
        let len = rest.try_into().ok()?;
        let [block, len] = [*block, len].map(|number| u32::from_le_bytes(number) as usize);
        Some(Bytes::from_owner(self.blocks.as_ref()?.lend(block, len)?))
    }

    /// The exchange that a frame is about. A frame about a request says that it was begun.
    fn exchange(&self, header: &FrameHeader) -> Option<Rc<Exchange>> {
        let mut streams = self.streams.borrow_mut();
        let begun = self.note_begun(&mut streams, header.stream);
        let exchange = streams.get(header.stream)?.exchange.clone();
        drop(streams);
        if let Some(begun) = begun {
            begun.begun();
        }
        exchange
    }

    fn end_stream_if(&self, end: bool, stream: u32) {
        if !end {
            return;
        }
        let mut streams = self.streams.borrow_mut();
        let Some(entry) = streams.get(stream) else { return };
        let exchange = entry.exchange.take();
        if let Some(slot) = entry.slot {
            self.claims.release(slot);
            streams.free(slot);
        }
        streams.remove(stream);
        drop(streams);
        if let Some(exchange) = exchange {
            exchange.finished();
        }
    }
}

/// The target and the fields of a request to promise; `None` if they do not have the form, or cannot be promised.
fn promise(payload: &Bytes) -> Option<(&[u8], ResponseHead)> {
    let (target, at) = split_promise(payload)?;
    let fields = ResponseHead::parse(payload.slice(at..)).ok()?;
    let can_stand = |(name, value)| is_field_name(name) && is_promise_name(name) && is_field_value(value);
    fields.fields().all(can_stand).then_some((target, fields))
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

/// The I/O of a link.
struct Pump<'a> {
    link: &'a Link,
    /// Watched for reading only: a unix socket becomes writable each time the other end has read, and each of these
    /// edges would wake the thread for nothing.
    socket: AsyncFd<UnixStream>,
    /// Watches for room to write, while there is none.
    room: Option<AsyncFd<UnixStream>>,
    input: Vec<u8>,
    written: usize,
}

impl<'a> Pump<'a> {
    fn new(link: &'a Link, socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = watch(socket, Interest::READABLE)?;
        Ok(Self { link, socket, room: None, input: Vec::new(), written: 0 })
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        notice: &mut impl FnMut(Notice),
    ) -> Poll<Result<(), LinkIoError>> {
        while let Poll::Ready(n) = self.poll_read(cx)? {
            if n == 0 {
                return Poll::Ready(Ok(()));
            }
            self.take_frames(notice)?;
            notice(Notice::Progress);
        }
        if self.link.is_spent.take() {
            notice(Notice::Spent);
        }
        if self.link.is_retired.get() {
            self.link.stir.notify_one();
        }
        // What a pending write leaves, room in the socket or the next push brings back here.
        let _pending = self.poll_write(cx)?;
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { socket, input, .. } = self;
        if input.capacity() - input.len() < READ / 4 {
            input.reserve(READ);
        }
        loop {
            let mut ready = ready!(socket.poll_read_ready(cx))?;
            let room = input.capacity() - input.len();
            match rustix::net::recv(ready.get_inner(), spare_capacity(input), RecvFlags::DONTWAIT) {
                Ok((n, _)) => {
                    if n > 0 && n < room {
                        // A read that fills less than the room has emptied the socket.
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(Errno::WOULDBLOCK) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Handles the frames that are complete. Small payloads are copied out; from the first large one on, what was
    /// read is shared with those who keep it.
    fn take_frames(&mut self, notice: &mut impl FnMut(Notice)) -> Result<(), LinkError> {
        let mut at = 0;
        while let Some((header, payload)) = FrameHeader::split(&self.input[at..])? {
            match header.kind {
                Kind::Text | Kind::Binary => self.link.handle_message(header, payload)?,
                _ if header.len > COPY => return self.take_shared_frames(at, notice),
                _ => self.link.handle(header, Bytes::copy_from_slice(payload), notice)?,
            }
            at += HEADER_LEN + header.len;
        }
        self.input.drain(..at);
        self.reserve_frame()
    }

    fn take_shared_frames(
        &mut self,
        mut at: usize,
        notice: &mut impl FnMut(Notice),
    ) -> Result<(), LinkError> {
        let block = Bytes::from(std::mem::take(&mut self.input));
        while let Some((header, payload)) = FrameHeader::split(&block[at..])? {
            let payload =
                if header.len <= COPY { Bytes::copy_from_slice(payload) } else { block.slice_ref(payload) };
            self.link.handle(header, payload, notice)?;
            at += HEADER_LEN + header.len;
        }
        self.input.reserve(READ + block.len() - at);
        append(&mut self.input, &block[at..]);
        self.reserve_frame()
    }

    /// Makes room for the rest of the frame that has begun.
    fn reserve_frame(&mut self) -> Result<(), LinkError> {
        if let Some(header) = FrameHeader::parse(&self.input)? {
            self.input.reserve(HEADER_LEN + header.len - self.input.len());
        }
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { link, socket, room, written, .. } = self;
        let mut out = link.out.borrow_mut();
        while *written < out.len() {
            match rustix::net::send(&*socket, &out[*written..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => *written += n,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    out.drain(..*written);
                    *written = 0;
                    let room = if let Some(room) = room {
                        room
                    } else {
                        room.insert(watch(socket.get_ref().try_clone()?, Interest::WRITABLE)?)
                    };
                    ready!(room.poll_write_ready(cx))?.clear_ready();
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        *room = None;
        *written = 0;
        out.clear();
        out.shrink_to(KEEP);
        Poll::Ready(Ok(()))
    }
}

fn watch(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    #[expect(unsafe_code, reason = "readiness of a descriptor is where the OS begins")]
    // SAFETY: a UnixStream owns its descriptor and keeps the same one until it is dropped, which AsyncFd, its only
    // owner here, does after taking it out of the reactor.
    let watched = unsafe { AsyncFd::register_with_interest(socket, interest) };
    watched.map_err(io::Error::from)
}

/// Why a link ended before the worker closed it.
#[derive(Debug, thiserror::Error)]
enum LinkIoError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] LinkError),
}

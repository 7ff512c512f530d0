//! One HTTP/2 connection: polled for what the client does, told what to send.
//!
//! Request bodies are taken from `h2` as soon as they are there, because `h2` counts small unread frames against
//! the whole connection; the client's window opens only by [`Connection::release`]. Response bodies are given to
//! `h2` only as far as the client's window goes, because `h2` keeps whatever it is given.

mod pushes;
mod responses;
mod unwanted;
mod window;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hcrs_http::{Endpoints, Fault, Scheme};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::budget::Budget;
use crate::event::{Ended, Event, StreamKey};
use crate::head::{self, Extra};
use crate::settings::Settings;
use crate::spare;
use crate::stream::Stream;
use crate::streams::Streams;
use crate::transport::Transport;
use crate::turn::TurnWaker;
use pushes::Push;
use responses::{UPDATES_PER_SEND, refuse};
use unwanted::Unwanted;
use window::Window;

pub use window::BodyRoom;

/// Looks at `h2` in one turn, after which the runtime decides when the next one is due.
const LOOKS_PER_TURN: u32 = 16;

/// Streams whose reset `h2` may be made to send in a connection's life: what it holds of them while the client does not
/// read is bounded by nothing else. The budget of [`Settings::reset_burst`] ends a hostile client much sooner, and an
/// honest one has a new connection before that: see [`Connection::nears_its_end`].
const MAX_INTERNAL_RESETS: usize = 4096;

/// An HTTP/2 connection, server side.
#[derive(Debug)]
pub struct Connection<T> {
    h2: h2::server::Connection<Transport<T>, Bytes>,
    transport: Transport<T>,
    turn: Arc<TurnWaker>,
    /// `turn`, as `h2` is given it.
    turn_waker: Waker,
    streams: Streams,
    /// Streams whose request's body is still arriving.
    reading: Vec<StreamKey>,
    /// Bodies that still arrive although their streams were answered.
    unwanted: Vec<Unwanted>,
    /// GOAWAY was said.
    goes_away: bool,
    /// Streams whose response waits for the client's window.
    blocked: Vec<StreamKey>,
    /// Bytes of body that were given to `h2` since it had none left.
    handed: usize,
    /// Resets that the meter saw and `h2` has perhaps not.
    resets: Vec<u32>,
    events: VecDeque<Event>,
    pushes: Vec<Push>,
    /// `h2` has come to the end while a pushed response was given to it.
    ended_early: Option<Ended>,
    reset_budget: Budget,
    /// Responses that were given to `h2` whole since the reset budget was looked at.
    answered: u32,
    frame_budget: Budget,
    updates_allowed: u32,
    max_fields: usize,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
    extra: Extra,
    window: Window,
}

fn builder(settings: &Settings) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(settings.max_concurrent_streams)
        .max_header_list_size(settings.max_header_list_size)
        .max_frame_size(settings.max_inbound_frame_size)
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(window::LEAST)
        .max_send_buffer_size(settings.max_send_buffer_size)
        .data_frame_budget(settings.data_frame_budget)
        // Resets before a stream is begun are in the reset budget, like all others.
        .max_pending_accept_reset_streams(settings.reset_burst as usize)
        .max_local_error_reset_streams(Some(MAX_INTERNAL_RESETS))
        // So many streams may be answered early whose clients have not heard of it.
        .max_concurrent_reset_streams(2 * settings.max_concurrent_streams as usize);
    if settings.extended_connect {
        // What it is used for is checked with the head: WebSocket alone (RFC 8441).
        builder.enable_connect_protocol();
    }
    builder
}

/// Exchanges prefaces and settings. What the connection holds of bodies takes of `room`.
pub async fn handshake<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    settings: &Settings,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
    room: &Rc<BodyRoom>,
) -> Result<Connection<T>, Ended> {
    let (turn, turn_waker) = TurnWaker::new();
    let transport = Transport::new(io, Arc::clone(&turn));
    let builder = builder(settings);
    let mut handshake = std::pin::pin!(builder.handshake(transport.clone()));
    let h2 = std::future::poll_fn(|cx| {
        transport.begin_turn();
        turn.look();
        let outcome = handshake.as_mut().poll(&mut Context::from_waker(&turn_waker));
        if let Poll::Ready(Err(error)) = transport.poll_drain(cx) {
            return Poll::Ready(Err(Ended::Io(error)));
        }
        if turn.end(cx) {
            cx.waker().wake_by_ref();
        }
        outcome.map_err(Ended::from)
    })
    .await?;
    Ok(Connection {
        h2,
        transport,
        turn,
        turn_waker,
        streams: Streams::default(),
        reading: Vec::new(),
        unwanted: Vec::new(),
        goes_away: false,
        blocked: Vec::new(),
        handed: 0,
        resets: Vec::new(),
        events: VecDeque::new(),
        pushes: Vec::new(),
        ended_early: None,
        reset_budget: Budget::new(settings.reset_burst, settings.reset_refill),
        answered: 0,
        frame_budget: Budget::new(settings.frame_burst, settings.frame_refill),
        updates_allowed: UPDATES_PER_SEND,
        max_fields: settings.max_fields,
        scheme,
        endpoints,
        extra: Extra::default(),
        window: Window::new(room, settings),
    })
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Begins a poll of the connection, with the fields that its responses get from now on.
    ///
    /// What is sent before the next [`Connection::poll_event`] does not wake the task: that call looks anyway.
    pub fn begin_turn(&mut self, extra: &Extra) {
        self.turn.begin();
        self.transport.begin_turn();
        if self.extra.date != extra.date
            || self.extra.server != extra.server
            || self.extra.alt_svc.is_some() != extra.alt_svc.is_some()
        {
            self.extra = extra.clone();
        }
    }

    /// The next event. `Pending` means that the client has nothing more to say for now; call
    /// [`Connection::poll_drain`] before the task goes to sleep.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>> {
        let mut looks = 0;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Ok(event));
            }
            if let Some(ended) = self.ended_early.take() {
                return self.end_turn(cx, ended);
            }
            self.turn.look();
            match self.h2.poll_accept(&mut Context::from_waker(&self.turn_waker)) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin_stream(request, respond),
                Poll::Ready(Some(Err(error))) => return self.end_turn(cx, error.into()),
                Poll::Ready(None) => return self.end_turn(cx, Ended::Closed),
                Poll::Pending => {
                    if let Err(fault) = self.check_budgets(now) {
                        self.h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        return self.end_turn(cx, Ended::Fault(fault));
                    }
                    if !self.transport.is_full() {
                        self.handed = 0;
                    }
                    let reads_again = self.poll_pushes();
                    self.poll_resets();
                    self.poll_bodies();
                    // Seen by the next look at h2, which follows where there is something of a body.
                    self.open_window(|| false);
                    self.poll_unwanted(now);
                    self.poll_blocked(now);
                    looks += 1;
                    if !self.events.is_empty() {
                        continue;
                    }
                    let has_news = self.turn.end(cx) || reads_again;
                    if has_news && looks < LOOKS_PER_TURN {
                        continue;
                    }
                    if has_news || self.transport.owes_read() {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes the frames of all streams at once. Pending means that the socket is full; the task is woken.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let was_full = self.transport.is_full();
        let drained = self.transport.poll_drain(cx);
        if was_full && drained.is_ready() && !self.blocked.is_empty() {
            // There is room for what was held back from h2.
            cx.waker().wake_by_ref();
        }
        drained
    }

    /// Opens the client's window again by body bytes that were taken.
    pub fn release(&mut self, key: StreamKey, len: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(recv) = stream.recv.as_mut() else { return };
        // An error says that the stream was reset meanwhile, or has not as many: there is no window to open.
        if recv.flow_control().release_capacity(len).is_ok() {
            let released = len.min(stream.held);
            stream.held -= released;
            self.window.give_back(released);
            self.narrow_window();
        }
    }

    /// Says GOAWAY, lets the streams that are open end, and then ends with [`Ended::Closed`].
    pub fn graceful_shutdown(&mut self) {
        self.goes_away = true;
        self.h2.graceful_shutdown();
    }

    /// Says GOAWAY for good, which names the last stream that was served, and ends as soon as that is written.
    pub fn final_shutdown(&mut self) {
        self.h2.abrupt_shutdown(Reason::NO_ERROR);
    }

    /// Says GOAWAY with the fault's code and ends as soon as that is written.
    pub fn abrupt_shutdown(&mut self, fault: Fault) {
        self.h2.abrupt_shutdown(Reason::from(fault.answer().h2_code));
    }

    /// Writes what `h2` still wants to say, then closes the transport.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _news = self.turn.end(cx);
        self.transport.begin_turn();
        let closed = self.h2.poll_closed(cx);
        if self.transport.owes_read() {
            cx.waker().wake_by_ref();
        }
        match self.transport.poll_drain(cx) {
            Poll::Ready(Ok(())) => closed.map(|_| ()),
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads and drops what the client sends after the connection has ended with [`Ended::Closed`], until it closes its side
    /// or has sent `max` bytes: a socket that is closed with bytes unread is reset, and the client might lose the end of
    /// its last responses.
    pub async fn linger(&mut self, max: usize) {
        let mut left = max;
        while left > 0 {
            match std::future::poll_fn(|cx| self.transport.poll_discard(cx)).await {
                Ok(len @ 1..) => left = left.saturating_sub(len),
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Whether it is time for [`Connection::graceful_shutdown`]: the client has made `h2` reset half as many streams as it
    /// bears in a connection's life.
    pub fn nears_its_end(&self) -> bool {
        self.transport.with_meter(|meter| meter.own_resets) >= MAX_INTERNAL_RESETS / 2
    }

    /// Streams that are open.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether responses that were handed over are still on their way to the client.
    pub fn has_unsent(&self) -> bool {
        !self.transport.is_drained()
    }

    /// Whether the client has begun a header block, another frame that is no body, or the connection, and stopped
    /// midway. A client that got something else done in this turn has not stopped.
    pub fn awaits_head(&self) -> bool {
        self.transport.with_meter(|meter| meter.awaits_head())
    }

    /// Takes a block of bytes that the head of another request on this thread is built in.
    pub fn recycle(&mut self, block: Vec<u8>) {
        spare::give(block);
    }

    fn end_turn(&mut self, cx: &Context<'_>, ended: Ended) -> Poll<Result<Event, Ended>> {
        let _news = self.turn.end(cx);
        Poll::Ready(Err(ended))
    }

    fn begin_stream(&mut self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if self.was_reset(&mut respond) {
            return;
        }
        let (parts, recv) = request.into_parts();
        let mut head =
            match head::request(&parts, self.scheme, &self.endpoints, self.max_fields, spare::take()) {
                Ok(head) => head,
                Err(fault) => {
                    let head = head::refused(&parts, self.scheme, &self.endpoints, self.max_fields);
                    let stream_id = respond.stream_id().as_u32();
                    self.events.push_back(Event::Refused { stream_id, head, fault });
                    refuse(respond, fault, &self.extra);
                    return self.keep_unwanted(recv);
                }
            };
        let has_body = !recv.is_end_stream();
        if has_body && !head.is_websocket() {
            head.set_has_body();
        }
        let takes_pushes = self.takes_pushes();
        if takes_pushes {
            head.set_takes_pushes();
        }
        let is_head = parts.method == http::Method::HEAD;
        let stream = Stream::new(respond, has_body.then_some(recv), is_head, takes_pushes);
        let key = self.streams.insert(stream);
        if has_body {
            self.reading.push(key);
        }
        self.events.push_back(Event::Request { key, head });
    }

    /// Whether the client has reset a stream before it was begun: then the app need not hear of it.
    fn was_reset(&mut self, respond: &mut SendResponse<Bytes>) -> bool {
        let noted = self.transport.with_meter(|meter| !meter.resets.is_empty());
        (noted || !self.resets.is_empty())
            && respond.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn check_budgets(&mut self, now: Instant) -> Result<(), Fault> {
        let (resets, frames) = self.transport.with_meter(|meter| {
            if meter.reset_frames == 0 && meter.idle_frames == 0 && meter.window_updates == 0 {
                return (0, 0);
            }
            self.resets.append(&mut meter.resets);
            let updates = std::mem::take(&mut meter.window_updates);
            let excess = updates.saturating_sub(self.updates_allowed);
            self.updates_allowed = self.updates_allowed.saturating_sub(updates);
            (std::mem::take(&mut meter.reset_frames), std::mem::take(&mut meter.idle_frames) + excess)
        });
        if resets > 0 {
            self.reset_budget.earn(std::mem::take(&mut self.answered));
            if !self.reset_budget.spend(now, resets) {
                return Err(Fault::TooManyResets);
            }
        }
        if frames > 0 && !self.frame_budget.spend(now, frames) {
            return Err(Fault::TooManyFrames);
        }
        Ok(())
    }

    fn poll_resets(&mut self) {
        for id in std::mem::take(&mut self.resets) {
            let Some((key, stream)) = self.streams.find(id) else {
                self.forget_pushed(id);
                continue;
            };
            if stream.is_reset() {
                self.reset_event(key);
                self.forget_pushed(id);
            } else {
                // h2 has not come to this frame yet.
                self.resets.push(id);
            }
        }
    }

    fn poll_bodies(&mut self) {
        let mut at = 0;
        while let Some(&key) = self.reading.get(at) {
            let Some(stream) = self.streams.get_mut(key) else {
                self.reading.swap_remove(at);
                continue;
            };
            let Some(recv) = stream.recv.as_mut() else {
                self.reading.swap_remove(at);
                continue;
            };
            match recv.poll_data(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                Poll::Ready(Some(Ok(data))) => {
                    let end = recv.is_end_stream();
                    stream.held += data.len();
                    self.window.hold(data.len());
                    self.events.push_back(Event::Data { key, data, end });
                }
                Poll::Ready(None) => {
                    self.reading.swap_remove(at);
                    self.events.push_back(Event::End { key });
                }
                Poll::Ready(Some(Err(_))) => {
                    self.reset_event(key);
                }
                Poll::Pending => at += 1,
            }
        }
    }

    /// Closes a stream that the client has given up; the event tells the caller.
    fn reset_event(&mut self, key: StreamKey) -> bool {
        self.close(key);
        self.events.push_back(Event::Reset { key });
        false
    }

    fn close(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.remove(key) {
            self.reading.retain(|&reading| reading != key);
            self.blocked.retain(|&blocked| blocked != key);
            self.window.give_back(stream.held);
            if let Some(recv) = stream.recv {
                self.keep_unwanted(recv);
            }
            self.narrow_window();
        }
    }
}

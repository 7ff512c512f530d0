//! One HTTP/2 connection: in each turn its caller polls it for events and sends responses.
//!
//! Request bodies are taken from `h2` as soon as they arrive, because `h2` counts small unread frames against
//! the whole connection; the client's window opens only by [`Turn::release`]. Response bodies are
//! passed to `h2` only as far as the client's window allows, because `h2` buffers without limit.

mod pushes;
mod responses;
mod turn;
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
use crate::head::{self, ServerFields};
use crate::settings::Settings;
use crate::spare;
use crate::stream::Stream;
use crate::streams::Streams;
use crate::transport::Transport;
use crate::turn_waker::TurnWaker;
use pushes::Push;
use responses::{Failed, UPDATES_PER_SEND, reason, refuse};
use unwanted::Unwanted;
use window::Window;

pub use turn::Turn;
pub use window::BodyRoom;

/// Most polls of `h2` in one turn, after which other tasks of the runtime get theirs.
const POLLS_PER_TURN: u32 = 16;

/// Most streams that a client may make `h2` reset in a connection's life: nothing else bounds the memory that
/// `h2` holds for them while the client does not read. The budget of [`Settings::reset_burst`] ends a hostile
/// client much sooner, and an honest one has a new connection before that: see [`Connection::nears_its_end`].
const MAX_INTERNAL_RESETS: usize = 4096;

/// The server side of one HTTP/2 connection.
///
/// A poll of its task is a [`Turn`], with which events are taken and responses sent.
#[derive(Debug)]
pub struct Connection<T> {
    h2: h2::server::Connection<Transport<T>, Bytes>,
    transport: Transport<T>,
    turn: Arc<TurnWaker>,
    /// The waker of `turn`, with which `h2` is polled.
    turn_waker: Waker,
    streams: Streams,
    /// Streams whose request body is still arriving.
    reading: Vec<StreamKey>,
    /// Request bodies that still arrive although their streams were answered.
    unwanted: Vec<Unwanted>,
    /// GOAWAY was sent.
    goes_away: bool,
    /// Streams whose response waits for the client's window.
    blocked: Vec<StreamKey>,
    failed: Vec<Failed>,
    /// Bytes of response bodies that were passed to `h2` since its buffers were last empty.
    handed: usize,
    /// The number of times that a response began to wait for the client's window.
    stalls: u64,
    /// Streams whose reset the meter has seen and `h2` perhaps not.
    resets: Vec<u32>,
    events: VecDeque<Event>,
    pushes: Vec<Push>,
    /// The end of the connection, if `h2` reached it while it was polled for a pushed response.
    ended_early: Option<Ended>,
    reset_budget: Budget,
    /// Responses that were passed to `h2` completely since the reset budget was last checked.
    answered: u32,
    frame_budget: Budget,
    updates_allowed: u32,
    max_fields: usize,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
    server_fields: ServerFields,
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
        // Streams that were answered early, and whose clients do not know it yet.
        .max_concurrent_reset_streams(2 * settings.max_concurrent_streams as usize);
    if settings.extended_connect {
        // The head's check allows it for WebSocket alone (RFC 8441).
        builder.enable_connect_protocol();
    }
    builder
}

/// Exchanges prefaces and settings. The request bodies that the connection holds count against `room`.
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
        turn.begin_poll();
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
        failed: Vec::new(),
        handed: 0,
        stalls: 0,
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
        server_fields: ServerFields::default(),
        window: Window::new(room, settings),
    })
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Begins a turn: a poll of the connection by its task. Responses of this turn get the server's fields.
    pub fn begin_turn(&mut self, server_fields: &ServerFields) -> Turn<'_, T> {
        self.turn.begin();
        self.transport.begin_turn();
        if self.server_fields.date != server_fields.date
            || self.server_fields.server != server_fields.server
            || self.server_fields.alt_svc.is_some() != server_fields.alt_svc.is_some()
        {
            self.server_fields = server_fields.clone();
        }
        Turn::new(self)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>> {
        let mut polls = 0;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Ok(event));
            }
            if let Some(ended) = self.ended_early.take() {
                return self.end_turn(cx, ended);
            }
            self.turn.begin_poll();
            match self.h2.poll_accept(&mut Context::from_waker(&self.turn_waker)) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin_stream(request, respond),
                Poll::Ready(Some(Err(error))) => return self.end_turn(cx, error.into()),
                Poll::Ready(None) => return self.end_turn(cx, Ended::Closed),
                Poll::Pending => {
                    if let Err(fault) = self.check_budgets(now) {
                        self.h2.abrupt_shutdown(reason(fault));
                        return self.end_turn(cx, Ended::Fault(fault));
                    }
                    if !self.transport.is_full() {
                        self.handed = 0;
                        if self.reset_failed() {
                            continue;
                        }
                    }
                    let reads_again = self.poll_pushes();
                    self.poll_resets();
                    self.poll_bodies();
                    // Takes effect at the next poll of h2, which follows if a body has arrived.
                    self.open_window(|| false);
                    self.poll_unwanted(now);
                    self.poll_blocked(now);
                    polls += 1;
                    if !self.events.is_empty() {
                        continue;
                    }
                    let has_news = self.turn.end(cx) || reads_again;
                    if has_news && polls < POLLS_PER_TURN {
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

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let was_full = self.transport.is_full();
        let drained = self.transport.poll_drain(cx);
        if was_full && drained.is_ready() && !(self.blocked.is_empty() && self.failed.is_empty()) {
            // There is room again for bodies that were not passed to h2, and for resets behind others.
            cx.waker().wake_by_ref();
        }
        drained
    }

    fn release(&mut self, key: StreamKey, len: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(recv) = stream.recv.as_mut() else { return };
        // An error means that the stream was reset meanwhile, or holds fewer bytes: there is no window to
        // open.
        if recv.flow_control().release_capacity(len).is_ok() {
            let released = len.min(stream.held);
            stream.held -= released;
            self.window.release(released);
            self.narrow_window();
        }
    }

    /// Sends GOAWAY, lets the open streams end, and then ends with [`Ended::Closed`]. This and the other
    /// shutdowns wake the task outside a turn: `h2` writes GOAWAY when it is next polled.
    pub fn graceful_shutdown(&mut self) {
        self.goes_away = true;
        self.h2.graceful_shutdown();
        self.turn_waker.wake_by_ref();
    }

    /// Sends the final GOAWAY, which names the last stream that was served, and ends as soon as it is
    /// written.
    pub fn final_shutdown(&mut self) {
        self.h2.abrupt_shutdown(Reason::NO_ERROR);
        self.turn_waker.wake_by_ref();
    }

    /// Sends GOAWAY with the fault's code and ends as soon as it is written.
    pub fn abrupt_shutdown(&mut self, fault: Fault) {
        self.h2.abrupt_shutdown(reason(fault));
        self.turn_waker.wake_by_ref();
    }

    /// Writes the frames that `h2` still has to send, then closes the transport.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _news = self.turn.end(cx);
        self.transport.begin_turn();
        self.reset_failed();
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

    /// Reads and drops the client's bytes after the connection has ended with [`Ended::Closed`], until the
    /// client closes its side or has sent `max` bytes. A socket that is closed with unread bytes is reset,
    /// and the client might lose the end of its last responses.
    pub async fn linger(&mut self, max: usize) {
        let mut left = max;
        while left > 0 {
            match std::future::poll_fn(|cx| self.transport.poll_discard(cx)).await {
                Ok(len @ 1..) => left = left.saturating_sub(len),
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Whether it is time for [`Connection::graceful_shutdown`]: the client has made `h2` reset half of the
    /// streams that a connection may reset in its life.
    pub fn nears_its_end(&self) -> bool {
        self.transport.with_meter(|meter| meter.own_resets) >= MAX_INTERNAL_RESETS / 2
    }

    /// Whether the client has stopped in the middle of a header block, of another frame that is no body, or
    /// of the preface. A client that completed a frame in this turn has not stopped.
    pub fn awaits_head(&self) -> bool {
        self.transport.with_meter(|meter| meter.awaits_head())
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
                    refuse(respond, fault, None, &self.server_fields);
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

    /// Whether the client has reset a stream before it was begun. The app gets no event for such a stream.
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
                // h2 has not processed this frame yet.
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

    /// Closes a stream that the client has reset, and queues the event.
    fn reset_event(&mut self, key: StreamKey) -> bool {
        self.close(key);
        self.events.push_back(Event::Reset { key });
        false
    }

    fn close(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.remove(key) {
            self.reading.retain(|&reading| reading != key);
            self.blocked.retain(|&blocked| blocked != key);
            self.window.release(stream.held);
            if let Some(recv) = stream.recv {
                self.keep_unwanted(recv);
            }
            self.narrow_window();
        }
    }
}

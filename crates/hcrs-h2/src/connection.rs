//! One HTTP/2 connection: polled for what the client does, told what to send.
//!
//! Request bodies are taken from `h2` as soon as they are there, because `h2` counts small unread frames against
//! the whole connection; the client's window opens only by [`Connection::release`]. Response bodies are given to
//! `h2` only as far as the client's window goes, because `h2` keeps whatever it is given.

mod pushes;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hcrs_exchange::{Endpoints, Fault, ResponseHead, Scheme};
use slab::Slab;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::budget::Budget;
use crate::event::{Ended, Event, StreamKey};
use crate::head::{self, Extra};
use crate::settings::Settings;
use crate::spare;
use crate::stream::{Outcome, Pumped, Respond, Stream};
use crate::transport::Transport;
use crate::turn::TurnWaker;
use pushes::Push;

/// A final piece of body that is given to `h2` whatever the client's window, in bytes: it spares small responses
/// two locks, and bounds what a client that reads nothing can hold to this times its streams.
const DIRECT: usize = 16 << 10;

/// Bytes of body that `h2` may hold because the socket is full: what else the client's windows would take stays with
/// its stream, where it counts against the window of the one who sends it.
const HANDED_MAX: usize = 256 << 10;

/// `WINDOW_UPDATE` frames that one piece of sent body may cause before they count as frames without progress.
const UPDATES_PER_SEND: u32 = 10;

/// Looks at `h2` in one turn, after which the runtime decides when the next one is due.
const LOOKS_PER_TURN: u32 = 16;

/// Streams whose reset `h2` may be made to send in a connection's life: what it holds of them while the client does not
/// read is bounded by nothing else. The budget of [`Settings::reset_burst`] ends the client much sooner.
const MAX_INTERNAL_RESETS: usize = 4096;

/// An HTTP/2 connection, server side.
#[derive(Debug)]
pub struct Connection<T> {
    h2: h2::server::Connection<Transport<T>, Bytes>,
    transport: Transport<T>,
    turn: Arc<TurnWaker>,
    /// `turn`, as `h2` is given it.
    turn_waker: Waker,
    streams: Slab<Stream>,
    /// Streams whose request's body is still arriving.
    reading: Vec<StreamKey>,
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
    frame_budget: Budget,
    updates_allowed: u32,
    max_fields: usize,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
    extra: Extra,
}

/// Exchanges prefaces and settings.
pub async fn handshake<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    settings: &Settings,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
) -> Result<Connection<T>, Ended> {
    let (turn, turn_waker) = TurnWaker::new();
    let transport = Transport::new(io, Arc::clone(&turn));
    let mut handshake = std::pin::pin!(
        h2::server::Builder::new()
            .max_concurrent_streams(settings.max_concurrent_streams)
            .max_header_list_size(settings.max_header_list_size)
            .max_frame_size(settings.max_inbound_frame_size)
            .initial_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window())
            .max_send_buffer_size(settings.max_send_buffer_size)
            .data_frame_budget(settings.data_frame_budget)
            // Resets before a stream is begun are in the reset budget, like all others.
            .max_pending_accept_reset_streams(settings.reset_burst as usize)
            // What it is used for is checked with the head: WebSocket alone (RFC 8441).
            .enable_connect_protocol()
            .max_local_error_reset_streams(Some(MAX_INTERNAL_RESETS))
            // So many streams may be answered early whose clients have not heard of it.
            .max_concurrent_reset_streams(2 * settings.max_concurrent_streams as usize)
            .handshake(transport.clone())
    );
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
        streams: Slab::new(),
        reading: Vec::new(),
        blocked: Vec::new(),
        handed: 0,
        resets: Vec::new(),
        events: VecDeque::new(),
        pushes: Vec::new(),
        ended_early: None,
        reset_budget: Budget::new(settings.reset_burst, settings.reset_refill),
        frame_budget: Budget::new(settings.frame_burst, settings.frame_refill),
        updates_allowed: UPDATES_PER_SEND,
        max_fields: settings.max_fields,
        scheme,
        endpoints,
        extra: Extra::default(),
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

    /// Sends an interim response's head, before the final one.
    ///
    /// An error is the app's fault and leaves the stream as it was.
    pub fn send_interim(&mut self, key: StreamKey, interim: &ResponseHead) -> Result<(), Fault> {
        let head = head::interim(interim)?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let Some(respond) = &mut stream.respond else { return Err(Fault::AppFailed) };
        // Only a stream that the client has reset can refuse it now, and that is told elsewhere.
        let _gone = respond.send_informational(head);
        Ok(())
    }

    /// Sends a response's head; `end` if no body follows. Done if the stream is over.
    ///
    /// An error is the app's fault and leaves the stream as it was.
    pub fn send_head(&mut self, key: StreamKey, response: &ResponseHead, end: bool) -> Result<bool, Fault> {
        let (head, length) = head::response(response, &self.extra)?;
        let can_open_pushed = self.can_open_pushed();
        let Some(stream) = self.streams.get_mut(key) else { return Ok(true) };
        let Some(mut respond) = stream.respond.take() else { return Err(Fault::AppFailed) };
        let (id, is_pushed) = (stream.id, respond.is_pushed());
        stream.bodiless = stream.is_head || matches!(head.status().as_u16(), 204 | 304);
        if end && !stream.bodiless && length.is_some_and(|length| length > 0) {
            stream.respond = Some(respond);
            return Err(Fault::AppFailed);
        }
        stream.length_left = length;
        let last = end || stream.bodiless;
        if is_pushed && !can_open_pushed {
            // The client goes without what it has not asked for.
            respond.send_reset(Reason::CANCEL);
            return Ok(self.reset_event(key));
        }
        match respond.send_response(head, last) {
            Ok(send) => stream.send = Some(send),
            // Only a stream that the client has reset can refuse a response now.
            Err(_) => return Ok(self.reset_event(key)),
        }
        if !last {
            stream.keep_promiser(respond);
        }
        if is_pushed {
            self.open_pushed(id);
        }
        if end {
            self.close(key);
        }
        Ok(end)
    }

    /// Sends body bytes; `end` if they are the last. Gives the bytes that were taken at once and whether the stream
    /// is over; the rest follows as [`Event::Sent`].
    ///
    /// An error means that the app sent no head, or broke its own content-length; the stream has to be failed.
    pub fn send_data(
        &mut self,
        _: &mut Context<'_>,
        now: Instant,
        key: StreamKey,
        (data, end): (Bytes, bool),
    ) -> Result<(usize, bool), Fault> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok((data.len(), true)) };
        let len = data.len();
        if stream.bodiless {
            if end {
                self.close(key);
            }
            return Ok((len, end));
        }
        if stream.send.is_none() {
            return Err(Fault::AppFailed);
        }
        stream.spend_length(len, end)?;
        if end
            && len <= DIRECT
            && stream.is_open
            && stream.pending.is_empty()
            && let Some(send) = &mut stream.send
        {
            self.updates_allowed = self.updates_allowed.saturating_add(UPDATES_PER_SEND);
            if send.send_data(data, true).is_err() {
                return Ok((len, self.reset_event(key)));
            }
            self.close(key);
            return Ok((len, true));
        }
        if len > 0 {
            stream.pending.push_back(data);
        }
        stream.pending_end = end;
        let pumped = self.pump(key, now);
        if self.is_waiting(key) && !self.blocked.contains(&key) {
            self.blocked.push(key);
        }
        Ok((pumped.taken, pumped.outcome == Outcome::Done))
    }

    /// Ends a response with trailers, once its body is sent. Done if the stream is over; otherwise [`Event::Sent`]
    /// says so later.
    ///
    /// An error means that the app sent no head, broke its own content-length, or that a field cannot be sent
    /// there; the stream has to be failed.
    pub fn send_trailers(
        &mut self,
        now: Instant,
        key: StreamKey,
        trailers: &ResponseHead,
    ) -> Result<bool, Fault> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(true) };
        if stream.bodiless {
            self.close(key);
            return Ok(true);
        }
        if stream.send.is_none() {
            return Err(Fault::AppFailed);
        }
        stream.spend_length(0, true)?;
        let trailers = head::trailers(trailers)?;
        stream.trailers = (!trailers.is_empty()).then_some(trailers);
        stream.pending_end = true;
        Ok(self.pump(key, now).outcome == Outcome::Done)
    }

    /// Answers with the status that the fault is owed, if no head was sent; resets the stream otherwise. It is over.
    pub fn fail(&mut self, key: StreamKey, fault: Fault) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match stream.respond.take() {
            Some(Respond::Requested(respond)) => refuse(respond, fault, &self.extra),
            Some(Respond::Pushed(mut respond)) => {
                respond.send_reset(Reason::from(fault.answer().h2_code));
            }
            None => {
                if let Some(send) = &mut stream.send {
                    send.send_reset(Reason::from(fault.answer().h2_code));
                }
                self.drop_promises(key);
            }
        }
        self.close(key);
    }

    /// Opens the client's window again by body bytes that were taken.
    pub fn release(&mut self, key: StreamKey, len: usize) {
        if let Some(recv) = self.streams.get_mut(key).and_then(|stream| stream.recv.as_mut()) {
            // An error says that the stream was reset meanwhile: there is no window to open.
            let _gone = recv.flow_control().release_capacity(len);
        }
    }

    /// Says GOAWAY, lets the streams that are open end, and then ends with [`Ended::Closed`].
    pub fn graceful_shutdown(&mut self) {
        self.h2.graceful_shutdown();
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

    /// The streams whose response has waited for the client's window since before `instant`.
    pub fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        let stalled = |stream: &Stream| stream.waiting_since.is_some_and(|since| since <= instant);
        self.blocked.iter().copied().filter(|&key| self.streams.get(key).is_some_and(stalled)).collect()
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
                    return refuse(respond, fault, &self.extra);
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
        let stream_id = stream.id;
        let key = self.streams.insert(stream);
        if has_body {
            self.reading.push(key);
        }
        self.events.push_back(Event::Request { key, stream_id, head });
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
        if resets > 0 && !self.reset_budget.spend(now, resets) {
            return Err(Fault::TooManyResets);
        }
        if frames > 0 && !self.frame_budget.spend(now, frames) {
            return Err(Fault::TooManyFrames);
        }
        Ok(())
    }

    fn poll_resets(&mut self) {
        for id in std::mem::take(&mut self.resets) {
            let Some((key, stream)) = self.streams.iter_mut().find(|(_, stream)| stream.id == id) else {
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
            let Some(recv) = self.streams.get_mut(key).and_then(|stream| stream.recv.as_mut()) else {
                self.reading.swap_remove(at);
                continue;
            };
            match recv.poll_data(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                Poll::Ready(Some(Ok(data))) => {
                    let end = recv.is_end_stream();
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

    fn poll_blocked(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&key) = self.blocked.get(at) {
            let Pumped { taken: len, outcome, .. } = self.pump(key, now);
            let done = outcome == Outcome::Done;
            if done || len > 0 && outcome == Outcome::Open {
                self.events.push_back(Event::Sent { key, len, done });
            }
            if self.is_waiting(key) {
                at += 1;
                if self.handed >= HANDED_MAX {
                    // The next turn begins with those that got nothing in this one.
                    self.blocked.rotate_left(at);
                    return;
                }
            } else if self.blocked.get(at) == Some(&key) {
                self.blocked.swap_remove(at);
            }
        }
    }

    fn pump(&mut self, key: StreamKey, now: Instant) -> Pumped {
        let Some(stream) = self.streams.get_mut(key) else { return Pumped::default() };
        let pumped = stream.pump(now, HANDED_MAX.saturating_sub(self.handed));
        self.handed += pumped.taken;
        let updates = pumped.pieces.saturating_mul(UPDATES_PER_SEND);
        self.updates_allowed = self.updates_allowed.saturating_add(updates);
        match pumped.outcome {
            Outcome::Open => {}
            Outcome::Done => self.close(key),
            Outcome::Reset => {
                self.reset_event(key);
            }
        }
        pumped
    }

    fn is_waiting(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_some_and(|stream| stream.waiting_since.is_some())
    }

    /// Closes a stream that the client has given up; the event tells the caller.
    fn reset_event(&mut self, key: StreamKey) -> bool {
        self.close(key);
        self.events.push_back(Event::Reset { key });
        false
    }

    fn close(&mut self, key: StreamKey) {
        if self.streams.try_remove(key).is_some() {
            self.reading.retain(|&reading| reading != key);
            self.blocked.retain(|&blocked| blocked != key);
        }
    }
}

fn refuse(mut respond: SendResponse<Bytes>, fault: Fault, extra: &Extra) {
    // An error says that the client has reset the stream: nobody waits for the answer.
    let _gone = respond.send_response(head::fault(fault, extra), true);
}

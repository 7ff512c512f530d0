//! One HTTP/2 connection: polled for what the client does, told what to send.
//!
//! Request bodies are taken from `h2` as soon as they are there, because `h2` counts small unread frames against
//! the whole connection; the client's window opens only by [`Connection::release`]. Response bodies are given to
//! `h2` only as far as the client's window goes, because `h2` keeps whatever it is given.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use hcrs_exchange::{Endpoints, Fault, RequestHead, ResponseHead, Scheme};
use slab::Slab;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::budget::Budget;
use crate::head::{self, Extra};
use crate::settings::Settings;
use crate::transport::Transport;

/// A final piece of body that is given to `h2` whatever the client's window, in bytes: it spares small responses
/// two locks, and bounds what a client that reads nothing can hold to this times its streams.
const DIRECT: usize = 16 << 10;

/// WINDOW_UPDATE frames that one piece of sent body may cause before they count as frames without progress.
const UPDATES_PER_SEND: u32 = 10;

/// Names a stream of a connection until it is done or reset.
pub type StreamKey = usize;

/// What a client did.
#[derive(Debug)]
pub enum Event {
    /// A stream began. Without a body no `Data` or `End` follows.
    Request {
        /// The stream.
        key: StreamKey,
        /// Its number on the wire.
        stream_id: u32,
        /// The request's head.
        head: RequestHead,
    },
    /// Bytes of a request's body. They hold the client's window until they are released.
    Data {
        /// The stream.
        key: StreamKey,
        /// The bytes.
        data: Bytes,
    },
    /// The request's body is complete.
    End {
        /// The stream.
        key: StreamKey,
    },
    /// Bytes of the response that had to wait were taken.
    Sent {
        /// The stream.
        key: StreamKey,
        /// How many bytes.
        len: usize,
        /// The response is complete and the stream over.
        done: bool,
    },
    /// The client reset the stream, or broke the protocol on it; it is over.
    Reset {
        /// The stream.
        key: StreamKey,
    },
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The client closed it, or a graceful shutdown is complete.
    Closed,
    /// The client broke the protocol; GOAWAY says how.
    Protocol(Option<Reason>),
    /// The client overdrew a budget; GOAWAY(ENHANCE_YOUR_CALM) was sent.
    Fault(Fault),
    /// The transport failed.
    Io(io::Error),
}

/// An HTTP/2 connection, server side.
#[derive(Debug)]
pub struct Connection<T> {
    h2: h2::server::Connection<Transport<T>, Bytes>,
    transport: Transport<T>,
    streams: Slab<Stream>,
    /// Streams whose request's body is still arriving.
    reading: Vec<StreamKey>,
    /// Streams whose response waits for the client's window.
    blocked: Vec<StreamKey>,
    /// RST_STREAM frames that the meter saw and `h2` has perhaps not.
    resets: Vec<u32>,
    events: VecDeque<Event>,
    reset_budget: Budget,
    frame_budget: Budget,
    updates_allowed: u32,
    /// Something was given to `h2` that it has not been polled for.
    touched: bool,
    max_fields: usize,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
    extra: Extra,
    spare_block: Vec<u8>,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    respond: Option<SendResponse<Bytes>>,
    send: Option<SendStream<Bytes>>,
    recv: Option<RecvStream>,
    is_head: bool,
    /// Body bytes that the announced content-length still allows.
    length_left: Option<u64>,
    /// The response has no body on the wire (HEAD, 204, 304), whatever the app sends.
    bodiless: bool,
    pending: VecDeque<Bytes>,
    pending_end: bool,
    waiting_since: Option<Instant>,
}

/// Exchanges prefaces and settings.
pub async fn handshake<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    settings: &Settings,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
) -> Result<Connection<T>, Ended> {
    let transport = Transport::new(io);
    let mut handshake = std::pin::pin!(
        h2::server::Builder::new()
            .max_concurrent_streams(settings.max_concurrent_streams)
            .max_header_list_size(settings.max_header_list_size)
            .max_frame_size(settings.max_inbound_frame_size)
            .initial_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window())
            .max_send_buffer_size(settings.max_send_buffer_size)
            .data_frame_budget(settings.data_frame_budget)
            .handshake(transport.clone())
    );
    let h2 = std::future::poll_fn(|cx| {
        transport.begin_turn();
        let outcome = handshake.as_mut().poll(cx);
        if let Poll::Ready(Err(error)) = transport.poll_drain(cx) {
            return Poll::Ready(Err(Ended::Io(error)));
        }
        outcome.map_err(Ended::from)
    })
    .await?;
    Ok(Connection {
        h2,
        transport,
        streams: Slab::new(),
        reading: Vec::new(),
        blocked: Vec::new(),
        resets: Vec::new(),
        events: VecDeque::new(),
        reset_budget: Budget::new(settings.reset_burst, settings.reset_refill),
        frame_budget: Budget::new(settings.frame_burst, settings.frame_refill),
        updates_allowed: UPDATES_PER_SEND,
        touched: false,
        max_fields: settings.max_fields,
        scheme,
        endpoints,
        extra: Extra::default(),
        spare_block: Vec::new(),
    })
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Begins a poll of the connection, with the fields that its responses get from now on.
    pub fn begin_turn(&mut self, extra: &Extra) {
        self.transport.begin_turn();
        if self.extra.date != extra.date || self.extra.server != extra.server {
            self.extra = extra.clone();
        }
    }

    /// The next event. `Pending` means that the client has nothing more to say for now; call
    /// [`Connection::poll_drain`] before the task goes to sleep.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Ok(event));
            }
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin_stream(request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                Poll::Ready(None) => return Poll::Ready(Err(Ended::Closed)),
                Poll::Pending => {
                    if let Err(fault) = self.check_budgets(now) {
                        self.h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        return Poll::Ready(Err(Ended::Fault(fault)));
                    }
                    self.poll_resets(cx);
                    self.poll_bodies(cx);
                    self.poll_blocked(cx, now);
                    if self.events.is_empty() && !std::mem::take(&mut self.touched) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Writes the frames of all streams at once. Pending means that the socket is full; the task is woken.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_drain(cx)
    }

    /// Sends a response's head; `end` if no body follows. Done if the stream is over.
    ///
    /// An error is the app's fault and leaves the stream as it was.
    pub fn send_head(&mut self, key: StreamKey, response: &ResponseHead, end: bool) -> Result<bool, Fault> {
        let (head, length) = head::response(response, &self.extra)?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(true) };
        let Some(mut respond) = stream.respond.take() else { return Err(Fault::AppFailed) };
        stream.bodiless = stream.is_head || matches!(head.status().as_u16(), 204 | 304);
        if end && !stream.bodiless && length.is_some_and(|length| length > 0) {
            stream.respond = Some(respond);
            return Err(Fault::AppFailed);
        }
        self.touched = true;
        stream.length_left = length;
        let last = end || stream.bodiless;
        match respond.send_response(head, last) {
            Ok(send) => stream.send = Some(send),
            // Only a stream that the client has reset can refuse a response now.
            Err(_) => return Ok(self.reset_event(key)),
        }
        if end {
            self.close(key);
        }
        Ok(end)
    }

    /// Sends body bytes; `end` if they are the last. Gives the bytes that were taken at once and whether the stream
    /// is over; the rest follows as [`Event::Sent`].
    ///
    /// An error means that the app broke its own content-length; the stream has to be reset.
    pub fn send_data(
        &mut self,
        cx: &mut Context<'_>,
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
        if let Some(left) = &mut stream.length_left {
            *left = left.checked_sub(len as u64).ok_or(Fault::AppFailed)?;
            if end && *left > 0 {
                return Err(Fault::AppFailed);
            }
        }
        if end && len <= DIRECT && stream.pending.is_empty() {
            self.updates_allowed = self.updates_allowed.saturating_add(UPDATES_PER_SEND);
            if let Some(send) = &mut stream.send
                && send.send_data(data, true).is_err()
            {
                return Ok((len, self.reset_event(key)));
            }
            self.close(key);
            return Ok((len, true));
        }
        if len > 0 {
            stream.pending.push_back(data);
        }
        stream.pending_end = end;
        let was_waiting = stream.waiting_since.is_some();
        let (taken, done) = self.pump(cx, now, key);
        if !done && !was_waiting && self.streams.get(key).is_some_and(|stream| stream.waiting_since.is_some())
        {
            self.blocked.push(key);
        }
        Ok((taken, done))
    }

    /// Answers with the status that the fault is owed, if no head was sent; resets the stream otherwise. It is over.
    pub fn fail(&mut self, key: StreamKey, fault: Fault) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match stream.respond.take() {
            Some(respond) => refuse(respond, fault, &self.extra),
            None => {
                if let Some(send) = &mut stream.send {
                    send.send_reset(Reason::from(fault.answer().h2_code));
                }
            }
        }
        self.close(key);
    }

    /// Opens the client's window again by body bytes that were taken.
    pub fn release(&mut self, key: StreamKey, len: usize) {
        if let Some(recv) = self.streams.get_mut(key).and_then(|stream| stream.recv.as_mut()) {
            self.touched = true;
            // An error says that the stream was reset meanwhile: there is no window to open.
            let _gone = recv.flow_control().release_capacity(len);
        }
    }

    /// Says GOAWAY, lets the streams that are open end, and then ends with [`Ended::Closed`].
    pub fn graceful_shutdown(&mut self) {
        self.touched = true;
        self.h2.graceful_shutdown();
    }

    /// Says GOAWAY with the fault's code and ends as soon as that is written.
    pub fn abrupt_shutdown(&mut self, fault: Fault) {
        self.h2.abrupt_shutdown(Reason::from(fault.answer().h2_code));
    }

    /// Writes what `h2` still wants to say, then closes the transport.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.transport.begin_turn();
        let closed = self.h2.poll_closed(cx);
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

    /// Whether the client has begun a header block, or the connection, and not gone on with it.
    pub fn awaits_head(&self) -> bool {
        self.transport.with_meter(|meter| meter.in_header_block || !meter.has_settings)
    }

    /// The streams whose response has waited for the client's window since before `instant`.
    pub fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        let stalled = |stream: &Stream| stream.waiting_since.is_some_and(|since| since <= instant);
        self.blocked.iter().copied().filter(|&key| self.streams.get(key).is_some_and(stalled)).collect()
    }

    /// Takes a block of bytes that the next request's head is built in.
    pub fn recycle(&mut self, block: Vec<u8>) {
        self.spare_block = block;
    }

    fn begin_stream(&mut self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (parts, recv) = request.into_parts();
        let block = std::mem::take(&mut self.spare_block);
        let mut head = match head::request(&parts, self.scheme, &self.endpoints, self.max_fields, block) {
            Ok(head) => head,
            Err(fault) => {
                self.touched = true;
                return refuse(respond, fault, &self.extra);
            }
        };
        let has_body = !recv.is_end_stream();
        if has_body {
            head.set_has_body();
        }
        let stream_id = respond.stream_id().as_u32();
        let key = self.streams.insert(Stream {
            id: stream_id,
            respond: Some(respond),
            send: None,
            recv: has_body.then_some(recv),
            is_head: parts.method == http::Method::HEAD,
            length_left: None,
            bodiless: false,
            pending: VecDeque::new(),
            pending_end: false,
            waiting_since: None,
        });
        if has_body {
            self.reading.push(key);
        }
        self.events.push_back(Event::Request { key, stream_id, head });
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

    fn poll_resets(&mut self, cx: &mut Context<'_>) {
        for id in std::mem::take(&mut self.resets) {
            let Some((key, stream)) = self.streams.iter_mut().find(|(_, stream)| stream.id == id) else {
                continue;
            };
            let reset = match (&mut stream.respond, &mut stream.send) {
                (Some(respond), _) => respond.poll_reset(cx).is_ready(),
                (None, Some(send)) => send.poll_reset(cx).is_ready(),
                (None, None) => true,
            };
            if reset {
                self.reset_event(key);
            } else {
                // h2 has not come to this frame yet.
                self.resets.push(id);
            }
        }
    }

    fn poll_bodies(&mut self, cx: &mut Context<'_>) {
        let mut at = 0;
        while let Some(&key) = self.reading.get(at) {
            let Some(recv) = self.streams.get_mut(key).and_then(|stream| stream.recv.as_mut()) else {
                self.reading.swap_remove(at);
                continue;
            };
            match recv.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                Poll::Ready(Some(Ok(data))) => self.events.push_back(Event::Data { key, data }),
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

    fn poll_blocked(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut at = 0;
        while let Some(&key) = self.blocked.get(at) {
            let (len, done) = self.pump(cx, now, key);
            if len > 0 || done {
                self.events.push_back(Event::Sent { key, len, done });
            }
            if self.streams.get(key).is_some_and(|stream| stream.waiting_since.is_some()) {
                at += 1;
            } else if self.blocked.get(at) == Some(&key) {
                self.blocked.swap_remove(at);
            }
        }
    }

    /// Gives `h2` as much of a stream's pending body as the client's window takes.
    fn pump(&mut self, cx: &mut Context<'_>, now: Instant, key: StreamKey) -> (usize, bool) {
        let mut taken = 0;
        let Some(stream) = self.streams.get_mut(key) else { return (0, false) };
        let Some(send) = &mut stream.send else { return (0, false) };
        loop {
            let Some(front) = stream.pending.front_mut() else { break };
            let wanted = front.len();
            send.reserve_capacity(wanted);
            let capacity = send.capacity();
            if capacity == 0 {
                match send.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(_) => return (taken, self.reset_event(key)),
                    Poll::Pending => break,
                }
            }
            let piece = front.split_to(wanted.min(capacity));
            if front.is_empty() {
                stream.pending.pop_front();
            }
            let last = stream.pending.is_empty() && stream.pending_end;
            taken += piece.len();
            self.touched = true;
            self.updates_allowed = self.updates_allowed.saturating_add(UPDATES_PER_SEND);
            if send.send_data(piece, last).is_err() {
                return (taken, self.reset_event(key));
            }
            if last {
                self.close(key);
                return (taken, true);
            }
        }
        if stream.pending.is_empty() {
            stream.waiting_since = None;
            if stream.pending_end {
                // Nothing was left to carry END_STREAM: an empty frame does.
                if send.send_data(Bytes::new(), true).is_err() {
                    return (taken, self.reset_event(key));
                }
                self.close(key);
                return (taken, true);
            }
        } else if taken > 0 || stream.waiting_since.is_none() {
            stream.waiting_since = Some(now);
        }
        (taken, false)
    }

    /// Closes a stream that the client has given up; the event tells the caller.
    fn reset_event(&mut self, key: StreamKey) -> bool {
        self.close(key);
        self.events.push_back(Event::Reset { key });
        false
    }

    fn close(&mut self, key: StreamKey) {
        if self.streams.try_remove(key).is_some() {
            self.touched = true;
            self.reading.retain(|&reading| reading != key);
            self.blocked.retain(|&blocked| blocked != key);
        }
    }
}

fn refuse(mut respond: SendResponse<Bytes>, fault: Fault, extra: &Extra) {
    // An error says that the client has reset the stream: nobody waits for the answer.
    let _gone = respond.send_response(head::fault(fault, extra), true);
}

impl From<h2::Error> for Ended {
    fn from(error: h2::Error) -> Self {
        if error.is_io() {
            match error.into_io() {
                Some(error) => Self::Io(error),
                None => Self::Closed,
            }
        } else {
            Self::Protocol(error.reason())
        }
    }
}

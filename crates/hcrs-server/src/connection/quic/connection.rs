//! One QUIC connection: what has arrived for it, its timer, and what it sends.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrs_h3::{ErrorCode, Read, Transport, Write};
use hcrs_http::Endpoints;
use quinn_proto::{
    ConnectionError, ConnectionHandle, Dir, Event, ReadError, StreamEvent, StreamId, Transmit, VarInt,
    WriteError,
};
use tokio::time::Sleep;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::allowance::Allowance;
use super::config::{LARGE_SEND_WINDOW, SEND_WINDOW, Windows};
use super::endpoint::{Endpoint, with_output};
use super::inbox::{Arrival, Inbox};
use super::places::Place;
use crate::drive::h3::{Quic, StreamReport};

/// The number of bytes after which other connections send.
const SENT_PER_TURN: usize = 256 << 10;

/// How long a client with a request in flight may be silent before it is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(10);

/// A QUIC connection. It lives in the task that drives it.
pub(crate) struct Connection {
    endpoint: Rc<Endpoint>,
    handle: ConnectionHandle,
    pub(super) quic: Box<quinn_proto::Connection>,
    inbox: Rc<Inbox>,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires, if it is set. It may be earlier than anything is due.
    timer_at: Option<Instant>,
    /// Datagrams to the client's address that the system has not taken yet.
    unsent: Option<Made>,
    /// A datagram to the client's address, which is not proven, until the allowance is large enough.
    withheld: Option<Made>,
    allowance: Allowance,
    /// Whether the client's address has changed, and nothing was made for it since.
    has_moved: bool,
    /// When the task last began to run.
    now: Instant,
    /// When a datagram last arrived.
    heard_at: Instant,
    /// The client's address, by which its requests are judged: that of the handshake, or the last one that was proven.
    client: SocketAddr,
    /// Makes what is reported of addresses of both ends.
    endpoints: Option<Box<MakeEndpoints>>,
    windows: Windows,
    /// The place of a connection whose window is wide.
    wide: Option<Place>,
    /// The place of a connection whose window of responses is large.
    large: Option<Place>,
    /// The number of streams that this end has opened. They stay open.
    own_streams: usize,
    /// The end of the connection, until it is taken.
    end: Option<io::Result<()>>,
}

/// Datagrams that the state machine has made, and takes for sent.
type Made = (Transmit, Box<[u8]>);

type MakeEndpoints = dyn Fn((SocketAddr, SocketAddr)) -> Endpoints;

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(
        endpoint: Rc<Endpoint>,
        (handle, quic): (ConnectionHandle, quinn_proto::Connection),
        inbox: Rc<Inbox>,
        windows: Windows,
        allowance: Allowance,
    ) -> Self {
        Self {
            endpoint,
            handle,
            client: quic.remote_address(),
            quic: Box::new(quic),
            inbox,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            timer_at: None,
            unsent: None,
            withheld: None,
            allowance,
            has_moved: false,
            now: crate::clock::now(),
            heard_at: crate::clock::now(),
            endpoints: None,
            windows,
            wide: None,
            large: None,
            own_streams: 0,
            end: None,
        }
    }

    /// Returns the addresses of the client and of this end.
    pub(super) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.client, self.endpoint.socket.local_address(self.quic.local_ip()))
    }

    /// Returns the certificates that the client has sent.
    pub(super) fn client_chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.quic.crypto_session().peer_identity();
        chain.and_then(|chain| chain.downcast().ok()).map(|chain| *chain).unwrap_or_default()
    }

    /// Has later moves of the client reported, with the addresses that `endpoints` makes of those of both ends.
    pub(super) fn report_moves(
        &mut self,
        endpoints: impl Fn((SocketAddr, SocketAddr)) -> Endpoints + 'static,
    ) {
        self.endpoints = Some(Box::new(endpoints));
    }

    /// Takes what has arrived and what has become due.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = now;
        let arrivals = self.inbox.take();
        if !arrivals.is_empty() {
            self.heard_at = now;
        }
        for Arrival { source, len, knows_id, event } in arrivals {
            let client = self.quic.remote_address();
            if knows_id && self.quic.is_handshaking() && source == client {
                // The id was sent to this address alone (RFC 9000 §8.1).
                self.allowance.prove(client);
            }
            self.allowance.earn(len);
            self.quic.handle_event(event);
            self.note_move(client);
        }
        // After a move, what was in flight to the other address is not counted any more, and the timer for its loss
        // is only right once something was made for this one.
        if !self.has_moved && self.quic.poll_timeout().is_some_and(|due| due <= now) {
            let client = self.quic.remote_address();
            self.quic.handle_timeout(now);
            self.note_move(client);
            if self.has_moved {
                // The client was not at the address it seemed to have moved to.
                self.quic.ping();
            }
        }
        self.report();
    }

    /// Notes whether the client is at another address than before.
    fn note_move(&mut self, before: SocketAddr) {
        if self.quic.remote_address() != before {
            self.has_moved = true;
            // Their destination is of no use any more, and what is made next has to be sent next.
            self.unsent = None;
            self.withheld = None;
        }
    }

    /// Exchanges reports with the endpoint.
    fn report(&mut self) {
        while let Some(event) = self.quic.poll_endpoint_events() {
            if let Some(answer) = self.endpoint.handle_event(self.handle, event) {
                self.quic.handle_event(answer);
            }
        }
    }

    /// Sends what there is to send, and sets the timer. `Pending` if the system takes no more; the task is woken
    /// in any case when there is something to do.
    pub(super) fn poll_transmit(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let sent = self.send(now);
        self.report();
        match sent {
            Sending::Done => {}
            Sending::Blocked => self.endpoint.socket.wake_when_writable(self.handle, &self.inbox.mailbox),
            Sending::Yielded => crate::drive::run_again(cx),
        }
        self.set_timer(cx, now);
        if sent == Sending::Blocked { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Lets the client open all streams that are free. The transport announces them an eighth of the limit at a time,
    /// for which a client would wait that keeps more open than the other seven.
    fn announce_free_streams(&mut self) {
        let most = self.quic.max_concurrent_streams(Dir::Bi);
        if self.quic.streams().remote_open_streams(Dir::Bi) >= most - most / 8
            && let Ok(limit) = VarInt::from_u64(most)
        {
            // The number that is left to announce is as large under a lower limit.
            self.quic.set_max_concurrent_streams(Dir::Bi, VarInt::from_u32(0));
            self.quic.set_max_concurrent_streams(Dir::Bi, limit);
        }
    }

    /// Lets more of the responses be on their way, if it is not so and there is a place. Returns whether it has changed.
    fn take_large_window(&mut self) -> bool {
        if self.large.is_some() {
            return false;
        }
        self.large = self.endpoint.large.take();
        if self.large.is_some() {
            self.quic.set_send_window(LARGE_SEND_WINDOW);
        }
        self.large.is_some()
    }

    /// Frees the place once the client has acknowledged all responses.
    fn free_large_window(&mut self) {
        if self.large.is_some() && self.quic.streams().send_streams() <= self.own_streams {
            self.large = None;
            self.quic.set_send_window(SEND_WINDOW);
        }
    }

    fn send(&mut self, now: Instant) -> Sending {
        if let Some((transmit, bytes)) = &self.unsent {
            if !self.endpoint.socket.send(transmit, bytes) {
                return Sending::Blocked;
            }
            self.unsent = None;
        }
        self.announce_free_streams();
        self.free_large_window();
        let mut sent = 0;
        while sent < SENT_PER_TURN {
            if let Some((transmit, bytes)) = self
                .withheld
                .take_if(|(transmit, _)| self.allowance.spend(transmit.destination, transmit.size))
            {
                sent += transmit.size;
                if !self.endpoint.socket.send(&transmit, &bytes) {
                    self.unsent = Some((transmit, bytes));
                    return Sending::Blocked;
                }
            }
            match with_output(|output| self.make_and_send(now, output)) {
                None => {
                    self.has_moved = false;
                    return Sending::Done;
                }
                Some(made) => sent += made,
            }
            if self.unsent.is_some() {
                return Sending::Blocked;
            }
        }
        Sending::Yielded
    }

    /// Makes the next datagrams and sends them, unless they have to wait. Returns their length; `None` if there are
    /// none.
    fn make_and_send(&mut self, now: Instant, output: &mut Vec<u8>) -> Option<usize> {
        let client = self.quic.remote_address();
        let is_proven = self.allowance.is_proven(client);
        // Of several datagrams a part may be allowed.
        let most = if is_proven { self.endpoint.socket.segments() } else { 1 };
        let before = (!is_proven).then(|| self.quic.stats());
        let transmit = self.quic.poll_transmit(now, most, output)?;
        let is_for_client = transmit.destination == client;
        self.has_moved &= !is_for_client;
        let mut may_wait = is_for_client;
        if let Some(before) = before {
            let after = self.quic.stats();
            // One that looks for the path's limit is of no use later.
            may_wait &= before.path.sent_plpmtud_probes == after.path.sent_plpmtud_probes;
            let is_open = !self.quic.is_handshaking() && !self.quic.is_closed();
            if may_wait && is_open && before.frame_tx.path_challenge == after.frame_tx.path_challenge {
                // Each other datagram to an address that is not proven has a challenge.
                self.allowance.prove(client);
            }
        }
        let len = transmit.size;
        if !self.allowance.spend(transmit.destination, len) {
            if may_wait && self.withheld.is_none() {
                self.withheld = Some((transmit, output[..len].into()));
            }
        } else if !self.endpoint.socket.send(&transmit, output) && may_wait {
            self.unsent = Some((transmit, output[..len].into()));
        }
        Some(len)
    }

    /// Lets the timer wake the task when something is due. A timer that fires earlier is not postponed, because
    /// the next deadline of a connection that is used is later with each datagram.
    fn set_timer(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(due) = self.quic.poll_timeout() {
            if due <= now {
                return crate::drive::run_again(cx);
            }
            if self.timer_at.is_none_or(|at| at > due) {
                self.timer.as_mut().reset(due.into());
                self.timer_at = Some(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.timer_at = None;
            if due <= crate::clock::now() {
                return crate::drive::run_again(cx);
            }
        }
    }

    /// Waits until the connection is forgotten by both ends, and answers late datagrams of its client.
    pub(super) async fn drain(mut self) {
        let Some(_place) = self.endpoint.closing.take() else { return };
        std::future::poll_fn(|cx| {
            let mailbox = Rc::clone(&self.inbox.mailbox);
            mailbox.begin_turn(cx.waker());
            let now = crate::clock::now();
            self.advance(now);
            let _blocked = self.poll_transmit(cx, now);
            mailbox.rest();
            if self.quic.is_drained() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// The outcome of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Everything was sent.
    Done,
    /// The system takes no more.
    Blocked,
    /// Others send now.
    Yielded,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.quic.is_drained() {
            if !self.quic.is_closed() {
                self.quic.close(crate::clock::now(), wire(ErrorCode::NO_ERROR), Bytes::new());
            }
            let _sent = self.send(crate::clock::now());
            let _no_answer = self.endpoint.handle_event(self.handle, quinn_proto::EndpointEvent::drained());
        }
        self.endpoint.remove(self.handle);
    }
}

impl Quic for Connection {
    fn receive(&mut self, now: Instant, mut report: impl FnMut(StreamReport)) {
        self.advance(now);
        while let Some(event) = self.quic.poll() {
            match event {
                Event::Stream(StreamEvent::Opened { dir }) => {
                    while let Some(id) = self.quic.streams().accept(dir) {
                        report(StreamReport::Opened(id.into()));
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => report(StreamReport::Readable(id.into())),
                Event::Stream(StreamEvent::Writable { id }) => report(StreamReport::Writable(id.into())),
                Event::Stream(StreamEvent::Finished { id }) => report(StreamReport::Finished(id.into())),
                Event::Stream(StreamEvent::Stopped { id, .. }) => report(StreamReport::Stopped(id.into())),
                Event::ConnectionLost { reason } => self.end = Some(end(reason)),
                Event::Stream(StreamEvent::Available { .. })
                | Event::HandshakeDataReady
                | Event::Connected
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
    }

    fn moved_to(&mut self) -> Option<Rc<Endpoints>> {
        let client = self.quic.remote_address();
        // Whose address it is that a datagram seems to come from is not known before.
        if client == self.client || !self.allowance.is_proven(client) {
            return None;
        }
        self.client = client;
        let endpoints = self.endpoints.as_ref()?;
        Some(Rc::new(endpoints(self.addresses())))
    }

    fn take_end(&mut self) -> Option<io::Result<()>> {
        self.end.take()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        self.poll_transmit(cx, now)
    }

    fn look_after(&mut self, is_hungry: bool, now: Instant) {
        if now.saturating_duration_since(self.heard_at) >= SILENCE {
            self.quic.ping();
        }
        if is_hungry && self.wide.is_none() {
            self.wide = self.endpoint.wide.take();
            if self.wide.is_some() {
                self.quic.set_receive_window(self.windows.wide);
            }
        } else if !is_hungry && self.wide.take().is_some() {
            self.quic.set_receive_window(self.windows.usual);
        }
    }
}

impl Transport for Connection {
    fn read(&mut self, id: u64, max: usize) -> Read {
        let mut stream = self.quic.recv_stream(stream_id(id));
        // One that is over cannot be read.
        let Ok(mut chunks) = stream.read(true) else { return Read::Reset };
        let read = match chunks.next(max) {
            Ok(Some(chunk)) => Read::Bytes(chunk.bytes),
            Ok(None) => Read::Finished,
            Err(ReadError::Blocked) => Read::Blocked,
            Err(ReadError::Reset(_)) => Read::Reset,
        };
        // Credit for the client leaves at the end of the turn.
        let _transmit = chunks.finalize();
        read
    }

    fn write(&mut self, id: u64, chunks: &mut [Bytes]) -> Write {
        let id = stream_id(id);
        let mut written = self.quic.send_stream(id).write_chunks(chunks);
        if written == Err(WriteError::Blocked) && self.take_large_window() {
            written = self.quic.send_stream(id).write_chunks(chunks);
            if written.is_err() {
                // It is the client's window that is full.
                self.large = None;
                self.quic.set_send_window(SEND_WINDOW);
            }
        }
        match written {
            Ok(_) => Write::Taken,
            Err(WriteError::Blocked) => Write::Blocked,
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => Write::Closed,
        }
    }

    fn finish(&mut self, id: u64) {
        // The client may have stopped it.
        let _stopped = self.quic.send_stream(stream_id(id)).finish();
    }

    fn reset(&mut self, id: u64, code: ErrorCode) {
        let _over = self.quic.send_stream(stream_id(id)).reset(wire(code));
    }

    fn stop_sending(&mut self, id: u64, code: ErrorCode) {
        let _over = self.quic.recv_stream(stream_id(id)).stop(wire(code));
    }

    fn open_uni(&mut self) -> Option<u64> {
        let id = self.quic.streams().open(Dir::Uni)?;
        self.own_streams += 1;
        Some(id.into())
    }

    fn set_priority(&mut self, id: u64, priority: i32) {
        let _over = self.quic.send_stream(stream_id(id)).set_priority(priority);
    }

    fn close(&mut self, code: ErrorCode) {
        if !self.quic.is_closed() {
            // Frames that were written before, as GOAWAY, would be dropped.
            let _sent = self.send(self.now);
            self.quic.close(self.now, wire(code), Bytes::new());
        }
    }

    fn rtt(&self) -> Duration {
        self.quic.rtt()
    }
}

fn stream_id(id: u64) -> StreamId {
    VarInt::from_u64(id).expect("invariant: the number of a stream is one of its transport").into()
}

fn wire(code: ErrorCode) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}

/// Returns whether a connection has ended in order, or why not.
fn end(reason: ConnectionError) -> io::Result<()> {
    let kind = match &reason {
        ConnectionError::LocallyClosed => return Ok(()),
        ConnectionError::ApplicationClosed(close) if is_usual(close.error_code.into_inner()) => return Ok(()),
        ConnectionError::TimedOut => io::ErrorKind::TimedOut,
        ConnectionError::Reset => io::ErrorKind::ConnectionReset,
        ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_) => {
            io::ErrorKind::ConnectionAborted
        }
        _ => io::ErrorKind::Other,
    };
    Err(io::Error::new(kind, reason))
}

/// Whether a client closes its connection with this code if nothing is wrong. Some know no `H3_NO_ERROR`.
fn is_usual(code: u64) -> bool {
    code == ErrorCode::NO_ERROR.value() || code == 0
}

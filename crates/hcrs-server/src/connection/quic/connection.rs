//! One QUIC connection: what has arrived for it, its timer, and what it sends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{ConnectionError, ConnectionEvent, ConnectionHandle, Transmit, VarInt};
use tokio::time::Sleep;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::endpoint::{Endpoint, with_output};
use crate::exchange::mailbox::Mailbox;

/// The most datagrams that may wait for a connection. More are dropped, as the network drops them.
const WAITING: usize = 1024;

/// The number of bytes after which other connections send.
const SENT_PER_TURN: usize = 256 << 10;

/// What has arrived for a connection.
#[derive(Debug)]
pub(super) struct Inbox {
    events: RefCell<VecDeque<ConnectionEvent>>,
    mailbox: Rc<Mailbox>,
}

impl Inbox {
    pub(super) fn new(mailbox: Rc<Mailbox>) -> Self {
        Self { events: RefCell::default(), mailbox }
    }

    pub(super) fn push(&self, event: ConnectionEvent) {
        let mut events = self.events.borrow_mut();
        if events.len() < WAITING {
            events.push_back(event);
            self.mailbox.wake();
        }
    }
}

/// A QUIC connection. It lives in the task that drives it.
pub(crate) struct Connection {
    endpoint: Rc<Endpoint>,
    handle: ConnectionHandle,
    pub(super) quic: Box<quinn_proto::Connection>,
    inbox: Rc<Inbox>,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires, if it is set. It may be earlier than anything is due.
    timer_at: Option<Instant>,
    /// Datagrams that the system has not taken yet.
    unsent: Option<(Transmit, Box<[u8]>)>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(
        endpoint: Rc<Endpoint>,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        inbox: Rc<Inbox>,
    ) -> Self {
        Self {
            endpoint,
            handle,
            quic: Box::new(quic),
            inbox,
            timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
            timer_at: None,
            unsent: None,
        }
    }

    /// Returns the addresses of the client and of this end.
    pub(super) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.quic.remote_address(), self.endpoint.socket.local_address(self.quic.local_ip()))
    }

    /// Returns the certificates that the client has sent.
    pub(super) fn client_chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.quic.crypto_session().peer_identity();
        chain.and_then(|chain| chain.downcast().ok()).map(|chain| *chain).unwrap_or_default()
    }

    /// Returns the endpoint of the connection.
    pub(super) fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }

    /// Takes what has arrived and what has become due.
    pub(super) fn receive(&mut self, now: Instant) {
        // Nothing arrives meanwhile.
        let arrived = self.inbox.events.take();
        for event in arrived {
            self.quic.handle_event(event);
        }
        if self.quic.poll_timeout().is_some_and(|due| due <= now) {
            self.quic.handle_timeout(now);
        }
        self.report();
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
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let sent = self.send(now);
        self.report();
        match sent {
            Sending::Done => {}
            Sending::Blocked => self.endpoint.socket.wake_when_writable(&self.inbox.mailbox),
            Sending::Yielded => crate::drive::run_again(cx),
        }
        self.set_timer(cx, now);
        if sent == Sending::Blocked { Poll::Pending } else { Poll::Ready(()) }
    }

    fn send(&mut self, now: Instant) -> Sending {
        if let Some((transmit, bytes)) = &self.unsent {
            if !self.endpoint.socket.send(transmit, bytes) {
                return Sending::Blocked;
            }
            self.unsent = None;
        }
        let mut sent = 0;
        while sent < SENT_PER_TURN {
            let outcome = with_output(|output| {
                let transmit = self.quic.poll_transmit(now, self.endpoint.socket.segments(), output)?;
                let len = transmit.size;
                if self.endpoint.socket.send(&transmit, output) {
                    return Some(Ok(len));
                }
                self.unsent = Some((transmit, output[..len].into()));
                Some(Err(Sending::Blocked))
            });
            match outcome {
                None => return Sending::Done,
                Some(Ok(len)) => sent += len,
                Some(Err(blocked)) => return blocked,
            }
        }
        Sending::Yielded
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

    /// Closes the connection, with this error of the application.
    pub(super) fn close(&mut self, code: u64, now: Instant) {
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        self.quic.close(now, code, Bytes::new());
    }

    /// Waits until the connection is forgotten by both ends, and answers late datagrams of its client.
    pub(super) async fn drain(mut self) {
        let Some(_place) = self.endpoint.closing_place() else { return };
        std::future::poll_fn(|cx| {
            let mailbox = Rc::clone(&self.inbox.mailbox);
            mailbox.begin_turn(cx.waker());
            let now = crate::clock::now();
            self.receive(now);
            let _blocked = self.poll_send(cx, now);
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
                self.close(NO_ERROR, crate::clock::now());
            }
            let _sent = self.send(crate::clock::now());
            let _no_answer = self.endpoint.handle_event(self.handle, quinn_proto::EndpointEvent::drained());
        }
        self.endpoint.remove(self.handle);
    }
}

/// `H3_NO_ERROR` (RFC 9114 §8.1).
const NO_ERROR: u64 = 0x100;

/// Whether a connection has ended because of its client, without a fault of either side.
pub(super) fn is_usual_end(reason: &ConnectionError) -> bool {
    matches!(
        reason,
        ConnectionError::ApplicationClosed(_)
            | ConnectionError::LocallyClosed
            | ConnectionError::TimedOut
            | ConnectionError::Reset
    )
}

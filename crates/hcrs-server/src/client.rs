//! The facts of a client's connection that the steps before its first request have found.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use hcrs_forwarded::Forwarding;
use hcrs_http::{Endpoints, Fault, Scheme};
use hcrs_metrics::ConnectionProtocol;

use crate::exchange::mailbox::Mailbox;
use crate::exchange::tls_info::NumberedTlsInfo;
use crate::state::{Phase, ThreadState};

/// A client's connection, in any protocol.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its place among the thread's connections.
    pub admitted: Admitted,
    /// Its number on this thread.
    pub serial: u64,
    /// The treatment of the fields in which a proxy describes its client.
    pub forwarded: ForwardedFields,
    /// Whether the peer is a trusted proxy.
    pub is_trusted: bool,
    /// Cleartext or TLS.
    pub scheme: Scheme,
    /// The addresses of both ends.
    pub endpoints: Rc<Endpoints>,
    /// The outcome of the TLS handshake.
    pub tls: Option<Agreed>,
}

/// The outcome of a TLS handshake.
#[derive(Debug)]
pub(crate) struct Agreed {
    /// The properties of the TLS connection that apps see.
    pub info: Rc<NumberedTlsInfo>,
    /// The protocol that ALPN chose.
    pub alpn: Option<String>,
}

impl Client {
    /// Joins the results of the steps before the first request of connection `serial`.
    pub(crate) fn new(admitted: Admitted, serial: u64, peer: Peer, tls: Option<Agreed>) -> Self {
        let Peer { endpoints, forwarded, is_trusted, scheme } = peer;
        let (endpoints, scheme) = match &tls {
            Some(agreed) => (endpoints.with_tls(agreed.info.number), Scheme::Https),
            None => (endpoints, scheme),
        };
        Self { admitted, serial, forwarded, is_trusted, scheme, endpoints: Rc::new(endpoints), tls }
    }

    /// Returns the fields that are believed when the peer describes other clients; `None` if it is no trusted proxy.
    pub(crate) fn believed(&self) -> Option<Forwarding> {
        self.admitted.shared.settings().proxies.forwarded.filter(|_| self.is_trusted)
    }

    /// Logs that the connection ends with a fault, after its requests were noted.
    pub(crate) fn note_fault(&self, fault: Fault) {
        self.admitted.shared.note_connection_fault(self.serial, fault);
    }

    /// Logs that the connection is lost because of an error.
    pub(crate) fn note_loss(&self, error: &std::io::Error) {
        tracing::debug!(conn = self.serial, "Connection lost: {error}");
    }
}

/// The origin of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The addresses of both ends; those that the proxy names if there is one.
    pub endpoints: Endpoints,
    /// The treatment of the requests' forwarded fields.
    pub forwarded: ForwardedFields,
    /// Whether it is a trusted proxy.
    pub is_trusted: bool,
    /// HTTPS if the client used TLS to the proxy.
    pub scheme: Scheme,
}

/// The treatment of the fields in which a proxy describes its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardedFields {
    /// The fields are ordinary ones.
    AsTheyAre,
    /// The fields come from a trusted peer and describe the client.
    Trusted,
    /// The fields are removed before the app sees the request.
    Dropped,
}

/// A connection's place among those of its thread. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The state of the thread.
    pub shared: Rc<ThreadState>,
    /// Wakes the connection.
    pub mailbox: Rc<Mailbox>,
    key: usize,
    protocol: Cell<ConnectionProtocol>,
}

impl Admitted {
    /// Takes a place.
    pub(crate) fn new(shared: &Rc<ThreadState>) -> Self {
        let mailbox = Rc::new(Mailbox::default());
        let key = shared.connections.borrow_mut().insert(Rc::clone(&mailbox));
        shared.metrics.open_connection();
        Self { shared: Rc::clone(shared), mailbox, key, protocol: Cell::new(ConnectionProtocol::Unknown) }
    }

    /// Notes that the connection's protocol has become known.
    pub(crate) fn negotiate(&self, protocol: ConnectionProtocol) {
        self.protocol.set(protocol);
        self.shared.metrics.negotiate(protocol);
    }

    /// Runs a step that precedes the connection's first request; `None` if the drain of the thread ends the
    /// time for one.
    pub(crate) async fn until_drained<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.mailbox.begin_turn(cx.waker());
            self.mailbox.rest();
            match work.as_mut().poll(cx) {
                Poll::Pending if self.shared.phase() >= Phase::Finishing => Poll::Ready(None),
                polled => polled.map(Some),
            }
        })
        .await
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.connections.borrow_mut().remove(self.key);
        self.shared.metrics.close_connection(self.protocol.get());
        self.shared.changed.notify_one();
        // Wakes the task that will ask the allocator to release the connection's memory.
        self.shared.apps.waker().wake();
    }
}

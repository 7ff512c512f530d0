//! A client's connection, as the steps before its first request have found it.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use hcrs_http::{Endpoints, Scheme};

use crate::exchange::mailbox::Mailbox;
use crate::exchange::tls_info::NumberedFacts;
use crate::state::{Phase, ThreadState};

/// A client's connection, whatever it speaks.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its place among the thread's connections.
    pub admitted: Admitted,
    /// Its number on this thread.
    pub serial: u64,
    /// How the fields are treated in which a proxy describes its client.
    pub forwarded: ForwardedFields,
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
    pub known: Rc<NumberedFacts>,
    /// The protocol that ALPN chose.
    pub alpn: Option<String>,
}

impl Client {
    /// Joins what the steps before the first request have found out about connection `serial`.
    pub(crate) fn new(admitted: Admitted, serial: u64, peer: Peer, tls: Option<Agreed>) -> Self {
        let Peer { endpoints, forwarded, scheme } = peer;
        let (endpoints, scheme) = match &tls {
            Some(agreed) => (endpoints.with_tls(agreed.known.number), Scheme::Https),
            None => (endpoints, scheme),
        };
        Self { admitted, serial, forwarded, scheme, endpoints: Rc::new(endpoints), tls }
    }
}

/// Who a connection comes from.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The addresses of both ends, those that the proxy names if there is one.
    pub endpoints: Endpoints,
    /// How its requests' forwarded fields are treated.
    pub forwarded: ForwardedFields,
    /// HTTPS if the client spoke TLS with the proxy.
    pub scheme: Scheme,
}

/// How the fields are treated in which a proxy describes its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardedFields {
    /// They are fields like all others.
    AsTheyAre,
    /// They come from a trusted peer, and describe the client.
    Trusted,
    /// The app does not see them.
    Dropped,
}

/// A connection's place among those of its thread, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// What the thread's connections share.
    pub shared: Rc<ThreadState>,
    /// Wakes the connection.
    pub mailbox: Rc<Mailbox>,
    key: usize,
}

impl Admitted {
    /// Takes a place.
    pub(crate) fn new(shared: &Rc<ThreadState>) -> Self {
        let mailbox = Rc::new(Mailbox::default());
        let key = shared.connections.borrow_mut().insert(Rc::clone(&mailbox));
        Self { shared: Rc::clone(shared), mailbox, key }
    }

    /// Does what precedes the connection's first request, while there is time for one: `None` if the thread drains and that
    /// is over.
    pub(crate) async fn while_welcome<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.mailbox.attend(cx.waker());
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
        self.shared.stir.notify_one();
        // What it held can be given back to the system in a while.
        self.shared.dispatch.stir();
    }
}

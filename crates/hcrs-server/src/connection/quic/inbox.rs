//! The datagrams that have arrived for a connection, until its task takes them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use quinn_proto::ConnectionEvent;

use crate::exchange::mailbox::Mailbox;

/// The most datagrams that may wait for a connection. More are dropped, as the network drops them.
const WAITING: usize = 1024;

/// A datagram that has arrived for a connection.
#[derive(Debug)]
pub(super) struct Arrival {
    pub source: SocketAddr,
    pub len: usize,
    /// Whether its sender knows an id that this end has chosen for the connection.
    pub knows_id: bool,
    pub event: ConnectionEvent,
}

/// The datagrams that have arrived for a connection.
#[derive(Debug)]
pub(super) struct Inbox {
    arrivals: RefCell<VecDeque<Arrival>>,
    pub mailbox: Rc<Mailbox>,
}

impl Inbox {
    pub(super) fn new(mailbox: Rc<Mailbox>) -> Self {
        Self { arrivals: RefCell::default(), mailbox }
    }

    /// Adds a datagram, for which the connection's task is woken.
    pub(super) fn push(&self, arrival: Arrival) {
        let mut arrivals = self.arrivals.borrow_mut();
        if arrivals.len() < WAITING {
            arrivals.push_back(arrival);
            self.mailbox.wake();
        }
    }

    /// Takes all that have arrived.
    pub(super) fn take(&self) -> VecDeque<Arrival> {
        self.arrivals.take()
    }
}

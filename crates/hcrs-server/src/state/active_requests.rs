//! The requests in flight of an edge thread, so that an operator can see them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use hcrs_metrics::{ACTIVE_MAX, ActiveRequest, Protocol, ThreadSnapshot};
use slab::Slab;

use crate::exchange::{Activity, Exchange};

/// The number of places that an empty list keeps.
const PLACES_KEPT: usize = 1024;

/// The requests in flight of an edge thread.
#[derive(Debug, Default)]
pub(crate) struct ActiveRequests {
    entries: RefCell<Slab<Entry>>,
}

#[derive(Debug)]
struct Entry {
    connection: u64,
    stream: Option<u64>,
    protocol: Protocol,
    exchange: Rc<Exchange>,
}

impl ActiveRequests {
    /// Adds a request that has arrived on the connection with this number and the stream with this number, if
    /// the protocol has streams.
    pub(crate) fn add(
        &self,
        connection: u64,
        stream: Option<u64>,
        protocol: Protocol,
        exchange: &Rc<Exchange>,
    ) {
        let entry = Entry { connection, stream, protocol, exchange: Rc::clone(exchange) };
        exchange.list_at(self.entries.borrow_mut().insert(entry));
    }

    /// Removes a request that is over. Returns its protocol; `None` if it was removed before.
    pub(crate) fn remove(&self, exchange: &Exchange) -> Option<Protocol> {
        let place = exchange.take_place()?;
        let mut entries = self.entries.borrow_mut();
        let entry = entries.remove(place);
        if entries.is_empty() && entries.capacity() > PLACES_KEPT {
            // Releases memory after very many requests at once.
            *entries = Slab::new();
        }
        Some(entry.protocol)
    }

    /// Returns the number of requests in flight.
    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Adds the number of requests in flight by protocol, and the oldest ones, to the snapshot of the thread
    /// with the number `thread`.
    pub(crate) fn add_to(&self, snapshot: &mut ThreadSnapshot, thread: usize, now: Instant) {
        let entries = self.entries.borrow();
        let mut by_age: Vec<_> = entries.iter().map(|(_, entry)| entry).collect();
        for entry in &by_age {
            snapshot.count_in_flight(entry.protocol);
        }
        if by_age.len() > ACTIVE_MAX {
            by_age.select_nth_unstable_by_key(ACTIVE_MAX, |entry| entry.exchange.arrived());
            by_age.truncate(ACTIVE_MAX);
        }
        by_age.sort_by_key(|entry| entry.exchange.arrived());
        snapshot.requests = by_age.into_iter().filter_map(|entry| entry.describe(thread, now)).collect();
    }
}

impl Entry {
    /// Returns the request as an operator sees it; `None` if it is over.
    fn describe(&self, thread: usize, now: Instant) -> Option<ActiveRequest> {
        let Activity { stage, worker, method, path } = self.exchange.activity()?;
        Some(ActiveRequest {
            thread,
            connection: self.connection,
            stream: self.stream,
            protocol: self.protocol,
            method,
            path,
            age: now.saturating_duration_since(self.exchange.arrived()),
            stage,
            worker,
        })
    }
}

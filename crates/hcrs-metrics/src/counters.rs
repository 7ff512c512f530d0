//! The counters of one edge thread.

use std::cell::RefCell;
use std::time::Duration;

use hcrs_http::Fault;

use crate::histogram::Histogram;
use crate::label::{ConnectionProtocol, HandshakeFailure, Protocol, StatusClass};
use crate::values::{
    ByConnectionProtocol, ByFault, ByHandshakeFailure, ByProtocol, ByStatus, Counter, Level, Merge, Stalls,
};

/// The counters and histograms of one edge thread. Counting neither allocates nor locks; copies may be sent to
/// another thread and added up there.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Requests that are over.
    pub(crate) requests: ByProtocol<ByStatus<Counter>>,
    /// The time from arrival to end.
    pub(crate) duration: ByProtocol<Histogram>,
    /// The time from arrival until the request was sent to the worker that answered it.
    pub(crate) queue: Histogram,
    /// The time from there to the response's head.
    pub(crate) app: Histogram,
    /// The time from there to the end, except for WebSockets.
    pub(crate) send: Histogram,
    /// Requests and streams of the workers, by slot.
    pub(crate) slots: RefCell<Vec<SlotCounters>>,
    /// Faults that have ended requests.
    pub(crate) request_faults: ByFault<Counter>,
    /// Faults that have ended connections.
    pub(crate) connection_faults: ByFault<Counter>,
    /// Connections that were accepted, and are served.
    pub(crate) accepted: Counter,
    /// Connections that were closed at once, because there were too many.
    pub(crate) refused: Counter,
    /// Connections whose protocol became known.
    pub(crate) negotiated: ByConnectionProtocol<Counter>,
    /// Connections that are open.
    pub(crate) open: ByConnectionProtocol<Level>,
    pub(crate) handshakes: Counter,
    pub(crate) handshake_failures: ByHandshakeFailure<Counter>,
    /// Bytes that were read from clients' sockets.
    pub received_bytes: Counter,
    /// Bytes that were written to clients' sockets.
    pub sent_bytes: Counter,
    /// The number of times that bytes began to wait for credit.
    pub stalls: Stalls,
}

/// The counters of the workers that have had one slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlotCounters {
    /// Requests that are over.
    pub(crate) requests: ByStatus<Counter>,
    /// Streams that the workers have not ended.
    pub(crate) streams: Level,
}

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub struct EndedRequest {
    /// Its protocol.
    pub protocol: Protocol,
    /// The status of its response, if one was begun.
    pub status: Option<u16>,
    /// The time from arrival to end.
    pub duration: Duration,
    /// The slot of the worker that it was sent to, counted from 0; `None` if the edge has answered it.
    pub slot: Option<usize>,
    /// The time from arrival until it was sent to that worker.
    pub queue: Option<Duration>,
    /// The time from there to the response's head.
    pub app: Option<Duration>,
    /// The time from the response's head to the end.
    pub send: Option<Duration>,
}

impl Counters {
    /// Counts a request that is over.
    pub fn end_request(&self, ended: &EndedRequest) {
        let status = StatusClass::of(ended.status);
        self.requests.of(ended.protocol).of(status).increment();
        self.duration.of(ended.protocol).record(ended.duration);
        if let Some(queue) = ended.queue {
            self.queue.record(queue);
        }
        if let Some(app) = ended.app {
            self.app.record(app);
        }
        if let Some(send) = ended.send
            && ended.protocol != Protocol::WebSocket
        {
            self.send.record(send);
        }
        if let Some(slot) = ended.slot
            && let Some(slot) = self.slots.borrow().get(slot)
        {
            slot.requests.of(status).increment();
        }
    }

    /// Makes room for the counters of a worker's slot, counted from 0. Slots without a worker keep theirs, so
    /// that there are as many as the most workers that there were.
    pub fn add_slot(&self, slot: usize) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() <= slot {
            slots.resize_with(slot + 1, SlotCounters::default);
        }
    }

    /// Counts a fault that has ended a request.
    pub fn fail_request(&self, fault: Fault) {
        self.request_faults.of(fault).increment();
    }

    /// Counts a fault that has ended a connection.
    pub fn fail_connection(&self, fault: Fault) {
        self.connection_faults.of(fault).increment();
    }

    /// Counts a connection that is served from now on.
    pub fn open_connection(&self) {
        self.accepted.increment();
        self.open.of(ConnectionProtocol::Unknown).rise();
    }

    /// Counts a connection that is closed at once, because there are too many.
    pub fn refuse_connection(&self) {
        self.refused.increment();
    }

    /// Notes that the protocol of a connection has become known.
    pub fn negotiate(&self, protocol: ConnectionProtocol) {
        self.negotiated.of(protocol).increment();
        self.open.of(ConnectionProtocol::Unknown).fall();
        self.open.of(protocol).rise();
    }

    /// Notes the end of a connection whose protocol is, as far as is known, this one.
    pub fn close_connection(&self, protocol: ConnectionProtocol) {
        self.open.of(protocol).fall();
    }

    /// Counts a TLS handshake that has succeeded.
    pub fn shake_hands(&self) {
        self.handshakes.increment();
    }

    /// Counts a TLS handshake that has failed.
    pub fn fail_handshake(&self, why: HandshakeFailure) {
        self.handshake_failures.of(why).increment();
    }

    /// Sets the numbers of streams of the workers, by slot: those of one slot are added up.
    pub(crate) fn set_streams(&self, streams: impl Iterator<Item = (usize, usize)>) {
        let slots = self.slots.borrow();
        for slot in &*slots {
            slot.streams.set(0);
        }
        for (slot, count) in streams {
            if let Some(slot) = slots.get(slot) {
                slot.streams.set(slot.streams.get() + count as u64);
            }
        }
    }
}

impl Merge for Counters {
    fn merge(&self, other: &Self) {
        let Self {
            requests,
            duration,
            queue,
            app,
            send,
            slots,
            request_faults,
            connection_faults,
            accepted,
            refused,
            negotiated,
            open,
            handshakes,
            handshake_failures,
            received_bytes,
            sent_bytes,
            stalls,
        } = self;
        requests.merge(&other.requests);
        duration.merge(&other.duration);
        queue.merge(&other.queue);
        app.merge(&other.app);
        send.merge(&other.send);
        let theirs = other.slots.borrow();
        if let Some(last) = theirs.len().checked_sub(1) {
            self.add_slot(last);
        }
        for (slot, other) in slots.borrow().iter().zip(&*theirs) {
            slot.requests.merge(&other.requests);
            slot.streams.merge(&other.streams);
        }
        request_faults.merge(&other.request_faults);
        connection_faults.merge(&other.connection_faults);
        accepted.merge(&other.accepted);
        refused.merge(&other.refused);
        negotiated.merge(&other.negotiated);
        open.merge(&other.open);
        handshakes.merge(&other.handshakes);
        handshake_failures.merge(&other.handshake_failures);
        received_bytes.merge(&other.received_bytes);
        sent_bytes.merge(&other.sent_bytes);
        stalls.merge(&other.stalls);
    }
}

//! The totals that a report about the server shows.

use crate::counters::Counters;
use crate::histogram::Histogram;
use crate::label::{ConnectionProtocol, Label as _, Protocol, ShedReason, StatusClass};
use crate::values::Merge as _;

/// The totals of counters.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Requests that are over, by the class of their status.
    pub by_status: Vec<(StatusClass, u64)>,
    /// Requests that are over, by protocol.
    pub by_protocol: Vec<(Protocol, u64)>,
    /// The time from arrival to end of all requests but WebSockets.
    pub duration: Histogram,
    /// Connections that are open, by protocol.
    pub open: Vec<(ConnectionProtocol, u64)>,
    /// Connections that were accepted.
    pub accepted: u64,
    /// TLS handshakes that were finished.
    pub handshakes: u64,
    /// TLS handshakes that have failed.
    pub failed_handshakes: u64,
    /// Requests that were refused because of the queue.
    pub shed: u64,
    /// The slots of workers, in their order.
    pub slots: Vec<SlotTotals>,
}

/// The totals of a worker's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotTotals {
    /// Requests that are over.
    pub requests: u64,
    /// Streams that the workers have not ended.
    pub streams: u64,
}

impl Counters {
    /// Returns the totals.
    pub fn totals(&self) -> Totals {
        let sum =
            |class: StatusClass| Protocol::ALL.iter().map(|&of| self.requests.of(of).of(class).get()).sum();
        let of_protocol = |protocol: Protocol| {
            StatusClass::ALL.iter().map(|&class| self.requests.of(protocol).of(class).get()).sum()
        };
        let duration = Histogram::default();
        for (_, of_protocol) in self.duration.iter().filter(|(protocol, _)| *protocol != Protocol::WebSocket)
        {
            duration.merge(of_protocol);
        }
        Totals {
            by_status: StatusClass::ALL.iter().map(|&class| (class, sum(class))).collect(),
            by_protocol: Protocol::ALL.iter().map(|&protocol| (protocol, of_protocol(protocol))).collect(),
            duration,
            open: self.open.iter().map(|(protocol, open)| (protocol, open.get())).collect(),
            accepted: self.accepted.get(),
            handshakes: self.handshakes.get(),
            failed_handshakes: self.handshake_failures.iter().map(|(_, failed)| failed.get()).sum(),
            shed: ShedReason::ALL.iter().map(|reason| self.request_faults.of(reason.fault()).get()).sum(),
            slots: self
                .slots
                .borrow()
                .iter()
                .map(|slot| SlotTotals {
                    requests: slot.requests.iter().map(|(_, requests)| requests.get()).sum(),
                    streams: slot.streams.get(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::EndedRequest;

    #[test]
    fn totals_add_up_what_labels_divide() {
        let counters = Counters::default();
        counters.add_slot(1);
        let ended = |protocol, status| EndedRequest {
            protocol,
            status: Some(status),
            duration: Duration::from_millis(3),
            slot: Some(1),
            queue: None,
            app: None,
            send: None,
        };
        counters.end_request(&ended(Protocol::Http2, 200));
        counters.end_request(&ended(Protocol::Http11, 204));
        counters.end_request(&ended(Protocol::WebSocket, 101));
        counters.open_connection();
        counters.negotiate(ConnectionProtocol::Http2);
        counters.fail_request(ShedReason::ALL[0].fault());
        let totals = counters.totals();
        assert!(totals.by_status.contains(&(StatusClass::Success, 2)));
        assert!(totals.by_protocol.contains(&(Protocol::WebSocket, 1)));
        assert_eq!((totals.duration.count(), totals.shed, totals.accepted), (2, 1, 1));
        assert!(totals.open.contains(&(ConnectionProtocol::Http2, 1)));
        assert_eq!(totals.slots[1], SlotTotals { requests: 3, streams: 0 });
    }
}

//! The metrics of an edge thread at one instant.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::active::ActiveRequest;
use crate::counters::Counters;
use crate::label::Label as _;
use crate::values::{ByProtocol, Level, Merge as _};

/// The most requests in flight that one thread lists: its oldest ones.
pub const ACTIVE_MAX: usize = 100;

/// The requests that no worker of an app has begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueFacts {
    /// The number of those that wait for a worker.
    pub length: u64,
    /// Their bytes, and those of requests that were sent and not begun.
    pub bytes: u64,
}

impl QueueFacts {
    fn add(&mut self, other: Self) {
        self.length += other.length;
        self.bytes += other.bytes;
    }
}

/// The most upstreams whose metrics are told apart. Those beyond are added up under [`OTHER_UPSTREAMS`].
pub const UPSTREAMS_MAX: usize = 256;

/// The name of the upstreams beyond [`UPSTREAMS_MAX`].
pub const OTHER_UPSTREAMS: &str = "others";

/// The requests of an upstream, since it was configured, and its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpstreamFacts {
    /// The number of requests that were sent to it, or wait for a connection to it.
    pub requests: u64,
    /// The number of those that it has failed: it could not be connected to, broke off, was late or sent no response.
    pub failures: u64,
    /// The number of open connections.
    pub connections: u64,
}

impl UpstreamFacts {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.connections += other.connections;
    }
}

/// The metrics of an edge thread, or of several, at one instant.
#[derive(Debug, Clone, Default)]
pub struct ThreadSnapshot {
    /// The counters.
    pub counters: Counters,
    /// The number of requests that wait for a worker.
    pub queue_length: u64,
    /// The bytes of requests that no worker has begun.
    pub queue_bytes: u64,
    /// The queues of the apps, by name; their sums are above.
    pub queues: BTreeMap<String, QueueFacts>,
    /// The upstreams, by their URLs; at most [`UPSTREAMS_MAX`] and the others.
    pub(crate) upstreams: BTreeMap<String, UpstreamFacts>,
    /// Requests in flight: the oldest of each thread, at most [`ACTIVE_MAX`].
    pub requests: Vec<ActiveRequest>,
    pub(crate) in_flight: ByProtocol<Level>,
}

impl ThreadSnapshot {
    /// Returns a snapshot of a thread's counters, in which nothing waits or is in flight.
    pub fn of(counters: &Counters) -> Self {
        Self { counters: counters.clone(), ..Self::default() }
    }

    /// Counts a request in flight.
    pub fn count_in_flight(&self, protocol: crate::Protocol) {
        self.in_flight.of(protocol).rise();
    }

    /// Returns the number of requests in flight.
    pub fn in_flight(&self) -> u64 {
        crate::Protocol::ALL.iter().map(|&protocol| self.in_flight.of(protocol).get()).sum()
    }

    /// Sets the numbers of streams that the workers have not ended, by slot counted from 0. Those of one slot
    /// are added up.
    pub fn set_streams(&self, streams: impl Iterator<Item = (usize, usize)>) {
        self.counters.set_streams(streams);
    }

    /// Adds the queue of an app.
    pub fn add_queue(&mut self, app: &str, queue: QueueFacts) {
        self.queue_length += queue.length;
        self.queue_bytes += queue.bytes;
        self.queues.entry(app.to_owned()).or_default().add(queue);
    }

    /// Adds an upstream.
    pub fn add_upstream(&mut self, url: &str, facts: UpstreamFacts) {
        let is_known = self.upstreams.contains_key(url) || self.upstreams.len() < UPSTREAMS_MAX;
        let name = if is_known { url } else { OTHER_UPSTREAMS };
        // The formats would escape these.
        let name = name.replace(['"', '\\', '\n'], "_");
        self.upstreams.entry(name).or_default().add(facts);
    }

    /// Adds the metrics of another thread. The requests are in order of age afterwards, the oldest first.
    pub fn merge(&mut self, other: Self) {
        self.counters.merge(&other.counters);
        self.in_flight.merge(&other.in_flight);
        self.queue_length += other.queue_length;
        self.queue_bytes += other.queue_bytes;
        for (app, queue) in other.queues {
            self.queues.entry(app).or_default().add(queue);
        }
        for (url, facts) in other.upstreams {
            self.add_upstream(&url, facts);
        }
        self.requests.extend(other.requests);
        self.requests.sort_by_key(|request| Reverse(request.age));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hcrs_http::Fault;

    use super::*;
    use crate::{EndedRequest, Protocol, Stage, StatusClass};

    fn of_a_thread(slot: usize, age: u64) -> ThreadSnapshot {
        let counters = Counters::default();
        counters.add_slot(slot);
        counters.end_request(&EndedRequest {
            protocol: Protocol::Http2,
            status: Some(200),
            duration: Duration::from_millis(3),
            slot: Some(slot),
            queue: Some(Duration::ZERO),
            app: None,
            send: None,
        });
        counters.fail_request(Fault::ClientGone);
        let request = ActiveRequest {
            thread: slot,
            connection: 1,
            stream: None,
            protocol: Protocol::Http11,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            age: Duration::from_secs(age),
            stage: Stage::Queued,
            worker: None,
        };
        let snapshot = ThreadSnapshot {
            counters,
            queue_length: 2,
            queue_bytes: 100,
            requests: vec![request],
            ..ThreadSnapshot::default()
        };
        snapshot.count_in_flight(Protocol::Http11);
        snapshot
    }

    #[test]
    fn snapshots_go_to_another_thread_and_are_added_up_there() {
        let threads: Vec<_> =
            (0..3).map(|slot| std::thread::spawn(move || of_a_thread(slot, slot as u64))).collect();
        let mut all = ThreadSnapshot::default();
        for thread in threads {
            all.merge(thread.join().unwrap());
        }
        assert_eq!(all.counters.requests.of(Protocol::Http2).of(StatusClass::Success).get(), 3);
        assert_eq!(all.counters.duration.of(Protocol::Http2).count(), 3);
        assert_eq!(all.counters.request_faults.of(Fault::ClientGone).get(), 3);
        assert_eq!((all.queue_length, all.queue_bytes, all.in_flight()), (6, 300, 3));
        let ages: Vec<_> = all.requests.iter().map(|request| request.age.as_secs()).collect();
        assert_eq!(ages, [2, 1, 0], "the oldest first");
        let slots = all.counters.slots.borrow();
        let per_slot = slots.iter().map(|slot| slot.requests.of(StatusClass::Success).get());
        assert_eq!(per_slot.collect::<Vec<_>>(), [1, 1, 1], "each thread knew another slot");
    }

    #[test]
    fn upstreams_are_added_up_by_name_and_told_apart_up_to_a_number() {
        let facts = UpstreamFacts { requests: 2, failures: 1, connections: 3 };
        let (mut all, mut other) = (ThreadSnapshot::default(), ThreadSnapshot::default());
        for number in 0..UPSTREAMS_MAX + 5 {
            all.add_upstream(&format!("http://10.0.0.1:{number}"), facts);
        }
        other.add_upstream("http://10.0.0.1:7", facts);
        other.add_upstream("unix:/a\"b", facts);
        all.merge(other);
        assert_eq!(all.upstreams.len(), UPSTREAMS_MAX + 1);
        assert_eq!(all.upstreams["http://10.0.0.1:7"].requests, 4);
        assert_eq!(
            all.upstreams[OTHER_UPSTREAMS],
            UpstreamFacts { requests: 12, failures: 6, connections: 18 }
        );
    }

    #[test]
    fn streams_of_two_workers_of_one_slot_are_added_up_and_replace_earlier_numbers() {
        let snapshot = of_a_thread(1, 0);
        snapshot.set_streams([(0, 5), (1, 5)].into_iter());
        snapshot.set_streams([(1, 2), (1, 3), (7, 9)].into_iter());
        let slots = snapshot.counters.slots.borrow();
        assert_eq!(slots.iter().map(|slot| slot.streams.get()).collect::<Vec<_>>(), [0, 5]);
    }
}

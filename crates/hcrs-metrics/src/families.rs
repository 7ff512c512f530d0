//! The table of all metrics: name, kind, help and samples. The exposition writes it in this order, and
//! `docs/guide/metrics.md` lists it.

use crate::exposition::Samples;
use crate::label::{ConnectionProtocol, Label, ShedReason, WorkerState};
use crate::server::ServerFacts;
use crate::snapshot::{QueueFacts, ThreadSnapshot, UpstreamFacts};
use crate::values::ByFault;
use crate::values::Counter;

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// Facts that do not change, as the labels of a number that is always 1.
    Info,
}

impl Kind {
    /// Returns the type's name in `OpenMetrics`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// Returns the end of the names of samples.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

/// The numbers that are scraped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scrape<'a> {
    pub(crate) threads: &'a ThreadSnapshot,
    pub(crate) server: &'a ServerFacts,
}

/// A metric.
pub(crate) struct Family {
    /// The name, without the suffix of its kind.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// One line, without `"` and `\`, which the formats would escape.
    pub(crate) help: &'static str,
    /// Writes the samples. Series that may come to exist are written from the start, with 0, so that the
    /// first event is an increase.
    pub(crate) samples: fn(&Scrape<'_>, &mut Samples<'_>),
}

impl Family {
    const fn new(
        name: &'static str,
        kind: Kind,
        help: &'static str,
        samples: fn(&Scrape<'_>, &mut Samples<'_>),
    ) -> Self {
        Self { name, kind, help, samples }
    }

    /// Returns the unit, with which the name ends.
    pub(crate) fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| self.name.ends_with(unit))
    }
}

/// All metrics.
pub(crate) const FAMILIES: &[Family] = &[
    Family::new("hcrs_build", Kind::Info, "The version of hcrs.", |scrape, out| {
        out.number(&[("version", scrape.server.version)], 1);
    }),
    Family::new(
        "hcrs_start_time_seconds",
        Kind::Gauge,
        "When the server started, since the Unix epoch.",
        |scrape, out| out.seconds(&[], scrape.server.started.as_nanos() as u64),
    ),
    // Requests
    Family::new(
        "hcrs_requests",
        Kind::Counter,
        "Requests that are over, by protocol and class of the response's status.",
        |scrape, out| {
            for (protocol, by_status) in scrape.threads.counters.requests.iter() {
                out.each(&[("protocol", protocol.as_str())], by_status);
            }
        },
    ),
    Family::new(
        "hcrs_requests_in_flight",
        Kind::Gauge,
        "Requests, streams and WebSockets that are not over.",
        |scrape, out| out.each(&[], &scrape.threads.in_flight),
    ),
    Family::new(
        "hcrs_request_duration_seconds",
        Kind::Histogram,
        "Time from the arrival of a request's head to the end of its response.",
        |scrape, out| {
            for (protocol, histogram) in scrape.threads.counters.duration.iter() {
                out.histogram(&[("protocol", protocol.as_str())], histogram);
            }
        },
    ),
    Family::new(
        "hcrs_request_queue_seconds",
        Kind::Histogram,
        "Time from the arrival of a request until it was sent to the worker that answered it.",
        |scrape, out| out.histogram(&[], &scrape.threads.counters.queue),
    ),
    Family::new(
        "hcrs_request_app_seconds",
        Kind::Histogram,
        "Time from the sending of a request to its worker to the head of the response.",
        |scrape, out| out.histogram(&[], &scrape.threads.counters.app),
    ),
    Family::new(
        "hcrs_request_send_seconds",
        Kind::Histogram,
        "Time from the head of a response to its end, except for WebSockets.",
        |scrape, out| out.histogram(&[], &scrape.threads.counters.send),
    ),
    Family::new(
        "hcrs_request_faults",
        Kind::Counter,
        "Requests that ended with a fault, by its name and who is to blame.",
        |scrape, out| faults(&scrape.threads.counters.request_faults, out),
    ),
    Family::new(
        "hcrs_requests_shed",
        Kind::Counter,
        "Requests that were refused because of overload.",
        |scrape, out| {
            for reason in ShedReason::ALL {
                let count = scrape.threads.counters.request_faults.of(reason.fault()).get();
                out.number(&[(ShedReason::NAME, reason.as_str())], count);
            }
        },
    ),
    // The queue
    Family::new("hcrs_queue_length", Kind::Gauge, "Requests that wait for a worker.", |scrape, out| {
        queues(scrape, out, |queue| queue.length);
    }),
    Family::new(
        "hcrs_queue_bytes",
        Kind::Gauge,
        "Bytes of requests that no worker has begun.",
        |scrape, out| queues(scrape, out, |queue| queue.bytes),
    ),
    Family::new(
        "hcrs_flow_control_stalls",
        Kind::Counter,
        "Times that bytes began to wait for credit, by the place where they wait.",
        |scrape, out| out.each(&[], &scrape.threads.counters.stalls),
    ),
    // Upstreams
    Family::new(
        "hcrs_upstream_requests",
        Kind::Counter,
        "Requests for an upstream, by its URL. One that is sent again counts again.",
        |scrape, out| upstreams(scrape, out, |facts| facts.requests),
    ),
    Family::new(
        "hcrs_upstream_failures",
        Kind::Counter,
        "Failures of an upstream: connections that it refused, broke off, was late on or answered with no response.",
        |scrape, out| upstreams(scrape, out, |facts| facts.failures),
    ),
    Family::new(
        "hcrs_upstream_connections",
        Kind::Gauge,
        "Open connections to an upstream.",
        |scrape, out| upstreams(scrape, out, |facts| facts.connections),
    ),
    // Connections
    Family::new(
        "hcrs_connections_accepted",
        Kind::Counter,
        "Connections that were accepted and admitted.",
        |scrape, out| out.number(&[], scrape.threads.counters.accepted.get()),
    ),
    Family::new(
        "hcrs_connections_refused",
        Kind::Counter,
        "Connections that were closed at once because of max_connections.",
        |scrape, out| out.number(&[], scrape.threads.counters.refused.get()),
    ),
    Family::new(
        "hcrs_connections_negotiated",
        Kind::Counter,
        "Connections whose protocol became known.",
        |scrape, out| {
            for (protocol, count) in scrape.threads.counters.negotiated.iter() {
                if protocol != ConnectionProtocol::Unknown {
                    out.number(&[("protocol", protocol.as_str())], count.get());
                }
            }
        },
    ),
    Family::new("hcrs_connections_open", Kind::Gauge, "Connections that are open.", |scrape, out| {
        out.each(&[], &scrape.threads.counters.open);
    }),
    Family::new(
        "hcrs_connection_faults",
        Kind::Counter,
        "Connections that ended with a fault, by its name and who is to blame.",
        |scrape, out| faults(&scrape.threads.counters.connection_faults, out),
    ),
    Family::new(
        "hcrs_received_bytes",
        Kind::Counter,
        "Bytes read from clients' sockets, with TLS and framing.",
        |scrape, out| out.number(&[], scrape.threads.counters.received_bytes.get()),
    ),
    Family::new(
        "hcrs_sent_bytes",
        Kind::Counter,
        "Bytes written to clients' sockets, with TLS and framing.",
        |scrape, out| out.number(&[], scrape.threads.counters.sent_bytes.get()),
    ),
    Family::new("hcrs_tls_handshakes", Kind::Counter, "TLS handshakes that succeeded.", |scrape, out| {
        out.number(&[], scrape.threads.counters.handshakes.get());
    }),
    Family::new(
        "hcrs_tls_handshake_failures",
        Kind::Counter,
        "TLS handshakes that failed.",
        |scrape, out| out.each(&[], &scrape.threads.counters.handshake_failures),
    ),
    // Certificates that come by themselves
    Family::new(
        "hcrs_acme_certificate_expiry_timestamp_seconds",
        Kind::Gauge,
        "The end of the certificate of a name, in seconds since the Unix epoch. Without a certificate there is none.",
        |scrape, out| {
            for name in &scrape.server.certificates {
                if let Some(end) = name.not_after {
                    out.number(&[("name", &name.name)], end);
                }
            }
        },
    ),
    Family::new(
        "hcrs_acme_next_try_timestamp_seconds",
        Kind::Gauge,
        "When the authority is asked for the next certificate of a name, in seconds since the Unix epoch.",
        |scrape, out| {
            for name in &scrape.server.certificates {
                out.number(&[("name", &name.name)], name.next_try);
            }
        },
    ),
    Family::new(
        "hcrs_acme_failures",
        Kind::Counter,
        "Tries to get a certificate for a name that have failed.",
        |scrape, out| {
            for name in &scrape.server.certificates {
                out.number(&[("name", &name.name)], name.failures);
            }
        },
    ),
    // Workers
    Family::new(
        "hcrs_traced_requests",
        Kind::Counter,
        "Requests whose spans were exported, and whose spans were dropped because no collector took them.",
        |scrape, out| {
            out.number(&[("outcome", "exported")], scrape.server.spans.exported);
            out.number(&[("outcome", "dropped")], scrape.server.spans.dropped);
        },
    ),
    Family::new("hcrs_workers", Kind::Gauge, "Worker processes.", |scrape, out| {
        for &state in WorkerState::ALL {
            let count = scrape.server.workers.iter().filter(|worker| worker.state == state).count();
            out.number(&[(WorkerState::NAME, state.as_str())], count as u64);
        }
    }),
    Family::new(
        "hcrs_worker_restarts",
        Kind::Counter,
        "Workers that were replaced, restarted or ended.",
        |scrape, out| out.each(&[], &scrape.server.restarts.0),
    ),
    Family::new(
        "hcrs_worker_requests",
        Kind::Counter,
        "Requests that are over, by the slot of the worker that answered them.",
        |scrape, out| {
            for (slot, counters) in scrape.threads.counters.slots.borrow().iter().enumerate() {
                shown(scrape, slot).with_labels(|labels| out.each(labels, &counters.requests));
            }
        },
    ),
    Family::new(
        "hcrs_worker_requests_in_flight",
        Kind::Gauge,
        "Requests that the workers of a slot have not ended, also those whose client has left.",
        |scrape, out| {
            for (slot, counters) in scrape.threads.counters.slots.borrow().iter().enumerate() {
                shown(scrape, slot).with_labels(|labels| out.number(labels, counters.streams.get()));
            }
        },
    ),
    Family::new(
        "hcrs_worker_resident_memory_bytes",
        Kind::Gauge,
        "Resident memory of the workers of a slot.",
        |scrape, out| {
            let workers = &scrape.server.workers;
            let slots = workers.iter().map(|worker| worker.slot + 1).max().unwrap_or(0);
            for slot in 0..slots {
                let mut known = workers
                    .iter()
                    .filter(|worker| worker.slot == slot)
                    .filter_map(|worker| worker.resident_bytes);
                if let Some(first) = known.next() {
                    let sum = known.fold(first, u64::saturating_add);
                    shown(scrape, slot).with_labels(|labels| out.number(labels, sum));
                }
            }
        },
    ),
];

/// The name that operators know a slot by.
struct ShownSlot<'a> {
    /// The app, if there are several.
    app: Option<&'a str>,
    number: String,
}

fn shown<'a>(scrape: &Scrape<'a>, slot: usize) -> ShownSlot<'a> {
    let name = scrape.server.slots.get(slot);
    ShownSlot {
        app: name.map(|name| name.app.as_str()).filter(|_| scrape.server.has_several_apps()),
        number: name.map_or(slot + 1, |name| name.number).to_string(),
    }
}

impl ShownSlot<'_> {
    fn with_labels(&self, write: impl FnOnce(&[(&str, &str)])) {
        match self.app {
            Some(app) => write(&[("app", app), ("worker", &self.number)]),
            None => write(&[("worker", &self.number)]),
        }
    }
}

/// Writes a number of the queue, or of each app's if there are several.
fn queues(scrape: &Scrape<'_>, out: &mut Samples<'_>, of: impl Fn(QueueFacts) -> u64) {
    let queues = &scrape.threads.queues;
    if queues.len() > 1 {
        for (app, &queue) in queues {
            out.number(&[("app", app)], of(queue));
        }
    } else {
        let threads = scrape.threads;
        out.number(&[], of(QueueFacts { length: threads.queue_length, bytes: threads.queue_bytes }));
    }
}

/// Writes a number of each upstream.
fn upstreams(scrape: &Scrape<'_>, out: &mut Samples<'_>, of: impl Fn(UpstreamFacts) -> u64) {
    for (url, &facts) in &scrape.threads.upstreams {
        out.number(&[("upstream", url)], of(facts));
    }
}

fn faults(counts: &ByFault<Counter>, out: &mut Samples<'_>) {
    for (fault, count) in counts.iter() {
        out.number(&[("fault", fault.counter()), ("blame", fault.blame().as_str())], count.get());
    }
}

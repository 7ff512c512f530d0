//! Metrics over UDP in the form of statsd, with Hypercorn's names: `requests`, `request.duration` and
//! `request.status.CODE` of each request that is over, and `log.LEVEL` of each complaint. hcrs adds
//! `request.fault.NAME`, of each request that ended with a fault, which distinguishes the edge's 503 from an
//! app's.
//!
//! Each edge thread gathers metrics in a datagram of its own and sends it when it is full, or after a while.
//! Sending never waits for the network: metrics that the socket does not take at once are lost, and counted.

use std::fmt::Write as _;
use std::io;
use std::net::{ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_http::Fault;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::StatsdSettings;
use crate::log_writer::COMPLAINT_INTERVAL;

/// The size of a datagram, in bytes: what fits in an Ethernet frame, with room for tunnels.
const DATAGRAM: usize = 1400;
/// How long a metric may wait for others.
const AGE: Duration = Duration::from_millis(100);
/// The most different status codes, and different faults, that are counted until the datagram is sent.
const KINDS: usize = 16;

/// The target of metrics, and the prefix and tags of all of them.
#[derive(Debug, Clone)]
pub struct StatsdTarget {
    socket: Arc<UdpSocket>,
    /// The prefix, as in `shop.hypercorn.`.
    prefix: Arc<str>,
    /// The tags, as in `|#env:test`; empty without tags.
    tags: Arc<str>,
}

impl StatsdTarget {
    /// Looks up the host and opens a socket to it; `None` if no metrics are wanted.
    pub fn open(settings: &StatsdSettings) -> io::Result<Option<Self>> {
        if settings.host.is_empty() {
            return Ok(None);
        }
        let address = settings
            .host
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        let dot = if settings.prefix.is_empty() || settings.prefix.ends_with('.') { "" } else { "." };
        let tags = if settings.tags.is_empty() { String::new() } else { format!("|#{}", settings.tags) };
        Ok(Some(Self {
            socket: Arc::new(socket),
            prefix: format!("{}{dot}hypercorn.", settings.prefix).into(),
            tags: tags.into(),
        }))
    }

    /// Appends `name:value|kind`.
    fn push(&self, out: &mut String, name: &str, value: std::fmt::Arguments<'_>) {
        let _infallible = writeln!(out, "{}{name}:{value}{}", self.prefix, self.tags);
    }

    /// Sends whole lines. Returns false if the system does not take them now.
    fn send(&self, lines: &str) -> bool {
        // Some servers reject a line end at the end of the datagram.
        self.socket.send(lines.trim_end().as_bytes()).is_ok()
    }
}

/// One edge thread's metrics.
#[derive(Debug)]
pub struct Statsd {
    target: StatsdTarget,
    requests: u64,
    statuses: Vec<(u16, u64)>,
    /// The number of requests by fault.
    faults: Vec<(&'static str, u64)>,
    /// Durations, each on a line of its own.
    lines: String,
    since: Option<Instant>,
    lost: u64,
    last_complaint: Option<Instant>,
}

impl Statsd {
    /// Returns the metrics of one edge thread, which are sent to `target`.
    pub fn new(target: StatsdTarget) -> Self {
        Self {
            target,
            requests: 0,
            statuses: Vec::with_capacity(KINDS),
            faults: Vec::with_capacity(KINDS),
            lines: String::with_capacity(DATAGRAM),
            since: None,
            lost: 0,
            last_complaint: None,
        }
    }

    /// Counts a request that is over; `status` is that of its response, if one was begun.
    pub fn record(&mut self, status: Option<u16>, duration: Duration, fault: Option<Fault>) {
        self.requests += 1;
        if let Some(status) = status {
            count(&mut self.statuses, status);
        }
        if let Some(fault) = fault {
            count(&mut self.faults, fault.counter());
        }
        let micros = duration.as_micros();
        let milliseconds = format_args!("{}.{:03}|ms", micros / 1000, micros % 1000);
        self.target.push(&mut self.lines, "request.duration", milliseconds);
        if self.lines.len() >= DATAGRAM - self.reserve()
            || self.statuses.len().max(self.faults.len()) >= KINDS
        {
            self.flush();
        }
    }

    /// Returns the number of bytes that the next duration and the counts may take.
    fn reserve(&self) -> usize {
        /// `request.duration:12345678901.123|ms` or `request.fault.expectation_failed:12345|c|@1.0`
        const LINE: usize = 50;
        let line = self.target.prefix.len() + self.target.tags.len() + LINE;
        (line * (self.statuses.len() + self.faults.len() + 2)).min(DATAGRAM - 1)
    }

    /// Whether metrics wait to be sent.
    pub fn is_waiting(&self) -> bool {
        self.requests > 0
    }

    /// Sends metrics that have waited long enough. Call it about every 100 ms.
    pub fn flush_due(&mut self, now: Instant) {
        // The first call after a metric was added starts the clock, so it waits for two calls at most.
        if self.is_waiting() && now.saturating_duration_since(*self.since.get_or_insert(now)) >= AGE {
            self.flush();
        }
    }

    /// Sends all metrics.
    pub fn flush(&mut self) {
        self.since = None;
        if self.requests == 0 {
            return;
        }
        let requests = std::mem::take(&mut self.requests);
        self.target.push(&mut self.lines, "requests", format_args!("{requests}|c|@1.0"));
        for (status, count) in self.statuses.drain(..) {
            let name = format!("request.status.{status}");
            self.target.push(&mut self.lines, &name, format_args!("{count}|c|@1.0"));
        }
        for (fault, count) in self.faults.drain(..) {
            let name = format!("request.fault.{fault}");
            self.target.push(&mut self.lines, &name, format_args!("{count}|c|@1.0"));
        }
        if !self.target.send(&self.lines) {
            self.lost += requests;
            self.complain();
        }
        self.lines.clear();
    }

    fn complain(&mut self) {
        if self.last_complaint.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            self.last_complaint = Some(Instant::now());
            let lost = std::mem::take(&mut self.lost);
            tracing::warn!(
                "The metrics of {lost} requests were lost: statsd cannot be reached, or not so fast"
            );
        }
    }
}

fn count<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K) {
    match counts.iter_mut().find(|(other, _)| *other == key) {
        Some((_, count)) => *count += 1,
        None => counts.push((key, 1)),
    }
}

impl Drop for Statsd {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Counts complaints, whatever the level of the error log.
#[derive(Debug)]
pub struct CountComplaints(pub StatsdTarget);

impl<S: Subscriber> Layer<S> for CountComplaints {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let name = match *event.metadata().level() {
            Level::ERROR => "log.error",
            Level::WARN => "log.warning",
            _ => return,
        };
        let mut line = String::new();
        self.0.push(&mut line, name, format_args!("1|c|@1.0"));
        // Not logged, because a complaint would be counted in turn.
        let _lost = self.0.send(&line);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn pair(prefix: &str, tags: &str) -> (UdpSocket, StatsdTarget) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let settings = StatsdSettings {
            host: server.local_addr().unwrap().to_string(),
            prefix: prefix.to_owned(),
            tags: tags.to_owned(),
        };
        (server, StatsdTarget::open(&settings).unwrap().unwrap())
    }

    fn received(server: &UdpSocket) -> String {
        let mut datagram = [0; 16_384];
        let len = server.recv(&mut datagram).unwrap();
        String::from_utf8(datagram[..len].to_vec()).unwrap()
    }

    #[test]
    fn metrics_have_hypercorns_names_and_counts_are_summed() {
        let (server, target) = pair("", "");
        let mut statsd = Statsd::new(target);
        statsd.record(Some(200), Duration::from_micros(1_500), None);
        statsd.record(Some(503), Duration::from_micros(20), Some(Fault::QueueFull));
        statsd.record(Some(200), Duration::from_secs(2), Some(Fault::ClientGone));
        statsd.record(None, Duration::ZERO, Some(Fault::ClientGone));
        let start = Instant::now();
        statsd.flush_due(start);
        assert!(statsd.is_waiting(), "young metrics wait");
        statsd.flush_due(start + AGE);
        assert!(!statsd.is_waiting());
        let lines = received(&server);
        assert_eq!(
            lines.lines().collect::<Vec<_>>(),
            [
                "hypercorn.request.duration:1.500|ms",
                "hypercorn.request.duration:0.020|ms",
                "hypercorn.request.duration:2000.000|ms",
                "hypercorn.request.duration:0.000|ms",
                "hypercorn.requests:4|c|@1.0",
                "hypercorn.request.status.200:2|c|@1.0",
                "hypercorn.request.status.503:1|c|@1.0",
                "hypercorn.request.fault.queue_full:1|c|@1.0",
                "hypercorn.request.fault.gone:2|c|@1.0",
            ]
        );
        assert!(!lines.ends_with('\n'));
    }

    #[test]
    fn prefix_and_tags_stand_around_each_metric() {
        for prefix in ["shop.eu", "shop.eu."] {
            let (server, target) = pair(prefix, "env:test,zone:1");
            let mut statsd = Statsd::new(target);
            statsd.record(None, Duration::from_millis(3), None);
            drop(statsd);
            assert_eq!(
                received(&server),
                "shop.eu.hypercorn.request.duration:3.000|ms|#env:test,zone:1\n\
                 shop.eu.hypercorn.requests:1|c|@1.0|#env:test,zone:1"
            );
        }
    }

    #[test]
    fn datagrams_fit_a_frame_and_lose_nothing() {
        let (server, target) = pair("a.prefix.of.some.length", "some:tag");
        let mut statsd = Statsd::new(target);
        for request in 0..300u16 {
            let fault = [Fault::WorkerLost, Fault::ExpectationFailed, Fault::CodingNotSupported];
            let fault = fault[usize::from(request % 3)];
            statsd.record(Some(200 + request % 40), Duration::from_secs(3600), Some(fault));
        }
        drop(statsd);
        let (mut requests, mut statuses, mut faults, mut durations) = (0, 0, 0, 0);
        while requests < 300 {
            let datagram = received(&server);
            assert!(datagram.len() <= DATAGRAM, "{}", datagram.len());
            for line in datagram.lines() {
                let count = || line.split([':', '|']).nth(1).unwrap().parse::<u32>().unwrap();
                match line {
                    _ if line.contains(".requests:") => requests += count(),
                    _ if line.contains(".status.") => statuses += count(),
                    _ if line.contains(".fault.") => faults += count(),
                    _ => durations += 1,
                }
            }
        }
        assert_eq!((requests, statuses, faults, durations), (300, 300, 300, 300));
    }

    #[test]
    fn complaints_are_counted_by_level() {
        let (server, target) = pair("", "");
        let subscriber = tracing_subscriber::registry().with(CountComplaints(target));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("nothing");
            tracing::warn!("something");
            tracing::error!("more");
        });
        assert_eq!(received(&server), "hypercorn.log.warning:1|c|@1.0");
        assert_eq!(received(&server), "hypercorn.log.error:1|c|@1.0");
    }

    #[test]
    fn a_host_without_an_address_is_an_error() {
        for host in ["localhost", "127.0.0.1:99999", "no.such.host.invalid:8125"] {
            let settings = StatsdSettings { host: host.to_owned(), ..StatsdSettings::default() };
            assert!(StatsdTarget::open(&settings).is_err(), "{host:?}");
        }
        assert!(StatsdTarget::open(&StatsdSettings::default()).unwrap().is_none());
    }
}

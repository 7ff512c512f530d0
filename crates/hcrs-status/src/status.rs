//! The state of a server. Times are in seconds, sizes in bytes; totals count since the start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::quantity::long;

/// The state of a server at one instant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The server as a whole.
    pub server: Server,
    /// The addresses where it listens.
    pub listeners: Vec<Listener>,
    /// The apps.
    #[serde(default)]
    pub apps: Vec<App>,
    /// The worker processes, by app and slot.
    pub workers: Vec<Worker>,
    /// The requests that no worker has begun.
    pub queue: Queue,
    /// The connections of clients.
    pub connections: Connections,
    /// The requests since the start.
    pub requests: Requests,
    /// The oldest requests in flight, the oldest first. At most 100 of each edge thread.
    pub in_flight: Vec<Request>,
    /// The certificates.
    pub certificates: Vec<Certificate>,
    /// The names whose certificates come by themselves.
    #[serde(default)]
    pub acme: Vec<NamedCertificate>,
}

/// The server as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// The version of hcrs.
    pub version: String,
    /// The process id of the edge.
    pub pid: u32,
    /// The path of the first app; `None` if the welcome page is served.
    pub app: Option<String>,
    /// The state.
    pub state: State,
    /// The time since the start.
    pub uptime: f64,
    /// The number of workers that are to run.
    pub workers: usize,
    /// The number of edge threads.
    pub threads: usize,
    /// The resident memory of the edge.
    pub rss: Option<u64>,
}

/// The state of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No connections are accepted yet.
    #[default]
    Starting,
    /// Requests are served.
    Serving,
    /// Requests are served, and the server asks load balancers to send no more.
    Draining,
    /// Fewer workers than required are ready.
    NotReady,
}

impl State {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::NotReady => "not ready",
        }
    }
}

/// An address where the server listens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// The URL.
    pub url: String,
    /// Whether it is that of the admin interface.
    pub admin: bool,
}

/// An app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// The name; `main` for the one that the top level of the configuration describes.
    pub name: String,
    /// The path.
    pub path: String,
    /// The number of workers that are to run.
    pub workers: usize,
    /// The number of workers that are ready.
    pub ready: usize,
    /// The number of requests that wait for its workers.
    pub queue: u64,
}

/// A worker process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// The name of the app that it serves.
    #[serde(default)]
    pub app: String,
    /// The number of the configured worker of the app, from 1. A worker and its replacement have the same.
    pub slot: usize,
    /// The process id.
    pub pid: u32,
    /// `starting`, `ready`, `retiring` or `ended`.
    pub state: String,
    /// The time since it was started.
    pub uptime: f64,
    /// The resident memory.
    pub rss: Option<u64>,
    /// The processor time that it has used.
    pub cpu: Option<f64>,
    /// The requests in flight in its slot.
    pub in_flight: u64,
    /// The requests that its slot has ended.
    pub requests: u64,
}

/// The requests that no worker has begun.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// The number of requests.
    pub length: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The number of requests that were refused because of the queue.
    pub shed: u64,
}

/// The connections of clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// The number of open ones.
    pub open: u64,
    /// The open ones, by protocol.
    pub by_protocol: BTreeMap<String, u64>,
    /// The number that was accepted.
    pub accepted: u64,
    /// The number of TLS handshakes.
    pub handshakes: u64,
    /// The number of TLS handshakes that have failed.
    pub failed_handshakes: u64,
}

/// The requests since the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// The number in flight.
    pub in_flight: u64,
    /// The number that has ended.
    pub total: u64,
    /// Those that have ended, by the class of their status.
    pub by_status: BTreeMap<String, u64>,
    /// Those that have ended, by protocol.
    pub by_protocol: BTreeMap<String, u64>,
    /// How long they took.
    pub latency: Latency,
    /// The bytes of bodies that were received.
    pub bytes_received: u64,
    /// The bytes of bodies that were sent.
    pub bytes_sent: u64,
}

/// A histogram of the time that requests took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The upper bound of each bucket. The last bucket has none.
    pub bounds: Vec<f64>,
    /// The number of requests in each bucket, one more than there are bounds.
    pub counts: Vec<u64>,
}

/// A request in flight.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The process id of the worker that it was sent to.
    pub worker: Option<u32>,
    /// The edge thread that has its connection.
    pub thread: usize,
    /// The connection's number on that thread.
    pub conn: u64,
    /// The stream's number, if the protocol has streams.
    pub stream: Option<u64>,
    /// The protocol.
    pub protocol: String,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The time since it arrived.
    pub age: f64,
    /// `queued`, `app` or `sending`.
    pub stage: String,
}

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The file.
    pub file: String,
    /// The names that it is for.
    pub names: Vec<String>,
    /// The end of its validity, in seconds since the Unix epoch.
    pub not_after: u64,
    /// The time until then; negative once it has passed.
    pub left: f64,
}

/// A name whose certificate comes by itself. Times are in seconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedCertificate {
    /// The name.
    pub name: String,
    /// The URL of the authority.
    pub directory: String,
    /// The state of its certificate.
    pub state: NameState,
    /// Whether the authority is being asked for it now.
    pub is_asking: bool,
    /// The end of its validity.
    pub not_after: Option<u64>,
    /// When the authority is asked for a new one.
    pub next_try: u64,
    /// The time until then, in seconds.
    pub wait: f64,
    /// The number of failures since the last success.
    pub failures: u32,
    /// The number of failures since the start of the server.
    pub failures_total: u64,
    /// The reason of the last failure, if that was not followed by a success.
    pub error: Option<String>,
}

/// The state of the certificate of a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameState {
    /// There is none; clients get a self-made one that they do not trust.
    #[default]
    Missing,
    /// It is valid.
    Valid,
    /// It has expired, and is sent nevertheless.
    Expired,
}

impl NamedCertificate {
    /// Returns the state in words, with the reason of the last failure.
    pub fn words(&self) -> String {
        let failure = self.failure_words().map(|words| format!("; {words}"));
        self.state_words() + &failure.unwrap_or_default()
    }

    /// Returns how often it has failed, and the reason of the last failure, if that was not followed by a success.
    pub(crate) fn failure_words(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        let times = if self.failures == 1 { "once".to_owned() } else { format!("{} times", self.failures) };
        Some(format!("failed {times}, the last time because {error}"))
    }

    /// Returns the state in words.
    pub(crate) fn state_words(&self) -> String {
        let state = match self.state {
            NameState::Missing => "no certificate yet",
            NameState::Valid => "valid",
            NameState::Expired => "expired",
        };
        let next = if self.is_asking {
            "asking the authority now".to_owned()
        } else if self.wait < 1.0 {
            "the authority is to be asked now".to_owned()
        } else if self.failures > 0 {
            format!("next try in {}", long(self.wait))
        } else {
            format!("to be renewed in {}", long(self.wait))
        };
        format!("{}: {state}; {next}", self.name)
    }
}

impl Status {
    /// Returns the state as JSON on one line.
    pub fn to_json(&self) -> String {
        // Maps have strings as keys, and numbers are finite or become null.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the state from JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

impl Latency {
    /// Returns what was added since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let added = |(at, &count): (usize, &u64)| {
            count.saturating_sub(before.counts.get(at).copied().unwrap_or_default())
        };
        Self { bounds: self.bounds.clone(), counts: self.counts.iter().enumerate().map(added).collect() }
    }

    /// Returns the upper bound of the bucket below which this share of the requests lies; `None` if there are
    /// none. For the last bucket it is the greatest bound.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return None;
        }
        let mut sum = 0.0;
        for (count, bound) in self.counts.iter().zip(self.bounds.iter().chain(self.bounds.last())) {
            sum += *count as f64;
            if sum >= share * total as f64 {
                return Some(*bound);
            }
        }
        self.bounds.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let status = Status {
            server: Server { state: State::NotReady, app: Some("main:app".into()), ..Server::default() },
            workers: vec![Worker { slot: 1, rss: Some(1 << 20), ..Worker::default() }],
            ..Status::default()
        };
        let json = status.to_json();
        assert!(json.contains(r#""state":"not-ready""#), "{json}");
        assert_eq!(Status::from_json(json.as_bytes()).unwrap(), status);
    }

    #[test]
    fn a_certificate_that_comes_by_itself_is_told_in_words() {
        let mut name = NamedCertificate { name: "a.test".into(), wait: 0.0, ..NamedCertificate::default() };
        assert_eq!(name.words(), "a.test: no certificate yet; the authority is to be asked now");
        name.is_asking = true;
        assert_eq!(name.words(), "a.test: no certificate yet; asking the authority now");
        name = NamedCertificate { state: NameState::Valid, is_asking: false, wait: 86_400.0 * 30.0, ..name };
        assert_eq!(name.words(), "a.test: valid; to be renewed in 30d 0h");
        name = NamedCertificate { failures: 2, error: Some("it is late".into()), wait: 120.0, ..name };
        assert_eq!(
            name.words(),
            "a.test: valid; next try in 2m 0s; failed 2 times, the last time because it is late"
        );
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let latency = Latency { bounds: vec![0.001, 0.01, 0.1], counts: vec![90, 9, 0, 1] };
        assert_eq!(latency.quantile(0.5), Some(0.001));
        assert_eq!(latency.quantile(0.99), Some(0.01));
        assert_eq!(latency.quantile(1.0), Some(0.1), "the last bucket has no bound of its own");
        let later = Latency { counts: vec![90, 9, 5, 1], ..latency.clone() };
        assert_eq!(later.since(&latency).quantile(0.5), Some(0.1));
        assert_eq!(latency.since(&latency).quantile(0.5), None);
        assert_eq!(Latency::default().quantile(0.5), None);
    }
}

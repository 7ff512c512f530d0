//! The facts of the server that its supervisor knows.

use std::time::Duration;

use crate::label::{RestartCause, WorkerState};
use crate::values::{ByCause, Counter};

/// The facts of the server that its supervisor knows.
#[derive(Debug, Clone, Default)]
pub struct ServerFacts {
    /// The version of hcrs.
    pub version: &'static str,
    /// When the server started, since the Unix epoch.
    pub started: Duration,
    /// The names of the slots, in their order. Without them, they are those of one app.
    pub slots: Vec<SlotName>,
    /// The worker processes, in any order.
    pub workers: Vec<WorkerFacts>,
    /// The number of workers that were replaced, restarted or ended.
    pub restarts: WorkerRestarts,
    /// The spans of requests.
    pub spans: SpanFacts,
    /// The names whose certificates come by themselves.
    pub certificates: Vec<NamedCertificateFacts>,
}

/// The name of a slot, which is one of an app's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotName {
    /// The app. The name needs no escaping.
    pub app: String,
    /// The number of the slot within the app, from 1 on.
    pub number: usize,
}

impl ServerFacts {
    /// Whether the slots are those of several apps.
    pub(crate) fn has_several_apps(&self) -> bool {
        self.slots.iter().any(|slot| slot.app != self.slots[0].app)
    }
}

/// A name whose certificate comes by itself. Times are in seconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedCertificateFacts {
    /// The name.
    pub name: String,
    /// The end of its certificate, if it has one.
    pub not_after: Option<u64>,
    /// When the authority is asked for a new one.
    pub next_try: u64,
    /// The number of failures since the start.
    pub failures: u64,
}

/// The numbers of requests whose spans were exported, and were not.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpanFacts {
    /// The number of requests whose spans a collector has taken.
    pub exported: u64,
    /// The number of requests whose spans were dropped.
    pub dropped: u64,
}

/// The facts of a worker process.
#[derive(Debug, Clone, Copy)]
pub struct WorkerFacts {
    /// The worker's slot, counted from 0. While one worker replaces another, both have the same.
    pub slot: usize,
    /// The state.
    pub state: WorkerState,
    /// The resident memory, in bytes; `None` if the system does not report it.
    pub resident_bytes: Option<u64>,
}

/// The number of workers that were replaced, restarted or ended, by cause.
#[derive(Debug, Clone, Default)]
pub struct WorkerRestarts(pub(crate) ByCause<Counter>);

impl WorkerRestarts {
    /// Counts a worker.
    pub fn note(&self, cause: RestartCause) {
        self.0.of(cause).increment();
    }

    /// Returns the number of workers for this cause.
    pub fn of(&self, cause: RestartCause) -> u64 {
        self.0.of(cause).get()
    }
}

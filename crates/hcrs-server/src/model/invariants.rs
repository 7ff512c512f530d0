//! The model's records of each request, and the rules for the answers to its client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hcrs_http::Fault;

/// A broken rule; the text describes it.
#[derive(Debug)]
pub(super) struct Broken(pub String);

pub(super) type Checked<T = ()> = Result<T, Broken>;

/// Fails unless `is_kept`; `why` makes the text only then.
pub(super) fn rule(is_kept: bool, why: impl FnOnce() -> String) -> Checked {
    if is_kept { Ok(()) } else { Err(Broken(why())) }
}

/// The outcome of a request at its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The whole response.
    Complete,
    /// The client has reset the request.
    Reset,
    /// A fault.
    Fault(Fault),
}

/// A request as apps and clients know it.
#[derive(Debug)]
pub(super) struct Record {
    pub arrived: Instant,
    pub answer: Option<Answer>,
    /// The worker that has begun it.
    pub begun_by: Option<u64>,
    /// Whether the link to that worker was lost.
    pub is_worker_lost: bool,
    /// Whether the worker that has begun it was replaced, and its time was up.
    pub is_cut: bool,
    /// The number of workers that were lost with it before they had begun it.
    pub lost_before: u32,
    /// Whether there was a moment when the queue had no room for it, or for more of it.
    pub has_met_full_queue: bool,
    /// Whether a tick under pressure has found that it waits for longer than the target.
    pub was_late_under_pressure: bool,
    pub half_closed_at: Option<Instant>,
    /// The number of its body's bytes that the client has sent, and whether the body is complete.
    pub uploaded: usize,
    pub is_upload_over: bool,
    /// The number of its body's bytes that the app has received, and whether the app has seen the end.
    pub received: usize,
    pub has_received_all: bool,
    /// Whether the app was notified that the client is gone, or has closed its side.
    pub has_seen_close: bool,
    /// The number of the response's bytes that the app has sent, and whether the response is complete.
    pub sent: usize,
    pub is_sent_over: bool,
    pub has_failed: bool,
    /// The parts of the response that the client has seen.
    pub has_head: bool,
    pub seen: usize,
    pub interims: usize,
}

impl Record {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            arrived: now,
            answer: None,
            begun_by: None,
            is_worker_lost: false,
            is_cut: false,
            lost_before: 0,
            has_met_full_queue: false,
            was_late_under_pressure: false,
            half_closed_at: None,
            uploaded: 0,
            is_upload_over: false,
            received: 0,
            has_received_all: false,
            has_seen_close: false,
            sent: 0,
            is_sent_over: false,
            has_failed: false,
            has_head: false,
            seen: 0,
            interims: 0,
        }
    }
}

/// The limits that the rules refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub queue_timeout: Duration,
    /// How long a request may wait under pressure before it counts as late.
    pub target: Duration,
    /// The number of requests that may wait in the queue.
    pub queue_size: usize,
    /// The number of bytes that unbegun requests may hold.
    pub queue_bytes: usize,
    pub half_closed_patience: Duration,
    /// The number of workers that may be lost before a request fails.
    pub dead_workers: u32,
}

/// All requests of an episode; a request's number is its index.
#[derive(Debug)]
pub(super) struct Records {
    pub all: Vec<Record>,
    pub limits: Limits,
    /// How often each noted event has happened.
    pub events: BTreeMap<&'static str, u64>,
}

impl Records {
    /// Counts an event.
    pub(super) fn note(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }

    pub(super) fn get(&mut self, number: usize) -> Checked<&mut Record> {
        self.all.get_mut(number).ok_or_else(|| Broken(format!("there is no request {number}")))
    }

    /// Notes that a worker has claimed the request.
    pub(super) fn begin(&mut self, number: usize, worker: u64) -> Checked {
        let record = self.get(number)?;
        if let Some(first) = record.begun_by {
            return Err(Broken(format!(
                "worker {worker} begins request {number}, which worker {first} has begun"
            )));
        }
        if let Some(answer) = record.answer {
            return Err(Broken(format!(
                "worker {worker} begins request {number}, which has ended before with {answer:?}"
            )));
        }
        record.begun_by = Some(worker);
        Ok(())
    }

    /// Notes the answer that ends a request for its client.
    pub(super) fn answer(&mut self, number: usize, answer: Answer, now: Instant) -> Checked {
        let Limits { queue_timeout, half_closed_patience, dead_workers, .. } = self.limits;
        let record = self.get(number)?;
        let had = record.answer.replace(answer);
        rule(had.is_none(), || format!("request {number} ends with {answer:?} after {had:?}"))?;
        let is_due = record.was_late_under_pressure
            || now.saturating_duration_since(record.arrived) >= queue_timeout
            || record
                .half_closed_at
                .is_some_and(|at| now.saturating_duration_since(at) >= half_closed_patience);
        let is_right = match answer {
            Answer::Complete => {
                record.begun_by.is_some()
                    && record.has_head
                    && record.is_sent_over
                    && record.seen == record.sent
            }
            Answer::Reset => true,
            Answer::Fault(Fault::AppFailed) => record.has_failed,
            Answer::Fault(Fault::ClientGone) => record.has_seen_close && !record.has_failed,
            Answer::Fault(Fault::WorkerLost) => record.is_worker_lost || record.lost_before > dead_workers,
            Answer::Fault(Fault::RetireTimeout) => record.is_cut,
            Answer::Fault(Fault::QueueTimeout) => record.begun_by.is_none() && is_due && !record.has_head,
            Answer::Fault(Fault::QueueFull) => {
                record.begun_by.is_none() && !record.has_head && record.has_met_full_queue
            }
            Answer::Fault(_) => false,
        };
        rule(is_right, || format!("request {number} must not end with {answer:?}: {record:?}"))
    }
}

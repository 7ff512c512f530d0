//! What the model knows of each request, and what may be said to its client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hcrs_http::Fault;

/// Something that must not happen has happened; the text says what.
#[derive(Debug)]
pub(super) struct Broken(pub String);

pub(super) type Checked<T = ()> = Result<T, Broken>;

/// Fails, in words that are made only then, unless `is_kept`.
pub(super) fn rule(is_kept: bool, why: impl FnOnce() -> String) -> Checked {
    if is_kept { Ok(()) } else { Err(Broken(why())) }
}

/// What became of a request at its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The whole response.
    Complete,
    /// The client has reset it.
    Reset,
    /// A fault.
    Fault(Fault),
}

/// A request as both apps and clients know it.
#[derive(Debug)]
pub(super) struct Record {
    pub arrived: Instant,
    pub answer: Option<Answer>,
    /// The worker that has begun it.
    pub begun_by: Option<u64>,
    /// The link to that worker was lost.
    pub is_worker_lost: bool,
    /// The worker that has begun it was replaced, and its time was up.
    pub is_cut: bool,
    /// Workers that were lost with it before they had begun it.
    pub lost_before: u32,
    /// There was a moment when the queue had no room for it, or for more of it.
    pub has_met_full_queue: bool,
    pub half_closed_at: Option<Instant>,
    /// Bytes of its body that the client has sent, and whether those are all.
    pub uploaded: usize,
    pub is_upload_over: bool,
    /// Bytes of it that the app has received, and whether it has seen the end.
    pub received: usize,
    pub has_received_all: bool,
    /// The app was told that the client is gone, or has closed its side.
    pub has_heard_close: bool,
    /// Bytes of the response that the app has sent, and whether those are all.
    pub sent: usize,
    pub is_sent_over: bool,
    pub has_failed: bool,
    /// What the client has seen of the response.
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
            half_closed_at: None,
            uploaded: 0,
            is_upload_over: false,
            received: 0,
            has_received_all: false,
            has_heard_close: false,
            sent: 0,
            is_sent_over: false,
            has_failed: false,
            has_head: false,
            seen: 0,
            interims: 0,
        }
    }
}

/// The limits that the rules speak of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub queue_timeout: Duration,
    /// Requests that may wait in the queue.
    pub queue_size: usize,
    /// Bytes that the requests may hold that no worker has begun.
    pub queue_bytes: usize,
    pub half_closed_patience: Duration,
    /// Workers that may be lost before a request is given up.
    pub dead_workers: u32,
}

/// All requests of an episode; a request's number is its place.
#[derive(Debug)]
pub(super) struct Records {
    pub all: Vec<Record>,
    pub limits: Limits,
    /// How often what is worth a count has happened.
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

    /// A worker has claimed the request.
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

    /// The client was told of the end of a request.
    pub(super) fn answer(&mut self, number: usize, answer: Answer, now: Instant) -> Checked {
        let Limits { queue_timeout, half_closed_patience, dead_workers, .. } = self.limits;
        let record = self.get(number)?;
        let had = record.answer.replace(answer);
        rule(had.is_none(), || format!("request {number} ends with {answer:?} after {had:?}"))?;
        let is_due = now.saturating_duration_since(record.arrived) >= queue_timeout
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
            Answer::Fault(Fault::ClientGone) => record.has_heard_close && !record.has_failed,
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

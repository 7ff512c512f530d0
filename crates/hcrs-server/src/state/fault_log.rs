//! The error log's records of faults that end requests.
//!
//! Faults of clients and apps are logged one by one at debug; for an app's fault the worker has logged the
//! traceback. Requests that were refused because of overload, or lost with a worker, concern the operator and
//! come in large numbers, so they are counted and reported in one warning, at most once per interval.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use hcrs_http::{Fault, FaultLogLevel};
use hcrs_log::COMPLAINT_INTERVAL;

/// How long a warning waits for further faults.
const GATHERING: Duration = Duration::from_secs(1);

/// The fault log of one edge thread.
#[derive(Debug, Default)]
pub(crate) struct FaultLog {
    gathered: RefCell<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    /// Faults that were not reported yet, by kind.
    counts: Vec<(Fault, u64)>,
    since: Option<Instant>,
    reported_at: Option<Instant>,
}

/// The names of a request that has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FailedRequest<'a> {
    /// The number of its connection.
    pub connection: u64,
    /// The number of its stream, if the protocol has streams.
    pub stream: Option<u64>,
    /// Its id, if requests have one.
    pub id: Option<&'a [u8]>,
}

impl FaultLog {
    /// Notes that a request has ended with the fault. Returns true if a warning about it is due later.
    pub(crate) fn note(&self, failed: FailedRequest<'_>, fault: Fault, now: Instant) -> bool {
        match fault.log_level() {
            FaultLogLevel::Debug => {
                tracing::debug!(
                    conn = failed.connection,
                    stream = failed.stream,
                    request_id = failed.id.and_then(|id| std::str::from_utf8(id).ok()),
                    fault = fault.counter(),
                    "Request failed: {}",
                    fault.as_str()
                );
                false
            }
            FaultLogLevel::Warn => {
                let gathered = &mut *self.gathered.borrow_mut();
                gathered.since.get_or_insert(now);
                match gathered.counts.iter_mut().find(|(other, _)| *other == fault) {
                    Some((_, count)) => *count += 1,
                    None => gathered.counts.push((fault, 1)),
                }
                true
            }
        }
    }

    /// Notes that a connection has ended with the fault. That is logged at debug whatever the blame: the
    /// requests that were in flight on it are noted one by one, and without any no client was refused.
    pub(crate) fn note_connection(connection: u64, fault: Fault) {
        tracing::debug!(conn = connection, fault = fault.counter(), "Connection closed: {}", fault.as_str());
    }

    /// Returns when [`FaultLog::flush_due`] will have a warning to log.
    pub(crate) fn due(&self) -> Option<Instant> {
        let gathered = self.gathered.borrow();
        let ready = gathered.since? + GATHERING;
        Some(gathered.reported_at.map_or(ready, |at| ready.max(at + COMPLAINT_INTERVAL)))
    }

    /// Logs the warning if it is due.
    pub(crate) fn flush_due(&self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.flush(now);
        }
    }

    /// Logs a warning about all faults that were not reported yet.
    pub(crate) fn flush(&self, now: Instant) {
        let gathered = &mut *self.gathered.borrow_mut();
        if gathered.since.take().is_none() {
            return;
        }
        gathered.reported_at = Some(now);
        let counts = std::mem::take(&mut gathered.counts);
        let sum: u64 = counts.iter().map(|(_, count)| count).sum();
        let mut kinds = String::new();
        for (fault, count) in &counts {
            let comma = if kinds.is_empty() { "" } else { ", " };
            let _infallible = write!(kinds, "{comma}{} ({count})", fault.as_str());
        }
        let is_overload =
            counts.iter().any(|(fault, _)| matches!(fault, Fault::QueueFull | Fault::QueueTimeout));
        let advice = if is_overload { "; there is more to do than the workers can take" } else { "" };
        let requests = if sum == 1 { "request was" } else { "requests were" };
        let is_upstreams = |fault: Fault| {
            matches!(fault, Fault::UpstreamFailed | Fault::UpstreamTimeout | Fault::UpstreamBusy)
        };
        let of_upstreams = counts.iter().filter(|(fault, _)| is_upstreams(*fault)).count();
        let by = match of_upstreams {
            0 => "the app",
            all if all == counts.len() => "an upstream",
            _ => "the app or an upstream",
        };
        tracing::warn!("{sum} {requests} not answered by {by}: {kinds}{advice}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: FailedRequest<'_> = FailedRequest { connection: 1, stream: None, id: None };

    #[test]
    fn faults_of_clients_and_apps_wait_for_nothing() {
        let log = FaultLog::default();
        assert!(
            !log.note(REQUEST, Fault::ClientGone, Instant::now())
                && !log.note(FailedRequest { stream: Some(3), ..REQUEST }, Fault::AppFailed, Instant::now())
        );
        assert_eq!(log.due(), None);
    }

    #[test]
    fn many_faults_are_one_warning_and_the_next_follows_after_an_interval() {
        let (log, start) = (FaultLog::default(), Instant::now());
        for _ in 0..500 {
            assert!(log.note(REQUEST, Fault::QueueFull, start));
        }
        assert!(log.note(REQUEST, Fault::WorkerLost, start));
        assert_eq!(log.due(), Some(start + GATHERING));
        log.flush_due(start);
        assert!(log.due().is_some(), "it waits for others");
        log.flush_due(start + GATHERING);
        assert_eq!(log.due(), None);
        assert!(log.note(REQUEST, Fault::QueueFull, start + GATHERING));
        assert_eq!(log.due(), Some(start + GATHERING + COMPLAINT_INTERVAL));
    }
}

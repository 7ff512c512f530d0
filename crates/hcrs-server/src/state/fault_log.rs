//! What the error log says of the faults that end requests. Clients' have a line each at debug, and apps' too, for the
//! worker has written the traceback. What there was too much to do for, and what was lost with a worker, concerns the
//! operator and comes in crowds: one warning tells how many there were, and the next one comes after a while.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use hcrs_http::{Blame, Fault};
use hcrs_log::COMPLAINT_INTERVAL;

/// How long a warning waits for others of its kind.
const GATHERING: Duration = Duration::from_secs(1);

/// The faults of one edge thread.
#[derive(Debug, Default)]
pub(crate) struct FaultLog {
    gathered: RefCell<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    /// Faults that have not been told, by kind.
    counts: Vec<(Fault, u64)>,
    since: Option<Instant>,
    told: Option<Instant>,
}

impl FaultLog {
    /// A request on the connection of that number has ended with the fault. True if a warning waits for it.
    pub(crate) fn note(&self, connection: u64, fault: Fault, now: Instant) -> bool {
        match fault.blame() {
            Blame::Peer | Blame::App => {
                tracing::debug!("connection {connection}: {}", fault.as_str());
                false
            }
            Blame::Worker | Blame::Overload => {
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

    /// When [`FaultLog::flush_due`] has something to say.
    pub(crate) fn due(&self) -> Option<Instant> {
        let gathered = self.gathered.borrow();
        let ready = gathered.since? + GATHERING;
        Some(gathered.told.map_or(ready, |told| ready.max(told + COMPLAINT_INTERVAL)))
    }

    /// Warns of what has waited long enough.
    pub(crate) fn flush_due(&self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.flush(now);
        }
    }

    /// Warns of what there is.
    pub(crate) fn flush(&self, now: Instant) {
        let gathered = &mut *self.gathered.borrow_mut();
        if gathered.since.take().is_none() {
            return;
        }
        gathered.told = Some(now);
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
        tracing::warn!("{sum} {requests} not answered by the app: {kinds}{advice}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_clients_and_apps_wait_for_nothing() {
        let log = FaultLog::default();
        assert!(
            !log.note(1, Fault::ClientGone, Instant::now()) && !log.note(1, Fault::AppFailed, Instant::now())
        );
        assert_eq!(log.due(), None);
    }

    #[test]
    fn a_crowd_is_told_at_once_and_the_next_one_after_an_interval() {
        let (log, start) = (FaultLog::default(), Instant::now());
        for _ in 0..500 {
            assert!(log.note(1, Fault::QueueFull, start));
        }
        assert!(log.note(1, Fault::WorkerLost, start));
        assert_eq!(log.due(), Some(start + GATHERING));
        log.flush_due(start);
        assert!(log.due().is_some(), "it waits for others");
        log.flush_due(start + GATHERING);
        assert_eq!(log.due(), None);
        assert!(log.note(1, Fault::QueueFull, start + GATHERING));
        assert_eq!(log.due(), Some(start + GATHERING + COMPLAINT_INTERVAL));
    }
}

//! Describes the requests of a worker that hangs, as far as the edge knows them.

use std::fmt::Write as _;
use std::time::Instant;

use super::Link;

/// The most requests that are listed, the oldest first.
const NAMED_MAX: usize = 20;

impl Link {
    /// Logs the requests that the worker has not answered: how long each has waited for it, its method and
    /// its path.
    pub(crate) fn describe(&self, now: Instant) {
        let streams = self.streams.borrow();
        let mut requests: Vec<_> =
            streams.iter().filter_map(|entry| entry.exchange.as_ref()?.asked_for()).collect();
        drop(streams);
        requests.sort_by_key(|&(since, _)| since);
        let mut lines = String::new();
        for (since, asked_for) in requests.iter().take(NAMED_MAX) {
            let age = now.saturating_duration_since(*since).as_secs_f64();
            let _infallible = writeln!(lines, "  {age:.1} s: {asked_for}");
        }
        if let Some(more @ 1..) = requests.len().checked_sub(NAMED_MAX) {
            let _infallible = writeln!(lines, "  and {more} more");
        }
        if !requests.is_empty() {
            tracing::error!(
                traceback = lines.as_str(),
                "Requests of worker {}, the oldest first:",
                self.pid()
            );
        }
    }
}

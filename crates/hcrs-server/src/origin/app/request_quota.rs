//! The number of requests that a worker gets over all its links, each of which lives on another thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count of requests with a limit, shared by the threads.
#[derive(Debug)]
pub(crate) struct RequestQuota {
    taken: AtomicU64,
    limit: u64,
}

impl RequestQuota {
    pub(crate) fn new(limit: u64) -> Self {
        Self { taken: AtomicU64::new(0), limit }
    }

    /// Counts a request. Returns true for the first one beyond the limit.
    pub(crate) fn take(&self) -> bool {
        // Relaxed, because the count orders nothing else: each number only has to be returned once.
        self.taken.fetch_add(1, Ordering::Relaxed) == self.limit
    }

    /// Uncounts a request that will be served by another worker, or by none.
    pub(crate) fn restore(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_sees_the_first_request_beyond_the_limit() {
        let quota = RequestQuota::new(1000);
        let count_refused = || (0..500).filter(|_| quota.take()).count();
        let count: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(count_refused)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(count, 1);
    }

    #[test]
    fn what_is_taken_back_was_not_taken() {
        let quota = RequestQuota::new(2);
        assert!(!quota.take());
        assert!(!quota.take());
        quota.restore();
        assert!(!quota.take());
        assert!(quota.take());
    }
}

//! How many requests a worker is given over all its links, each of which lives on another thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count with a limit.
#[derive(Debug)]
pub(crate) struct Tally {
    given: AtomicU64,
    limit: u64,
}

impl Tally {
    pub(crate) fn new(limit: u64) -> Self {
        Self { given: AtomicU64::new(0), limit }
    }

    /// Counts a request. True for the first one beyond the limit.
    pub(crate) fn give(&self) -> bool {
        // It orders nothing else: each thread only has to see every number once.
        self.given.fetch_add(1, Ordering::Relaxed) == self.limit
    }

    /// A request that was counted will be served by another worker, or by none.
    pub(crate) fn take_back(&self) {
        self.given.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_is_told_of_the_first_request_beyond_the_limit() {
        let tally = Tally::new(1000);
        let count = || (0..500).filter(|_| tally.give()).count();
        let told: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(told, 1);
    }

    #[test]
    fn what_is_taken_back_was_not_given() {
        let tally = Tally::new(2);
        assert!(!tally.give());
        assert!(!tally.give());
        tally.take_back();
        assert!(!tally.give());
        assert!(tally.give());
    }
}

//! The requests that no thread of the pool has taken yet.
//!
//! Threads that run Python share the GIL, so more of them awake is less done. One thread takes request after
//! request without letting the GIL go; a second one is woken to stand by for it, and gets it when the first
//! blocks or its switch interval ends. It wakes the next one when it takes a request and leaves others.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::lock;

/// A request that waits, in one claim slot of one link.
pub(crate) trait Waiting {
    /// What tells this request's place from others': the link and its claim slot. `None` once it has been claimed,
    /// for its slot may then be offered for another.
    fn place(&self) -> Option<(usize, u16)>;
}

/// A queue that holds at most one request per claim slot.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    woken: Condvar,
    emptied: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    /// Threads that sleep.
    idle: usize,
    /// A thread is to wake up.
    call: bool,
    /// A thread is awake, has nothing to do and tries to get the GIL.
    seeking: bool,
    closed: bool,
}

impl<T: Waiting> Queue<T> {
    pub(crate) fn new() -> Self {
        let state = State { waiting: VecDeque::new(), idle: 0, call: false, seeking: false, closed: false };
        Self { state: Mutex::new(state), woken: Condvar::new(), emptied: Condvar::new() }
    }

    /// Adds requests. One that waits in the same place has been withdrawn, for a slot is offered once at a time.
    pub(crate) fn push(&self, requests: impl IntoIterator<Item = T>) {
        let mut state = lock(&self.state);
        for request in requests {
            if let Some(place) = request.place() {
                state.waiting.retain(|waiting| waiting.place() != Some(place));
            }
            state.waiting.push_back(request);
        }
        self.call_one(&mut state);
    }

    /// Takes the next request, if there is one. `sought` by the thread that [`Queue::sleep`] has woken.
    pub(crate) fn take(&self, sought: bool) -> Option<T> {
        let mut state = lock(&self.state);
        if sought {
            state.seeking = false;
        }
        let request = state.waiting.pop_front();
        if state.waiting.is_empty() {
            self.emptied.notify_all();
        }
        self.call_one(&mut state);
        request
    }

    /// Sleeps until there may be something to take; false once the queue is closed. Never call it with the GIL.
    pub(crate) fn sleep(&self) -> bool {
        let mut state = lock(&self.state);
        state.idle += 1;
        self.call_one(&mut state);
        while !state.call && !state.closed {
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
        if state.closed {
            return false;
        }
        state.call = false;
        state.seeking = true;
        true
    }

    /// Whether a thread has nothing to do.
    pub(crate) fn has_idle(&self) -> bool {
        lock(&self.state).idle > 0
    }

    /// Whether no request waits.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).waiting.is_empty()
    }

    /// Lets all threads end, once everything is taken or `patience` is over. Never call it with the GIL.
    pub(crate) fn close(&self, patience: Duration) {
        let state = lock(&self.state);
        let waited = self.emptied.wait_timeout_while(state, patience, |state| !state.waiting.is_empty());
        let (mut state, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        drop(state);
        self.woken.notify_all();
    }

    fn call_one(&self, state: &mut State<T>) {
        if !state.waiting.is_empty() && state.idle > 0 && !state.call && !state.seeking {
            state.call = true;
            self.woken.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    impl Waiting for u32 {
        fn place(&self) -> Option<(usize, u16)> {
            (*self < 10_000).then_some((0, (*self % 1000) as u16))
        }
    }

    #[test]
    fn a_slot_that_is_offered_again_replaces_the_withdrawn_request() {
        let queue = Queue::new();
        queue.push([1, 2, 1001]);
        assert_eq!((queue.take(false), queue.take(false), queue.take(false)), (Some(2), Some(1001), None));
    }

    #[test]
    fn a_request_that_was_claimed_keeps_its_turn_when_its_slot_is_offered_again() {
        let queue = Queue::new();
        queue.push([10_001, 1, 10_001]);
        assert_eq!(
            (queue.take(false), queue.take(false), queue.take(false)),
            (Some(10_001), Some(1), Some(10_001))
        );
    }

    #[test]
    fn every_request_is_taken_once_by_some_thread() {
        let (queue, sum, taken) = (Queue::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut sought = false;
                    loop {
                        while let Some(request) = queue.take(std::mem::take(&mut sought)) {
                            sum.fetch_add(request as usize, Ordering::SeqCst);
                            taken.fetch_add(1, Ordering::SeqCst);
                        }
                        if !queue.sleep() {
                            return;
                        }
                        sought = true;
                    }
                });
            }
            for batch in 0..100 {
                queue.push((0..10).map(|n| batch * 10 + n));
                if batch % 7 == 0 {
                    std::thread::yield_now();
                }
                while taken.load(Ordering::SeqCst) < batch as usize * 10 {
                    std::thread::yield_now();
                }
            }
            while !queue.is_empty() || taken.load(Ordering::SeqCst) < 1000 {
                std::thread::yield_now();
            }
            queue.close(Duration::from_secs(1));
        });
        assert_eq!(sum.into_inner(), (0..1000).sum::<usize>());
    }
}

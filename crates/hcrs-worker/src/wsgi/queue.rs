//! The requests that no thread of the pool has taken yet.
//!
//! Threads that run Python share the GIL, so more of them awake is less done. One thread takes request after
//! request without letting the GIL go; a second one is woken to stand by for it, and gets it when the first
//! blocks or its switch interval ends. It wakes the next one when it takes a request and leaves others.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::lock;

/// A request that waits.
pub(crate) trait Waiting {
    /// Whether the edge has taken it back: no thread may run it.
    fn is_withdrawn(&self) -> bool;
}

/// A queue, bounded by what puts requests into it: the claim slots of the links, and the uploads that are held.
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

    /// Adds requests.
    pub(crate) fn push(&self, requests: impl IntoIterator<Item = T>) {
        let mut state = lock(&self.state);
        state.waiting.extend(requests);
        self.call_one(&mut state);
    }

    /// Takes out the requests that the edge has withdrawn.
    pub(crate) fn take_withdrawn(&self) -> Vec<T> {
        let mut state = lock(&self.state);
        let mut withdrawn = Vec::new();
        let mut at = 0;
        while at < state.waiting.len() {
            if state.waiting[at].is_withdrawn() {
                withdrawn.extend(state.waiting.remove(at));
            } else {
                at += 1;
            }
        }
        self.note_emptied(&state);
        withdrawn
    }

    /// Takes out the request that `is_it`, if no thread has taken it.
    pub(crate) fn remove(&self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let mut state = lock(&self.state);
        let at = state.waiting.iter().position(is_it)?;
        let request = state.waiting.remove(at);
        self.note_emptied(&state);
        request
    }

    /// Takes the next request, if there is one. `sought` by the thread that [`Queue::sleep`] has woken.
    pub(crate) fn take(&self, sought: bool) -> Option<T> {
        let mut state = lock(&self.state);
        if sought {
            state.seeking = false;
        }
        let request = state.waiting.pop_front();
        self.note_emptied(&state);
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

    fn note_emptied(&self, state: &State<T>) {
        if state.waiting.is_empty() {
            self.emptied.notify_all();
        }
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
        fn is_withdrawn(&self) -> bool {
            *self >= 10_000
        }
    }

    /// A queue that is closed at once, if nothing waits.
    fn is_done(queue: &Queue<u32>) -> bool {
        let began = std::time::Instant::now();
        queue.close(Duration::from_secs(20));
        began.elapsed() < Duration::from_secs(10)
    }

    #[test]
    fn withdrawn_requests_are_given_back_and_the_others_keep_their_order() {
        let queue = Queue::new();
        queue.push([10_001, 1, 10_002, 10_003, 2, 3, 10_004]);
        assert_eq!(queue.take_withdrawn(), [10_001, 10_002, 10_003, 10_004]);
        assert!(queue.take_withdrawn().is_empty());
        assert_eq!(std::array::from_fn(|_| queue.take(false)), [Some(1), Some(2), Some(3), None]);
        queue.push([10_005]);
        assert_eq!(queue.take_withdrawn(), [10_005]);
        assert!(is_done(&queue));
    }

    #[test]
    fn a_request_is_taken_out_where_it_waits() {
        let queue = Queue::new();
        queue.push([1, 2, 3]);
        assert_eq!(queue.remove(|&request| request == 2), Some(2));
        assert_eq!(queue.remove(|&request| request == 2), None);
        assert_eq!([queue.take(false), queue.take(false), queue.take(false)], [Some(1), Some(3), None]);
        queue.push([4]);
        assert_eq!(queue.remove(|_| true), Some(4));
        assert!(is_done(&queue));
    }

    #[test]
    fn a_queue_that_is_emptied_by_a_withdrawal_is_closed_at_once() {
        let queue = Queue::new();
        queue.push([10_001]);
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| is_done(&queue));
            while queue.take_withdrawn().is_empty() {
                std::thread::yield_now();
            }
            assert!(closing.join().unwrap());
        });
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

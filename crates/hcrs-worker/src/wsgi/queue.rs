//! The queue of requests that no thread of the pool has taken yet.
//!
//! Threads that run Python share the GIL, so that more running threads make less progress. One thread takes
//! request after request without releasing the GIL. A second one is woken to wait for the GIL, which it gets
//! when the first blocks or its switch interval ends. A thread that takes a request and leaves others in the
//! queue wakes the next thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::lock;

/// A request in the queue.
pub(crate) trait Waiting {
    /// Returns whether the edge has withdrawn the request, so that no thread may run it.
    fn is_withdrawn(&self) -> bool;
}

/// A queue of requests. Its length is bounded by the claim slots of the links and the limit of held uploads.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    woken: Condvar,
    emptied: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    /// Number of threads that sleep.
    idle: usize,
    wakeup: Wakeup,
    closed: bool,
}

/// The thread that is being woken, of which there is at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wakeup {
    None,
    /// A sleeping thread is to wake up.
    Requested,
    /// A thread has woken up and waits for the GIL.
    Awake,
}

impl<T: Waiting> Queue<T> {
    pub(crate) fn new() -> Self {
        let state = State { waiting: VecDeque::new(), idle: 0, wakeup: Wakeup::None, closed: false };
        Self { state: Mutex::new(state), woken: Condvar::new(), emptied: Condvar::new() }
    }

    /// Adds requests.
    pub(crate) fn push(&self, requests: impl IntoIterator<Item = T>) {
        let mut state = lock(&self.state);
        state.waiting.extend(requests);
        self.wake_one(&mut state);
    }

    /// Removes and returns the requests that the edge has withdrawn.
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

    /// Removes and returns the request for which `is_it` returns true, unless a thread has taken it.
    pub(crate) fn remove(&self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let mut state = lock(&self.state);
        let at = state.waiting.iter().position(is_it)?;
        let request = state.waiting.remove(at);
        self.note_emptied(&state);
        request
    }

    /// Takes the next request, if there is one. `was_woken` is whether this is the thread's first call since
    /// [`Queue::sleep`].
    pub(crate) fn take(&self, was_woken: bool) -> Option<T> {
        let mut state = lock(&self.state);
        if was_woken {
            state.wakeup = Wakeup::None;
        }
        let request = state.waiting.pop_front();
        self.note_emptied(&state);
        self.wake_one(&mut state);
        request
    }

    /// Sleeps until there may be a request to take. Returns false once the queue is closed. Must not be
    /// called with the GIL.
    pub(crate) fn sleep(&self) -> bool {
        let mut state = lock(&self.state);
        state.idle += 1;
        self.wake_one(&mut state);
        while state.wakeup != Wakeup::Requested && !state.closed {
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
        if state.closed {
            return false;
        }
        state.wakeup = Wakeup::Awake;
        true
    }

    /// Returns whether a thread is idle.
    pub(crate) fn has_idle(&self) -> bool {
        lock(&self.state).idle > 0
    }

    /// Returns whether the queue is empty.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).waiting.is_empty()
    }

    /// Closes the queue once it is empty, or after `patience`, so that its threads end. Must not be called
    /// with the GIL.
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

    fn wake_one(&self, state: &mut State<T>) {
        if !state.waiting.is_empty() && state.idle > 0 && state.wakeup == Wakeup::None {
            state.wakeup = Wakeup::Requested;
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

    /// Closes the queue. Returns whether that was possible at once, because the queue is empty.
    fn is_done(queue: &Queue<u32>) -> bool {
        let began = std::time::Instant::now();
        queue.close(Duration::from_secs(20));
        began.elapsed() < Duration::from_secs(10)
    }

    #[test]
    fn withdrawn_requests_are_returned_and_the_others_keep_their_order() {
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
    fn a_request_is_removed_from_anywhere_in_the_queue() {
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
                    let mut was_woken = false;
                    loop {
                        while let Some(request) = queue.take(std::mem::take(&mut was_woken)) {
                            sum.fetch_add(request as usize, Ordering::SeqCst);
                            taken.fetch_add(1, Ordering::SeqCst);
                        }
                        if !queue.sleep() {
                            return;
                        }
                        was_woken = true;
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

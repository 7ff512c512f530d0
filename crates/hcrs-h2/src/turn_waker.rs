//! Wakes the connection's task, but not while that task polls the connection.
//!
//! `h2` wakes its task whenever a frame is passed to it. Most frames are passed to it within a turn of the
//! connection, which polls `h2` again before it ends: a wake-up would only make the runtime poll without
//! need.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// The waker with which `h2` is polled.
#[derive(Debug, Default)]
pub(crate) struct TurnWaker {
    /// The task is in a turn, and polls `h2` before it ends.
    in_turn: AtomicBool,
    /// A poll of `h2` was requested since the last one.
    is_woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl TurnWaker {
    /// Creates a waker and the handle that turns are marked on.
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let turn = Arc::new(Self::default());
        (Arc::clone(&turn), Waker::from(turn))
    }

    /// Begins a turn: until it ends, wake-ups are only noted. The turn has to poll `h2` before it ends.
    pub(crate) fn begin(&self) {
        self.in_turn.store(true, Ordering::SeqCst);
    }

    /// Begins a poll of `h2`, which serves all wake-ups that were noted until now.
    pub(crate) fn begin_poll(&self) {
        self.begin();
        self.is_woken.store(false, Ordering::SeqCst);
    }

    /// Ends the turn: further wake-ups wake the task of `cx`. Returns true if a wake-up was noted after the
    /// turn's last poll, so that another poll, or another turn, has to follow.
    #[must_use]
    pub(crate) fn end(&self, cx: &Context<'_>) -> bool {
        {
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
        }
        // In this order: a wake-up after the store wakes the task, and one before the store is seen here.
        self.in_turn.store(false, Ordering::SeqCst);
        self.is_woken.load(Ordering::SeqCst)
    }

    /// Ends the turn without a last poll of `h2`: another turn has to follow, and the task that was in the
    /// last one is woken.
    pub(crate) fn cancel(&self) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.in_turn.store(false, Ordering::SeqCst);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

impl Wake for TurnWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.in_turn.load(Ordering::SeqCst)
            && let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner)
        {
            task.wake_by_ref();
        }
    }
}

/// A waker for a turn that notes that bytes have arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    turn: Arc<TurnWaker>,
    is_there: AtomicBool,
}

impl Arrival {
    pub(crate) fn new(turn: Arc<TurnWaker>) -> Self {
        Self { turn, is_there: AtomicBool::new(false) }
    }

    /// Whether bytes have arrived since the last call.
    pub(crate) fn take(&self) -> bool {
        self.is_there.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_there.store(true, Ordering::SeqCst);
        self.turn.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        fn take(&self) -> usize {
            self.0.swap(0, Ordering::SeqCst)
        }
    }

    #[test]
    fn wakes_the_task_between_turns_only() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&task);
        let (turn, waker) = TurnWaker::new();

        turn.begin();
        waker.wake_by_ref();
        turn.begin_poll();
        assert!(!turn.end(&cx), "the poll served it");
        assert_eq!(count.take(), 0);

        waker.wake_by_ref();
        assert_eq!(count.take(), 1);

        turn.begin_poll();
        waker.wake_by_ref();
        assert!(turn.end(&cx), "it came after the poll");
        assert_eq!(count.take(), 0);
    }

    #[test]
    fn no_wake_up_of_another_thread_is_lost() {
        const WAKE_UPS: usize = 20_000;
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&task);
        let (turn, waker) = TurnWaker::new();
        let sent = Arc::new(AtomicUsize::new(0));
        let sender = {
            let sent = Arc::clone(&sent);
            std::thread::spawn(move || {
                for n in 1..=WAKE_UPS {
                    sent.store(n, Ordering::SeqCst);
                    waker.wake_by_ref();
                }
            })
        };
        let mut seen = 0;
        let mut asleep = 0usize;
        while seen < WAKE_UPS {
            turn.begin_poll();
            seen = sent.load(Ordering::SeqCst);
            if turn.end(&cx) {
                continue;
            }
            // Asleep until a wake-up of the task.
            while seen < WAKE_UPS && count.take() == 0 {
                std::thread::yield_now();
                asleep += 1;
                assert!(asleep < 100_000_000, "asleep at {seen} of {}", sent.load(Ordering::SeqCst));
            }
        }
        sender.join().unwrap();
    }
}

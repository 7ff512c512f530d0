//! The place where a connection's exchanges announce output for the client.

use std::cell::{Cell, RefCell};
use std::task::Waker;

/// The ready exchanges of a connection, and its waker.
///
/// Everything lives on one thread, so a push and a wake are enough; many pushes cause one wake.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    ready: RefCell<Vec<usize>>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
}

impl Mailbox {
    /// Marks the exchange under `key` as ready, and wakes the connection.
    pub(crate) fn push(&self, key: usize) {
        self.ready.borrow_mut().push(key);
        self.wake();
    }

    /// Wakes the connection, at most once until it runs.
    pub(crate) fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Begins a turn of the connection, which checks its exchanges by itself until it rests. Later wakes go
    /// to `waker`.
    pub(crate) fn begin_turn(&self, waker: &Waker) {
        self.woken.set(true);
        let mut current = self.waker.borrow_mut();
        if !current.as_ref().is_some_and(|current| current.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    /// Ends the turn: the connection has seen all that was ready.
    pub(crate) fn rest(&self) {
        self.woken.set(false);
    }

    /// Whether no exchange is ready.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.borrow().is_empty()
    }

    /// Clears the list: a connection with one exchange at a time checks that one anyway.
    pub(crate) fn clear(&self) {
        self.ready.borrow_mut().clear();
    }

    /// Moves all ready keys into `batch`, in the order in which they became ready.
    pub(crate) fn take(&self, batch: &mut Vec<usize>) {
        batch.append(&mut self.ready.borrow_mut());
    }
}

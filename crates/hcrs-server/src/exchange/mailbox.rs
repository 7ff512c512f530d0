//! Where a connection's exchanges leave word that they have something for the client.

use std::cell::{Cell, RefCell};
use std::task::Waker;

/// The connection's side of its exchanges: which of them are ready, and how to wake the connection.
///
/// Everything lives on one thread, so a push and a wake are all it takes; many pushes cause one wake.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    ready: RefCell<Vec<usize>>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
}

impl Mailbox {
    /// Says that the exchange under `key` is ready, and wakes the connection.
    pub(crate) fn push(&self, key: usize) {
        self.ready.borrow_mut().push(key);
        self.wake();
    }

    /// Wakes the connection, once until it runs.
    pub(crate) fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// The connection runs, and looks at its exchanges by itself until it rests. Then it will be woken through `waker`.
    pub(crate) fn attend(&self, waker: &Waker) {
        self.woken.set(true);
        let mut current = self.waker.borrow_mut();
        if !current.as_ref().is_some_and(|current| current.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    /// The connection has seen all that was ready.
    pub(crate) fn rest(&self) {
        self.woken.set(false);
    }

    /// Whether no exchange is ready.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.borrow().is_empty()
    }

    /// Forgets which are ready: a connection with one exchange at a time looks at that one anyway.
    pub(crate) fn clear(&self) {
        self.ready.borrow_mut().clear();
    }

    /// Moves all that are ready into `batch`, in the order in which they became so.
    pub(crate) fn take(&self, batch: &mut Vec<usize>) {
        batch.append(&mut self.ready.borrow_mut());
    }
}

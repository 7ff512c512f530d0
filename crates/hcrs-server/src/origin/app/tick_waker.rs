//! Wakes the task of an edge thread that looks at deadlines and batches, while it has nothing to look at.

use std::cell::Cell;

use tokio::sync::Notify;

/// The waker of the task. What every request calls is one look at a flag.
#[derive(Debug, Default)]
pub(crate) struct TickWaker {
    /// Whether the task waits in [`TickWaker::woken`].
    has_waiter: Cell<bool>,
    notify: Notify,
}

impl TickWaker {
    /// Waits until [`TickWaker::wake`] is called.
    pub(crate) async fn woken(&self) {
        self.has_waiter.set(true);
        self.notify.notified().await;
    }

    /// Wakes the task if it waits.
    pub(crate) fn wake(&self) {
        if self.has_waiter.replace(false) {
            self.notify.notify_one();
        }
    }
}

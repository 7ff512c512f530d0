//! The room of a connection for request bodies that its apps have not taken.

use std::rc::Rc;

use hcrs_mux::BodyRoom;

/// Most bytes that are taken of a body at a time while there is no room but for bodies that are read.
const STEP: usize = 16 << 10;

/// The room of one connection, within that of its thread.
#[derive(Debug)]
pub(super) struct Room {
    thread: Rc<BodyRoom>,
    size: usize,
    held: usize,
}

impl Room {
    pub(super) fn new(thread: &Rc<BodyRoom>, size: usize) -> Self {
        Self { thread: Rc::clone(thread), size, held: 0 }
    }

    /// Returns the number of bytes that may be taken for a stream with this window, of which the app has
    /// `held` unread. While the connection or the thread has no room, only a stream gets some whose app has
    /// read all, so that bodies that are not read do not stop one that is.
    #[inline]
    pub(super) fn of(&self, held: usize, window: usize) -> usize {
        let left = window.saturating_sub(held);
        if self.held < self.size && !self.thread.is_full() {
            left
        } else if held == 0 {
            left.min(STEP)
        } else {
            0
        }
    }

    /// Returns the number of bytes from which on the connection has no more room.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn hold(&mut self, len: usize) {
        self.held += len;
        self.thread.hold(len);
    }

    pub(super) fn release(&mut self, len: usize) {
        self.held -= len;
        self.thread.release(len);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.release(self.held);
    }
}

//! The room for request bodies that no app has taken.

use std::cell::Cell;
use std::rc::Rc;

/// Room for the unread request bodies of all connections of a thread.
#[derive(Debug)]
pub struct BodyRoom {
    size: usize,
    taken: Cell<usize>,
}

impl BodyRoom {
    /// Creates the room of a thread, of `size` bytes.
    pub fn new(size: usize) -> Rc<Self> {
        Rc::new(Self { size, taken: Cell::new(0) })
    }

    /// Returns the number of bytes that are taken.
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    /// Whether all of the room is taken. Bodies that are read go on.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.taken.get() >= self.size
    }

    /// Notes bytes that have arrived.
    #[inline]
    pub fn hold(&self, len: usize) {
        self.taken.set(self.taken.get() + len);
    }

    /// Notes bytes that are no longer held.
    #[inline]
    pub fn release(&self, len: usize) {
        self.taken.set(self.taken.get() - len);
    }
}

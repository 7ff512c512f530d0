//! The limit of memory that requests which no worker has begun may hold in an edge thread.

use std::cell::Cell;
use std::rc::Rc;

/// The bytes that the unbegun requests of a thread hold, and their limit.
#[derive(Debug)]
pub(crate) struct Backlog {
    bytes: Cell<usize>,
    max: Cell<usize>,
    begun: Cell<u64>,
}

impl Backlog {
    /// Returns a backlog of at most `max` bytes.
    pub(crate) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { bytes: Cell::new(0), max: Cell::new(max), begun: Cell::new(0) })
    }

    /// Sets the limit. Bytes that are held already stay above a smaller one.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.set(max);
    }

    /// Returns the number of bytes that unbegun requests hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Returns the number of requests that workers have begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// Returns a share for one request, which is released when it is dropped.
    pub(crate) fn share(self: &Rc<Self>) -> Share {
        Share { backlog: Rc::clone(self), bytes: 0 }
    }
}

/// The bytes that one request holds of a backlog.
#[derive(Debug)]
pub(crate) struct Share {
    backlog: Rc<Backlog>,
    bytes: usize,
}

impl Share {
    /// Adds `len` bytes. Returns false, and adds nothing, if that would exceed the limit.
    #[must_use]
    pub(crate) fn add(&mut self, len: usize) -> bool {
        let sum = self.backlog.bytes.get().saturating_add(len);
        let has_room = sum <= self.backlog.max.get();
        if has_room {
            self.backlog.bytes.set(sum);
            self.bytes += len;
        }
        has_room
    }

    /// Releases the share, and counts its request as begun.
    pub(crate) fn begin(self) {
        self.backlog.begun.set(self.backlog.begun.get() + 1);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.backlog.bytes.set(self.backlog.bytes.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_full_takes_no_more_until_a_share_is_given_back() {
        let backlog = Backlog::new(10);
        let (mut first, mut second) = (backlog.share(), backlog.share());
        assert!(first.add(6) && second.add(4));
        assert!(!second.add(1) && backlog.bytes() == 10);
        drop(first);
        assert!(second.add(6));
        drop(second);
        assert_eq!((backlog.bytes(), backlog.begun()), (0, 0));
        let mut begun = backlog.share();
        assert!(begun.add(10));
        begun.begin();
        assert_eq!((backlog.bytes(), backlog.begun()), (0, 1));
    }
}

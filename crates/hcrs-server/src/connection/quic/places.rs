//! Places of which there is a bounded number.

use std::cell::Cell;
use std::rc::Rc;

/// Places for something that a bounded number of connections may have at a time.
#[derive(Debug)]
pub(super) struct Places {
    left: Cell<usize>,
}

impl Places {
    /// Returns this number of places.
    pub(super) fn new(count: usize) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(count) })
    }

    /// Takes a place; `None` if all are taken.
    pub(super) fn take(self: &Rc<Self>) -> Option<Place> {
        let left = self.left.get().checked_sub(1)?;
        self.left.set(left);
        Some(Place(Rc::clone(self)))
    }
}

/// A place that is taken. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place(Rc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.left.set(self.0.left.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = Places::new(2);
        let (first, _second) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
    }
}

//! Room for responses that are taken from workers ahead of their clients, so that a worker's thread is soon free
//! again.

use std::cell::Cell;
use std::rc::Rc;

/// The number of bytes that all responses of an edge thread may have in addition to their windows.
pub(crate) const RESPONSE_ROOM: usize = 64 << 20;

/// The room of an edge thread.
#[derive(Debug)]
pub(crate) struct ResponseRoom {
    left: Cell<usize>,
}

impl Default for ResponseRoom {
    fn default() -> Self {
        Self { left: Cell::new(RESPONSE_ROOM) }
    }
}

impl ResponseRoom {
    /// Takes `len` bytes, or as many as are left.
    pub(crate) fn take(self: &Rc<Self>, len: usize) -> TakenRoom {
        let len = len.min(self.left.get());
        self.left.set(self.left.get() - len);
        TakenRoom { room: Rc::clone(self), len }
    }

    /// Returns the number of bytes that responses have taken.
    pub(crate) fn taken(&self) -> usize {
        RESPONSE_ROOM - self.left.get()
    }
}

/// Room that one response has taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct TakenRoom {
    room: Rc<ResponseRoom>,
    len: usize,
}

impl TakenRoom {
    /// Returns the number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for TakenRoom {
    fn drop(&mut self) {
        self.room.left.set(self.room.left.get() + self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_until_it_is_given_back() {
        let room = Rc::new(ResponseRoom::default());
        let most = room.take(RESPONSE_ROOM - 5);
        let rest = room.take(10);
        assert_eq!((most.len(), rest.len(), room.taken()), (RESPONSE_ROOM - 5, 5, RESPONSE_ROOM));
        assert_eq!(room.take(1).len(), 0);
        drop(most);
        assert_eq!(room.take(10).len(), 10);
        drop(rest);
        assert_eq!(room.taken(), 0);
    }
}

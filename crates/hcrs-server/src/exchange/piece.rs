//! Memory for pieces of files. It is reused as soon as a piece has been sent, because new memory has to be
//! cleared and is in no cache.

use std::cell::RefCell;

use bytes::Bytes;

/// The size of a piece, in bytes.
pub(crate) const PIECE: usize = 64 << 10;

/// The length below which a piece gets memory of its own size, so that one that waits for a slow client holds
/// no more than its bytes.
const SHARED_MIN: usize = PIECE / 2;

/// The number of unused buffers that a thread keeps.
const SPARES: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Room for a piece, or the piece.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: Vec<u8>,
    len: usize,
}

impl Room {
    /// Returns room for `len` bytes, at most [`PIECE`].
    pub(crate) fn new(len: usize) -> Self {
        let spare = if len < SHARED_MIN { None } else { SPARE.with_borrow_mut(Vec::pop) };
        let size = if len < SHARED_MIN { len } else { PIECE };
        Self { bytes: spare.unwrap_or_else(|| vec![0; size]), len }
    }

    /// Returns the room as a slice to read into.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// Returns the first `len` bytes as a piece that returns the memory when it is dropped.
    pub(crate) fn fill(mut self, len: usize) -> Bytes {
        self.len = len;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Room {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes.len() == PIECE {
            let bytes = std::mem::take(&mut self.bytes);
            // At a thread's end its spare list is already gone.
            let _gone = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < SPARES {
                    spare.push(bytes);
                }
            });
        }
    }
}

/// Releases the buffers that the thread keeps.
pub(crate) fn release_spares() {
    SPARE.with_borrow_mut(Vec::clear);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spares() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    #[test]
    fn memory_is_used_again_within_a_bound_and_given_back() {
        let held: Vec<_> = (0..SPARES + 3).map(|n| Room::new(PIECE - n).fill(n)).collect();
        assert!(held.iter().enumerate().all(|(n, piece)| piece.len() == n));
        assert_eq!(spares(), 0);
        drop(held);
        assert_eq!(spares(), SPARES);
        let again = Room::new(PIECE);
        assert_eq!(spares(), SPARES - 1);
        drop(again);
        assert_eq!(spares(), SPARES);
        release_spares();
        assert_eq!(spares(), 0);
    }

    #[test]
    fn short_pieces_hold_no_more_than_they_are() {
        let mut room = Room::new(10);
        room.as_mut_slice().copy_from_slice(b"0123456789");
        assert_eq!((room.bytes.len(), &room.fill(5)[..]), (10, &b"01234"[..]));
        assert_eq!(spares(), 0);
    }
}

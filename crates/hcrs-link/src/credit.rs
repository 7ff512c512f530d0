//! Flow control by stream: a sender spends a window, a receiver returns credit for what was taken.
//!
//! Everything that is queued for a stream takes of a window. What becomes an object of its own at the receiver (a piece of
//! a response's body, a piece of a message, a hint) takes [`PIECE_COST`] beside its bytes, so that a window bounds memory
//! however small the pieces are. A request's body is joined where it arrives, so that its bytes are all it costs.

/// What the edge may send of a request ahead of the app's `receive`.
pub const REQUEST_WINDOW: u32 = 128 << 10;

/// What the worker may send of a response ahead of the client, at first: what a client that reads nothing makes the edge
/// hold for one stream.
pub const RESPONSE_WINDOW: u32 = 64 << 10;

/// What the edge adds to a response's window once the client has begun to read its body.
pub const RESPONSE_WINDOW_GROWTH: u32 = 192 << 10;

/// What a piece takes of a window beside its bytes: at least what its object and its place in a queue take of memory.
pub const PIECE_COST: usize = 128;

/// What a part of a file takes of the response's window, however long it is: it bounds the descriptors that a stream
/// holds open.
pub const FILE_COST: usize = 32 << 10;

/// What hints (interim heads and promises) leave of the response's window to the response.
pub const WINDOW_LEFT_BY_HINTS: usize = RESPONSE_WINDOW as usize / 2;

/// What a piece of `len` bytes takes of a window.
#[inline]
pub const fn piece_cost(len: usize) -> usize {
    len + PIECE_COST
}

/// What a sender may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    left: u32,
}

impl Window {
    /// A window of `size`.
    pub fn new(size: u32) -> Self {
        Self { left: size }
    }

    /// What may be spent now.
    #[inline]
    pub fn left(self) -> usize {
        self.left as usize
    }

    /// The bytes that the next piece may have; 0 if there can be none.
    #[inline]
    pub fn room(self) -> usize {
        self.left().saturating_sub(PIECE_COST)
    }

    /// Whether a piece of `len` bytes may be sent.
    #[inline]
    pub fn takes_piece(self, len: usize) -> bool {
        piece_cost(len) <= self.left()
    }

    /// Spends `cost`; false, and nothing is spent, if it is more than [`Window::left`].
    #[must_use]
    #[inline]
    pub fn spend(&mut self, cost: usize) -> bool {
        match self.left().checked_sub(cost) {
            Some(left) => {
                self.left = left as u32;
                true
            }
            None => false,
        }
    }

    /// Adds returned credit.
    #[inline]
    pub fn add(&mut self, credit: u32) {
        self.left = self.left.saturating_add(credit);
    }
}

/// What a receiver owes: credit is returned in steps of at least a quarter of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    taken: u32,
    step: u32,
}

impl Owed {
    /// Owes nothing yet on a window of `size`.
    pub fn new(size: u32) -> Self {
        Self { taken: 0, step: Self::step(size) }
    }

    /// The credit that is worth a frame on a window of `size`: a sender that misses less cannot tell what was taken of it.
    pub const fn step(size: u32) -> u32 {
        size / 4
    }

    /// Notes that `cost` was taken; returns the credit once it is worth a frame.
    #[must_use]
    #[inline]
    pub fn take(&mut self, cost: usize) -> Option<u32> {
        self.taken = self.taken.saturating_add(u32::try_from(cost).unwrap_or(u32::MAX));
        (self.taken >= self.step).then(|| std::mem::take(&mut self.taken))
    }
}

/// What a receiver may hold back of a window, with nothing left to take, never keeps a sender from its next piece.
const _: () = {
    let held_back = Owed::step(RESPONSE_WINDOW) as usize;
    assert!(FILE_COST + held_back <= RESPONSE_WINDOW as usize);
    assert!(WINDOW_LEFT_BY_HINTS + held_back <= RESPONSE_WINDOW as usize);
    assert!(piece_cost(1) + held_back <= RESPONSE_WINDOW as usize);
    assert!(piece_cost(1) + Owed::step(REQUEST_WINDOW) as usize <= REQUEST_WINDOW as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_never_stays_without_credit_that_the_receiver_holds_back() {
        let (mut window, mut owed) = (Window::new(RESPONSE_WINDOW), Owed::new(RESPONSE_WINDOW));
        for step in 0..10_000usize {
            let piece = (step % 7 * 1111).min(window.room());
            assert!(window.takes_piece(piece.max(1)), "the window closed for good at step {step}");
            assert!(window.spend(piece_cost(piece)));
            if let Some(credit) = owed.take(piece_cost(piece)) {
                window.add(credit);
            }
        }
    }

    #[test]
    fn pieces_without_bytes_use_a_window_up() {
        let mut window = Window::new(RESPONSE_WINDOW);
        let sent = (0..RESPONSE_WINDOW).take_while(|_| window.spend(piece_cost(0))).count();
        assert_eq!(sent, RESPONSE_WINDOW as usize / PIECE_COST);
    }
}

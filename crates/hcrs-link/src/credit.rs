//! Flow control by stream: a sender spends a window, a receiver returns credit for the bytes that were taken.
//!
//! Everything that is queued for a stream costs a part of a window. A frame that becomes an object of its own
//! at the receiver (a piece of a response's body, a piece of a message, a hint) costs [`PIECE_COST`] beside
//! its bytes, so that a window bounds memory however small the pieces are. A request's body is joined where
//! it arrives, so it costs its bytes alone.

/// The window for a request's body: what the edge may send before the app calls `receive`.
pub const REQUEST_WINDOW: u32 = 128 << 10;

/// The first window for a response: what the worker may send before the client reads, and so what the edge
/// holds of one stream for a client that does not read.
pub const RESPONSE_WINDOW: u32 = 64 << 10;

/// The credit that the edge adds to a response's window once the client has begun to read the body.
pub const RESPONSE_WINDOW_GROWTH: u32 = 192 << 10;

/// The cost of a piece beside its bytes: at least the memory of its object and its place in a queue.
pub const PIECE_COST: usize = 128;

/// The cost of a part of a file, however long it is. It bounds the descriptors that a stream holds open.
pub const FILE_COST: usize = 32 << 10;

/// The part of the response's window that hints (interim heads and promises) leave to the response.
pub const WINDOW_LEFT_BY_HINTS: usize = RESPONSE_WINDOW as usize / 2;

/// Returns the cost of a piece of `len` bytes.
#[inline]
pub const fn piece_cost(len: usize) -> usize {
    len + PIECE_COST
}

/// The window of a sender: what it may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    left: u32,
}

impl Window {
    /// Creates a window of `size`.
    pub fn new(size: u32) -> Self {
        Self { left: size }
    }

    /// Returns the cost that may be spent now.
    #[inline]
    pub fn left(self) -> usize {
        self.left as usize
    }

    /// Returns the most bytes that the next piece may have; 0 if no piece may be sent.
    #[inline]
    pub fn room(self) -> usize {
        self.left().saturating_sub(PIECE_COST)
    }

    /// Whether a piece of `len` bytes may be sent.
    #[inline]
    pub fn takes_piece(self, len: usize) -> bool {
        piece_cost(len) <= self.left()
    }

    /// Spends `cost`. Returns false, and spends nothing, if it is more than [`Window::left`].
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

/// The credit that a receiver owes. It is returned in steps of at least a quarter of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    taken: u32,
    step: u32,
}

impl Owed {
    /// Creates an account that owes no credit yet, for a window of `size`.
    pub fn new(size: u32) -> Self {
        Self { taken: 0, step: Self::step(size) }
    }

    /// Returns the credit that is worth a frame, for a window of `size`. A receiver holds back less than
    /// that.
    pub const fn step(size: u32) -> u32 {
        size / 4
    }

    /// Notes that `cost` was taken. Returns the credit once it is worth a frame.
    #[must_use]
    #[inline]
    pub fn take(&mut self, cost: usize) -> Option<u32> {
        self.taken = self.taken.saturating_add(u32::try_from(cost).unwrap_or(u32::MAX));
        (self.taken >= self.step).then(|| std::mem::take(&mut self.taken))
    }
}

/// Checks that the credit that a receiver holds back never keeps a sender from its next piece.
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

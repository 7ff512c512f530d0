//! Flow control by stream: a sender spends a window, a receiver owes credit for what was taken.

/// Body bytes of a request that the edge may send ahead of the app's `receive`.
pub const REQUEST_WINDOW: u32 = 128 << 10;

/// Body bytes of a response that the worker may send ahead of the client, at first: what a client that reads
/// nothing makes the edge hold for one stream.
pub const RESPONSE_WINDOW: u32 = 64 << 10;

/// What the edge adds to a response's window once the client has begun to read its body.
pub const RESPONSE_WINDOW_GROWTH: u32 = 192 << 10;

/// What a sender may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    left: u32,
}

impl Window {
    /// A window of `size` bytes.
    pub fn new(size: u32) -> Self {
        Self { left: size }
    }

    /// Bytes that may be sent now.
    pub fn left(self) -> usize {
        self.left as usize
    }

    /// Spends `len` bytes, which are not more than [`Window::left`].
    pub fn spend(&mut self, len: usize) {
        debug_assert!(len <= self.left());
        self.left = self.left.saturating_sub(len as u32);
    }

    /// Adds returned credit.
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
    /// Owes nothing yet on a window of `size` bytes.
    pub fn new(size: u32) -> Self {
        Self { taken: 0, step: Self::step(size) }
    }

    /// The credit that is worth a frame on a window of `size` bytes: a sender that misses less cannot tell what was
    /// taken of it.
    pub const fn step(size: u32) -> u32 {
        size / 4
    }

    /// Notes `len` bytes taken; gives the credit to return once it is worth a frame.
    #[must_use]
    pub fn take(&mut self, len: usize) -> Option<u32> {
        self.taken = self.taken.saturating_add(len as u32);
        (self.taken >= self.step).then(|| std::mem::take(&mut self.taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_never_stays_without_credit_that_the_receiver_holds_back() {
        let (mut window, mut owed) = (Window::new(RESPONSE_WINDOW), Owed::new(RESPONSE_WINDOW));
        for step in 0..10_000usize {
            let piece = (step % 7 * 1111 + 1).min(window.left());
            assert!(piece > 0, "the window closed for good at step {step}");
            window.spend(piece);
            if let Some(credit) = owed.take(piece) {
                window.add(credit);
            }
        }
    }
}

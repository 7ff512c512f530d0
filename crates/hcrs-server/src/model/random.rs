//! The random numbers that a schedule is drawn from, and the bytes of bodies.

/// A `SplitMix64` generator: a seed yields the same numbers everywhere and forever.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Returns a number from `first` to `last`.
    pub(super) fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// Returns true once in `n` times.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Returns one of `choices`.
    pub(super) fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Returns the length of a piece: mostly short, sometimes 0, sometimes as long as a window.
    pub(super) fn length(&mut self, sizes: Sizes) -> usize {
        let kind = match sizes {
            Sizes::Short => self.below(28),
            Sizes::Mixed => self.below(32),
            Sizes::Long => self.between(2, 60),
        };
        match kind {
            0..4 => 0,
            4..16 => self.between(1, 40),
            16..26 => self.between(1, 2000),
            26..30 => self.between(1, 12_000),
            30..50 => self.between(8 << 10, 70_000),
            _ => self.between(60_000, 150_000),
        }
    }
}

/// The sizes of pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    Short,
    Mixed,
    /// Most fill a block, some more than a window.
    Long,
}

/// A prime, so that pieces that are moved by any power of two differ.
const PERIOD: usize = 251;

/// The longest piece.
pub(super) const PIECE_MAX: usize = 256 << 10;

/// The bytes that every body is cut from; the request's number and the offset determine the place.
#[derive(Debug)]
pub(super) struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    pub(super) fn new() -> Self {
        let mut random = Random::new(1);
        let period: Vec<u8> = (0..PERIOD).map(|_| random.next() as u8).collect();
        Self { bytes: period.iter().copied().cycle().take(PIECE_MAX + PERIOD).collect() }
    }

    /// Returns the place where a piece begins.
    pub(super) fn place(number: usize, offset: usize) -> usize {
        (number * 17 + offset) % PERIOD
    }

    /// Returns `len` bytes of the body of request `number`, from `offset`.
    pub(super) fn piece(&self, number: usize, offset: usize, len: usize) -> &[u8] {
        let start = Self::place(number, offset);
        &self.bytes[start..start + len]
    }

    /// Returns all of the bytes.
    pub(super) fn all(&self) -> &[u8] {
        &self.bytes
    }
}

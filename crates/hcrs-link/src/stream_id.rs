//! Names of streams. A name is given once in the life of a link, so no frame that is read late can be taken for one of
//! another stream.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU64;

/// Bits of a number that a claim word has room for, beside the request's state.
pub(crate) const BITS: u32 = 62;

/// The name of a stream on a link; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(NonZeroU64);

impl StreamId {
    /// The stream of this number; `None` for 0, which is the link itself, and for what a claim word cannot hold.
    #[inline]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).filter(|number| number.get() >> BITS == 0).map(Self)
    }

    /// The number.
    #[inline]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Gives out the numbers of a link's streams, each once.
#[derive(Debug)]
pub struct StreamIds {
    next: u64,
    last: u64,
}

impl Default for StreamIds {
    fn default() -> Self {
        Self::up_to((1 << BITS) - 1)
    }
}

impl StreamIds {
    /// Numbers from 1 to `last`, which tests make small.
    pub fn up_to(last: u64) -> Self {
        Self { next: 1, last: last.min((1 << BITS) - 1) }
    }

    /// Whether every number has been given out. The link then takes no more requests.
    pub fn are_used_up(&self) -> bool {
        self.next > self.last
    }

    /// The next number; `None` once they are used up.
    #[expect(clippy::should_implement_trait, reason = "not a sequence that anybody iterates over")]
    pub fn next(&mut self) -> Option<StreamId> {
        let id = StreamId::new(self.next).filter(|_| !self.are_used_up())?;
        self.next += 1;
        Some(id)
    }
}

/// Values by stream. The numbers are the edge's own, so no client chooses where they fall.
pub type StreamMap<T> = HashMap<StreamId, T, BuildHasherDefault<StreamHasher>>;

/// Spreads numbers that count up.
#[derive(Debug, Default, Clone, Copy)]
pub struct StreamHasher(u64);

impl Hasher for StreamHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_given_once_and_then_no_more() {
        let mut ids = StreamIds::up_to(3);
        let given: Vec<_> = std::iter::from_fn(|| ids.next()).map(StreamId::get).collect();
        assert_eq!(given, [1, 2, 3]);
        assert!(ids.are_used_up() && ids.next().is_none());
    }

    #[test]
    fn a_number_fits_a_claim_word() {
        assert_eq!(StreamId::new(0), None);
        assert_eq!(StreamId::new(1 << BITS), None);
        assert_eq!(StreamId::new((1 << BITS) - 1).map(StreamId::get), Some((1 << BITS) - 1));
    }
}

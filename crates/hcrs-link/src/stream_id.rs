//! Numbers of streams. A number is used once in the life of a link, so a frame that is read late is never
//! taken for one of another stream.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU64;

/// Number of bits that a claim word has for a stream's number, beside the request's state.
pub(crate) const BITS: u32 = 62;

/// The number of a stream on a link, which is never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(NonZeroU64);

impl StreamId {
    /// Returns the stream with this number; `None` for 0, which is the link itself, and for a number that
    /// does not fit a claim word.
    #[inline]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).filter(|number| number.get() >> BITS == 0).map(Self)
    }

    /// Returns the number.
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

/// An allocator of a link's stream numbers, which returns each number once.
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
    /// Creates an allocator of the numbers from 1 to `last`. Tests use a small `last`.
    pub fn up_to(last: u64) -> Self {
        Self { next: 1, last: last.min((1 << BITS) - 1) }
    }

    /// Whether every number has been used. The link then takes no more requests.
    pub fn are_used_up(&self) -> bool {
        self.next > self.last
    }

    /// Returns the next number; `None` once all are used.
    #[expect(clippy::should_implement_trait, reason = "an allocator and not a sequence to iterate over")]
    pub fn next(&mut self) -> Option<StreamId> {
        let id = StreamId::new(self.next).filter(|_| !self.are_used_up())?;
        self.next += 1;
        Some(id)
    }
}

/// A map from streams to values. The edge chooses the numbers, so a client cannot provoke collisions.
pub type StreamMap<T> = HashMap<StreamId, T, BuildHasherDefault<StreamHasher>>;

/// A hasher for consecutive numbers.
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

//! The atomic words of the memory that edge and worker share, with the operations that the claim table and
//! the blocks need.
//!
//! The steps of both are generic over the word, so that loom runs the same code in every interleaving
//! (`interleavings.rs`).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// An atomic word.
pub(crate) trait Word<T> {
    /// Returns the word's value.
    fn load(&self, order: Ordering) -> T;

    /// Sets the word.
    fn store(&self, value: T, order: Ordering);

    /// Sets the word to `new` if it is `current`; otherwise the error has its value.
    fn compare_exchange(&self, current: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T>;
}

macro_rules! word {
    ($word:ty, $value:ty) => {
        impl Word<$value> for $word {
            fn load(&self, order: Ordering) -> $value {
                self.load(order)
            }

            fn store(&self, value: $value, order: Ordering) {
                self.store(value, order);
            }

            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }
        }
    };
}

word!(AtomicU32, u32);
word!(AtomicU64, u64);

#[cfg(test)]
word!(loom::sync::atomic::AtomicU32, u32);
#[cfg(test)]
word!(loom::sync::atomic::AtomicU64, u64);

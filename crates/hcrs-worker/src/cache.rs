//! A bounded cache in which each key has exactly one slot, where another key's value may replace its value.
//!
//! Requests repeat the same fields, targets and addresses, and the Python objects made of them are immutable,
//! so that requests can share them. Long keys are not cached, and callers do not cache secrets.

/// Bytes of the longest key that is cached.
pub(crate) const KEY_MAX: usize = 128;

/// A direct-mapped cache of `V` by a key in two parts.
#[derive(Debug)]
pub(crate) struct DirectMapped<V> {
    slots: Box<[Option<Slot<V>>]>,
}

#[derive(Debug)]
struct Slot<V> {
    first: u8,
    len: u8,
    key: [u8; KEY_MAX],
    value: V,
}

impl<V> DirectMapped<V> {
    /// Creates a cache of `slots` entries, a power of two.
    pub(crate) fn new(slots: usize) -> Self {
        assert!(slots.is_power_of_two(), "invariant: the number of slots is a power of two");
        Self { slots: (0..slots).map(|_| None).collect() }
    }

    /// Passes the key's value to `read` and returns the result. A value that is not cached is made by `make`,
    /// and cached if the key has at most [`KEY_MAX`] bytes.
    #[inline]
    pub(crate) fn get_or_try_insert<R, E>(
        &mut self,
        (a, b): (&[u8], &[u8]),
        make: impl FnOnce() -> Result<V, E>,
        read: impl FnOnce(&V) -> R,
    ) -> Result<R, E> {
        let len = a.len() + b.len();
        if len > KEY_MAX {
            return make().map(|value| read(&value));
        }
        let at = index(hash(a, b), self.slots.len());
        if let Some(slot) = &self.slots[at]
            && usize::from(slot.first) == a.len()
            && usize::from(slot.len) == len
            && slot.key[..a.len()] == *a
            && slot.key[a.len()..len] == *b
        {
            return Ok(read(&slot.value));
        }
        let mut key = [0; KEY_MAX];
        key[..a.len()].copy_from_slice(a);
        key[a.len()..len].copy_from_slice(b);
        let slot = Slot { first: a.len() as u8, len: len as u8, key, value: make()? };
        Ok(read(&self.slots[at].insert(slot).value))
    }
}

fn index(hash: u64, slots: usize) -> usize {
    (hash >> 32) as usize & (slots - 1)
}

/// Hashes eight bytes at a time by rotation and multiplication. A client that makes keys collide only evicts
/// a value.
#[inline]
fn hash(a: &[u8], b: &[u8]) -> u64 {
    let mut h = (a.len() as u64) << 8 | b.len() as u64;
    for part in [a, b] {
        let (words, rest) = part.as_chunks::<8>();
        for &word in words {
            h = mix(h, u64::from_le_bytes(word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            h = mix(h, u64::from_le_bytes(word));
        }
    }
    h
}

#[inline]
fn mix(h: u64, word: u64) -> u64 {
    (h.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(cache: &mut DirectMapped<Vec<u8>>, a: &[u8], b: &[u8]) -> (Vec<u8>, bool) {
        let mut made = false;
        let value = cache
            .get_or_try_insert(
                (a, b),
                || {
                    made = true;
                    Ok::<_, ()>([a, b"|", b].concat())
                },
                Clone::clone,
            )
            .unwrap();
        (value, made)
    }

    proptest! {
        #[test]
        fn a_key_always_gets_its_own_value(keys in proptest::collection::vec(
            (proptest::collection::vec(0u8..4, 0..90), proptest::collection::vec(0u8..4, 0..90)), 0..200)
        ) {
            let mut cache = DirectMapped::new(8);
            for (a, b) in &keys {
                prop_assert_eq!(get(&mut cache, a, b).0, [&a[..], b"|", b].concat());
            }
        }
    }

    #[test]
    fn short_keys_are_kept_and_long_ones_are_not() {
        let mut cache = DirectMapped::new(4);
        assert!(get(&mut cache, b"accept", b"*/*").1);
        assert!(!get(&mut cache, b"accept", b"*/*").1);
        assert!(get(&mut cache, b"accep", b"t*/*").1, "the parts count, not only their sum");
        let long = [b'x'; KEY_MAX];
        assert!(get(&mut cache, b"a", &long).1);
        assert!(get(&mut cache, b"a", &long).1);
    }
}

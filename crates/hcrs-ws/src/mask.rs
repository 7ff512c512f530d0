//! Masking of payloads (RFC 6455 §5.3).

/// Masks or unmasks `data`. Its first byte belongs to the first of `key`.
///
/// It takes eight bytes at a time, in a form that the compiler can vectorize.
#[inline]
pub(crate) fn apply(data: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Returns the key for the bytes that follow `len` bytes.
#[inline]
pub(crate) fn after(mut key: [u8; 4], len: usize) -> [u8; 4] {
    key.rotate_left(len % 4);
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_meets_its_part_of_the_key(
            data in proptest::collection::vec(any::<u8>(), 0..100),
            key: [u8; 4],
            cut in 0usize..100,
        ) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(n, byte)| byte ^ key[n % 4]).collect();
            let mut masked = data;
            let (front, back) = { let cut = cut.min(masked.len()); masked.split_at_mut(cut) };
            apply(front, key);
            apply(back, after(key, front.len()));
            prop_assert_eq!(masked, expected);
        }
    }
}

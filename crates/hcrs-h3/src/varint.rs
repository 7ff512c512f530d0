//! Integers of variable length (RFC 9000 §16).

/// The greatest integer.
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// Takes an integer. `None`, and nothing is taken, if bytes are missing.
#[inline]
pub(crate) fn take(rest: &mut &[u8]) -> Option<u64> {
    let (&first, _) = rest.split_first()?;
    let len = 1 << (first >> 6);
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    let value = bytes[1..].iter().fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte));
    Some(value)
}

/// Appends an integer of at most [`MAX`].
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x40 => out.push(value as u8),
        0x40..0x4000 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_of_the_rfc() {
        // RFC 9000 A.1
        let table: [(&[u8], u64); 5] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, value) in table {
            assert_eq!(take(&mut &bytes[..]), Some(value));
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value in 0..=MAX, shift in 0u32..62) {
            let (value, mut out) = (value >> shift, Vec::new());
            put(&mut out, value);
            for cut in 0..out.len() {
                let mut rest = &out[..cut];
                prop_assert_eq!((take(&mut rest), rest.len()), (None, cut));
            }
            let mut rest = &out[..];
            prop_assert_eq!((take(&mut rest), rest.len()), (Some(value), 0));
        }
    }
}

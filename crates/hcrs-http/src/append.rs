//! Copying blocks of bytes.

/// Length of the largest piece that is copied at once, in bytes.
///
/// For larger pieces the C library changes to an instruction (`rep movsb`) that is several times slower on
/// some processors when source and destination are not aligned alike, which here they hardly ever are: frame
/// headers stand between the payloads.
pub const PIECE: usize = 2 << 10;

/// Appends `bytes` to `out`, as `extend_from_slice` does, at a speed that does not depend on their alignment.
#[inline]
pub fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= PIECE {
        return out.extend_from_slice(bytes);
    }
    out.reserve(bytes.len());
    for piece in bytes.chunks(PIECE) {
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_every_byte_once() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let mut out = b"before".to_vec();
            append(&mut out, &bytes);
            assert_eq!(&out[..6], b"before");
            assert_eq!(&out[6..], bytes);
        }
    }
}

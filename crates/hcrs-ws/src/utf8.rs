//! UTF-8 in pieces (RFC 3629), refused at the first byte that cannot belong to it.

/// A validator of one text that comes in pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Utf8 {
    /// The beginning of a character that the last piece split, in the first `cut_len` bytes.
    cut: [u8; 4],
    cut_len: u8,
}

impl Utf8 {
    /// Checks the next piece. Returns false if no continuation can make the text valid.
    #[inline]
    pub(crate) fn push(&mut self, piece: &[u8]) -> bool {
        let Some(rest) = self.complete_cut(piece) else { return false };
        let Err(error) = simdutf8::compat::from_utf8(rest) else { return true };
        if error.error_len().is_some() {
            return false;
        }
        let cut = &rest[error.valid_up_to()..];
        self.cut[..cut.len()].copy_from_slice(cut);
        self.cut_len = cut.len() as u8;
        true
    }

    /// Whether the text may end here.
    #[inline]
    pub(crate) fn is_complete(self) -> bool {
        self.cut_len == 0
    }

    /// Completes a split character and returns the bytes that follow it; `None` if it cannot be completed.
    fn complete_cut<'a>(&mut self, mut piece: &'a [u8]) -> Option<&'a [u8]> {
        while self.cut_len > 0 {
            let Some((&byte, rest)) = piece.split_first() else { break };
            piece = rest;
            let len = usize::from(self.cut_len);
            self.cut[len] = byte;
            match std::str::from_utf8(&self.cut[..=len]) {
                Ok(_) => self.cut_len = 0,
                Err(error) if error.error_len().is_some() => return None,
                Err(_) => self.cut_len += 1,
            }
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the byte at which `bytes` is refused when it comes byte by byte.
    fn refused_at(bytes: &[u8]) -> Option<usize> {
        let mut check = Utf8::default();
        for (at, byte) in bytes.iter().enumerate() {
            if !check.push(&[*byte]) {
                return Some(at);
            }
        }
        (!check.is_complete()).then_some(bytes.len())
    }

    #[test]
    fn what_cannot_become_a_character_is_refused_at_once() {
        for (bytes, at) in [
            (&b"\xc0"[..], 0),
            (b"\xc1", 0),
            (b"\xf5", 0),
            (b"\xff", 0),
            (b"\x80", 0),
            (b"\xe0\x9f", 1),
            (b"\xed\xa0", 1),
            (b"\xf0\x8f", 1),
            (b"\xf4\x90", 1),
            (b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80", 6),
            (b"\xe2\x82", 2),
            (b"\xf0\x9f\x98", 3),
            (b"\xf0\x9f\x98a", 3),
        ] {
            assert_eq!(refused_at(bytes), Some(at), "{bytes:x?}");
        }
    }

    /// Returns bytes that are often nearly UTF-8.
    fn nearly_utf8() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
            2 => "[ -~]{0,80}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
            1 => any::<char>().prop_map(|c| {
                let mut bytes = c.to_string().into_bytes();
                bytes.pop();
                bytes
            }),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn pieces_are_judged_as_the_standard_library_judges_the_whole(
            bytes in nearly_utf8(),
            lengths in proptest::collection::vec(1usize..90, 1..5),
        ) {
            let mut check = Utf8::default();
            let mut at = 0;
            for &length in lengths.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let end = (at + length).min(bytes.len());
                let accepted = check.push(&bytes[at..end]);
                let so_far = std::str::from_utf8(&bytes[..end]);
                let is_open = so_far.is_ok_and(|_| true) || so_far.is_err_and(|e| e.error_len().is_none());
                prop_assert_eq!(accepted, is_open);
                if !accepted {
                    return Ok(());
                }
                at = end;
            }
            prop_assert_eq!(check.is_complete(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}

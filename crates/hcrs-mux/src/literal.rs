//! Integers and strings as HPACK and QPACK have them (RFC 7541 §5, RFC 9204 §4.1).

use crate::huffman;

/// Bytes that are no integer or no string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedLiteral;

/// A string as it stands in a field section.
#[derive(Debug, Clone, Copy)]
pub struct Text<'b> {
    bytes: &'b [u8],
    /// It is in Huffman's code.
    is_coded: bool,
}

/// Takes an integer whose first byte has `prefix` bits of it.
#[inline]
pub fn take_integer(rest: &mut &[u8], prefix: u32) -> Result<usize, MalformedLiteral> {
    let (&first, after) = rest.split_first().ok_or(MalformedLiteral)?;
    *rest = after;
    let max = (1usize << prefix) - 1;
    let value = usize::from(first) & max;
    if value < max { Ok(value) } else { long_integer(rest, value) }
}

/// Takes the further bytes of an integer. No section has strings that are as long as four of them can say.
#[cold]
fn long_integer(rest: &mut &[u8], mut value: usize) -> Result<usize, MalformedLiteral> {
    for shift in [0, 7, 14, 21] {
        let (&byte, after) = rest.split_first().ok_or(MalformedLiteral)?;
        *rest = after;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(MalformedLiteral)
}

/// Takes a string whose length has a prefix of `prefix` bits. The bit before them says whether it is in
/// Huffman's code.
#[inline]
pub fn take_text<'b>(rest: &mut &'b [u8], prefix: u32) -> Result<Text<'b>, MalformedLiteral> {
    let is_coded = rest.first().is_some_and(|first| first & 1 << prefix != 0);
    let len = take_integer(rest, prefix)?;
    let (bytes, after) = rest.split_at_checked(len).ok_or(MalformedLiteral)?;
    *rest = after;
    Ok(Text { bytes, is_coded })
}

impl<'b> Text<'b> {
    /// Returns the string, which is decoded into `decoded` if need be.
    #[inline]
    pub fn decode<'d>(self, decoded: &'d mut Vec<u8>) -> Result<&'d [u8], MalformedLiteral>
    where
        'b: 'd,
    {
        if !self.is_coded {
            return Ok(self.bytes);
        }
        decoded.clear();
        if huffman::decode(self.bytes, decoded) { Ok(decoded) } else { Err(MalformedLiteral) }
    }
}

/// Appends an integer whose first byte has `prefix` bits of it beside `pattern`.
#[inline]
pub fn put_integer(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let max = (1usize << prefix) - 1;
    if value < max {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | max as u8);
    let mut left = value - max;
    while left >= 0x80 {
        out.push(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Appends a string whose length has a prefix of `prefix` bits beside `pattern`; in Huffman's code if
/// `may_code` and it is no longer in it.
#[inline]
pub fn put_text(out: &mut Vec<u8>, pattern: u8, prefix: u32, text: &[u8], may_code: bool) {
    if may_code {
        let len = huffman::encoded_len(text);
        if len <= text.len() {
            put_integer(out, pattern | 1 << prefix, prefix, len);
            return huffman::encode(text, out);
        }
    }
    put_integer(out, pattern, prefix, text.len());
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_of_the_rfc() {
        // RFC 7541 C.1
        for (bytes, prefix, value) in [(&[10][..], 5, 10), (&[31, 154, 10], 5, 1337), (&[42], 8, 42)] {
            let mut out = Vec::new();
            put_integer(&mut out, 0, prefix, value);
            assert_eq!(out, bytes);
            assert_eq!(take_integer(&mut &bytes[..], prefix), Ok(value));
        }
        let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(take_integer(&mut &endless[..], 7), Err(MalformedLiteral));
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(
            text in proptest::collection::vec(any::<u8>(), 0..300),
            prefix in 3u32..8,
            may_code: bool,
        ) {
            let mut out = Vec::new();
            put_text(&mut out, 0, prefix, &text, may_code);
            for cut in 0..out.len() {
                prop_assert!(take_text(&mut &out[..cut], prefix).is_err(), "cut at {}", cut);
            }
            let mut decoded = Vec::new();
            let mut rest = &out[..];
            prop_assert_eq!(take_text(&mut rest, prefix).unwrap().decode(&mut decoded).unwrap(), &text[..]);
            prop_assert!(rest.is_empty());
        }
    }
}

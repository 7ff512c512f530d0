//! Header fields, laid out one after another: name length (u16), value length (u32), name, value.
//! Lengths are little-endian. Names are lower-case except in responses of apps that send them otherwise.

use crate::MalformedHead;

/// Length of the two lengths in front of each field, in bytes.
pub(crate) const PREFIX: usize = 6;

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// The fields of a head, in order, repeats included.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Takes a block whose form [`Fields::check`] has checked.
    pub(crate) fn new(block: &'a [u8]) -> Self {
        Self { rest: block }
    }

    /// Checks that `block` holds exactly `count` fields.
    pub(crate) fn check(block: &[u8], count: usize) -> Result<(), MalformedHead> {
        let mut at = 0usize;
        for _ in 0..count {
            let prefix = block.get(at..at + PREFIX).ok_or(MalformedHead)?;
            let (name, value) = lengths(prefix);
            at = at.checked_add(PREFIX + name).and_then(|n| n.checked_add(value)).ok_or(MalformedHead)?;
            if at > block.len() {
                return Err(MalformedHead);
            }
        }
        if at == block.len() { Ok(()) } else { Err(MalformedHead) }
    }

    /// Returns the first value of the field `name`, whatever its case.
    pub fn first(mut self, name: &[u8]) -> Option<&'a [u8]> {
        self.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (prefix, rest) = self.rest.split_at_checked(PREFIX)?;
        let (name_len, value_len) = lengths(prefix);
        let (name, rest) = rest.split_at_checked(name_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        self.rest = rest;
        Some((name, value))
    }
}

#[inline]
fn lengths(prefix: &[u8]) -> (usize, usize) {
    let name = usize::from(u16::from_le_bytes([prefix[0], prefix[1]]));
    let value = u32::from_le_bytes([prefix[2], prefix[3], prefix[4], prefix[5]]) as usize;
    (name, value)
}

/// Appends one field.
#[inline]
pub(crate) fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(u16::try_from(name.len()).is_ok(), "field names are limited by the head's size");
    out.reserve(PREFIX + name.len() + value.len());
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// Whether `name` is a token (RFC 9110 §5.6.2), the form of every field name.
#[inline]
pub fn is_field_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&b| TOKEN[usize::from(b)])
}

/// Whether the field `name` is about one connection and not about the message (RFC 9110 §7.6.1): HTTP/2 has
/// no such fields (RFC 9113 §8.2.2).
#[inline]
pub fn is_connection_specific(name: &[u8]) -> bool {
    // By length first, because this is asked of each field of each response over HTTP/2.
    let candidates: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        7 => &[b"upgrade"],
        10 => &[b"connection", b"keep-alive"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        _ => return false,
    };
    candidates.iter().any(|candidate| candidate.eq_ignore_ascii_case(name))
}

/// Whether the field `name` may stand in trailers: not one that frames or routes the message, or that a
/// recipient has to know before the body (RFC 9110 §6.5.1).
pub fn is_trailer_name(name: &[u8]) -> bool {
    const NEVER: [&[u8]; 13] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"host",
        b"max-forwards",
        b"proxy-authorization",
        b"set-cookie",
        b"trailer",
        b"www-authenticate",
    ];
    !is_connection_specific(name) && !NEVER.iter().any(|never| never.eq_ignore_ascii_case(name))
}

/// Whether `value` may stand on the wire: no CR, LF, NUL or other control but tab (RFC 9110 §5.5).
#[inline]
pub fn is_field_value(value: &[u8]) -> bool {
    // Counted rather than searched for, so that many bytes are looked at together.
    value.iter().filter(|&&b| b.is_ascii_control() && b != b'\t').count() == 0
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0usize;
    while b < 256 {
        table[b] = matches!(b as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
            | b'|' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z');
        b += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens() {
        assert!(is_field_name(b"x-request-id"));
        for bad in [&b""[..], b"a b", b"a:", b"a\r\n", b"\xc3\xa9", b"(x)"] {
            assert!(!is_field_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn fields_of_one_connection_are_recognized_in_any_case() {
        for name in ["te", "Upgrade", "Connection", "KEEP-ALIVE", "proxy-connection", "transfer-encoding"] {
            assert!(is_connection_specific(name.as_bytes()), "{name}");
            assert!(!is_trailer_name(name.as_bytes()), "{name}");
        }
        for name in ["", "t", "content-length", "connections", "date", "trailer"] {
            assert!(!is_connection_specific(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_frames_a_message_is_no_trailer() {
        assert!(is_trailer_name(b"grpc-status") && is_trailer_name(b"server-timing"));
        for bad in [&b"Content-Length"[..], b"transfer-encoding", b"Host", b"set-cookie"] {
            assert!(!is_trailer_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn values_hold_no_controls() {
        assert!(is_field_value(b"text/html; charset=utf-8\tx \xff"));
        for bad in [&b"a\rb"[..], b"a\nb", b"a\0b", b"\x7f", b"\x01"] {
            assert!(!is_field_value(bad), "{bad:?}");
        }
    }

    #[test]
    fn counts_that_do_not_fit_the_block_are_malformed() {
        let mut block = Vec::new();
        push(&mut block, b"a", b"1");
        push(&mut block, b"bb", b"");
        assert!(Fields::check(&block, 2).is_ok());
        assert!(Fields::check(&block, 1).is_err());
        assert!(Fields::check(&block, 3).is_err());
        assert!(Fields::check(&block[..block.len() - 1], 2).is_err());
        assert!(Fields::check(&[1, 0, 255, 255, 255, 255, b'a'], 1).is_err());
    }
}

//! Values of `content-length` (RFC 9110 §8.6).

/// Returns the number of bytes that a value names: digits only, at least one, and no more than fit in 64
/// bits. Signs, blanks and lists are malformed.
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, &byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        length.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}

/// Returns the number of bytes that the value of an app's response names, as [`content_length`] does, and the
/// value as it stands on the wire: blanks around it are not part of it (RFC 9110 §5.5).
pub fn response_content_length(value: &[u8]) -> Option<(u64, &[u8])> {
    let is_no_blank = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let begin = value.iter().position(is_no_blank)?;
    let end = value.iter().rposition(is_no_blank)? + 1;
    let value = &value[begin..end];
    content_length(value).map(|length| (length, value))
}

/// Returns the number of bytes that a request's value names, as [`content_length`] does, but refuses leading
/// zeros: the grammar has them, and there are readers that take such numbers for octal, perhaps one hop
/// earlier.
pub fn request_content_length(value: &[u8]) -> Option<u64> {
    let has_leading_zero = value.len() > 1 && value.starts_with(b"0");
    content_length(value).filter(|_| !has_leading_zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_that_fit_in_64_bits() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"0042"), Some(42));
        assert_eq!(content_length(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"+5", b"-5", b" 5", b"5 ", b"5,5", b"0x5", b"\xb2", b"18446744073709551616"] {
            assert_eq!(content_length(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_responses_length_may_have_blanks_around_it() {
        assert_eq!(response_content_length(b" 5\t"), Some((5, &b"5"[..])));
        for bad in [&b""[..], b" ", b"5 5", b"5\r\n"] {
            assert_eq!(response_content_length(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_requests_length_has_no_leading_zeros() {
        assert_eq!(request_content_length(b"0"), Some(0));
        assert_eq!(request_content_length(b"42"), Some(42));
        assert_eq!(request_content_length(b"042"), None);
        assert_eq!(request_content_length(b"00"), None);
    }
}

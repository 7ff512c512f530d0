//! The authority by which a request names its host: in its target, in `host` or in `:authority` (RFC 3986
//! §3.2).

/// Whether `text` is a host and perhaps a port, and nothing else: no user, no path, no list, not empty.
pub fn is_authority(text: &[u8]) -> bool {
    let (host_is_good, rest) = if let Some(literal) = text.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|&b| b == b']') else { return false };
        let host = &literal[..end];
        let good = !host.is_empty() && host.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
        (good, &literal[end + 1..])
    } else {
        let end = text.iter().position(|&b| b == b':').unwrap_or(text.len());
        (end > 0 && text[..end].iter().all(|&b| is_host_byte(b)), &text[end..])
    };
    host_is_good && (rest.is_empty() || rest.strip_prefix(b":").is_some_and(is_port))
}

/// Whether `text` is a port, which may be empty (RFC 3986 §3.2.3).
fn is_port(text: &[u8]) -> bool {
    text.iter()
        .try_fold(0u16, |port, b| {
            let digit = b.is_ascii_digit().then(|| u16::from(b - b'0'))?;
            port.checked_mul(10)?.checked_add(digit)
        })
        .is_some()
}

/// Whether a registered name may have the byte (RFC 3986 §3.2.2). The comma is left out, because it looks
/// like a list of hosts.
#[inline]
fn is_host_byte(byte: u8) -> bool {
    HOST_BYTES[usize::from(byte)]
}

static HOST_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&'
            | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for good in [
            "a",
            "localhost:8000",
            "127.0.0.1",
            "[::1]",
            "[::ffff:1.2.3.4]:443",
            "a_b.example",
            "a:",
            "xn--a",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a:b", "a:1:2", "a:+1", "a:65536", "u@a", "a/b", "a,b", "a b", "[::1", "[]", "[x]",
            "[::1]a", "::1", "a\\b", "a?b", "a#b", "\u{e9}",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}

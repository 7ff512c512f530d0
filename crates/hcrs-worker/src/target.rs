//! Percent-decoding of a request's path (RFC 3986 §2.1).

use std::borrow::Cow;

/// Replaces each `%XX` of the path by its byte. Invalid escapes are left unchanged.
pub(crate) fn percent_decode(path: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = path.iter().position(|&b| b == b'%') else { return Cow::Borrowed(path) };
    let mut out = path[..first].to_vec();
    let mut rest = &path[first..];
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if byte == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            out.push(high << 4 | low);
            rest = &after[2..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    Cow::Owned(out)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_escapes_and_leaves_the_rest() {
        for (path, decoded) in [
            (&b"/plain"[..], &b"/plain"[..]),
            (b"/a%20b", b"/a b"),
            (b"/%2f%2F", b"///"),
            (b"/%C3%A9", "/é".as_bytes()),
            (b"/100%", b"/100%"),
            (b"/%zz%4", b"/%zz%4"),
            (b"/%%41", b"/%A"),
            (b"%41", b"A"),
        ] {
            assert_eq!(percent_decode(path), decoded);
        }
    }
}

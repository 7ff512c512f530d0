//! Promised requests: an app may have a request made that its client has not made (RFC 9113 §8.4).

use crate::is_connection_specific;

/// Whether `path` can be the target of a promised request: it is absolute, and bytes that RFC 3986 §3.3 and
/// §3.4 do not allow are percent-encoded.
pub fn is_promise_path(path: &[u8]) -> bool {
    let may_stand = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*')
            || matches!(byte, b'+' | b',' | b';' | b'=' | b':' | b'@' | b'%' | b'/' | b'?')
    };
    path.first() == Some(&b'/') && path.iter().all(may_stand)
}

/// Whether the field `name` may stand in a promised request. Such a request has no body, takes the host of
/// the request that it belongs to, and has no connection of its own.
pub fn is_promise_name(name: &[u8]) -> bool {
    const NEVER: [&[u8]; 4] = [b"content-length", b"expect", b"host", b"trailer"];
    !is_connection_specific(name) && !NEVER.iter().any(|never| never.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_encoded() {
        for good in [&b"/"[..], b"/a/b.css?v=1&w=%20", b"//x", b"/caf%C3%A9;v=1"] {
            assert!(is_promise_path(good), "{}", good.escape_ascii());
        }
        for bad in
            [&b""[..], b"a", b"*", b"https://a/", b"/a b", b"/a#b", b"/\r\nx: y", "/é".as_bytes(), b"/<>"]
        {
            assert!(!is_promise_path(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn what_belongs_to_a_connection_or_a_body_is_not_promised() {
        assert!(is_promise_name(b"accept") && is_promise_name(b"Cookie"));
        for bad in [&b"Host"[..], b"content-length", b"TE", b"connection", b"expect"] {
            assert!(!is_promise_name(bad), "{}", bad.escape_ascii());
        }
    }
}

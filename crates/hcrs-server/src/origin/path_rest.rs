//! The part of a request's path behind a prefix of its normal form, as a URL holds it.

use hcrs_http::NormalPath;

/// Appends what follows the prefix: as the client has written it if the path is a plain one, else in normal form, so
/// that no dot segment is left. Of a path without the prefix all is appended.
pub(super) fn append_rest(path: &[u8], prefix: &[u8], out: &mut Vec<u8>) {
    let normal = NormalPath::new(path);
    let Some(rest) = normal.as_bytes().strip_prefix(prefix) else {
        return encode(normal.as_bytes(), out);
    };
    let slashes = prefix.split(|&byte| byte == b'/').count() - 1;
    match prefix.last() {
        _ if !is_plain(path) => encode(rest, out),
        Some(b'/') => out.extend_from_slice(&from_slash(path, slashes - 1)[1..]),
        _ if rest.is_empty() || rest[0] == b'/' => out.extend_from_slice(from_slash(path, slashes)),
        _ => encode(rest, out),
    }
}

/// Whether each segment of a path is one of its normal form: none is empty but the last, none is a dot segment, and
/// none has an encoded slash or dot.
fn is_plain(path: &[u8]) -> bool {
    let Some(path) = path.strip_prefix(b"/") else { return false };
    let mut segments = path.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.is_empty() && !is_last || matches!(segment, b"." | b"..") {
            return false;
        }
    }
    !path.windows(3).any(|octet| {
        matches!(octet, [b'%', b'2', b'f' | b'F' | b'e' | b'E'] | [b'%', b'5', b'c' | b'C'] | b"%00")
    })
}

/// Returns the path from the slash with this index on; nothing if there are fewer.
fn from_slash(path: &[u8], index: usize) -> &[u8] {
    let slash = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(index);
    slash.map_or(&[], |(at, _)| &path[at..])
}

/// Appends a decoded path in percent-encoding.
fn encode(path: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_spelled_as_the_client_has_spelled_it_unless_that_leads_elsewhere() {
        for (path, prefix, expected) in [
            ("/a/b%20c", "/a", "/b%20c"),
            ("/%61/b%20c", "/a", "/b%20c"),
            ("/a/b%20c", "/a/", "b%20c"),
            ("/a/", "/a/", ""),
            ("/a", "/a", ""),
            ("/abc%20d", "/ab", "c%20d"),
            ("/a%62c%7e", "/ab", "c~"),
            ("/a/../a/b%3f", "/a", "/b%3F"),
            ("/a//b", "/a/", "b"),
            ("/a%2fb", "/a", "/b"),
            ("/b", "/a", "/b"),
            ("/b", "", "/b"),
        ] {
            let mut out = Vec::new();
            append_rest(path.as_bytes(), prefix.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{path} behind {prefix}");
        }
    }
}

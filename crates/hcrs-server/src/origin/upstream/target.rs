//! The target of a request to an upstream: its path below that of the URL, without the prefix that a route removes.

use hcrs_http::{NormalPath, RequestView};

/// Returns the target in origin form. `stripped` is the part of the path's normal form that is removed.
///
/// The path is sent as the client has written it, unless a part of it is replaced and it is no plain one: then its
/// normal form is sent, so that no dot segment leads out of the URL's path.
pub(super) fn target(request: &RequestView<'_>, base: &str, stripped: &[u8]) -> Vec<u8> {
    let path = request.path;
    let mut target = Vec::with_capacity(base.len() + path.len() + request.query.len() + 2);
    if path == b"*" && base.is_empty() {
        target.extend_from_slice(path);
        return target;
    }
    target.extend_from_slice(base.as_bytes());
    if base.is_empty() && stripped.is_empty() {
        target.extend_from_slice(path);
    } else {
        let normal = NormalPath::new(path);
        if is_plain(path) && normal.as_bytes().starts_with(stripped) {
            let segments = stripped.split(|&byte| byte == b'/').count() - 1;
            target.extend_from_slice(after_segments(path, segments));
        } else {
            encode(normal.as_bytes().strip_prefix(stripped).unwrap_or(normal.as_bytes()), &mut target);
        }
    }
    if !target.starts_with(b"/") {
        target.insert(0, b'/');
    }
    if !request.query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(request.query);
    }
    target
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

/// Returns what follows the first `count` segments, each with the slash before it.
fn after_segments(path: &[u8], count: usize) -> &[u8] {
    let slash = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(count);
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
    use hcrs_http::{Endpoints, RequestHead, RequestLine, Scheme, Version};

    use super::*;

    fn to(path: &str, query: &str, base: &str, stripped: &str) -> String {
        let line = RequestLine {
            version: Version::Http11,
            scheme: Scheme::Http,
            method: b"GET",
            path: path.as_bytes(),
            query: query.as_bytes(),
        };
        let head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        String::from_utf8(target(&head.view(), base, stripped.as_bytes())).unwrap()
    }

    #[test]
    fn a_path_is_sent_as_it_is_unless_a_part_is_replaced() {
        for (path, query, base, stripped, expected) in [
            ("/a%20b/../c", "x=1&y", "", "", "/a%20b/../c?x=1&y"),
            ("/", "", "", "", "/"),
            ("*", "", "", "", "*"),
            ("/api/x", "", "", "/api", "/x"),
            ("/api", "q", "", "/api", "/?q"),
            ("/api/", "", "", "/api", "/"),
            ("/%61pi/x%20y", "", "", "/api", "/x%20y"),
            ("/api/x", "", "/base", "/api", "/base/x"),
            ("/api", "", "/base", "/api", "/base"),
            ("/x", "", "/base", "", "/base/x"),
            ("/a/b/c", "", "", "/a/b", "/c"),
        ] {
            assert_eq!(to(path, query, base, stripped), expected, "{path} {base} {stripped}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_base() {
        for (path, expected) in [
            ("/x/../../admin", "/base/admin"),
            ("/api/../api/x", "/base/x"),
            ("/api/%2e%2e/api/x", "/base/x"),
            ("//api//x", "/base/x"),
            ("/api/a%2Fb c", "/base/a/b%20c"),
            ("/api/a%3fb", "/base/a%3fb"),
            ("/api/./a%3fb", "/base/a%3Fb"),
        ] {
            assert_eq!(
                to(path, "", "/base", if path.contains("api") { "/api" } else { "" }),
                expected,
                "{path}"
            );
        }
    }
}

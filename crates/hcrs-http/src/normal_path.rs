//! The normal form of a request's path, in which routes compare it.

use std::borrow::Cow;

/// A request's path without its ambiguities: percent-encoding is decoded once, dot segments are resolved (RFC 3986
/// §5.2.4), and several slashes in a row count as one. An app gets the path as the client has sent it.
///
/// A target that is no path, such as `*`, stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath<'a> {
    bytes: Cow<'a, [u8]>,
    has_encoded_slash: bool,
}

impl<'a> NormalPath<'a> {
    /// Returns the normal form of a path. Malformed percent-encoding is taken literally.
    pub fn new(path: &'a [u8]) -> Self {
        let is_plain = !path.contains(&b'%') && !path.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
        if is_plain || !path.starts_with(b"/") {
            return Self { bytes: Cow::Borrowed(path), has_encoded_slash: false };
        }
        let (decoded, has_encoded_slash) = percent_decoded(path);
        Self { bytes: Cow::Owned(without_dots(&decoded)), has_encoded_slash }
    }

    /// Returns the bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the client has sent a slash in percent-encoding, which some apps take as a part of a segment.
    pub fn has_encoded_slash(&self) -> bool {
        self.has_encoded_slash
    }

    /// Returns what follows a prefix that ends at a segment's boundary; `None` if the path is not below it. The rest
    /// is empty or begins with a slash.
    #[inline]
    pub fn below(&self, prefix: &[u8]) -> Option<&[u8]> {
        let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
        let rest = self.bytes.strip_prefix(prefix)?;
        (rest.is_empty() || rest[0] == b'/').then_some(rest)
    }
}

/// Returns a path with its percent-encoding decoded once, and whether a slash was among what was decoded. Malformed
/// percent-encoding is taken literally.
pub fn percent_decoded(path: &[u8]) -> (Vec<u8>, bool) {
    let digit = |at: usize| path.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(path.len());
    let (mut at, mut has_encoded_slash) = (0, false);
    while let Some(&byte) = path.get(at) {
        let octet = if byte == b'%' { digit(at + 1).zip(digit(at + 2)) } else { None };
        if let Some((high, low)) = octet {
            let octet = (high * 16 + low) as u8;
            has_encoded_slash |= octet == b'/';
            decoded.push(octet);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    (decoded, has_encoded_slash)
}

fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(path.len());
    let mut is_folder = true;
    for segment in path.split(|&byte| byte == b'/') {
        is_folder = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => normal.truncate(normal.iter().rposition(|&byte| byte == b'/').unwrap_or(0)),
            segment => {
                normal.push(b'/');
                normal.extend_from_slice(segment);
            }
        }
    }
    if is_folder {
        normal.push(b'/');
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> String {
        String::from_utf8_lossy(NormalPath::new(path.as_bytes()).as_bytes()).into_owned()
    }

    #[test]
    fn each_spelling_of_a_path_has_one_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/%61", "/a"),
            ("/a%2Fb", "/a/b"),
            ("//a///b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/%2e%2e/a", "/a"),
            ("/a/%2E./b", "/b"),
            ("/..%2fa", "/a"),
            ("/%2561", "/%61"),
            ("/%zz%4", "/%zz%4"),
            ("/.hidden/...", "/.hidden/..."),
            ("/a%00b", "/a\0b"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
        assert!(
            NormalPath::new(b"/a%2fb").has_encoded_slash() && !NormalPath::new(b"/a/%62").has_encoded_slash()
        );
    }

    #[test]
    fn a_path_that_is_normal_is_not_copied() {
        assert!(matches!(NormalPath::new(b"/a.b/c-d").bytes, Cow::Borrowed(_)));
    }

    #[test]
    fn a_prefix_ends_at_a_boundary() {
        let below = |path: &'static str, prefix: &str| {
            let path = NormalPath::new(path.as_bytes());
            path.below(prefix.as_bytes()).map(|rest| String::from_utf8_lossy(rest).into_owned())
        };
        assert_eq!(below("/static/x", "/static").as_deref(), Some("/x"));
        assert_eq!(below("/static/x", "/static/").as_deref(), Some("/x"));
        assert_eq!(below("/static", "/static").as_deref(), Some(""));
        assert_eq!(below("/statics", "/static"), None);
        assert_eq!(below("/x", "/").as_deref(), Some("/x"));
        assert_eq!(below("*", "/"), None);
    }
}

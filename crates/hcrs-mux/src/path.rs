//! The value of `:path` (RFC 9113 §8.3.1, RFC 9114 §4.3.1): a path and perhaps a query, as RFC 3986 defines them.

use hcrs_http::Fault;

/// The reason why a `:path` is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPath {
    /// The request is malformed (RFC 9113 §8.1.1).
    Malformed,
    /// The request is answered with the fault.
    Refused(Fault),
}

/// A path and a query, which is empty if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Splits a `:path`.
    pub(crate) fn split(text: &'a [u8]) -> Self {
        match text.iter().position(|&byte| byte == b'?') {
            Some(at) => Self { path: &text[..at], query: &text[at + 1..] },
            None => Self { path: text, query: b"" },
        }
    }

    /// Checks the target of a request that is no CONNECT of its own.
    pub(crate) fn check(self, is_options: bool) -> Result<(), BadPath> {
        let seen = self.path.iter().fold(0, |seen, &byte| seen | IN_PATH[usize::from(byte)])
            | self.query.iter().fold(0, |seen, &byte| seen | IN_QUERY[usize::from(byte)]);
        if seen & FRAGMENT != 0 {
            return Err(BadPath::Refused(Fault::BadRequest("path with a fragment")));
        }
        if seen & NEVER != 0 || self.path.is_empty() && self.query.is_empty() {
            return Err(BadPath::Malformed);
        }
        if seen & BEYOND_ASCII != 0 {
            return Err(BadPath::Refused(Fault::BadRequest("path with bytes beyond ASCII")));
        }
        match self.path {
            [b'/', ..] => Ok(()),
            b"*" if is_options => Ok(()),
            [] | [b'*', ..] => Err(BadPath::Refused(Fault::BadRequest("path does not begin with a slash"))),
            _ => Err(BadPath::Malformed),
        }
    }
}

/// Properties of a byte; 0 if it may stand there.
const NEVER: u8 = 1;
const FRAGMENT: u8 = 2;
const BEYOND_ASCII: u8 = 4;

static IN_PATH: [u8; 256] = classes(b"<>`?");
static IN_QUERY: [u8; 256] = classes(b"<>\"");

/// Returns the properties of all bytes, of which `excluded` and those that are not graphic never stand there.
/// Quotation marks and braces in paths are none of RFC 3986's, but browsers send them.
const fn classes(excluded: &[u8]) -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0usize;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'#' => FRAGMENT,
            0x21..=0x7e => 0,
            0x80.. => BEYOND_ASCII,
            _ => NEVER,
        };
        byte += 1;
    }
    let mut at = 0;
    while at < excluded.len() {
        classes[excluded[at] as usize] = NEVER;
        at += 1;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8]) -> Result<(), BadPath> {
        Target::split(text).check(false)
    }

    #[test]
    fn a_path_begins_with_a_slash_and_has_the_bytes_of_a_path() {
        for good in [&b"/"[..], b"/a?b=c?d", b"/?", b"/{\"a\"}|^~", b"/a%20b;c=d@e!$&'()*+,:", b"//"] {
            assert_eq!(check(good), Ok(()), "{}", good.escape_ascii());
        }
        for bad in [&b""[..], b"x", b"/a b", b"/<", b"/>", b"/`", b"/\x7f", b"/\0", b"/?<", b"/?\"", b"x?y"] {
            assert_eq!(check(bad), Err(BadPath::Malformed), "{}", bad.escape_ascii());
        }
        for bad in [&b"?x"[..], b"*", b"*a"] {
            let refused = Fault::BadRequest("path does not begin with a slash");
            assert_eq!(check(bad), Err(BadPath::Refused(refused)));
        }
        for bad in ["/\u{e9}", "/?\u{e9}"] {
            let refused = Fault::BadRequest("path with bytes beyond ASCII");
            assert_eq!(check(bad.as_bytes()), Err(BadPath::Refused(refused)));
        }
        for bad in [&b"/a#b"[..], b"/?a#b", b"#"] {
            let refused = Fault::BadRequest("path with a fragment");
            assert_eq!(check(bad), Err(BadPath::Refused(refused)));
        }
        assert_eq!(Target::split(b"*").check(true), Ok(()));
    }
}

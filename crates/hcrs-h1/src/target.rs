//! The request target's forms (RFC 9112 §3.2).

use hcrs_http::{Fault, is_authority};

/// A parsed target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The part before the first `?`, still percent-encoded; `*` for the whole server.
    pub(crate) path: &'a [u8],
    /// The part after the first `?`.
    pub(crate) query: &'a [u8],
    /// The authority of the absolute form, which replaces `host`.
    pub(crate) authority: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    /// Parses a target. CONNECT, the only method with an authority alone, is not served.
    pub(crate) fn parse(method: &[u8], target: &'a [u8]) -> Result<Self, Fault> {
        if method == b"CONNECT" {
            return Err(Fault::MethodNotAllowed);
        }
        // httparse lets raw bytes beyond ASCII and fragments pass.
        if !target.iter().all(|&b| b.is_ascii_graphic() && b != b'#') {
            return Err(Fault::BadRequest("byte in request target that has to be percent-encoded"));
        }
        match target.first() {
            Some(b'/') => Ok(Self::split(target, None)),
            Some(b'*') if target == b"*" && method == b"OPTIONS" => Ok(Self::split(target, None)),
            _ => Self::absolute(method, target),
        }
    }

    fn split(target: &'a [u8], authority: Option<&'a [u8]>) -> Self {
        match memchr::memchr(b'?', target) {
            Some(at) => Self { path: &target[..at], query: &target[at + 1..], authority },
            None => Self { path: target, query: b"", authority },
        }
    }

    fn absolute(method: &[u8], target: &'a [u8]) -> Result<Self, Fault> {
        let rest = strip_scheme(target).ok_or(Fault::BadRequest("request target in no known form"))?;
        let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if !is_authority(authority) {
            return Err(Fault::BadRequest("malformed authority in request target"));
        }
        let mut target = Self::split(rest, Some(authority));
        if target.path.is_empty() {
            // RFC 9112 §3.2.4: without a path, OPTIONS asks about the server as a whole.
            target.path = if method == b"OPTIONS" && rest.is_empty() { b"*" } else { b"/" };
        }
        Ok(target)
    }
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target<'a>(path: &'a str, query: &'a str, authority: Option<&'a str>) -> Target<'a> {
        Target { path: path.as_bytes(), query: query.as_bytes(), authority: authority.map(str::as_bytes) }
    }

    #[test]
    fn each_form_is_taken_apart() {
        for (method, text, expected) in [
            ("GET", "/", target("/", "", None)),
            ("GET", "/a%20b?c=d?e", target("/a%20b", "c=d?e", None)),
            ("GET", "//a/b", target("//a/b", "", None)),
            ("GET", "/?", target("/", "", None)),
            ("OPTIONS", "*", target("*", "", None)),
            ("GET", "http://a/x?y", target("/x", "y", Some("a"))),
            ("GET", "HTTPS://[::1]:80?y", target("/", "y", Some("[::1]:80"))),
            ("GET", "http://a", target("/", "", Some("a"))),
            ("OPTIONS", "http://a", target("*", "", Some("a"))),
        ] {
            assert_eq!(Target::parse(method.as_bytes(), text.as_bytes()), Ok(expected), "{method} {text}");
        }
    }

    #[test]
    fn connect_is_not_served() {
        assert_eq!(Target::parse(b"CONNECT", b"a:80"), Err(Fault::MethodNotAllowed));
    }

    #[test]
    fn refuses_other_forms_and_raw_bytes() {
        for text in [
            "",
            "*",
            "x",
            "a:80",
            "a/b",
            "?q",
            "ftp://a/",
            "http:/a",
            "http://",
            "http:///x",
            "http://u@a/",
            "http://a,b/",
            "/a#b",
            "/a b",
            "/\t",
            "/\u{e9}",
            "/\0",
            "/\x7f",
        ] {
            let parsed = Target::parse(b"GET", text.as_bytes());
            assert!(matches!(parsed, Err(Fault::BadRequest(_))), "{text:?}: {parsed:?}");
        }
    }
}

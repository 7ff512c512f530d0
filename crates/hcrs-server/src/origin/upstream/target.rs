//! The target of a request to an upstream: its path below that of the URL, without the prefix that a route removes.

use std::borrow::Cow;

use hcrs_http::RequestView;

use crate::origin::path_rest::append_rest;

/// A target in origin form.
#[derive(Debug)]
pub(super) struct Target<'a> {
    base: &'a str,
    path: Cow<'a, [u8]>,
    query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Returns the target of a request. `stripped` is the part of the path's normal form that is removed.
    ///
    /// The path is sent as the client has written it, unless a part of it is replaced and it is no plain one: then its
    /// normal form is sent, so that no dot segment leads out of the URL's path.
    pub(super) fn new(request: &RequestView<'a>, base: &'a str, stripped: &[u8]) -> Self {
        let (path, query) = (request.path, request.query);
        if base.is_empty() && stripped.is_empty() {
            return Self { base, path: path.into(), query };
        }
        let mut rest = Vec::with_capacity(path.len());
        append_rest(path, stripped, &mut rest);
        Self { base, path: rest.into(), query }
    }

    /// Returns its pieces.
    pub(super) fn pieces(&self) -> [&[u8]; 5] {
        let begins = !self.base.is_empty() || self.path.starts_with(b"/") || *self.path == *b"*";
        let slash: &[u8] = if begins { b"" } else { b"/" };
        let mark: &[u8] = if self.query.is_empty() { b"" } else { b"?" };
        [slash, self.base.as_bytes(), &self.path, mark, self.query]
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
        String::from_utf8(Target::new(&head.view(), base, stripped.as_bytes()).pieces().concat()).unwrap()
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

//! The hosts that are served.

use hcrs_http::{RequestHead, Scheme};

/// The hosts that are served: those that the operator names, or by default all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerNames(Vec<ServerName>);

/// A host that the operator names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ServerName {
    /// The host's name or address; IPv6 is in brackets.
    host: Box<str>,
    /// The port; `None` matches any.
    port: Option<u16>,
}

impl ServerNames {
    /// Adds a host, or a host and its port. The error describes the expected form.
    pub fn push(&mut self, name: &str) -> Result<(), &'static str> {
        const EXPECTED: &str = "a host name or address, with or without a port";
        let (host, port) = split(name.as_bytes()).ok_or(EXPECTED)?;
        let host = &name[..host.len()];
        if host == "*" {
            return Err("a name: wildcards are not supported; without any name every host is served");
        }
        if !host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/@,?#*".contains(&byte)) {
            return Err(EXPECTED);
        }
        self.0.push(ServerName { host: host.into(), port });
        Ok(())
    }

    /// Whether the request's host is served.
    #[inline]
    pub(crate) fn serve(&self, head: &RequestHead) -> bool {
        self.0.is_empty() || self.name(head)
    }

    fn name(&self, head: &RequestHead) -> bool {
        let view = head.view();
        let Some((host, port)) = view.fields().first(b"host").and_then(split) else { return false };
        let default = match view.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let port = port.unwrap_or(default);
        self.0.iter().any(|name| {
            name.host.as_bytes().eq_ignore_ascii_case(host) && name.port.is_none_or(|named| named == port)
        })
    }
}

/// Returns the host of an authority, without its port.
pub(crate) fn host_of(authority: &[u8]) -> Option<&[u8]> {
    split(authority).map(|(host, _)| host)
}

/// Splits the text of an authority into the host and the port, if there is one.
fn split(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let find = |wanted, from: usize| text[from..].iter().position(|&byte| byte == wanted).map(|at| from + at);
    let bracket = if text.first() == Some(&b'[') { find(b']', 0)? } else { 0 };
    let (host, port) = text.split_at(find(b':', bracket).unwrap_or(text.len()));
    let port = match port {
        [] | [b':'] => None,
        [_, digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
        }
        _ => return None,
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestLine, Version};

    use super::*;

    fn head(scheme: Scheme, host: Option<&str>) -> RequestHead {
        let line = RequestLine { version: Version::Http11, scheme, method: b"GET", path: b"/", query: b"" };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::new(None, None));
        if let Some(host) = host {
            head.push_field(b"host", host.as_bytes());
        }
        head
    }

    #[test]
    fn a_name_without_a_port_goes_with_any_and_a_name_with_one_with_that() {
        let mut names = ServerNames::default();
        assert!(names.serve(&head(Scheme::Http, None)), "without names everything is served");
        for name in ["Example.com", "shop.test:8443", "plain.test:80", "[::1]", "[::2]:9"] {
            names.push(name).unwrap();
        }
        for (scheme, host, served) in [
            (Scheme::Http, "example.com", true),
            (Scheme::Http, "EXAMPLE.COM:1234", true),
            (Scheme::Http, "example.com:", true),
            (Scheme::Http, "example.comm", false),
            (Scheme::Http, "www.example.com", false),
            (Scheme::Http, "example.com:x", false),
            (Scheme::Http, "example.com:99999", false),
            (Scheme::Https, "shop.test:8443", true),
            (Scheme::Https, "shop.test", false),
            (Scheme::Https, "shop.test:443", false),
            (Scheme::Http, "plain.test", true),
            (Scheme::Https, "plain.test", false),
            (Scheme::Http, "[::1]", true),
            (Scheme::Http, "[::1]:7", true),
            (Scheme::Http, "[::2]:9", true),
            (Scheme::Http, "[::2]:8", false),
            (Scheme::Http, "[::", false),
            (Scheme::Http, "::1", false),
            (Scheme::Http, "", false),
        ] {
            assert_eq!(names.serve(&head(scheme, Some(host))), served, "{host}");
        }
        assert!(!names.serve(&head(Scheme::Http, None)));
    }

    #[test]
    fn what_is_no_host_is_no_name() {
        for text in ["", ":80", "https://a", "a b", "a:port", "a/b", "*", "*.a", "[::1", "::1", "\u{e9}"] {
            assert!(ServerNames::default().push(text).is_err(), "{text}");
        }
    }
}

//! The URL of a collector.

use std::fmt;

use hcrs_http::is_authority;

/// The path of the spans, below that of the endpoint.
const TRACES: &str = "/v1/traces";

/// The URL of a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it speaks TLS.
    pub(crate) is_tls: bool,
    /// The host and the port, as in the URL.
    pub(crate) authority: String,
    /// The name or the address, without brackets.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// The path that spans are posted to.
    pub(crate) path: String,
}

impl Endpoint {
    /// Parses a URL, to whose path `/v1/traces` is added unless it ends with it.
    pub fn parse(url: &str) -> Option<Self> {
        let (is_tls, rest) = match url.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = path.trim_end_matches('/');
        let is_path = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if is_tls => 443,
            None => 80,
        };
        if host.is_empty() || !is_path || !is_authority(authority.as_bytes()) {
            return None;
        }
        Some(Self {
            is_tls,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            path: if path.ends_with(TRACES) { path.to_owned() } else { format!("{path}{TRACES}") },
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_tls, authority, path, .. } = self;
        write!(f, "{}://{authority}{path}", if *is_tls { "https" } else { "http" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_port_and_path() {
        for (url, host, port, shown) in [
            ("http://127.0.0.1:4318", "127.0.0.1", 4318, "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318/", "::1", 4318, "http://[::1]:4318/v1/traces"),
            ("https://otel.test", "otel.test", 443, "https://otel.test/v1/traces"),
            ("http://a/otlp/", "a", 80, "http://a/otlp/v1/traces"),
            ("http://a/otlp/v1/traces", "a", 80, "http://a/otlp/v1/traces"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(
                (&*endpoint.host, endpoint.port, &*endpoint.to_string()),
                (host, port, shown),
                "{url}"
            );
        }
    }

    #[test]
    fn anything_else_is_no_endpoint() {
        for bad in [
            "",
            "localhost:4318",
            "grpc://a:4317",
            "http://",
            "http://:80",
            "http://a:x",
            "http://a:70000",
            "http://u@a",
            "http://a/?b",
            "http://a/b c",
            "http://a b/",
            "http://[::1",
        ] {
            assert_eq!(Endpoint::parse(bad), None, "{bad}");
        }
    }
}

//! The collector that spans are exported to.

use std::fmt;

use hcrs_fetch::Target;

/// The path of the spans below a collector's URL.
const TRACES: &str = "/v1/traces";

/// A collector of OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Target);

impl Endpoint {
    /// Parses a URL, to whose path `/v1/traces` is added unless it ends with it.
    pub fn parse(url: &str) -> Option<Self> {
        if url.contains(['?', '#']) {
            return None;
        }
        let target = Target::parse(url)?;
        let path = target.path().trim_end_matches('/');
        let path = if path.ends_with(TRACES) { path.to_owned() } else { format!("{path}{TRACES}") };
        Some(Self(target.with_path(path)))
    }

    /// Returns the target of exports.
    #[cfg(feature = "export")]
    pub(crate) fn target(&self) -> &Target {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_spans_is_added_to_a_url() {
        for (url, shown) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            ("https://otel.test", "https://otel.test/v1/traces"),
            ("http://a/otlp/", "http://a/otlp/v1/traces"),
            ("http://a/otlp/v1/traces", "http://a/otlp/v1/traces"),
            ("http://v1/traces", "http://v1/traces/v1/traces"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().to_string(), shown, "{url}");
        }
    }

    #[test]
    fn anything_else_is_no_endpoint() {
        for bad in
            ["", "localhost:4318", "grpc://a:4317", "http://", "http://a/?b", "http://a?b", "http://a/#b"]
        {
            assert_eq!(Endpoint::parse(bad), None, "{bad}");
        }
    }
}

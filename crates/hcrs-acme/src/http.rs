//! Requests to an authority, and those by which the server checks itself: their bounds.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_fetch::{Bounds, fetch};
use rustls::ClientConfig;

pub(crate) use hcrs_fetch::{Request, Response, Target};

/// How long a request may take, its connection included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest body of a response, in bytes: chains of certificates have some 10 KiB.
const BODY_MAX: usize = 1 << 20;

/// A URL is not one of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a URL that begins with https://")]
pub(crate) struct UrlError;

/// Parses a URL of an authority, all of which have `https`.
pub(crate) fn parse_url(url: &str) -> Result<Target, UrlError> {
    Target::parse(url).filter(Target::is_tls).ok_or(UrlError)
}

/// Sends a request, and waits for the response. Redirects are not followed.
pub(crate) fn send(request: Request<'_>, tls: Option<&Arc<ClientConfig>>) -> io::Result<Response> {
    let bounds = Bounds { until: Instant::now() + REQUEST_TIMEOUT, max_body_bytes: Some(BODY_MAX) };
    fetch(request, tls, bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_asked_over_tls_alone() {
        assert_eq!(parse_url("https://ca.test/dir").unwrap().host(), "ca.test");
        for wrong in ["http://ca.test/dir", "https:///x", "ca.test"] {
            assert_eq!(parse_url(wrong), Err(UrlError), "{wrong}");
        }
    }
}

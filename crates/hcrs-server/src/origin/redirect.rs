//! Redirects requests of cleartext listeners to HTTPS (`redirect_http`).

use hcrs_http::{RequestHead, RequestView, ResponseHead};

use crate::exchange::WholeResponse;

/// Paths that are served over cleartext nevertheless: certificate authorities fetch the answers to their
/// challenges there (RFC 8555 §8.3).
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// Whether the path is redirected.
pub(crate) fn applies_to(view: &RequestView<'_>) -> bool {
    // `OPTIONS *` is about the server itself, and has no path that a URL could have (RFC 9110 §9.3.7).
    view.path.starts_with(b"/") && !view.path.starts_with(CHALLENGES)
}

/// Returns the redirect to the same target over HTTPS at `port`; `None` if the request names no host.
///
/// The status is 308, so that the method and the body stay what they are.
pub(crate) fn answer(head: &RequestHead, port: u16) -> Option<WholeResponse> {
    let view = head.view();
    let host = host(view.fields().first(b"host")?)?;
    let mut location = [b"https://", host].concat();
    if port != 443 {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    location.extend_from_slice(view.path);
    if !view.query.is_empty() {
        location.push(b'?');
        location.extend_from_slice(view.query);
    }
    let fields: [(&[u8], &[u8]); 2] = [(b"location", &location), (b"content-length", b"0")];
    Some(WholeResponse { head: ResponseHead::new(308, fields), body: Vec::new() })
}

/// Returns the host of an authority, without its port.
fn host(authority: &[u8]) -> Option<&[u8]> {
    let end = match authority.first()? {
        b'[' => authority.iter().position(|&byte| byte == b']')? + 1,
        _ => authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len()),
    };
    (end > 0).then(|| &authority[..end])
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestLine, Scheme, Version};

    use super::*;

    fn location(host: &[u8], target: (&[u8], &[u8]), port: u16) -> Option<String> {
        let (path, query) = target;
        let line =
            RequestLine { version: Version::Http11, scheme: Scheme::Http, method: b"GET", path, query };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        if !host.is_empty() {
            head.push_field(b"host", host);
        }
        let answer = answer(&head, port)?;
        Some(String::from_utf8(answer.head.fields().first(b"location")?.to_vec()).unwrap())
    }

    #[test]
    fn the_target_stays_and_the_port_is_that_of_https() {
        let to = |host: &[u8], port| location(host, (b"/a%20b", b"x=1&y"), port);
        assert_eq!(to(b"example.com:8080", 8443).unwrap(), "https://example.com:8443/a%20b?x=1&y");
        assert_eq!(to(b"example.com", 443).unwrap(), "https://example.com/a%20b?x=1&y");
        assert_eq!(to(b"[::1]:80", 443).unwrap(), "https://[::1]/a%20b?x=1&y");
        assert_eq!(location(b"h", (b"/", b""), 443).unwrap(), "https://h/");
    }

    #[test]
    fn a_request_without_a_host_cannot_be_redirected() {
        assert_eq!(location(b"", (b"/", b""), 443), None);
        assert_eq!(location(b":80", (b"/", b""), 443), None);
    }
}

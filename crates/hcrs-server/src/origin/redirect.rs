//! Redirects: of requests of cleartext listeners to HTTPS (`redirect_http`), and of those that a route redirects.

use hcrs_http::{NormalPath, RequestHead, RequestView, ResponseHead};

use super::path_rest::append_rest;
use crate::exchange::WholeResponse;
use crate::origin::challenge;
use crate::server_names::host_of;
use crate::settings::{RedirectSettings, RouteMatcher};

/// Whether the path is redirected.
pub(crate) fn applies_to(view: &RequestView<'_>) -> bool {
    // `OPTIONS *` is about the server itself, and has no path that a URL could have (RFC 9110 §9.3.7).
    // Authorities of certificates fetch the answers to challenges over cleartext; an app may have them as well.
    view.path.starts_with(b"/") && challenge::token(view.path).is_none()
}

/// Returns the redirect to the same target over HTTPS at `port`; `None` if the request names no host.
///
/// The status is 308, so that the method and the body stay what they are.
pub(crate) fn answer(head: &RequestHead, port: u16) -> Option<WholeResponse> {
    let view = head.view();
    let host = host_of(view.fields().first(b"host")?)?;
    let mut location = [b"https://", host].concat();
    if port != 443 {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    location.extend_from_slice(view.path);
    if !view.query.is_empty() {
        location.push(b'?');
        location.extend_from_slice(view.query);
    }
    Some(to(&location, 308))
}

/// Returns the redirect of a route; `None` if its location names the request's host, and the request has none.
pub(crate) fn by_route(
    head: &RequestHead,
    settings: &RedirectSettings,
    matcher: &RouteMatcher,
) -> Option<WholeResponse> {
    let view = head.view();
    let mut location = Vec::with_capacity(settings.location.len() + view.path.len());
    let mut left = settings.location.as_str();
    while let Some((before, rest)) = left.split_once('{') {
        location.extend_from_slice(before.as_bytes());
        let (name, rest) = rest.split_once('}')?;
        match name {
            "host" => location.extend_from_slice(host_of(view.fields().first(b"host")?)?),
            "path" => location.extend_from_slice(view.path),
            "rest" => {
                let path = NormalPath::new(view.path);
                let taken = path.as_bytes().len() - matcher.tail(&path).len();
                append_rest(view.path, &path.as_bytes()[..taken], &mut location);
            }
            _ if view.query.is_empty() => {}
            _ => {
                location.push(b'?');
                location.extend_from_slice(view.query);
            }
        }
        left = rest;
    }
    location.extend_from_slice(left.as_bytes());
    // Browsers take a path that begins with two slashes for a host, and a backslash for a slash.
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    if location.first().is_some_and(is_slash) && !settings.location.starts_with("//") {
        let slashes = location.iter().take_while(|byte| is_slash(byte)).count();
        location.splice(..slashes, *b"/");
    }
    Some(to(&location, settings.status))
}

fn to(location: &[u8], status: u16) -> WholeResponse {
    let fields: [(&[u8], &[u8]); 2] = [(b"location", location), (b"content-length", b"0")];
    WholeResponse { head: ResponseHead::new(status, fields), body: Vec::new() }
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestLine, Scheme, Version};

    use super::*;
    use crate::settings::PathPattern;

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
    fn routes_make_a_location_of_the_parts_of_a_request() {
        let pattern = |text| PathPattern::parse(text).unwrap();
        let matcher = RouteMatcher {
            paths: vec![pattern("/moved"), pattern("/v?/*"), pattern("=/one")],
            ..RouteMatcher::default()
        };
        let to = |location: &str, path: &[u8], query: &[u8]| {
            let line =
                RequestLine { version: Version::Http11, scheme: Scheme::Http, method: b"GET", path, query };
            let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
            head.push_field(b"host", b"a.test:80");
            let answer =
                by_route(&head, &RedirectSettings { location: location.to_owned(), status: 301 }, &matcher)
                    .unwrap();
            assert_eq!(answer.head.status(), 301);
            String::from_utf8(answer.head.fields().first(b"location").unwrap().to_vec()).unwrap()
        };
        assert_eq!(to("https://www.{host}{path}{query}", b"/a%20b", b"x=1"), "https://www.a.test/a%20b?x=1");
        assert_eq!(to("https://{host}{path}{query}", b"/", b""), "https://a.test/");
        assert_eq!(to("/new", b"/old", b"x"), "/new");
        assert_eq!(to("{path}/", b"//evil.test", b""), "/evil.test/", "no other host");
        assert_eq!(to("{path}/", b"/\\evil.test", b""), "/evil.test/", "no other host");
        assert_eq!(to("{rest}", b"/moved//evil.test", b""), "/evil.test", "no other host");
        assert_eq!(to("{rest}", b"/moved/\\evil.test", b""), "/evil.test", "no other host");
        assert_eq!(to("//b.test{path}", b"/a", b""), "//b.test/a");
        assert_eq!(to("/x{path}", b"//y", b""), "/x//y");
        assert_eq!(to("/new{rest}{query}", b"/moved/a%20b", b"q"), "/new/a%20b?q");
        assert_eq!(to("/new{rest}", b"/moved", b""), "/new");
        assert_eq!(
            to("/new{rest}", b"/moved/../moved/%2e%2e/x", b""),
            "/new/x",
            "the normal form has no dots"
        );
        assert_eq!(to("/new/{rest}", b"/v2/a/b", b""), "/new/2/a/b");
        assert_eq!(to("/new{rest}", b"/one", b""), "/new");
    }

    #[test]
    fn a_request_without_a_host_cannot_be_redirected() {
        assert_eq!(location(b"", (b"/", b""), 443), None);
        assert_eq!(location(b":80", (b"/", b""), 443), None);
    }
}

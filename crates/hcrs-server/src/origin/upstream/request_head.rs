//! The head of a request as an upstream gets it: hop-by-hop fields are removed, and the client is described.

use bytes::Bytes;
use hcrs_http::{RequestView, is_connection_specific};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Version, request};

use super::forwarded::{self, Sender};
use super::target::target;
use crate::settings::{UpstreamHost, UpstreamUrl};

/// The entry of this server in `via` (RFC 9110 §7.6.3).
fn via(version: hcrs_http::Version) -> &'static str {
    use hcrs_http::Version::{Http2, Http3, Http10, Http11};
    match version {
        Http10 | Http11 => "1.1 hcrs",
        Http2 => "2 hcrs",
        Http3 => "3 hcrs",
    }
}

/// The facts that a request's head depends on besides the client's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// The upstream.
    pub url: &'a UpstreamUrl,
    /// The `host` that it gets.
    pub host: &'a UpstreamHost,
    /// The sender of the request.
    pub sender: Sender<'a>,
    /// Whether HTTP/2 is spoken with the upstream.
    pub is_h2: bool,
    /// Whether the request asks for a WebSocket, which is passed on.
    pub is_tunnel: bool,
}

/// Returns the head; `None` if the client's has a part that cannot be sent.
pub(super) fn request_head(request: &RequestView<'_>, context: Context<'_>) -> Option<request::Parts> {
    let Context { url, host, sender, is_h2, is_tunnel } = context;
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::from_bytes(request.method).ok()?;
    let target = Bytes::from(target(request, &url.base, sender.stripped));
    let target = PathAndQuery::from_maybe_shared(target).ok()?;
    let client_host = request.fields().first(b"host");
    let host = match host {
        UpstreamHost::Client => client_host.unwrap_or(url.authority.as_bytes()),
        UpstreamHost::Upstream => url.authority.as_bytes(),
        UpstreamHost::Named(name) => name.as_bytes(),
    };
    let fields = &mut parts.headers;
    fields.reserve(request.field_count + 6);
    if is_h2 {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(if url.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority = Some(Authority::try_from(host).ok()?);
        uri.path_and_query = Some(target);
        parts.uri = Uri::from_parts(uri).ok()?;
        parts.version = Version::HTTP_2;
    } else {
        parts.uri = target.into();
        fields.insert(header::HOST, HeaderValue::from_bytes(host).ok()?);
    }
    copy_fields(request, sender.is_trusted, fields)?;
    if is_tunnel {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if request.accepts_trailers() {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        if !is_h2 && !is_tunnel {
            fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
    }
    forwarded::describe(request, sender, fields);
    fields.append(header::VIA, HeaderValue::from_static(via(request.version)));
    Some(parts)
}

/// Copies the fields that are for the upstream.
fn copy_fields(request: &RequestView<'_>, is_trusted: bool, fields: &mut HeaderMap) -> Option<()> {
    let named = Named::of(request.fields());
    for (name, value) in request.fields() {
        let is_kept = match name {
            b"host" | b"expect" | b"http2-settings" | b"proxy-authorization" => false,
            _ if !is_trusted && forwarded::is_forwarded(name) => false,
            _ => !is_connection_specific(name) && !named.has(name),
        };
        if is_kept {
            fields
                .try_append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?)
                .ok()?;
        }
    }
    Some(())
}

/// The fields that `connection` names, which are for one hop alone (RFC 9110 §7.6.1).
pub(super) struct Named<'a>(Vec<&'a [u8]>);

impl<'a> Named<'a> {
    /// Returns the fields that are named among these.
    pub(super) fn of(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let connection = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
        let options = connection.flat_map(|(_, value)| value.split(|&byte| byte == b','));
        // A length that were removed would leave a body without a frame.
        let names = options.map(<[u8]>::trim_ascii).filter(|name| {
            !name.is_empty()
                && ![&b"content-length"[..], b"host"].iter().any(|kept| kept.eq_ignore_ascii_case(name))
        });
        Self(names.collect())
    }

    /// Whether the field is named.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|named| named.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Address, Endpoints, RequestHead, RequestLine};

    use super::*;

    fn head(version: hcrs_http::Version, fields: &[(&str, &str)]) -> RequestHead {
        let scheme = hcrs_http::Scheme::Https;
        let line = RequestLine { version, scheme, method: b"GET", path: b"/api/x", query: b"q" };
        let client = Some(Address { host: "192.0.2.1", port: 5 });
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::new(client, None));
        for (name, value) in fields {
            head.push_field(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn sent(head: &RequestHead, sender: Sender<'_>, is_h2: bool) -> request::Parts {
        let url = UpstreamUrl::parse("http://up.test:9000").unwrap();
        let context = Context { url: &url, host: &UpstreamHost::Client, sender, is_h2, is_tunnel: false };
        request_head(&head.view(), context).unwrap()
    }

    fn field<'a>(parts: &'a request::Parts, name: &str) -> Option<&'a str> {
        parts.headers.get(name).map(|value| value.to_str().unwrap())
    }

    const STRANGER: Sender<'_> = Sender { peer: Some("192.0.2.1"), is_trusted: false, stripped: b"" };

    #[test]
    fn fields_of_one_hop_end_here() {
        let head = head(
            hcrs_http::Version::Http11,
            &[
                ("host", "a.test"),
                ("connection", "keep-alive, X-Own, Content-Length"),
                ("keep-alive", "timeout=5"),
                ("x-own", "1"),
                ("content-length", "5"),
                ("transfer-encoding", "chunked"),
                ("te", "trailers, deflate"),
                ("expect", "100-continue"),
                ("x-kept", "2"),
            ],
        );
        let parts = sent(&head, STRANGER, false);
        for (name, value) in [
            ("host", Some("a.test")),
            ("x-kept", Some("2")),
            ("content-length", Some("5")),
            ("te", Some("trailers")),
            ("connection", Some("te")),
            ("keep-alive", None),
            ("x-own", None),
            ("transfer-encoding", None),
            ("expect", None),
            ("via", Some("1.1 hcrs")),
        ] {
            assert_eq!(field(&parts, name), value, "{name}");
        }
        assert_eq!(parts.uri, "/api/x?q");
    }

    #[test]
    fn strangers_cannot_describe_themselves_and_trusted_proxies_are_continued() {
        let head = head(
            hcrs_http::Version::Http2,
            &[
                ("host", "a.test"),
                ("x-forwarded-for", "10.0.0.1"),
                ("forwarded", "for=10.0.0.1"),
                ("x-forwarded-port", "1"),
            ],
        );
        let parts = sent(&head, STRANGER, true);
        assert_eq!(field(&parts, "x-forwarded-for"), Some("192.0.2.1"));
        assert_eq!(field(&parts, "forwarded"), Some("for=192.0.2.1;host=\"a.test\";proto=https"));
        assert_eq!(field(&parts, "x-forwarded-proto"), Some("https"));
        assert_eq!(field(&parts, "x-forwarded-host"), Some("a.test"));
        assert_eq!(field(&parts, "x-forwarded-port"), None);
        assert_eq!(field(&parts, "host"), None);
        assert_eq!(parts.uri, "http://a.test/api/x?q");
        let proxy = Sender { peer: Some("::1"), is_trusted: true, stripped: b"/api" };
        let parts = sent(&head, proxy, false);
        assert_eq!(field(&parts, "x-forwarded-for"), Some("10.0.0.1, ::1"));
        assert_eq!(
            field(&parts, "forwarded"),
            Some("for=10.0.0.1, for=\"[::1]\";host=\"a.test\";proto=https")
        );
        assert_eq!(field(&parts, "x-forwarded-port"), Some("1"));
        assert_eq!(field(&parts, "x-forwarded-prefix"), Some("/api"));
        assert_eq!(parts.uri, "/x?q");
    }
}

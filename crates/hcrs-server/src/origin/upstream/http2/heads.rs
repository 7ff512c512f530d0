//! Heads in the form of the `http` crate, which `hyper` takes and returns.

use bytes::Bytes;
use hcrs_http::{RequestView, ResponseHead, is_connection_specific, is_trailer_name};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Version, request};

use crate::origin::upstream::request_head::{Context, push_fields};
use crate::origin::upstream::target::Target;

/// Returns the head of a request; `None` if the client's has a part that cannot be sent.
pub(super) fn request_head(request: &RequestView<'_>, context: Context<'_>) -> Option<request::Parts> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::from_bytes(request.method).ok()?;
    parts.version = Version::HTTP_2;
    let url = context.url;
    let target = Bytes::from(Target::new(request, &url.base, context.sender.stripped).pieces().concat());
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if url.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(context.host_for(request)).ok()?);
    uri.path_and_query = Some(PathAndQuery::from_maybe_shared(target).ok()?);
    parts.uri = Uri::from_parts(uri).ok()?;
    let fields = &mut parts.headers;
    fields.reserve(request.field_count + 6);
    let mut are_good = true;
    push_fields(request, context, |name, value| are_good &= push(fields, name, value).is_some());
    if request.accepts_trailers() {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    are_good.then_some(parts)
}

fn push(fields: &mut HeaderMap, name: &[u8], value: &[&[u8]]) -> Option<()> {
    let value = HeaderValue::from_maybe_shared(Bytes::from(value.concat())).ok()?;
    fields.try_append(HeaderName::from_bytes(name).ok()?, value).ok().map(|_| ())
}

/// Returns the head of a response, without fields of one hop.
pub(super) fn response_head(status: u16, fields: &HeaderMap) -> ResponseHead {
    ResponseHead::new(status, pairs(fields).filter(|(name, _)| !is_connection_specific(name)))
}

/// Returns trailers, without fields that may not stand there.
pub(super) fn trailers(fields: &HeaderMap) -> ResponseHead {
    ResponseHead::new(0, pairs(fields).filter(|(name, _)| is_trailer_name(name)))
}

fn pairs(fields: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestHead, RequestLine};

    use super::*;
    use crate::origin::upstream::forwarded::Sender;
    use crate::settings::{UpstreamHost, UpstreamUrl};

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn names(head: &ResponseHead) -> Vec<String> {
        head.fields().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn a_request_names_its_host_as_the_authority() {
        let (version, scheme) = (hcrs_http::Version::Http11, hcrs_http::Scheme::Https);
        let line = RequestLine { version, scheme, method: b"GET", path: b"/api/x", query: b"q" };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        for (name, value) in [("host", "a.test"), ("te", "trailers, deflate"), ("connection", "te")] {
            head.push_field(name.as_bytes(), value.as_bytes());
        }
        let url = UpstreamUrl::parse("http://up.test:9000").unwrap();
        let sender = Sender { peer: None, believed: None, stripped: b"/api" };
        let context = Context { url: &url, host: &UpstreamHost::Client, sender };
        let parts = request_head(&head.view(), context).unwrap();
        assert_eq!(parts.uri, "http://a.test/x?q");
        assert_eq!(parts.headers.get("te").unwrap(), "trailers");
        assert_eq!(parts.headers.get("x-forwarded-prefix").unwrap(), "/api");
        assert!(parts.headers.get("host").is_none() && parts.headers.get("connection").is_none());
    }

    #[test]
    fn fields_of_one_hop_end_here() {
        let fields = fields(&[("connection", "x-own"), ("keep-alive", "timeout=5"), ("x-kept", "1")]);
        assert_eq!(names(&response_head(200, &fields)), ["x-kept"]);
    }

    #[test]
    fn trailers_have_no_fields_that_frame_a_message() {
        assert_eq!(names(&trailers(&fields(&[("x-sum", "1"), ("content-length", "2")]))), ["x-sum"]);
    }
}

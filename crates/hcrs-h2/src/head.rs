//! Heads: a request's is checked for the errors that `h2` lets through, a response's for the errors of apps.

use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;

use bytes::Bytes;
use h2::ext::Protocol;
use hcrs_http::{
    Endpoints, Fault, Field, METHOD_MAX, RequestHead, RequestLine, ResponseHead, Scheme, Version, base64,
    is_authority, is_connection_specific, is_trailer_name, request_content_length, response_content_length,
};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, request};

/// The fields that the server adds to a response.
#[derive(Debug, Clone, Default)]
pub struct ServerFields {
    /// The value of `date`, for a response whose app has sent none.
    pub date: Option<HeaderValue>,
    /// The value of `server`, for a response whose app has sent none.
    pub server: Option<HeaderValue>,
    /// The values of `alt-svc`. They are added to each response.
    pub alt_svc: Option<Rc<[HeaderValue]>>,
}

/// Builds a request's head in `block`. A CONNECT is served only where it asks for a WebSocket (RFC 8441 §5).
pub(crate) fn request(
    parts: &request::Parts,
    scheme: Scheme,
    endpoints: &Endpoints,
    max_fields: usize,
    block: Vec<u8>,
) -> Result<RequestHead, Fault> {
    let is_websocket = match parts.extensions.get::<Protocol>() {
        Some(protocol) if parts.method == Method::CONNECT => protocol.as_str() == "websocket",
        _ => false,
    };
    if parts.method == Method::CONNECT && !is_websocket {
        return Err(Fault::MethodNotAllowed);
    }
    if parts.method.as_str().len() > METHOD_MAX {
        return Err(Fault::BadRequest("method too long"));
    }
    if parts.headers.len() > max_fields {
        return Err(Fault::HeadTooLarge);
    }
    let target = parts.uri.path_and_query().ok_or(Fault::BadRequest("no path"))?;
    let path = target.path();
    // Checked on the whole target, because `path` returns a slash for a path that is missing before a query.
    if !(target.as_str().starts_with('/') || path == "*" && parts.method == Method::OPTIONS) {
        return Err(Fault::BadRequest("path does not begin with a slash"));
    }
    // RFC 9113 §8.3.1: the path has the form of RFC 3986, which has no other characters.
    if !target.as_str().is_ascii() {
        return Err(Fault::BadRequest("path with bytes beyond ASCII"));
    }
    let line = RequestLine {
        version: Version::Http2,
        scheme,
        // The method by which HTTP/1.1 asks for a WebSocket.
        method: if is_websocket { b"GET" } else { parts.method.as_str().as_bytes() },
        path: path.as_bytes(),
        query: target.query().unwrap_or("").as_bytes(),
    };
    let mut head = RequestHead::new(block, line, endpoints);
    head.push_field(b"host", host(parts)?);
    if is_websocket {
        head.set_websocket();
        push_upgrade(&mut head);
    }
    fields(&parts.headers, &mut head)?;
    head.whole()
}

/// Appends the fields by which HTTP/1.1 asks for a WebSocket and which extended CONNECT does not have (RFC
/// 8441 §5): apps look for `upgrade`, and use the key as a name of the WebSocket. The client's own never get
/// this far: `h2` refuses connection-specific fields, and [`fields`] drops the key, which has no meaning over
/// HTTP/2.
fn push_upgrade(head: &mut RequestHead) {
    head.push_field(b"upgrade", b"websocket");
    head.push_field(b"connection", b"upgrade");
    // Each state differs from the ones before, and the first is drawn from the system's randomness.
    let state = RandomState::new();
    let nonce = [state.hash_one(0), state.hash_one(1)].map(u64::to_le_bytes);
    head.push_field(b"sec-websocket-key", base64(nonce.as_flattened()).as_bytes());
}

/// Returns the head of a request that cannot be served, unchecked and as far as a head can represent it.
pub(crate) fn refused(
    parts: &request::Parts,
    scheme: Scheme,
    endpoints: &Endpoints,
    max_fields: usize,
) -> RequestHead {
    let method = parts.method.as_str().as_bytes();
    let line = RequestLine {
        version: Version::Http2,
        scheme,
        method: &method[..method.len().min(METHOD_MAX)],
        path: parts.uri.path().as_bytes(),
        query: parts.uri.query().unwrap_or("").as_bytes(),
    };
    let mut head = RequestHead::new(Vec::new(), line, endpoints);
    for (name, value) in parts.headers.iter().take(max_fields) {
        head.push_field(name.as_str().as_bytes(), value.as_bytes());
    }
    head
}

/// Returns the one host of a request: `:authority`, which `Host` may repeat but not contradict (RFC 9113
/// §8.3.1).
fn host(parts: &request::Parts) -> Result<&[u8], Fault> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Fault::BadRequest("more than one host"));
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let chosen = match (authority, host) {
        (None, None) => return Err(Fault::BadRequest("no host")),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(Fault::BadRequest("host differs from :authority"));
        }
        (Some(authority), _) => authority,
        (None, Some(host)) => host,
    };
    if !is_authority(chosen) {
        return Err(Fault::BadRequest("malformed host"));
    }
    Ok(chosen)
}

fn fields(fields: &HeaderMap, head: &mut RequestHead) -> Result<(), Fault> {
    let (mut cookies, mut lengths) = (0, 0);
    for (name, value) in fields {
        let bytes = value.as_bytes();
        if matches!(bytes, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            return Err(Fault::BadRequest("field value begins or ends with white space"));
        }
        if name == header::COOKIE {
            cookies += 1;
            continue;
        }
        // A name with an underscore would collide with another one in a WSGI environ.
        let is_replaced = name == header::HOST || head.is_websocket() && name == header::SEC_WEBSOCKET_KEY;
        if is_replaced || name.as_str().contains('_') {
            continue;
        }
        if name == header::CONTENT_LENGTH {
            lengths += 1;
            if request_content_length(bytes).is_none() {
                return Err(Fault::BadRequest("malformed content-length"));
            }
        }
        head.push_field(name.as_str().as_bytes(), bytes);
    }
    if lengths > 1 {
        return Err(Fault::BadRequest("more than one content-length"));
    }
    match cookies {
        0 => {}
        1 => head.push_field(b"cookie", fields[header::COOKIE].as_bytes()),
        _ => {
            // Crumbs are joined before they are passed to anything but HTTP/2 (RFC 9113 §8.2.3).
            let crumbs: Vec<&[u8]> =
                fields.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
            head.push_field(b"cookie", &crumbs.join(&b"; "[..]));
        }
    }
    Ok(())
}

/// A response's head for `h2`.
#[derive(Debug, Clone)]
pub(crate) struct ConvertedHead {
    /// The head.
    pub response: Response<()>,
    /// The length that the app announced.
    pub length: Option<u64>,
}

/// Returns a response's head for `h2`.
pub(crate) fn response(head: &ResponseHead, server_fields: &ServerFields) -> Result<ConvertedHead, Fault> {
    let status = StatusCode::from_u16(head.status()).map_err(|_| Fault::AppFailed)?;
    if status.is_informational() {
        return Err(Fault::AppFailed);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    let added = 2 + server_fields.alt_svc.as_ref().map_or(0, |values| values.len());
    fields.try_reserve(head.field_count() + added).map_err(|_| Fault::AppFailed)?;
    let (mut length, mut has_date, mut has_server) = (None, false, false);
    for (name, mut value) in head.fields() {
        let name = HeaderName::from_bytes(name).map_err(|_| Fault::AppFailed)?;
        if is_connection_specific(name.as_str().as_bytes()) {
            continue;
        }
        if name == header::CONTENT_LENGTH {
            let announced;
            (announced, value) = response_content_length(value).ok_or(Fault::AppFailed)?;
            if length.is_some_and(|first| first != announced) {
                return Err(Fault::AppFailed);
            }
            // RFC 9110 §8.6: a length is not allowed beside 204.
            if length.replace(announced).is_some() || status == StatusCode::NO_CONTENT {
                continue;
            }
        }
        has_date |= name == header::DATE;
        has_server |= name == header::SERVER;
        let value = share_value(head, value)?;
        fields.try_append(name, value).map_err(|_| Fault::AppFailed)?;
    }
    add(fields, header::DATE, server_fields.date.as_ref().filter(|_| !has_date));
    add(fields, header::SERVER, server_fields.server.as_ref().filter(|_| !has_server));
    add_alt_svc(fields, server_fields);
    Ok(ConvertedHead { response, length })
}

/// Returns an interim response's head for `h2`.
pub(crate) fn interim(head: &ResponseHead) -> Result<Response<()>, Fault> {
    if head.status() != 103 {
        return Err(Fault::AppFailed);
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(103).expect("invariant: 103 is a status");
    append_all(head, |name| !is_connection_specific(name.as_str().as_bytes()), response.headers_mut())?;
    Ok(response)
}

/// Returns a response's trailers for `h2`.
pub(crate) fn trailers(head: &ResponseHead) -> Result<HeaderMap, Fault> {
    let mut fields = HeaderMap::new();
    append_all(head, |name| is_trailer_name(name.as_str().as_bytes()), &mut fields)?;
    Ok(fields)
}

fn append_all(
    head: &ResponseHead,
    is_allowed: impl Fn(&HeaderName) -> bool,
    fields: &mut HeaderMap,
) -> Result<(), Fault> {
    for (name, value) in head.fields() {
        let name = HeaderName::from_bytes(name).map_err(|_| Fault::AppFailed)?;
        if !is_allowed(&name) {
            return Err(Fault::AppFailed);
        }
        fields.try_append(name, share_value(head, value)?).map_err(|_| Fault::AppFailed)?;
    }
    Ok(())
}

/// Returns the response to a fault, which has no body.
pub(crate) fn fault(fault: Fault, own: Option<Field<'_>>, server_fields: &ServerFields) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(fault.status()).expect("invariant: the fault table holds valid statuses");
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    if let Some(allow) = fault.allow() {
        fields.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(seconds) = fault.retry_after() {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(Field { name, value }) = own
        && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
    {
        fields.append(name, value);
    }
    add(fields, header::DATE, server_fields.date.as_ref());
    add(fields, header::SERVER, server_fields.server.as_ref());
    add_alt_svc(fields, server_fields);
    response
}

fn add(fields: &mut HeaderMap, name: HeaderName, value: Option<&HeaderValue>) {
    if let Some(value) = value {
        fields.append(name, value.clone());
    }
}

fn add_alt_svc(fields: &mut HeaderMap, server_fields: &ServerFields) {
    for value in server_fields.alt_svc.iter().flat_map(|values| values.iter()) {
        fields.append(header::ALT_SVC, value.clone());
    }
}

fn share_value(head: &ResponseHead, value: &[u8]) -> Result<HeaderValue, Fault> {
    let value: Bytes = head.share(value);
    HeaderValue::from_maybe_shared(value).map_err(|_| Fault::AppFailed)
}

#[cfg(test)]
mod tests;

//! The fields that describe a request's client to an upstream.

use std::net::IpAddr;

use bytes::Bytes;
use hcrs_http::RequestView;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The facts about the sender of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    /// The address of the connection's other end; `None` on a unix socket.
    pub peer: Option<&'a str>,
    /// Whether it is a trusted proxy, whose fields are kept and continued.
    pub is_trusted: bool,
    /// The prefix that the route removes from the path.
    pub stripped: &'a [u8],
}

/// Whether a field describes the client, and is dropped unless the sender is trusted.
pub(super) fn is_forwarded(name: &[u8]) -> bool {
    name == b"forwarded" || name.starts_with(b"x-forwarded-")
}

/// Sets the fields. Those of a trusted proxy are among `fields` already.
pub(super) fn describe(request: &RequestView<'_>, sender: Sender<'_>, fields: &mut HeaderMap) {
    let host = request.fields().first(b"host");
    if let Some(peer) = sender.peer {
        extend(fields, FOR, peer.as_bytes().to_vec());
    }
    extend(fields, header::FORWARDED, element(request, sender, host));
    fields.insert(PROTO, HeaderValue::from_static(request.scheme.as_str()));
    if let Some(host) = host.and_then(|host| HeaderValue::from_bytes(host).ok()) {
        fields.insert(HOST, host);
    }
    let prefix = [request.prefix, sender.stripped].concat();
    if !prefix.is_empty()
        && let Ok(prefix) = HeaderValue::from_bytes(&prefix)
    {
        fields.insert(PREFIX, prefix);
    }
}

/// Returns the element of `Forwarded` (RFC 7239 §4).
fn element(request: &RequestView<'_>, sender: Sender<'_>, host: Option<&[u8]>) -> Vec<u8> {
    let mut element = Vec::with_capacity(64 + host.map_or(0, <[u8]>::len));
    element.extend_from_slice(b"for=");
    match sender.peer {
        Some(peer) if matches!(peer.parse(), Ok(IpAddr::V6(_))) => {
            element.extend_from_slice(b"\"[");
            element.extend_from_slice(peer.as_bytes());
            element.extend_from_slice(b"]\"");
        }
        peer => element.extend_from_slice(peer.unwrap_or("unknown").as_bytes()),
    }
    // A host that cannot stand in quotes is left out.
    if let Some(host) = host.filter(|host| !host.iter().any(|byte| matches!(byte, b'"' | b'\\'))) {
        element.extend_from_slice(b";host=\"");
        element.extend_from_slice(host);
        element.push(b'"');
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(request.scheme.as_str().as_bytes());
    element
}

/// Appends an element to a list, in one line.
fn extend(fields: &mut HeaderMap, name: HeaderName, element: Vec<u8>) {
    let mut list = Vec::new();
    for value in fields.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    let list = if list.is_empty() { element } else { [list, element].concat() };
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(list)) {
        fields.insert(name, value);
    }
}

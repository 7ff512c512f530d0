//! The fields that describe a request's client to an upstream.

use hcrs_forwarded::{ForwardedStyle, Forwarding};
use hcrs_http::RequestView;

/// The facts about the sender of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    /// The address of the connection's other end; `None` on a unix socket.
    pub peer: Option<&'a str>,
    /// The fields that are believed, because it is a trusted proxy. They are kept and continued. Others are dropped: a proxy
    /// that does not write them passes them on as its client has sent them.
    pub believed: Option<Forwarding>,
    /// The prefix that the route removes from the path.
    pub stripped: &'a [u8],
}

/// Whether a field describes the client.
pub(super) fn is_forwarded(name: &[u8]) -> bool {
    match name.len() {
        9 => name == b"forwarded",
        12.. => name.starts_with(b"x-forwarded-"),
        _ => false,
    }
}

impl Sender<'_> {
    /// Whether a field that describes the client is passed on as it is. [`describe`] pushes others in place of those that it
    /// continues.
    pub(super) fn is_kept(&self, name: &[u8], request: &RequestView<'_>, host: Option<&[u8]>) -> bool {
        let Some(believed) = self.believed.filter(|believed| believed.style == ForwardedStyle::Legacy) else {
            return false;
        };
        match name {
            b"x-forwarded-for" => self.peer.is_none(),
            b"x-forwarded-host" => host.is_none(),
            b"x-forwarded-port" => true,
            b"x-forwarded-prefix" => believed.prefix && request.prefix.is_empty() && self.stripped.is_empty(),
            _ => false,
        }
    }

    /// Whether the lists of this style are continued.
    fn continues(&self, style: ForwardedStyle) -> bool {
        self.believed.is_some_and(|believed| believed.style == style)
    }
}

/// Pushes the fields, each with its value in pieces. `host` is that of the request.
pub(super) fn describe(
    request: &RequestView<'_>,
    sender: Sender<'_>,
    host: Option<&[u8]>,
    push: &mut impl FnMut(&[u8], &[&[u8]]),
) {
    if let Some(peer) = sender.peer {
        let is_continued = sender.continues(ForwardedStyle::Legacy);
        extend(request, is_continued, b"x-forwarded-for", &[peer.as_bytes()], push);
    }
    let scheme = request.scheme.as_str().as_bytes();
    let (open, peer, close): (&[u8], _, &[u8]) = match sender.peer {
        Some(peer) if peer.contains(':') => (b"for=\"[", peer, b"]\""),
        peer => (b"for=", peer.unwrap_or("unknown"), b""),
    };
    let peer = peer.as_bytes();
    let is_continued = sender.continues(ForwardedStyle::Modern);
    // A host that cannot stand in quotes is left out (RFC 7239 §4).
    match host.filter(|host| !host.iter().any(|byte| matches!(byte, b'"' | b'\\'))) {
        Some(host) => {
            let element = &[open, peer, close, b";host=\"", host, b"\";proto=", scheme];
            extend(request, is_continued, b"forwarded", element, push);
        }
        None => {
            extend(request, is_continued, b"forwarded", &[open, peer, close, b";proto=", scheme], push);
        }
    }
    push(b"x-forwarded-proto", &[scheme]);
    if let Some(host) = host {
        push(b"x-forwarded-host", &[host]);
    }
    if !request.prefix.is_empty() || !sender.stripped.is_empty() {
        push(b"x-forwarded-prefix", &[request.prefix, sender.stripped]);
    }
}

/// Pushes a list with an element, behind those of the request if they are continued, in one line. What would take the
/// element for a part of itself is not continued.
fn extend(
    request: &RequestView<'_>,
    is_continued: bool,
    name: &[u8],
    element: &[&[u8]],
    push: &mut impl FnMut(&[u8], &[&[u8]]),
) {
    let mut list = Vec::new();
    let is_sent = |&(sent, value): &(&[u8], &[u8])| is_continued && sent == name && has_whole_strings(value);
    for (_, value) in request.fields().filter(is_sent) {
        list.extend_from_slice(&[value, b", "]);
    }
    list.extend_from_slice(element);
    push(name, &list);
}

/// Whether each string in quotes has its end (RFC 9110 §5.6.4).
fn has_whole_strings(value: &[u8]) -> bool {
    let (mut is_in_string, mut bytes) = (false, value.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_in_string = !is_in_string,
            b'\\' if is_in_string => drop(bytes.next()),
            _ => {}
        }
    }
    !is_in_string
}

//! The fields that describe a request's client to an upstream.

use hcrs_http::RequestView;

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

/// Whether a field describes the client.
pub(super) fn is_forwarded(name: &[u8]) -> bool {
    match name.len() {
        9 => name == b"forwarded",
        12.. => name.starts_with(b"x-forwarded-"),
        _ => false,
    }
}

impl Sender<'_> {
    /// Whether a field that describes the client is passed on as it is. Those of strangers are dropped, and [`describe`]
    /// pushes others in place of some of a trusted proxy.
    pub(super) fn is_kept(&self, name: &[u8], request: &RequestView<'_>, host: Option<&[u8]>) -> bool {
        self.is_trusted
            && match name {
                b"forwarded" | b"x-forwarded-proto" => false,
                b"x-forwarded-for" => self.peer.is_none(),
                b"x-forwarded-host" => host.is_none(),
                b"x-forwarded-prefix" => request.prefix.is_empty() && self.stripped.is_empty(),
                _ => true,
            }
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
        extend(request, sender, b"x-forwarded-for", &[peer.as_bytes()], push);
    }
    let scheme = request.scheme.as_str().as_bytes();
    let (open, peer, close): (&[u8], _, &[u8]) = match sender.peer {
        Some(peer) if peer.contains(':') => (b"for=\"[", peer, b"]\""),
        peer => (b"for=", peer.unwrap_or("unknown"), b""),
    };
    let peer = peer.as_bytes();
    // A host that cannot stand in quotes is left out (RFC 7239 §4).
    match host.filter(|host| !host.iter().any(|byte| matches!(byte, b'"' | b'\\'))) {
        Some(host) => {
            let element = &[open, peer, close, b";host=\"", host, b"\";proto=", scheme];
            extend(request, sender, b"forwarded", element, push);
        }
        None => extend(request, sender, b"forwarded", &[open, peer, close, b";proto=", scheme], push),
    }
    push(b"x-forwarded-proto", &[scheme]);
    if let Some(host) = host {
        push(b"x-forwarded-host", &[host]);
    }
    if !request.prefix.is_empty() || !sender.stripped.is_empty() {
        push(b"x-forwarded-prefix", &[request.prefix, sender.stripped]);
    }
}

/// Pushes a list with an element behind those that a trusted proxy has sent, in one line.
fn extend(
    request: &RequestView<'_>,
    sender: Sender<'_>,
    name: &[u8],
    element: &[&[u8]],
    push: &mut impl FnMut(&[u8], &[&[u8]]),
) {
    if !sender.is_trusted {
        return push(name, element);
    }
    let mut list = Vec::new();
    for (_, value) in request.fields().filter(|(sent, _)| *sent == name) {
        list.extend_from_slice(&[value, b", "]);
    }
    list.extend_from_slice(element);
    push(name, &list);
}

//! The fields in which proxies describe a request's client: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! The fields are read from the right, where the nearest proxy has written, and only as far as a trusted hop
//! has written: the first address that is not trusted is the client, and everything left of it may be the
//! client's own invention.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;

use hcrs_http::{Address, Endpoints, RequestHead, Scheme, is_authority, path_prefix};

use crate::Trust;

mod elements;

use elements::{Element, legacy_elements, modern_elements};

/// The fields that the proxies write. All others are ignored, because they may be the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedStyle {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`, and `-Prefix` if [`Forwarding::prefix`] is set.
    Legacy,
    /// `Forwarded`, RFC 7239.
    Modern,
}

/// The policy by which a trusted peer's fields are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarding {
    /// The fields that are read.
    pub style: ForwardedStyle,
    /// The number of proxies, if their number is trusted and not the addresses that they name. A request with
    /// fewer elements has come another way, and its fields are ignored.
    pub hops: Option<NonZeroUsize>,
    /// Whether `X-Forwarded-Prefix` is read beside the other legacy fields. A proxy that does not write it
    /// passes on the client's.
    pub prefix: bool,
}

/// The facts in the trusted part of the fields.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reported<'a> {
    client: Option<Node>,
    scheme: Option<Scheme>,
    host: Option<Cow<'a, [u8]>>,
    port: Option<u16>,
    prefix: Option<&'a [u8]>,
}

/// An address and a port, which is 0 if it is unknown.
type Node = (IpAddr, u16);

impl Forwarding {
    /// Returns the head as it would be if the client had sent it to the outermost proxy's address without
    /// proxies between; `None` if the fields report nothing. May be called only for requests of a peer that
    /// `trust` trusts.
    pub fn resolve_client(self, head: &RequestHead, trust: &Trust) -> Option<RequestHead> {
        let reported = match self.style {
            ForwardedStyle::Legacy => self.legacy(head, trust),
            ForwardedStyle::Modern => self.modern(head, trust),
        };
        reported.filter(|reported| *reported != Reported::default()).map(|reported| reported.applied_to(head))
    }

    fn legacy<'a>(self, head: &'a RequestHead, trust: &Trust) -> Option<Reported<'a>> {
        let (mut nodes, mut schemes, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut ports, mut prefixes) = (Vec::new(), Vec::new());
        for (name, value) in head.view().fields() {
            match name {
                b"x-forwarded-for" => nodes.push(value),
                b"x-forwarded-proto" => schemes.push(value),
                b"x-forwarded-host" => hosts.push(value),
                b"x-forwarded-port" => ports.push(value),
                b"x-forwarded-prefix" if self.prefix => prefixes.push(value),
                _ => {}
            }
        }
        let mut walk = Walk::new(self.hops, trust);
        for element in legacy_elements(&nodes) {
            if walk.is_over(parse_node(element)) {
                break;
            }
        }
        let hops = walk.trusted_elements(!nodes.is_empty())?;
        // Proxies add to the list of addresses, but some replace the other lists: a list that is shorter
        // begins with the element of the outermost proxy that did.
        let outermost = |lines: &[&'a [u8]]| legacy_elements(lines).take(hops).last();
        Some(Reported {
            client: walk.client,
            scheme: outermost(&schemes).and_then(parse_scheme),
            host: outermost(&hosts).filter(|host| is_host(host)).map(Cow::Borrowed),
            port: outermost(&ports).and_then(|port| parse_port(std::str::from_utf8(port).ok()?)),
            prefix: outermost(&prefixes).and_then(path_prefix),
        })
    }

    fn modern<'a>(self, head: &'a RequestHead, trust: &Trust) -> Option<Reported<'a>> {
        let lines: Vec<_> =
            head.view().fields().filter(|(name, _)| *name == b"forwarded").map(|(_, value)| value).collect();
        let mut walk = Walk::new(self.hops, trust);
        let mut reported = Reported::default();
        for element in modern_elements(&lines) {
            let Some(Element { node, scheme, host }) = element else { break };
            // The outermost element that has the parameter counts.
            reported.scheme = scheme.as_deref().and_then(parse_scheme).or(reported.scheme);
            reported.host = host.filter(|host| is_host(host)).or(reported.host);
            if walk.is_over(node.as_deref().and_then(parse_node)) {
                break;
            }
        }
        walk.trusted_elements(!lines.is_empty())?;
        reported.client = walk.client;
        Some(reported)
    }
}

/// A walk from proxy to proxy towards the client.
struct Walk<'a> {
    trust: &'a Trust,
    /// The value of [`Forwarding::hops`].
    asked: Option<NonZeroUsize>,
    client: Option<Node>,
    hops: usize,
}

impl<'a> Walk<'a> {
    fn new(asked: Option<NonZeroUsize>, trust: &'a Trust) -> Self {
        Self { trust, asked, client: None, hops: 0 }
    }

    /// Takes the next element, which a trusted hop has written. Returns whether the elements left of it are
    /// not trusted.
    ///
    /// An element without an address (`unknown`, an obfuscated identifier, a mistake) ends the walk: the
    /// nearest hop that has an address is then the client, as far as is known.
    fn is_over(&mut self, node: Option<Node>) -> bool {
        self.hops += 1;
        self.client = node.or(self.client);
        match self.asked {
            Some(hops) => self.hops >= hops.get(),
            None => node.is_none_or(|(address, _)| !self.trust.trusts_hop(address)),
        }
    }

    /// Returns the number of elements that trusted hops have written, at least one; `None` if the request did
    /// not come through all proxies.
    fn trusted_elements(&self, has_elements: bool) -> Option<usize> {
        match self.asked {
            Some(hops) if has_elements && self.hops < hops.get() => None,
            Some(hops) => Some(hops.get()),
            None => Some(self.hops.max(1)),
        }
    }
}

impl Reported<'_> {
    fn applied_to(self, head: &RequestHead) -> RequestHead {
        let view = head.view();
        let scheme = self.scheme.unwrap_or(view.scheme);
        let client = self.client.map(|(address, port)| (address.to_string(), port));
        let client = client.as_ref().map(|(host, port)| Address { host, port: *port }).or(view.client());
        let default_port = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let server = match self.host.as_deref().and_then(split_host) {
            Some((host, port)) => Some(Address { host, port: port.or(self.port).unwrap_or(default_port) }),
            None => view.server().map(|server| Address { port: self.port.unwrap_or(server.port), ..server }),
        };
        let added_port = self.port.filter(|port| *port != default_port);
        let endpoints = Endpoints::new(client, server).with_prefix(self.prefix.unwrap_or(view.prefix));
        let mut host = self.host;
        let mut changed = head.changed(scheme, &endpoints, |head, name, value| {
            if name == b"host" {
                head.push_field(name, &with_port(host.take().unwrap_or(Cow::Borrowed(value)), added_port));
            } else {
                head.push_field(name, value);
            }
        });
        if let Some(host) = host {
            // A request of HTTP/1.0 may have no host of its own.
            changed.push_field(b"host", &with_port(host, added_port));
        }
        changed
    }
}

/// Returns the head without the fields in which proxies describe the client; `None` if it has none of them.
pub fn without_forwarded(head: &RequestHead) -> Option<RequestHead> {
    let is_forwarded = |name: &[u8]| name == b"forwarded" || name.starts_with(b"x-forwarded-");
    let view = head.view();
    if !view.fields().any(|(name, _)| is_forwarded(name)) {
        return None;
    }
    Some(head.without(is_forwarded))
}

/// Parses `ADDRESS`, `IPV4:PORT`, `[IPV6]` or `[IPV6]:PORT`; the port may be obfuscated (RFC 7239 §6).
fn parse_node(text: &[u8]) -> Option<Node> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address.to_canonical(), 0));
    }
    let (address, port): (IpAddr, _) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        (address.parse::<Ipv6Addr>().ok()?.into(), port)
    } else {
        let (address, port) = text.rsplit_once(':')?;
        (address.parse::<Ipv4Addr>().ok()?.into(), Some(port))
    };
    let port = match port {
        Some(port) if !port.starts_with('_') => parse_port(port)?,
        _ => 0,
    };
    Some((address.to_canonical(), port))
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Parses a scheme. `ws` and `wss` are WebSocket's names for the same two.
fn parse_scheme(text: &[u8]) -> Option<Scheme> {
    let is = |name: &str| text.eq_ignore_ascii_case(name.as_bytes());
    if is("https") || is("wss") {
        Some(Scheme::Https)
    } else if is("http") || is("ws") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// The longest host that a proxy may name, in bytes: a name of DNS (RFC 1035 §2.3.4) and a port.
const HOST_MAX: usize = 255 + ":65535".len();

/// Whether `text` is a valid `host` (RFC 3986 §3.2.2), without user information.
fn is_host(text: &[u8]) -> bool {
    text.len() <= HOST_MAX && is_authority(text) && split_host(text).is_some()
}

/// Returns the name or the address without brackets, and the port.
fn split_host(text: &[u8]) -> Option<(&str, Option<u16>)> {
    let text = std::str::from_utf8(text).ok()?;
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, rest)
        }
        None => text.split_at(text.find([':', '[', ']']).unwrap_or(text.len())),
    };
    let port = if rest.is_empty() { None } else { Some(parse_port(rest.strip_prefix(':')?)?) };
    (!host.is_empty()).then_some((host, port))
}

fn with_port(host: Cow<'_, [u8]>, port: Option<u16>) -> Cow<'_, [u8]> {
    match (port, split_host(&host)) {
        (Some(port), Some((_, None))) => {
            let mut host = host.into_owned();
            host.extend_from_slice(format!(":{port}").as_bytes());
            Cow::Owned(host)
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests;

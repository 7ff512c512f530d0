//! A request's head as one flat block.
//!
//! Layout, little-endian: version u8, scheme u8, flags u8, prefix length u8, method length u16, field count
//! u16, path length u32, query length u32, client length u16, server length u16, TLS number u8; then method,
//! path, query, client, server, prefix and the fields.

use std::num::NonZeroU8;

use crate::endpoints::{self, Address, Endpoints};
use crate::fields::{self, Fields};
use crate::{Fault, MalformedHead};

const FIXED: usize = 21;
const FIELD_COUNT_AT: usize = 6;
const FLAGS_AT: usize = 2;
const PREFIX_AT: usize = 3;
const TLS_AT: usize = 20;
const FLAG_BODY: u8 = 1;
const FLAG_WEBSOCKET: u8 = 2;
const FLAG_PUSHES: u8 = 4;
const FLAG_FILES: u8 = 8;

/// An upper bound on the fixed part, a method, two addresses and a prefix, in bytes.
const BESIDE_THE_TARGET: usize = 4096;

/// Length of the longest field name that a head can carry, in bytes.
const FIELD_NAME_MAX: usize = u16::MAX as usize;

/// Size of the largest head, in bytes as it crosses a link. Larger ones are refused: see
/// [`RequestHead::whole`].
pub const REQUEST_HEAD_MAX: usize = 1 << 20;

/// Length of the longest method that is served, in bytes; the longest registered one has 17.
pub const METHOD_MAX: usize = 64;

/// The protocol version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    /// HTTP/1.0
    Http10 = 10,
    /// HTTP/1.1
    Http11 = 11,
    /// HTTP/2
    Http2 = 20,
    /// HTTP/3
    Http3 = 30,
}

impl Version {
    fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            10 => Some(Self::Http10),
            11 => Some(Self::Http11),
            20 => Some(Self::Http2),
            30 => Some(Self::Http3),
            _ => None,
        }
    }

    /// Returns the text that ASGI's `http_version` has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
            Self::Http3 => "3",
        }
    }
}

/// The scheme of a connection. It never depends on what the client claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scheme {
    /// Cleartext.
    Http = 0,
    /// TLS.
    Https = 1,
}

impl Scheme {
    /// Returns `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The contents of a request line, or of HTTP/2's pseudo-header fields.
#[derive(Debug, Clone, Copy)]
pub struct RequestLine<'a> {
    /// Version of the protocol.
    pub version: Version,
    /// Scheme of the connection.
    pub scheme: Scheme,
    /// Method, as sent.
    pub method: &'a [u8],
    /// The target before the first `?`, still percent-encoded.
    pub path: &'a [u8],
    /// The target after the first `?`; empty if there is none.
    pub query: &'a [u8],
}

/// A request's head, owned by the edge until a worker has begun it.
#[derive(Debug, Clone)]
pub struct RequestHead {
    block: Vec<u8>,
    field_count: u16,
    /// Whether no part was left out for its length.
    is_whole: bool,
}

impl RequestHead {
    /// Starts a head in `block`. Its contents are dropped and its capacity is reused.
    pub fn new(mut block: Vec<u8>, mut line: RequestLine<'_>, endpoints: &Endpoints) -> Self {
        let (client, server, prefix) = endpoints.blocks();
        let is_whole = line.method.len() <= METHOD_MAX
            && line.path.len() + line.query.len() <= REQUEST_HEAD_MAX - BESIDE_THE_TARGET;
        if !is_whole {
            (line.method, line.path, line.query) = (b"", b"", b"");
        }
        block.clear();
        block.reserve(FIXED + line.method.len() + line.path.len() + line.query.len() + 256);
        block.extend_from_slice(&[line.version as u8, line.scheme as u8, 0, prefix.len() as u8]);
        block.extend_from_slice(&(line.method.len() as u16).to_le_bytes());
        block.extend_from_slice(&0u16.to_le_bytes());
        block.extend_from_slice(&(line.path.len() as u32).to_le_bytes());
        block.extend_from_slice(&(line.query.len() as u32).to_le_bytes());
        block.extend_from_slice(&(client.len() as u16).to_le_bytes());
        let [low, high] = (server.len() as u16).to_le_bytes();
        block.extend_from_slice(&[low, high, endpoints.tls().map_or(0, NonZeroU8::get)]);
        for part in [line.method, line.path, line.query, client, server, prefix] {
            block.extend_from_slice(part);
        }
        Self { block, field_count: 0, is_whole }
    }

    /// Appends a field whose `name` is in lower case. A field that does not fit is left out.
    #[inline]
    pub fn push_field(&mut self, name: &[u8], value: &[u8]) {
        let len = self.block.len() + fields::PREFIX + name.len() + value.len();
        if len > REQUEST_HEAD_MAX || name.len() > FIELD_NAME_MAX || self.field_count == u16::MAX {
            self.is_whole = false;
            return;
        }
        self.field_count += 1;
        self.block[FIELD_COUNT_AT..FIELD_COUNT_AT + 2].copy_from_slice(&self.field_count.to_le_bytes());
        fields::push(&mut self.block, name, value);
    }

    /// Returns the head if it is complete. The error means that a part of it, or the sum of all, is too long.
    pub fn whole(self) -> Result<Self, Fault> {
        if self.is_whole { Ok(self) } else { Err(Fault::HeadTooLarge) }
    }

    /// Whether no part was left out for its length.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Returns the same request with another scheme and other addresses. `field` is called with each field
    /// and pushes its replacements.
    #[must_use]
    pub fn changed(
        &self,
        scheme: Scheme,
        endpoints: &Endpoints,
        mut field: impl FnMut(&mut Self, &[u8], &[u8]),
    ) -> Self {
        let view = self.view();
        let line = RequestLine {
            version: view.version,
            scheme,
            method: view.method,
            path: view.path,
            query: view.query,
        };
        let mut head = Self::new(Vec::with_capacity(self.block.len() + 64), line, endpoints);
        head.block[FLAGS_AT] = self.block[FLAGS_AT];
        head.block[TLS_AT] = self.block[TLS_AT];
        head.is_whole &= self.is_whole;
        for (name, value) in view.fields() {
            field(&mut head, name, value);
        }
        head
    }

    /// Returns the same request without the fields whose names `drops` is true for.
    #[must_use]
    pub fn without(&self, drops: impl Fn(&[u8]) -> bool) -> Self {
        let view = self.view();
        let endpoints = Endpoints::new(view.client(), view.server()).with_prefix(view.prefix);
        self.changed(view.scheme, &endpoints, |head, name, value| {
            if !drops(name) {
                head.push_field(name, value);
            }
        })
    }

    /// Marks the request as followed by a body, which may be empty.
    pub fn set_has_body(&mut self) {
        self.block[FLAGS_AT] |= FLAG_BODY;
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.block[FLAGS_AT] & FLAG_BODY != 0
    }

    /// Marks the request as one for a WebSocket, which the app may accept.
    pub fn set_websocket(&mut self) {
        self.block[FLAGS_AT] |= FLAG_WEBSOCKET;
    }

    /// Whether the client asks for a WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.block[FLAGS_AT] & FLAG_WEBSOCKET != 0
    }

    /// Marks the request as one whose client accepts pushes with the response.
    pub fn set_takes_pushes(&mut self) {
        self.block[FLAGS_AT] |= FLAG_PUSHES;
    }

    /// Marks the request as one whose app may name a file as the response's body.
    pub fn set_offers_files(&mut self) {
        self.block[FLAGS_AT] |= FLAG_FILES;
    }

    /// Returns the head of a request that is promised to the client of this one. Both have the same
    /// connection.
    #[must_use]
    pub fn promised<'a>(&self, target: &[u8], fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let view = self.view();
        let (path, query) = match target.iter().position(|&byte| byte == b'?') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (target, &[][..]),
        };
        let line = RequestLine { version: view.version, scheme: view.scheme, method: b"GET", path, query };
        let endpoints = Endpoints::new(view.client(), view.server()).with_prefix(view.prefix);
        let mut head = Self::new(Vec::with_capacity(self.block.len() + target.len()), line, &endpoints);
        head.block[TLS_AT] = self.block[TLS_AT];
        head.push_field(b"host", view.fields().first(b"host").unwrap_or_default());
        for (name, value) in fields {
            head.push_field(&name.to_ascii_lowercase(), value);
        }
        head
    }

    /// Returns the version of the protocol.
    pub fn version(&self) -> Version {
        Version::of_byte(self.block[0]).expect("invariant: RequestHead::new writes it")
    }

    /// Returns the block, as it crosses the link.
    pub fn as_bytes(&self) -> &[u8] {
        &self.block
    }

    /// Returns the parts of the head.
    pub fn view(&self) -> RequestView<'_> {
        RequestView::split(&self.block)
            .map(|(view, _)| view)
            .expect("invariant: RequestHead::new and push_field keep the form")
    }

    /// Returns the block, for [`RequestHead::new`] to reuse.
    pub fn into_block(self) -> Vec<u8> {
        self.block
    }
}

/// The parts of a request's head, borrowed from its block.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// Version of the protocol.
    pub version: Version,
    /// Scheme of the connection.
    pub scheme: Scheme,
    /// The number of the connection's TLS info; `None` if the connection is cleartext, whatever a proxy
    /// reports.
    pub tls: Option<NonZeroU8>,
    /// Whether a body follows.
    pub has_body: bool,
    /// Whether the client asks for a WebSocket.
    pub websocket: bool,
    /// Whether the client accepts pushes with the response.
    pub takes_pushes: bool,
    /// Whether the app may name a file as the response's body.
    pub offers_files: bool,
    /// Number of fields.
    pub field_count: usize,
    /// Method, as sent.
    pub method: &'a [u8],
    /// The target before the first `?`, still percent-encoded.
    pub path: &'a [u8],
    /// The target after the first `?`.
    pub query: &'a [u8],
    /// The prefix that a proxy has removed from the path, still percent-encoded and without a slash at its
    /// end; empty if there is none.
    pub prefix: &'a [u8],
    client: &'a [u8],
    server: &'a [u8],
    fields: &'a [u8],
}

impl<'a> RequestView<'a> {
    /// Parses a block in one pass over its fixed part and one over its fields' lengths.
    pub fn parse(block: &'a [u8]) -> Result<Self, MalformedHead> {
        let (view, fields) = Self::split(block)?;
        Fields::check(fields, view.field_count)?;
        Ok(view)
    }

    /// Parses the fixed part of a block. Returns also the fields, whose form was not checked.
    #[inline]
    fn split(block: &'a [u8]) -> Result<(Self, &'a [u8]), MalformedHead> {
        let (fixed, mut rest) = block.split_first_chunk::<FIXED>().ok_or(MalformedHead)?;
        let short = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
        let long =
            |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
        let mut take = |len: usize| -> Result<&'a [u8], MalformedHead> {
            let (part, after) = rest.split_at_checked(len).ok_or(MalformedHead)?;
            rest = after;
            Ok(part)
        };
        let version = Version::of_byte(fixed[0]).ok_or(MalformedHead)?;
        let scheme = match fixed[1] {
            0 => Scheme::Http,
            1 => Scheme::Https,
            _ => return Err(MalformedHead),
        };
        let field_count = short(FIELD_COUNT_AT);
        let method = take(short(4))?;
        let path = take(long(8))?;
        let query = take(long(12))?;
        let client = take(short(16))?;
        let server = take(short(18))?;
        let prefix = take(usize::from(fixed[PREFIX_AT]))?;
        let view = Self {
            version,
            scheme,
            tls: NonZeroU8::new(fixed[TLS_AT]),
            has_body: fixed[FLAGS_AT] & FLAG_BODY != 0,
            websocket: fixed[FLAGS_AT] & FLAG_WEBSOCKET != 0,
            takes_pushes: fixed[FLAGS_AT] & FLAG_PUSHES != 0,
            offers_files: fixed[FLAGS_AT] & FLAG_FILES != 0,
            field_count,
            method,
            path,
            query,
            prefix,
            client,
            server,
            fields: rest,
        };
        Ok((view, rest))
    }

    /// Returns the client's address; `None` on a unix socket.
    pub fn client(&self) -> Option<Address<'a>> {
        endpoints::decode(self.client)
    }

    /// Returns the address that the client connected to; `None` on a unix socket.
    pub fn server(&self) -> Option<Address<'a>> {
        endpoints::decode(self.server)
    }

    /// Returns the client's and the server's address as encoded in the block: equal bytes mean equal
    /// addresses.
    pub fn address_blocks(&self) -> (&'a [u8], &'a [u8]) {
        (self.client, self.server)
    }

    /// Whether the client accepts trailers (`te: trailers`, RFC 9110 §10.1.4).
    pub fn accepts_trailers(&self) -> bool {
        self.fields().filter(|(name, _)| *name == b"te").any(|(_, value)| {
            value.split(|&b| b == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        })
    }

    /// Returns the fields, in order.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.fields)
    }
}

#[cfg(test)]
mod tests;

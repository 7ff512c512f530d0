//! A request's head as one flat block.
//!
//! Layout, little-endian: version u8, scheme u8, flags u8, prefix length u8, method length u16, field count u16,
//! path length u32, query length u32, client length u16, server length u16, TLS number u8; then method, path, query,
//! client, server, prefix and the fields.

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

/// More than the fixed part, a method, two addresses and a prefix.
const BESIDE_THE_TARGET: usize = 4096;

/// The longest name of a field that a head can carry, in bytes.
const FIELD_NAME_MAX: usize = u16::MAX as usize;

/// The largest head, in bytes as it crosses a link. Whatever is larger is refused: [`RequestHead::whole`].
pub const REQUEST_HEAD_MAX: usize = 1 << 20;

/// The longest method that is served, in bytes; the longest registered one has 17.
pub const METHOD_MAX: usize = 64;

/// The protocol version that the request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    /// HTTP/1.0
    Http10 = 10,
    /// HTTP/1.1
    Http11 = 11,
    /// HTTP/2
    Http2 = 20,
}

impl Version {
    /// The text that ASGI's `http_version` uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// The scheme of the connection, never of what the client claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scheme {
    /// Cleartext.
    Http = 0,
    /// TLS.
    Https = 1,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What a request line, or the pseudo-fields of HTTP/2, say.
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
    /// Nothing was left out because it is too long.
    is_whole: bool,
}

impl RequestHead {
    /// Starts a head in `block`, whose contents are dropped and whose capacity is used again.
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

    /// Appends a field; `name` is already in lower case. One that does not fit is left out.
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

    /// The head, unless something had to be left out of it: a part of it was too long, or all of it.
    pub fn whole(self) -> Result<Self, Fault> {
        if self.is_whole { Ok(self) } else { Err(Fault::HeadTooLarge) }
    }

    /// Whether nothing had to be left out.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Returns the same request with another scheme and other addresses. `field` is called with each field and pushes what
    /// replaces it.
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

    /// Says that a body follows (of length zero, perhaps).
    pub fn set_has_body(&mut self) {
        self.block[FLAGS_AT] |= FLAG_BODY;
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.block[FLAGS_AT] & FLAG_BODY != 0
    }

    /// Says that the client asks for a WebSocket, and that the request may be answered by opening one.
    pub fn set_websocket(&mut self) {
        self.block[FLAGS_AT] |= FLAG_WEBSOCKET;
    }

    /// Whether the client asks for a WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.block[FLAGS_AT] & FLAG_WEBSOCKET != 0
    }

    /// Says that the client takes pushes with the response.
    pub fn set_takes_pushes(&mut self) {
        self.block[FLAGS_AT] |= FLAG_PUSHES;
    }

    /// Says that the app is offered to name a file as the response's body.
    pub fn set_offers_files(&mut self) {
        self.block[FLAGS_AT] |= FLAG_FILES;
    }

    /// The head of a request that is promised to the client of this one: what is known of the connection is the same.
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

    /// The block, as it crosses the link.
    pub fn as_bytes(&self) -> &[u8] {
        &self.block
    }

    /// The parts of the head.
    pub fn view(&self) -> RequestView<'_> {
        RequestView::parse(&self.block).expect("invariant: RequestHead::new and push_field keep the form")
    }

    /// Gives the block back, for [`RequestHead::new`] to use again.
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
    /// The number of what is known of the connection's TLS; `None` if the connection is cleartext, whatever a proxy says.
    pub tls: Option<NonZeroU8>,
    /// Whether a body follows.
    pub has_body: bool,
    /// Whether the client asks for a WebSocket.
    pub websocket: bool,
    /// Whether the client takes pushes with the response.
    pub takes_pushes: bool,
    /// Whether the app is offered to name a file as the response's body.
    pub offers_files: bool,
    /// Number of fields.
    pub field_count: usize,
    /// Method, as sent.
    pub method: &'a [u8],
    /// The target before the first `?`, still percent-encoded.
    pub path: &'a [u8],
    /// The target after the first `?`.
    pub query: &'a [u8],
    /// What a proxy has taken off the path, still percent-encoded and without a slash at its end; empty if nothing.
    pub prefix: &'a [u8],
    client: &'a [u8],
    server: &'a [u8],
    fields: &'a [u8],
}

impl<'a> RequestView<'a> {
    /// Reads a block in one pass over its fixed part and one over its fields' lengths.
    pub fn parse(block: &'a [u8]) -> Result<Self, MalformedHead> {
        let (fixed, mut rest) = block.split_first_chunk::<FIXED>().ok_or(MalformedHead)?;
        let short = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
        let long =
            |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
        let mut take = |len: usize| -> Result<&'a [u8], MalformedHead> {
            let (part, after) = rest.split_at_checked(len).ok_or(MalformedHead)?;
            rest = after;
            Ok(part)
        };
        let version = match fixed[0] {
            10 => Version::Http10,
            11 => Version::Http11,
            20 => Version::Http2,
            _ => return Err(MalformedHead),
        };
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
        Fields::check(rest, field_count)?;
        Ok(Self {
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
        })
    }

    /// The client's address; `None` on a unix socket.
    pub fn client(&self) -> Option<Address<'a>> {
        endpoints::decode(self.client)
    }

    /// The address that the client connected to; `None` on a unix socket.
    pub fn server(&self) -> Option<Address<'a>> {
        endpoints::decode(self.server)
    }

    /// Client and server address as they stand in the block: equal bytes mean equal addresses.
    pub fn address_blocks(&self) -> (&'a [u8], &'a [u8]) {
        (self.client, self.server)
    }

    /// Whether the client takes trailers (`te: trailers`, RFC 9110 §10.1.4).
    pub fn accepts_trailers(&self) -> bool {
        self.fields().filter(|(name, _)| *name == b"te").any(|(_, value)| {
            value.split(|&b| b == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        })
    }

    /// The fields, in order.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..max)
    }

    #[test]
    fn trailers_are_accepted_by_those_who_say_so() {
        let line = RequestLine {
            version: Version::Http11,
            scheme: Scheme::Http,
            method: b"GET",
            path: b"/",
            query: b"",
        };
        let accepts = |values: &[&[u8]]| {
            let mut head = RequestHead::new(Vec::new(), line, &Endpoints::new(None, None));
            for value in values {
                head.push_field(b"te", value);
            }
            head.view().accepts_trailers()
        };
        assert!(
            accepts(&[b"trailers"])
                && accepts(&[b"gzip;q=0.5, Trailers"])
                && accepts(&[b"gzip", b"trailers"])
        );
        assert!(!accepts(&[]) && !accepts(&[b"gzip"]) && !accepts(&[b"trailers;q=1"]));
    }

    #[test]
    fn what_a_head_cannot_carry_is_left_out_and_told() {
        let line = |method, path| RequestLine {
            version: Version::Http2,
            scheme: Scheme::Http,
            method,
            path,
            query: b"q",
        };
        let endpoints = Endpoints::new(Some(Address { host: "::1", port: 1 }), None);
        let long = vec![b'a'; REQUEST_HEAD_MAX];
        for (method, path) in [(&long[..=METHOD_MAX], &b"/"[..]), (b"GET", &long)] {
            let mut head = RequestHead::new(Vec::new(), line(method, path), &endpoints);
            head.push_field(b"a", b"b");
            assert_eq!(head.view().fields().count(), 1);
            assert_eq!(head.whole().unwrap_err(), Fault::HeadTooLarge);
        }
        for (name, value) in [(&long[..=FIELD_NAME_MAX], &b""[..]), (b"a", &long)] {
            let mut head = RequestHead::new(Vec::new(), line(b"GET", b"/"), &endpoints);
            head.push_field(name, value);
            assert_eq!(head.view().fields().count(), 0);
            let changed = head.changed(Scheme::Https, &endpoints, RequestHead::push_field);
            assert_eq!(changed.whole().unwrap_err(), Fault::HeadTooLarge);
            assert_eq!(head.whole().unwrap_err(), Fault::HeadTooLarge);
        }
        let mut head = RequestHead::new(Vec::new(), line(b"GET", b"/"), &endpoints);
        for _ in 0..=u16::MAX {
            head.push_field(b"", b"");
        }
        assert_eq!(head.view().field_count, usize::from(u16::MAX));
        assert_eq!(head.whole().unwrap_err(), Fault::HeadTooLarge);
    }

    #[test]
    fn the_largest_head_is_whole() {
        let path = vec![b'/'; REQUEST_HEAD_MAX - BESIDE_THE_TARGET];
        let line = RequestLine {
            version: Version::Http11,
            scheme: Scheme::Http,
            method: &[b'M'; METHOD_MAX],
            path: &path,
            query: b"",
        };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        let room = REQUEST_HEAD_MAX - head.as_bytes().len() - fields::PREFIX - 1;
        head.push_field(b"a", &vec![b'b'; room]);
        assert_eq!(head.view().path, path);
        assert_eq!(head.whole().unwrap().as_bytes().len(), REQUEST_HEAD_MAX);
    }

    #[test]
    fn a_promised_request_knows_what_is_known_of_the_connection() {
        let endpoints = Endpoints::new(Some(Address { host: "::1", port: 1 }), None)
            .with_prefix(b"/app")
            .with_tls(NonZeroU8::new(7).unwrap());
        let line = RequestLine {
            version: Version::Http2,
            scheme: Scheme::Https,
            method: b"POST",
            path: b"/page",
            query: b"x",
        };
        let mut head = RequestHead::new(Vec::new(), line, &endpoints);
        head.push_field(b"host", b"a.test");
        head.push_field(b"cookie", b"c");
        head.set_has_body();
        head.set_takes_pushes();
        assert!(head.view().takes_pushes);
        let promised = head.promised(b"/style.css?v=1?2", [(&b"Accept"[..], &b"text/css"[..])].into_iter());
        let view = promised.view();
        assert_eq!((view.method, view.path, view.query), (&b"GET"[..], &b"/style.css"[..], &b"v=1?2"[..]));
        assert_eq!((view.version, view.scheme, view.tls), (Version::Http2, Scheme::Https, head.view().tls));
        assert_eq!((view.client(), view.server()), (head.view().client(), head.view().server()));
        assert_eq!((view.prefix, view.has_body, view.takes_pushes), (&b"/app"[..], false, false));
        let fields: Vec<_> = view.fields().collect();
        assert_eq!(fields, [(&b"host"[..], &b"a.test"[..]), (b"accept", b"text/css")]);
    }

    proptest! {
        #[test]
        fn a_head_is_read_back_as_it_was_written(
            method in bytes(12), path in bytes(80), query in bytes(40),
            fields in proptest::collection::vec((bytes(20), bytes(60)), 0..12), body: bool, websocket: bool, files: bool,
            tls: u8,
        ) {
            let endpoints = Endpoints::new(Some(Address { host: "::1", port: 54106 }), None);
            let tls = NonZeroU8::new(tls);
            let endpoints = tls.map_or(endpoints.clone(), |number| endpoints.with_tls(number));
            let line = RequestLine {
                version: Version::Http2, scheme: Scheme::Https, method: &method, path: &path, query: &query,
            };
            let mut head = RequestHead::new(vec![7; 9], line, &endpoints);
            for (name, value) in &fields {
                head.push_field(name, value);
            }
            if body {
                head.set_has_body();
            }
            if websocket {
                head.set_websocket();
            }
            if files {
                head.set_offers_files();
            }
            let view = head.view();
            prop_assert_eq!((view.method, view.path, view.query), (&method[..], &path[..], &query[..]));
            prop_assert_eq!((view.has_body, view.websocket, view.tls), (body, websocket, tls));
            prop_assert_eq!(view.offers_files, files);
            prop_assert_eq!(view.client(), Some(Address { host: "::1", port: 54106 }));
            prop_assert_eq!(view.server(), None);
            let read: Vec<_> = view.fields().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(read, fields);
        }

        #[test]
        fn no_block_of_bytes_makes_the_reader_panic(block in bytes(200)) {
            if let Ok(view) = RequestView::parse(&block) {
                prop_assert_eq!(view.fields().count(), view.field_count);
            }
        }
    }
}

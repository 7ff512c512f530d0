//! Parses a complete head into a [`RequestHead`] and the facts that the connection needs of it.
//!
//! httparse splits the lines and refuses controls, folds and blanks in wrong places; the checks here are
//! those that it leaves to its user, most of them about the message's length (RFC 9112 §6).

use std::mem::MaybeUninit;

use hcrs_http::{
    Endpoints, Fault, METHOD_MAX, RequestHead, RequestLine, Scheme, Version, is_authority,
    request_content_length,
};

use crate::Settings;
use crate::target::Target;

/// The delimitation of a request's body (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// There is no body, or its length is zero.
    None,
    /// The body has that many bytes, at least one.
    Known(u64),
    /// The body comes in chunks until the last one.
    Chunked,
}

/// A parsed head.
#[derive(Debug)]
pub(crate) struct ParsedHead {
    pub(crate) head: RequestHead,
    pub(crate) body: BodyLength,
    pub(crate) version: Version,
    /// The method is HEAD: the response must not have a body.
    pub(crate) is_head_method: bool,
    /// The client allows the connection to be reused.
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
}

/// Number of fields that are kept on the stack while a head is parsed; a head with more takes the heap.
pub(crate) const FIELDS_ON_STACK: usize = 256;

/// Length up to which names are put into lower case on the stack, in bytes.
const SHORT_NAME_BYTES: usize = 64;

/// Parses `bytes`, which end with the empty line and have no bare line feed.
pub(crate) fn parse(
    bytes: &[u8],
    settings: &Settings,
    block: Vec<u8>,
    scheme: Scheme,
    endpoints: &Endpoints,
) -> Result<ParsedHead, Fault> {
    let max_fields = settings.max_fields.min(usize::from(u16::MAX));
    let mut request = httparse::Request::new(&mut []);
    if max_fields <= FIELDS_ON_STACK {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
        let parsed = request.parse_with_uninit_headers(bytes, &mut fields[..max_fields]);
        check_complete(parsed, bytes)?;
        read(&request, bytes.len(), block, scheme, endpoints)
    } else {
        let mut fields = vec![MaybeUninit::uninit(); max_fields];
        let parsed = request.parse_with_uninit_headers(bytes, &mut fields);
        check_complete(parsed, bytes)?;
        read(&request, bytes.len(), block, scheme, endpoints)
    }
}

/// Checks a request line with its line end before its fields have arrived, so that nonsense is refused at
/// once.
pub(crate) fn check_request_line(line: &[u8]) -> Result<(), Fault> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse(line) {
        Ok(_) => Ok(()),
        Err(error) => Err(fault(error, line)),
    }
}

fn check_complete(parsed: httparse::Result<usize>, bytes: &[u8]) -> Result<(), Fault> {
    match parsed {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => Ok(()),
        Ok(_) => Err(Fault::BadRequest("request head ends early")),
        Err(error) => Err(fault(error, bytes)),
    }
}

fn fault(error: httparse::Error, bytes: &[u8]) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::HeadTooLarge,
        httparse::Error::HeaderName => Fault::BadRequest("malformed field name"),
        httparse::Error::HeaderValue => Fault::BadRequest("malformed field value"),
        httparse::Error::NewLine => Fault::BadRequest("malformed line end in request head"),
        httparse::Error::Version if names_a_version(bytes) => Fault::VersionNotSupported,
        httparse::Error::Version | httparse::Error::Token | httparse::Error::Status => {
            Fault::BadRequest("malformed request line")
        }
    }
}

/// Whether the request line has a method, a target and a version with one space between them, and the version
/// is well-formed.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = &bytes[..memchr::memchr(b'\r', bytes).unwrap_or(bytes.len())];
    let mut parts = line.split(|&b| b == b' ').skip(2);
    matches!((parts.next(), parts.next()), (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn read(
    request: &httparse::Request<'_, '_>,
    len: usize,
    mut block: Vec<u8>,
    scheme: Scheme,
    endpoints: &Endpoints,
) -> Result<ParsedHead, Fault> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Fault::BadRequest("malformed request line"));
    };
    if method.len() > METHOD_MAX {
        return Err(Fault::BadRequest("method too long"));
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let target = Target::parse(method.as_bytes(), target.as_bytes())?;

    // Each field of the block has six bytes of lengths for the four of ": " and the line end.
    block.clear();
    block.reserve(len + 2 * request.headers.len() + BESIDE_THE_HEAD);
    let line =
        RequestLine { version, scheme, method: method.as_bytes(), path: target.path, query: target.query };
    let mut head = RequestHead::new(block, line, endpoints);

    let mut message = Message::new(version, target.authority);
    if let (Some(authority), false) = (target.authority, request.headers.iter().any(is_host)) {
        head.push_field(b"host", authority);
    }
    for field in request.headers.iter() {
        message.read_field(field, &mut head)?;
    }
    let body = message.body()?;
    if body != BodyLength::None {
        head.set_has_body();
    }
    Ok(ParsedHead {
        head: head.whole()?,
        body,
        version,
        is_head_method: method == "HEAD",
        keep_alive: match message.persistence {
            Persistence::Default => version == Version::Http11,
            Persistence::KeepAlive => true,
            Persistence::Close => false,
        },
        expect_continue: message.expect_continue && body != BodyLength::None,
    })
}

/// Room for the block's fixed part and two addresses, in bytes.
const BESIDE_THE_HEAD: usize = 128;

fn is_host(field: &httparse::Header<'_>) -> bool {
    field.name.eq_ignore_ascii_case("host")
}

/// The facts in the fields about the message and the connection.
#[derive(Debug)]
struct Message<'a> {
    version: Version,
    /// The target's authority, which replaces `host`.
    authority: Option<&'a [u8]>,
    has_host: bool,
    length: Option<u64>,
    chunked: bool,
    persistence: Persistence,
    expect_continue: bool,
}

/// The client's choice, in `connection`, for the time after this exchange (RFC 9112 §9.3). `close` is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Persistence {
    /// The version's default.
    Default,
    KeepAlive,
    Close,
}

impl<'a> Message<'a> {
    fn new(version: Version, authority: Option<&'a [u8]>) -> Self {
        Self {
            version,
            authority,
            has_host: false,
            length: None,
            chunked: false,
            persistence: Persistence::Default,
            expect_continue: false,
        }
    }

    #[inline]
    fn read_field(&mut self, field: &httparse::Header<'a>, head: &mut RequestHead) -> Result<(), Fault> {
        let name = field.name.as_bytes();
        let mut short = [0; SHORT_NAME_BYTES];
        let mut long = Vec::new();
        let lower = if let Some(short) = short.get_mut(..name.len()) {
            short
        } else {
            long.resize(name.len(), 0);
            &mut long[..]
        };
        let mut has_underscore = false;
        for (to, from) in lower.iter_mut().zip(name) {
            *to = from.to_ascii_lowercase();
            has_underscore |= *from == b'_';
        }
        if has_underscore {
            // CGI's mapping, which WSGI keeps, makes `content_length` and `content-length` one name.
            return Ok(());
        }
        let mut value = field.value;
        match &*lower {
            b"host" => {
                self.host(value)?;
                value = self.authority.unwrap_or(value);
            }
            b"expect" => self.expect(value)?,
            b"connection" => self.connection(value),
            b"content-length" => self.content_length(value)?,
            b"transfer-encoding" => self.transfer_encoding(value)?,
            _ => {}
        }
        head.push_field(lower, value);
        Ok(())
    }

    /// Reads `host` (RFC 9112 §3.2).
    fn host(&mut self, value: &[u8]) -> Result<(), Fault> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(Fault::BadRequest("more than one host"));
        }
        let empty_is_fine = self.version == Version::Http10 && value.is_empty();
        if !empty_is_fine && !is_authority(value) {
            return Err(Fault::BadRequest("malformed host"));
        }
        Ok(())
    }

    /// Reads `expect` (RFC 9110 §10.1.1).
    fn expect(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.version == Version::Http11 {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Fault::ExpectationFailed);
            }
            self.expect_continue = true;
        }
        Ok(())
    }

    /// Reads `connection` (RFC 9112 §9.3).
    fn connection(&mut self, value: &[u8]) {
        for token in list(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.persistence = Persistence::Close;
            } else if token.eq_ignore_ascii_case(b"keep-alive") && self.persistence == Persistence::Default {
                self.persistence = Persistence::KeepAlive;
            }
        }
    }

    /// Reads `content-length` (RFC 9112 §6.2): one field with one number. Lists and repeats, which RFC 9110
    /// §8.6 lets a recipient repair, are refused.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::BadRequest("more than one content-length"));
        }
        let length = request_content_length(value);
        self.length = Some(length.ok_or(Fault::BadRequest("malformed content-length"))?);
        Ok(())
    }

    /// Reads `transfer-encoding` (RFC 9112 §6.1).
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.version == Version::Http10 {
            return Err(Fault::BadRequest("transfer-encoding in an HTTP/1.0 request"));
        }
        if self.chunked {
            return Err(Fault::BadRequest("more than one transfer-encoding"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(foreign_coding(value));
        }
        self.chunked = true;
        Ok(())
    }

    /// Returns the length of the body (RFC 9112 §6.3).
    fn body(&self) -> Result<BodyLength, Fault> {
        if !self.has_host && self.version == Version::Http11 {
            return Err(Fault::BadRequest("no host"));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Fault::BadRequest("content-length beside transfer-encoding")),
            (true, None) => Ok(BodyLength::Chunked),
            (false, None | Some(0)) => Ok(BodyLength::None),
            (false, Some(length)) => Ok(BodyLength::Known(length)),
        }
    }
}

/// Returns the fault for a transfer coding other than `chunked`. A body whose last coding is not `chunked`
/// has no known end; codings before it are merely not supported.
fn foreign_coding(value: &[u8]) -> Fault {
    let mut codings = list(value).rev();
    let ends = codings.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    if ends && codings.all(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"chunked")) {
        Fault::CodingNotSupported
    } else {
        Fault::BadRequest("transfer-encoding does not end with chunked")
    }
}

/// Returns the elements of a comma-separated list, without the blanks around them.
pub(crate) fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii)
}

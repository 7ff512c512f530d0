//! Parses the head of a response, as strictly as those of requests: what two readers could understand differently is
//! refused.

use std::mem::MaybeUninit;

use hcrs_http::{ResponseHead, ResponseHeadWriter, content_length, is_connection_specific};

use super::{Asked, BadResponse};
use crate::Settings;
use crate::head::{FIELDS_ON_STACK, list};

/// The delimitation of a response's body (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// There is no body, or its length is zero.
    None,
    /// The body has that many bytes, at least one.
    Known(u64),
    /// The body comes in chunks until the last one.
    Chunked,
    /// The body ends with the connection.
    UntilEnd,
}

/// A parsed head.
pub(super) struct Parsed {
    /// The head without the fields that are about the connection.
    pub(super) head: ResponseHead,
    pub(super) body: BodyLength,
    /// Whether the server allows the connection to be reused.
    pub(super) is_persistent: bool,
}

/// Parses `bytes`, which end with the empty line and have no bare line feed.
pub(super) fn parse(bytes: &[u8], settings: &Settings, asked: Asked) -> Result<Parsed, BadResponse> {
    let max_fields = settings.max_fields.min(usize::from(u16::MAX));
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    if max_fields <= FIELDS_ON_STACK {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
        let fields = &mut fields[..max_fields];
        check_complete(config.parse_response_with_uninit_headers(&mut response, bytes, fields), bytes)?;
        read(&response, bytes.len(), asked)
    } else {
        let mut fields = vec![MaybeUninit::uninit(); max_fields];
        check_complete(config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields), bytes)?;
        read(&response, bytes.len(), asked)
    }
}

fn check_complete(parsed: httparse::Result<usize>, bytes: &[u8]) -> Result<(), BadResponse> {
    Err(BadResponse(match parsed {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => return Ok(()),
        Ok(_) => "its head ends early",
        Err(httparse::Error::TooManyHeaders) => "its head has too many fields",
        Err(httparse::Error::HeaderName) => "malformed field name",
        Err(httparse::Error::HeaderValue) => "malformed field value",
        Err(httparse::Error::NewLine) => "malformed line end in a head",
        Err(httparse::Error::Version) => "it does not speak HTTP/1.1",
        Err(httparse::Error::Token | httparse::Error::Status) => "malformed status line",
    }))
}

/// The facts in the fields about the message and the connection.
#[derive(Debug, Default)]
struct Message {
    length: Option<u64>,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
    /// Whether `connection` names fields that end here.
    names_fields: bool,
    is_websocket: bool,
}

impl Message {
    /// Reads a field. Returns whether it is passed on.
    #[inline]
    fn read_field(&mut self, status: u16, name: &[u8], value: &[u8]) -> Result<bool, BadResponse> {
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.is_websocket |= list(value).any(|name| name.eq_ignore_ascii_case(b"websocket"));
                Ok(false)
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection(value);
                Ok(false)
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = content_length(value).ok_or(BadResponse("malformed content-length"))?;
                match self.length.replace(length) {
                    Some(before) if before != length => Err(BadResponse("two lengths of one body")),
                    // RFC 9110 §8.6: it has no meaning there.
                    None => Ok(status >= 200 && status != 204),
                    Some(_) => Ok(false),
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(BadResponse("a transfer coding that was not asked for"));
                }
                self.is_chunked = true;
                Ok(false)
            }
            _ => Ok(!is_connection_specific(name)),
        }
    }

    /// Reads `connection` (RFC 9112 §9.3).
    fn connection(&mut self, value: &[u8]) {
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.says_close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.says_keep_alive = true;
            } else if !option.is_empty() {
                self.names_fields = true;
            }
        }
    }

    /// Returns the length of the body (RFC 9112 §6.3).
    fn body(&self, status: u16, version: u8, asked: Asked) -> Result<BodyLength, BadResponse> {
        if self.is_chunked && self.length.is_some() {
            return Err(BadResponse("content-length beside transfer-encoding"));
        }
        if self.is_chunked && version == 0 {
            return Err(BadResponse("transfer-encoding in an HTTP/1.0 response"));
        }
        if status < 200 || matches!(status, 204 | 304) || asked.is_head_method {
            return Ok(BodyLength::None);
        }
        Ok(match self.length {
            _ if self.is_chunked => BodyLength::Chunked,
            Some(0) => BodyLength::None,
            Some(length) => BodyLength::Known(length),
            None => BodyLength::UntilEnd,
        })
    }
}

fn read(response: &httparse::Response<'_, '_>, len: usize, asked: Asked) -> Result<Parsed, BadResponse> {
    let (Some(status @ 100..), Some(version)) = (response.code, response.version) else {
        return Err(BadResponse("malformed status line"));
    };
    let mut message = Message::default();
    let room =
        ResponseHeadWriter::FIXED_SIZE + len + response.headers.len() * ResponseHeadWriter::FIELD_PREFIX;
    let mut block = Vec::with_capacity(room);
    let mut writer = ResponseHeadWriter::begin(&mut block, status);
    for field in response.headers.iter() {
        let (name, value) = (field.name.as_bytes(), field.value);
        if u16::try_from(name.len()).is_err() {
            return Err(BadResponse("its head is too large"));
        }
        if message.read_field(status, name, value)? {
            writer.field_in_lower_case(&mut block, name, value);
        }
    }
    let body = message.body(status, version, asked)?;
    if status == 101 && !(asked.for_websocket && message.is_websocket) {
        return Err(BadResponse("it switches to a protocol that it was not asked for"));
    }
    let mut head = writer.into_head(block);
    if message.names_fields {
        head = ResponseHead::new(status, head.fields().filter(|(name, _)| !is_named(response, name)));
    }
    let is_persistent = !message.says_close && (version == 1 || message.says_keep_alive);
    Ok(Parsed { head, body, is_persistent })
}

/// Whether `connection` names the field, which then ends here (RFC 9110 §7.6.1). A length stays: without it a body
/// would have another end.
fn is_named(response: &httparse::Response<'_, '_>, name: &[u8]) -> bool {
    let mut connection =
        response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    name != b"content-length"
        && connection.any(|field| list(field.value).any(|named| named.eq_ignore_ascii_case(name)))
}

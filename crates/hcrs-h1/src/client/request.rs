//! Writes the head of a request.

use hcrs_http::is_field_name;

use crate::response::{Framing, push_content_length, push_field};

/// A request line, and what decides the fields of framing and connection.
#[derive(Debug, Clone, Copy)]
pub struct OutgoingRequest<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The pieces of the target.
    pub target: &'a [&'a [u8]],
    /// The body.
    pub body: RequestBody,
    /// Whether it asks the server to switch to WebSocket, in which case there is no body.
    pub asks_for_websocket: bool,
    /// Whether trailers of the response are welcome.
    pub accepts_trailers: bool,
}

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// There is none.
    None,
    /// It has that many bytes.
    Known(u64),
    /// Its length is not known.
    Chunked,
}

/// The error for a request that has a part which no server would read as what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the request cannot be sent")]
pub struct Unsendable;

/// The fields of a request that is being written.
#[derive(Debug)]
pub struct RequestFields<'a> {
    out: &'a mut Vec<u8>,
    lines: usize,
}

impl RequestFields<'_> {
    /// Appends a field. The value is in pieces.
    #[inline]
    pub fn push(&mut self, name: &[u8], value: &[&[u8]]) {
        self.lines += 1;
        let len: usize = value.iter().map(|piece| piece.len()).sum();
        self.out.reserve(name.len() + len + 4);
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        for piece in value {
            self.out.extend_from_slice(piece);
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Appends a head. Returns the framing of the body. An error leaves `out` as it was.
pub(super) fn write(
    request: &OutgoingRequest<'_>,
    fields: impl FnOnce(&mut RequestFields<'_>),
    out: &mut Vec<u8>,
) -> Result<Framing, Unsendable> {
    let start = out.len();
    out.extend_from_slice(request.method);
    out.push(b' ');
    let target = out.len();
    for piece in request.target {
        out.extend_from_slice(piece);
    }
    let is_line =
        is_field_name(request.method) && out.len() > target && out[target..].iter().all(u8::is_ascii_graphic);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut written = RequestFields { out, lines: 1 };
    fields(&mut written);
    let (framing, own) = push_own(request, written.out);
    let lines = written.lines + own;
    if is_line && has_lines(&out[start..], lines) {
        out.extend_from_slice(b"\r\n");
        Ok(framing)
    } else {
        out.truncate(start);
        Err(Unsendable)
    }
}

/// Appends the fields of framing and connection. Returns the framing, and the number of fields.
fn push_own(request: &OutgoingRequest<'_>, out: &mut Vec<u8>) -> (Framing, usize) {
    let mut own = 0;
    let mut push = |name: &[u8], value: &[u8], out: &mut Vec<u8>| {
        push_field(out, name, value);
        own += 1;
    };
    if request.accepts_trailers {
        push(b"te", b"trailers", out);
    }
    if request.asks_for_websocket {
        push(b"connection", b"upgrade", out);
        push(b"upgrade", b"websocket", out);
    } else if request.accepts_trailers {
        push(b"connection", b"te", out);
    }
    match request.body {
        // A server may wait for the length of a body that these methods usually have (RFC 9110 §8.6).
        RequestBody::None if matches!(request.method, b"POST" | b"PUT" | b"PATCH") => {
            push_content_length(out, 0);
            (Framing::Nothing, own + 1)
        }
        RequestBody::None => (Framing::Nothing, own),
        RequestBody::Known(length) => {
            push_content_length(out, length);
            (Framing::Length(length), own + 1)
        }
        RequestBody::Chunked => {
            push(b"transfer-encoding", b"chunked", out);
            (Framing::Chunked, own)
        }
    }
}

/// Whether the line ends are those that were written, and no other reader finds more: so no value begins a line of its
/// own, wherever it came from. By `memchr`, because this is asked of each request.
fn has_lines(head: &[u8], lines: usize) -> bool {
    let count = |byte| memchr::memchr_iter(byte, head).count();
    count(b'\n') == lines && count(b'\r') == lines && memchr::memchr(0, head).is_none()
}

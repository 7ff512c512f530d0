//! Encodes responses: the head with the framing it chooses (RFC 9112 §6), then the body in that framing.
//!
//! The app's head is checked here and nowhere later: names are tokens, values have no controls, a length is
//! one number and the body keeps to it. The fields of the connection itself (`connection`,
//! `transfer-encoding`) are the server's.

use hcrs_http::{
    Fault, Field, ResponseHead, Version, is_field_name, is_field_value, is_trailer_name,
    response_content_length,
};

use crate::head::list;
use crate::status::push_status_line;

/// The fields that the server adds to a response.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerFields<'a> {
    /// The value of `date`, for a response whose app has sent none.
    pub date: Option<&'a [u8]>,
    /// The value of `server`, for a response whose app has sent none.
    pub server: Option<&'a [u8]>,
    /// The lines of `alt-svc`, each with its line end. They are added to each response.
    pub alt_svc: &'a [u8],
}

/// The progress of an exchange's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Response {
    /// No final head has been written.
    Awaited,
    /// The head has been written, the body follows.
    Body(Framing),
    /// The response is complete.
    Ended,
}

/// The delimitation of a response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By length: that many bytes are still to come.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the end of the connection.
    Close,
    /// The response has no body, whatever the app sends (RFC 9110 §6.4.1).
    Nothing,
}

/// The facts of the request and of the connection that shape a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseContext {
    pub(crate) version: Version,
    pub(crate) is_head_method: bool,
    /// Client and server allow another exchange on the connection.
    pub(crate) keep_alive: bool,
}

/// Appends a head. Returns the framing of the body and whether the connection can carry another exchange. An
/// error leaves `out` as it was.
pub(crate) fn write_head(
    context: ResponseContext,
    head: &ResponseHead,
    body_now: Option<usize>,
    server_fields: &ServerFields<'_>,
    out: &mut Vec<u8>,
) -> Result<(Framing, bool), Fault> {
    let start = out.len();
    let written = push_head(context, head, body_now, server_fields, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends the head of a `101 Switching Protocols`. The bytes after it have no framing. An error leaves `out`
/// as it was.
pub(crate) fn write_switch(
    head: &ResponseHead,
    server_fields: &ServerFields<'_>,
    out: &mut Vec<u8>,
) -> Result<Framing, Fault> {
    if head.fields().any(|(name, value)| !is_field_name(name) || !is_field_value(value)) {
        return Err(Fault::AppFailed);
    }
    push_status_line(out, 101);
    let (mut has_date, mut has_server) = (false, false);
    for (name, value) in head.fields() {
        // RFC 9110 §8.6: neither is allowed beside 101.
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding") {
            continue;
        }
        has_date |= name.eq_ignore_ascii_case(b"date");
        has_server |= name.eq_ignore_ascii_case(b"server");
        push_field(out, name, value);
    }
    if let Some(date) = server_fields.date.filter(|_| !has_date) {
        push_field(out, b"date", date);
    }
    if let Some(server) = server_fields.server.filter(|_| !has_server) {
        push_field(out, b"server", server);
    }
    out.extend_from_slice(server_fields.alt_svc);
    out.extend_from_slice(b"\r\n");
    Ok(Framing::Close)
}

fn push_head(
    context: ResponseContext,
    head: &ResponseHead,
    body_now: Option<usize>,
    server_fields: &ServerFields<'_>,
    out: &mut Vec<u8>,
) -> Result<(Framing, bool), Fault> {
    let status = head.status();
    if !(200..=999).contains(&status) {
        return Err(Fault::AppFailed);
    }
    push_status_line(out, status);
    let app_fields = push_app_fields(head, status, out)?;
    if !app_fields.has_date
        && let Some(date) = server_fields.date
    {
        push_field(out, b"date", date);
    }
    if !app_fields.has_server
        && let Some(server) = server_fields.server
    {
        push_field(out, b"server", server);
    }
    out.extend_from_slice(server_fields.alt_svc);
    let body_now = body_now.map(|len| len as u64);
    let framing = if context.is_head_method || matches!(status, 204 | 304) {
        Framing::Nothing
    } else if let Some(length) = app_fields.length {
        if body_now.is_some_and(|len| len != length) {
            return Err(Fault::AppFailed);
        }
        Framing::Length(length)
    } else if let Some(length) = body_now {
        push_content_length(out, length);
        Framing::Length(length)
    } else if context.version == Version::Http11 {
        push_field(out, b"transfer-encoding", b"chunked");
        Framing::Chunked
    } else {
        Framing::Close
    };
    let keep_alive = context.keep_alive && !app_fields.close && framing != Framing::Close;
    push_connection(out, context.version, keep_alive);
    out.extend_from_slice(b"\r\n");
    Ok((framing, keep_alive))
}

/// The facts in the app's own fields.
#[derive(Debug, Default)]
struct AppFields {
    has_date: bool,
    has_server: bool,
    /// The app asks for `connection: close`.
    close: bool,
    length: Option<u64>,
}

fn push_app_fields(head: &ResponseHead, status: u16, out: &mut Vec<u8>) -> Result<AppFields, Fault> {
    let mut seen = AppFields::default();
    for (name, mut value) in head.fields() {
        if !is_field_name(name) || !is_field_value(value) {
            return Err(Fault::AppFailed);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"date") => seen.has_date = true,
            6 if name.eq_ignore_ascii_case(b"server") => seen.has_server = true,
            10 if name.eq_ignore_ascii_case(b"connection") => {
                seen.close |= push_connection_options(name, value, out);
                continue;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length;
                (length, value) = response_content_length(value).ok_or(Fault::AppFailed)?;
                match seen.length.replace(length) {
                    Some(before) if before != length => return Err(Fault::AppFailed),
                    Some(_) => continue,
                    // RFC 9110 §8.6: a length is not allowed beside 204.
                    None if status == 204 => continue,
                    None => {}
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::AppFailed);
                }
                continue;
            }
            _ => {}
        }
        push_field(out, name, value);
    }
    Ok(seen)
}

/// Appends the options that are not about persistence. Returns whether the app asks for `close`.
fn push_connection_options(name: &[u8], value: &[u8], out: &mut Vec<u8>) -> bool {
    let mut close = false;
    for option in list(value) {
        if option.eq_ignore_ascii_case(b"close") {
            close = true;
        } else if !option.is_empty() && !option.eq_ignore_ascii_case(b"keep-alive") {
            push_field(out, name, option);
        }
    }
    close
}

/// Appends an interim head (RFC 9110 §15.2). An error leaves `out` as it was.
pub(crate) fn write_interim(head: &ResponseHead, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    push_status_line(out, head.status());
    let written = push_fields(head, |_| true, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends fields and the empty line after them.
fn push_fields(
    head: &ResponseHead,
    is_allowed: impl Fn(&[u8]) -> bool,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    for (name, value) in head.fields() {
        if !is_field_name(name) || !is_field_value(value) || !is_allowed(name) {
            return Err(Fault::AppFailed);
        }
        push_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends the whole response to a fault. Returns whether the connection can carry another exchange.
pub(crate) fn write_fault(
    context: ResponseContext,
    fault: Fault,
    own: Option<Field<'_>>,
    server_fields: &ServerFields<'_>,
    out: &mut Vec<u8>,
) -> bool {
    let keep_alive = context.keep_alive && !fault.closes_connection();
    push_status_line(out, fault.status());
    if let Some(allow) = fault.allow() {
        push_field(out, b"allow", allow.as_bytes());
    }
    if let Some(seconds) = fault.retry_after() {
        push_field(out, b"retry-after", itoa::Buffer::new().format(seconds).as_bytes());
    }
    if let Some(Field { name, value }) = own {
        push_field(out, name, value);
    }
    if let Some(date) = server_fields.date {
        push_field(out, b"date", date);
    }
    if let Some(server) = server_fields.server {
        push_field(out, b"server", server);
    }
    out.extend_from_slice(server_fields.alt_svc);
    push_content_length(out, 0);
    push_connection(out, context.version, keep_alive);
    out.extend_from_slice(b"\r\n");
    keep_alive
}

impl Framing {
    /// Appends a piece of the body. An error leaves `out` as it was.
    pub(crate) fn write_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Self::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Fault::AppFailed)?;
                hcrs_http::append(out, data);
            }
            // An empty chunk would be the last one.
            Self::Chunked if data.is_empty() => {}
            Self::Chunked => push_chunk(out, data),
            Self::Close => hcrs_http::append(out, data),
            Self::Nothing => {}
        }
        Ok(())
    }

    /// Returns the number of bytes that may be written without framing; `None` if the body has to be framed
    /// or dropped.
    pub(crate) fn plain_room(self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(left),
            Self::Close => Some(u64::MAX),
            Self::Chunked | Self::Nothing => None,
        }
    }

    /// Counts bytes that were written without framing.
    pub(crate) fn wrote_plain(&mut self, len: u64) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(len);
        }
    }

    /// Appends the end of the body, with trailers if the framing has a place for them.
    pub(crate) fn write_trailers(self, trailers: &ResponseHead, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self != Self::Chunked {
            return self.write_end(out);
        }
        let start = out.len();
        out.extend_from_slice(b"0\r\n");
        let written = push_fields(trailers, is_trailer_name, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// Appends the end of the body if it is complete.
    pub(crate) fn write_end(self, out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Self::Length(0) | Self::Close | Self::Nothing => Ok(()),
            Self::Length(_) => Err(Fault::AppFailed),
            Self::Chunked => {
                out.extend_from_slice(b"0\r\n\r\n");
                Ok(())
            }
        }
    }
}

fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let len = data.len();
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    out.reserve(len + digits as usize + 4);
    for place in (0..digits).rev() {
        out.push(DIGITS[(len >> (4 * place)) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
    hcrs_http::append(out, data);
    out.extend_from_slice(b"\r\n");
}

#[inline]
pub(crate) fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn push_content_length(out: &mut Vec<u8>, length: u64) {
    push_field(out, b"content-length", itoa::Buffer::new().format(length).as_bytes());
}

/// Appends `connection` (RFC 9112 §9.6). Clients of HTTP/1.0 wait for `keep-alive` in the response (§9.3).
fn push_connection(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    if !keep_alive {
        push_field(out, b"connection", b"close");
    } else if version == Version::Http10 {
        push_field(out, b"connection", b"keep-alive");
    }
}

//! Heads of responses, interim responses, trailers and promises, as header blocks. What an app sends is
//! checked first: a block that was begun has to leave, because it may have changed the encoder's table.

use std::rc::Rc;

use hcrs_http::{
    Fault, Field, RequestHead, ResponseHead, is_connection_specific, is_field_name, is_field_value,
    is_promise_name, is_trailer_name, response_content_length,
};
use http::HeaderValue;

use crate::hpack::Encoder;

/// Indices of HPACK's static table.
const METHOD_GET: u8 = 2;
const SCHEME_HTTP: u8 = 6;
const SCHEME_HTTPS: u8 = 7;

/// The fields that the server adds to a response.
#[derive(Debug, Clone, Default)]
pub struct ServerFields {
    /// The value of `date`, for a response whose app has sent none.
    pub date: Option<HeaderValue>,
    /// The value of `server`, for a response whose app has sent none.
    pub server: Option<HeaderValue>,
    /// The values of `alt-svc`. They are added to each response.
    pub alt_svc: Option<Rc<[HeaderValue]>>,
}

impl ServerFields {
    fn write(&self, has_date: bool, has_server: bool, encoder: &mut Encoder, out: &mut Vec<u8>) {
        if let Some(date) = self.date.as_ref().filter(|_| !has_date) {
            encoder.field(b"date", date.as_bytes(), out);
        }
        if let Some(server) = self.server.as_ref().filter(|_| !has_server) {
            encoder.field(b"server", server.as_bytes(), out);
        }
        for value in self.alt_svc.iter().flat_map(|values| values.iter()) {
            encoder.field(b"alt-svc", value.as_bytes(), out);
        }
    }
}

/// The parts of an app's head that were found when it was checked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CheckedHead {
    /// The length of the body, if it was announced.
    pub(crate) length: Option<u64>,
    has_date: bool,
    has_server: bool,
}

/// Checks a response's head.
pub(crate) fn response(head: &ResponseHead) -> Result<CheckedHead, Fault> {
    if !(200..=999).contains(&head.status()) {
        return Err(Fault::AppFailed);
    }
    let mut checked = CheckedHead::default();
    for (name, value) in head.fields() {
        check(name, value)?;
        match name.len() {
            4 => checked.has_date |= name.eq_ignore_ascii_case(b"date"),
            6 => checked.has_server |= name.eq_ignore_ascii_case(b"server"),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let (length, _) = response_content_length(value).ok_or(Fault::AppFailed)?;
                if checked.length.is_some_and(|first| first != length) {
                    return Err(Fault::AppFailed);
                }
                checked.length = Some(length);
            }
            _ => {}
        }
    }
    Ok(checked)
}

impl CheckedHead {
    /// Writes the head that was checked.
    pub(crate) fn write(
        self,
        head: &ResponseHead,
        server_fields: &ServerFields,
        encoder: &mut Encoder,
        out: &mut Vec<u8>,
    ) {
        encoder.begin(out);
        encoder.status(head.status(), out);
        let mut has_length = false;
        for (name, mut value) in head.fields() {
            if is_connection_specific(name) {
                continue;
            }
            if name.len() == 14 && name.eq_ignore_ascii_case(b"content-length") {
                // RFC 9110 §8.6: a length is not allowed beside 204.
                if std::mem::replace(&mut has_length, true) || head.status() == 204 {
                    continue;
                }
                if let Some((_, trimmed)) = response_content_length(value) {
                    value = trimmed;
                }
            }
            field(name, value, encoder, out);
        }
        server_fields.write(self.has_date, self.has_server, encoder, out);
    }
}

/// Checks an interim response's head.
pub(crate) fn check_interim(head: &ResponseHead) -> Result<(), Fault> {
    if head.status() != 103 {
        return Err(Fault::AppFailed);
    }
    check_all(head, |name| !is_connection_specific(name))
}

/// Writes an interim response's head that was checked.
pub(crate) fn interim(head: &ResponseHead, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.status(103, out);
    for (name, value) in head.fields() {
        field(name, value, encoder, out);
    }
}

/// Checks a response's trailers.
pub(crate) fn trailers(head: &ResponseHead) -> Result<(), Fault> {
    check_all(head, is_trailer_name)
}

/// Writes trailers that were checked.
pub(crate) fn write_trailers(head: &ResponseHead, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    for (name, value) in head.fields() {
        field(name, value, encoder, out);
    }
}

/// Writes the response to a fault, which has no body.
pub(crate) fn fault(
    fault: Fault,
    own: Option<Field<'_>>,
    server_fields: &ServerFields,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    encoder.begin(out);
    encoder.status(fault.status(), out);
    encoder.field(b"content-length", b"0", out);
    if let Some(allow) = fault.allow() {
        encoder.field(b"allow", allow.as_bytes(), out);
    }
    if let Some(seconds) = fault.retry_after() {
        encoder.field(b"retry-after", seconds.to_string().as_bytes(), out);
    }
    if let Some(Field { name, value }) = own.filter(|own| check(own.name, own.value).is_ok()) {
        field(name, value, encoder, out);
    }
    server_fields.write(false, false, encoder, out);
}

/// Writes a promised request. Returns false, and writes nothing, if it has a field that such a request may
/// not have.
pub(crate) fn promise(head: &RequestHead, encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
    let view = head.view();
    let Some(host) = view.fields().first(b"host") else { return false };
    let others = || view.fields().filter(|(name, _)| *name != b"host");
    if !others().all(|(name, value)| is_promise_name(name) && check(name, value).is_ok()) {
        return false;
    }
    encoder.begin(out);
    Encoder::indexed(METHOD_GET, out);
    Encoder::indexed(if view.scheme.as_str() == "https" { SCHEME_HTTPS } else { SCHEME_HTTP }, out);
    encoder.field(b":authority", host, out);
    let mut target = view.path.to_vec();
    if !view.query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(view.query);
    }
    encoder.field(b":path", &target, out);
    for (name, value) in others() {
        field(name, value, encoder, out);
    }
    true
}

fn check_all(head: &ResponseHead, is_allowed: impl Fn(&[u8]) -> bool) -> Result<(), Fault> {
    for (name, value) in head.fields() {
        check(name, value)?;
        if !is_allowed(name) {
            return Err(Fault::AppFailed);
        }
    }
    Ok(())
}

#[inline]
fn check(name: &[u8], value: &[u8]) -> Result<(), Fault> {
    let has_name = Encoder::index_of(name) != 0 && name[0] != b':' || is_field_name(name);
    if has_name && is_field_value(value) { Ok(()) } else { Err(Fault::AppFailed) }
}

/// Writes a field whose name may have upper case, which HTTP/2 has not.
#[inline]
fn field(name: &[u8], value: &[u8], encoder: &mut Encoder, out: &mut Vec<u8>) {
    match Encoder::index_of(name) {
        0 if name.iter().any(u8::is_ascii_uppercase) => encoder.field(&name.to_ascii_lowercase(), value, out),
        index => encoder.field_with(name, value, index, out),
    }
}

//! Heads of responses, interim responses and trailers, as field sections. What an app sends is checked first:
//! a section that was begun has to leave, because it may have changed the encoder's table.

use std::rc::Rc;

use hcrs_http::{
    Fault, Field, ResponseHead, is_connection_specific, is_field_name, is_field_value, is_trailer_name,
    response_content_length,
};
use http::HeaderValue;

/// An encoder of field sections: HPACK's or QPACK's.
pub trait FieldEncoder {
    /// Returns the index of a name in the static table; 0 if it is none that responses have. Names in the table
    /// are tokens in lower case.
    fn index_of(name: &[u8]) -> usize;

    /// Begins a section.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// Appends `:status`.
    fn status(&mut self, status: u16, out: &mut Vec<u8>);

    /// Appends a field whose name has an index that [`FieldEncoder::index_of`] has returned.
    fn field_with(&mut self, name: &[u8], value: &[u8], name_index: usize, out: &mut Vec<u8>);

    /// Appends a field whose name is in lower case.
    #[inline]
    fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        self.field_with(name, value, Self::index_of(name), out);
    }
}

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
    fn write(&self, has_date: bool, has_server: bool, encoder: &mut impl FieldEncoder, out: &mut Vec<u8>) {
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
pub struct CheckedHead {
    /// The length of the body, if it was announced.
    pub length: Option<u64>,
    /// The app has set a priority (RFC 9218 §8).
    pub has_priority: bool,
    has_date: bool,
    has_server: bool,
}

/// Checks a response's head that `E` will encode.
pub fn check_response<E: FieldEncoder>(head: &ResponseHead) -> Result<CheckedHead, Fault> {
    if !(200..=999).contains(&head.status()) {
        return Err(Fault::AppFailed);
    }
    let mut checked = CheckedHead::default();
    for (name, value) in head.fields() {
        check::<E>(name, value)?;
        match name.len() {
            4 => checked.has_date |= is_name(name, b"date"),
            6 => checked.has_server |= is_name(name, b"server"),
            8 => checked.has_priority |= is_name(name, b"priority"),
            14 if is_name(name, b"content-length") => {
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
    pub fn write(
        self,
        head: &ResponseHead,
        server_fields: &ServerFields,
        encoder: &mut impl FieldEncoder,
        out: &mut Vec<u8>,
    ) {
        encoder.begin(out);
        encoder.status(head.status(), out);
        let mut has_length = false;
        for (name, mut value) in head.fields() {
            if is_connection_specific(name) {
                continue;
            }
            if name.len() == 14 && is_name(name, b"content-length") {
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

/// Checks an interim response's head that `E` will encode.
pub fn check_interim<E: FieldEncoder>(head: &ResponseHead) -> Result<(), Fault> {
    if head.status() != 103 {
        return Err(Fault::AppFailed);
    }
    check_all::<E>(head, |name| !is_connection_specific(name))
}

/// Writes an interim response's head that was checked.
pub fn write_interim(head: &ResponseHead, encoder: &mut impl FieldEncoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.status(103, out);
    for (name, value) in head.fields() {
        field(name, value, encoder, out);
    }
}

/// Checks a response's trailers that `E` will encode.
pub fn check_trailers<E: FieldEncoder>(head: &ResponseHead) -> Result<(), Fault> {
    check_all::<E>(head, is_trailer_name)
}

/// Writes trailers that were checked.
pub fn write_trailers(head: &ResponseHead, encoder: &mut impl FieldEncoder, out: &mut Vec<u8>) {
    encoder.begin(out);
    for (name, value) in head.fields() {
        field(name, value, encoder, out);
    }
}

/// Writes the response to a fault, which has no body.
pub fn write_fault<E: FieldEncoder>(
    fault: Fault,
    own: Option<Field<'_>>,
    server_fields: &ServerFields,
    encoder: &mut E,
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
    if let Some(Field { name, value }) = own.filter(|own| check::<E>(own.name, own.value).is_ok()) {
        field(name, value, encoder, out);
    }
    server_fields.write(false, false, encoder, out);
}

/// Whether a name is `lower`, in any case. Most are in lower case, which is found out at once.
#[inline]
fn is_name(name: &[u8], lower: &[u8]) -> bool {
    name == lower || name.eq_ignore_ascii_case(lower)
}

fn check_all<E: FieldEncoder>(head: &ResponseHead, is_allowed: impl Fn(&[u8]) -> bool) -> Result<(), Fault> {
    for (name, value) in head.fields() {
        check::<E>(name, value)?;
        if !is_allowed(name) {
            return Err(Fault::AppFailed);
        }
    }
    Ok(())
}

/// Checks a field that `E` will encode.
#[inline]
pub fn check<E: FieldEncoder>(name: &[u8], value: &[u8]) -> Result<(), Fault> {
    let has_name = E::index_of(name) != 0 && name[0] != b':' || is_field_name(name);
    if has_name && is_field_value(value) { Ok(()) } else { Err(Fault::AppFailed) }
}

/// Writes a field whose name may have upper case, which HTTP/2 and HTTP/3 have not.
#[inline]
pub fn field<E: FieldEncoder>(name: &[u8], value: &[u8], encoder: &mut E, out: &mut Vec<u8>) {
    match E::index_of(name) {
        0 if name.iter().any(u8::is_ascii_uppercase) => encoder.field(&name.to_ascii_lowercase(), value, out),
        index => encoder.field_with(name, value, index, out),
    }
}

#[cfg(test)]
mod tests;

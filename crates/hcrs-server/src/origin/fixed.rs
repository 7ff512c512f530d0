//! Answers requests with a response that is always the same (`status` of a route).

use hcrs_files::content_type;
use hcrs_http::ResponseHead;

use crate::exchange::WholeResponse;
use crate::settings::{FixedBody, FixedResponse};

/// Returns the response.
pub(crate) fn answer(fixed: &FixedResponse) -> WholeResponse {
    let (body, own_type) = match &fixed.body {
        FixedBody::Text(text) => (text.as_bytes(), "text/plain; charset=utf-8"),
        FixedBody::File(file) => (&file.contents()[..], content_type(file.path())),
    };
    let content_type = fixed.content_type.as_deref().unwrap_or(own_type);
    let length = body.len().to_string();
    let has_body = !matches!(fixed.status, 204 | 304);
    let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
    if has_body {
        fields.push((b"content-length", length.as_bytes()));
    }
    if has_body && !body.is_empty() {
        fields.push((b"content-type", content_type.as_bytes()));
        fields.push((b"x-content-type-options", b"nosniff"));
    }
    let body = if has_body { body.to_vec() } else { Vec::new() };
    WholeResponse { head: ResponseHead::new(fixed.status, fields), body }
}

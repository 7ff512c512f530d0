//! Answers requests with a response that is always the same (`status` of a route).

use hcrs_http::ResponseHead;

use crate::exchange::WholeResponse;
use crate::settings::FixedResponse;

/// Returns the response.
pub(crate) fn answer(fixed: &FixedResponse) -> WholeResponse {
    let length = fixed.text.len().to_string();
    let has_body = !matches!(fixed.status, 204 | 304);
    let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
    if has_body {
        fields.push((b"content-length", length.as_bytes()));
    }
    if has_body && !fixed.text.is_empty() {
        fields.push((b"content-type", fixed.content_type.as_bytes()));
        fields.push((b"x-content-type-options", b"nosniff"));
    }
    let body = if has_body { fixed.text.clone().into_bytes() } else { Vec::new() };
    WholeResponse { head: ResponseHead::new(fixed.status, fields), body }
}

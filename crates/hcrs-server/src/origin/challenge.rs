//! Answers the challenges http-01 of authorities of certificates (RFC 8555 section 8.3), from the storage, where any
//! server that shares it finds the answers of all.

use hcrs_acme::{CHALLENGE_PATH, challenge_answer};
use hcrs_http::{RequestHead, RequestView};

use super::health::whole;
use crate::Settings;
use crate::exchange::WholeResponse;

/// Whether a request may be that of an authority.
pub(crate) fn applies_to(view: &RequestView<'_>) -> bool {
    matches!(view.method, b"GET" | b"HEAD") && token(view.path).is_some()
}

/// Returns the last part of a path of challenges.
pub(crate) fn token(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(CHALLENGE_PATH.as_bytes())
}

/// Returns the answer; `None` if no server waits for it.
pub(crate) fn answer(head: &RequestHead, settings: &Settings) -> Option<WholeResponse> {
    let storage = &settings.acme.as_ref()?.storage;
    let answer = challenge_answer(storage, token(head.view().path)?)?;
    Some(whole(200, "application/octet-stream", answer.into_bytes()))
}

//! The end of a WebSocket: the payload of Close frames, and the failures of a connection.

use hcrs_http::close_code;

/// Whether a Close frame may have the code: it is defined by the RFC or registered since, or in the ranges
/// for libraries and applications.
pub(crate) fn is_valid_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// A breach of the protocol by the client, which fails the connection (RFC 6455 §7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({code})")]
pub struct Failure {
    /// The code that the Close frame carries, one of [`close_code`].
    pub code: u16,
    /// The description of the error, which is also the reason in the Close frame.
    pub reason: &'static str,
}

impl Failure {
    pub(crate) const NOT_UTF8: Self = Self { code: close_code::INVALID_PAYLOAD, reason: "text is not UTF-8" };
    pub(crate) const NOT_DEFLATE: Self =
        Self { code: close_code::INVALID_PAYLOAD, reason: "malformed compressed message" };
    pub(crate) const TOO_BIG: Self = Self { code: close_code::MESSAGE_TOO_BIG, reason: "message too big" };
    pub(crate) const NO_ROOM: Self =
        Self { code: close_code::MESSAGE_TOO_BIG, reason: "too many bytes of messages at a time" };
    pub(crate) const STALLED: Self =
        Self { code: close_code::POLICY_VIOLATION, reason: "message did not go on in time" };
    pub(crate) const TOO_MANY_FRAGMENTS: Self =
        Self { code: close_code::POLICY_VIOLATION, reason: "too many fragments" };

    pub(crate) const fn protocol(reason: &'static str) -> Self {
        Self { code: close_code::PROTOCOL_ERROR, reason }
    }
}

/// Returns code and reason in the payload of a Close frame (RFC 6455 §5.5.1); the code is
/// [`close_code::NO_STATUS`] if it has none.
pub(crate) fn parse(payload: &[u8]) -> Result<(u16, &str), Failure> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok((close_code::NO_STATUS, ""))
        } else {
            Err(Failure::protocol("half a close code"))
        };
    };
    let code = u16::from_be_bytes(*code);
    if !is_valid_code(code) {
        return Err(Failure::protocol("invalid close code"));
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Ok((code, reason)),
        Err(_) => Err(Failure { code: close_code::INVALID_PAYLOAD, reason: "close reason is not UTF-8" }),
    }
}

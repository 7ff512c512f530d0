//! Why a WebSocket ends: status codes of Close frames, and what fails a connection.

/// Status codes of Close frames (RFC 6455 §7.4.1 and the registry it made).
pub mod close_code {
    /// The purpose is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The server goes down, or the page was left.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Data of a type that cannot be taken.
    pub const UNSUPPORTED_DATA: u16 = 1003;
    /// Never sent: what is told where a Close frame had no code.
    pub const NO_STATUS: u16 = 1005;
    /// Never sent: what is told where the transport ended without a Close frame.
    pub const ABNORMAL: u16 = 1006;
    /// Data that is not what its type says: text that is not UTF-8, or a broken compressed message.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// A rule of the endpoint is broken.
    pub const POLICY_VIOLATION: u16 = 1008;
    /// A message is too large.
    pub const MESSAGE_TOO_BIG: u16 = 1009;
    /// The server met a condition that it cannot go on with.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// The server restarts; the client may come again.
    pub const SERVICE_RESTART: u16 = 1012;
}

/// Whether `code` may stand in a Close frame: defined by the RFC or registered since, or of the ranges for
/// libraries and applications.
pub(crate) fn is_valid_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// What the client did that fails the connection (RFC 6455 §7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({code})")]
pub struct Failure {
    /// The code that the Close frame carries, one of [`close_code`].
    pub code: u16,
    /// What was wrong, in words; also the reason in the Close frame.
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

/// Code and reason in the payload of a Close frame (RFC 6455 §5.5.1), with [`close_code::NO_STATUS`] for none.
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

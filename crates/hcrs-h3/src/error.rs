//! Error codes (RFC 9114 §8.1, RFC 9204 §6).

use hcrs_http::{Fault, H2Code};

/// An error code of HTTP/3 or QPACK.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(u64);

impl ErrorCode {
    /// `H3_DATAGRAM_ERROR` (RFC 9297 §5.2)
    pub const DATAGRAM_ERROR: Self = Self(0x33);
    /// `H3_NO_ERROR`
    pub const NO_ERROR: Self = Self(0x100);
    /// `H3_GENERAL_PROTOCOL_ERROR`
    pub const GENERAL_PROTOCOL_ERROR: Self = Self(0x101);
    /// `H3_INTERNAL_ERROR`
    pub const INTERNAL_ERROR: Self = Self(0x102);
    /// `H3_STREAM_CREATION_ERROR`
    pub const STREAM_CREATION_ERROR: Self = Self(0x103);
    /// `H3_CLOSED_CRITICAL_STREAM`
    pub const CLOSED_CRITICAL_STREAM: Self = Self(0x104);
    /// `H3_FRAME_UNEXPECTED`
    pub const FRAME_UNEXPECTED: Self = Self(0x105);
    /// `H3_FRAME_ERROR`
    pub const FRAME_ERROR: Self = Self(0x106);
    /// `H3_EXCESSIVE_LOAD`
    pub const EXCESSIVE_LOAD: Self = Self(0x107);
    /// `H3_ID_ERROR`
    pub const ID_ERROR: Self = Self(0x108);
    /// `H3_SETTINGS_ERROR`
    pub const SETTINGS_ERROR: Self = Self(0x109);
    /// `H3_MISSING_SETTINGS`
    pub const MISSING_SETTINGS: Self = Self(0x10a);
    /// `H3_REQUEST_REJECTED`
    pub const REQUEST_REJECTED: Self = Self(0x10b);
    /// `H3_REQUEST_CANCELLED`
    pub const REQUEST_CANCELLED: Self = Self(0x10c);
    /// `H3_REQUEST_INCOMPLETE`
    pub const REQUEST_INCOMPLETE: Self = Self(0x10d);
    /// `H3_MESSAGE_ERROR`
    pub const MESSAGE_ERROR: Self = Self(0x10e);
    /// `QPACK_DECOMPRESSION_FAILED`
    pub const QPACK_DECOMPRESSION_FAILED: Self = Self(0x200);
    /// `QPACK_ENCODER_STREAM_ERROR`
    pub const QPACK_ENCODER_STREAM_ERROR: Self = Self(0x201);
    /// `QPACK_DECODER_STREAM_ERROR`
    pub const QPACK_DECODER_STREAM_ERROR: Self = Self(0x202);

    /// Returns the code's number on the wire.
    pub fn value(self) -> u64 {
        self.0
    }

    /// Returns the code with which a fault ends a stream or a connection.
    pub fn of(fault: Fault) -> Self {
        match fault.h2_code() {
            H2Code::NoError => Self::NO_ERROR,
            // The faults with this code are of the request, and not of the framing.
            H2Code::ProtocolError => Self::MESSAGE_ERROR,
            H2Code::InternalError => Self::INTERNAL_ERROR,
            H2Code::RefusedStream => Self::REQUEST_REJECTED,
            H2Code::Cancel => Self::REQUEST_CANCELLED,
            H2Code::EnhanceYourCalm => Self::EXCESSIVE_LOAD,
        }
    }
}

impl std::fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match *self {
            Self::DATAGRAM_ERROR => "H3_DATAGRAM_ERROR",
            Self::NO_ERROR => "H3_NO_ERROR",
            Self::GENERAL_PROTOCOL_ERROR => "H3_GENERAL_PROTOCOL_ERROR",
            Self::INTERNAL_ERROR => "H3_INTERNAL_ERROR",
            Self::STREAM_CREATION_ERROR => "H3_STREAM_CREATION_ERROR",
            Self::CLOSED_CRITICAL_STREAM => "H3_CLOSED_CRITICAL_STREAM",
            Self::FRAME_UNEXPECTED => "H3_FRAME_UNEXPECTED",
            Self::FRAME_ERROR => "H3_FRAME_ERROR",
            Self::EXCESSIVE_LOAD => "H3_EXCESSIVE_LOAD",
            Self::ID_ERROR => "H3_ID_ERROR",
            Self::SETTINGS_ERROR => "H3_SETTINGS_ERROR",
            Self::MISSING_SETTINGS => "H3_MISSING_SETTINGS",
            Self::REQUEST_REJECTED => "H3_REQUEST_REJECTED",
            Self::REQUEST_CANCELLED => "H3_REQUEST_CANCELLED",
            Self::REQUEST_INCOMPLETE => "H3_REQUEST_INCOMPLETE",
            Self::MESSAGE_ERROR => "H3_MESSAGE_ERROR",
            Self::QPACK_DECOMPRESSION_FAILED => "QPACK_DECOMPRESSION_FAILED",
            Self::QPACK_ENCODER_STREAM_ERROR => "QPACK_ENCODER_STREAM_ERROR",
            Self::QPACK_DECODER_STREAM_ERROR => "QPACK_DECODER_STREAM_ERROR",
            Self(other) => return write!(f, "{other:#x}"),
        };
        f.write_str(name)
    }
}

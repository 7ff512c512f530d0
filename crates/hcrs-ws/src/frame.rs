//! The header of a frame (RFC 6455 §5.2). Each error is found with the first byte that shows it.

use crate::close::Failure;

/// Most bytes of a control frame's payload (RFC 6455 §5.5).
pub(crate) const MAX_CONTROL_PAYLOAD: usize = 125;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn to_bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

/// The first byte of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lead {
    pub(crate) opcode: Opcode,
    /// The message, or the control frame, ends with this frame.
    pub(crate) fin: bool,
    /// The message is compressed (RFC 7692 §6).
    pub(crate) rsv1: bool,
}

impl Lead {
    pub(crate) fn parse(byte: u8) -> Result<Self, Failure> {
        let lead = Self {
            opcode: match byte & 0x0f {
                0x0 => Opcode::Continuation,
                0x1 => Opcode::Text,
                0x2 => Opcode::Binary,
                0x8 => Opcode::Close,
                0x9 => Opcode::Ping,
                0xa => Opcode::Pong,
                _ => return Err(Failure::protocol("reserved opcode")),
            },
            fin: byte & FIN != 0,
            rsv1: byte & RSV1 != 0,
        };
        if byte & RSV23 != 0 || (lead.rsv1 && !matches!(lead.opcode, Opcode::Text | Opcode::Binary)) {
            return Err(Failure::protocol("reserved bit is set"));
        }
        if lead.opcode.is_control() && !lead.fin {
            return Err(Failure::protocol("fragmented control frame"));
        }
        Ok(lead)
    }
}

/// The lengths in the bytes between the first and the masking key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Length {
    /// Length of the payload, in bytes.
    pub(crate) payload: u64,
    /// Length of the header up to the masking key, in bytes.
    pub(crate) header: usize,
}

impl Length {
    /// Parses the lengths of a client's frame; `None` if more bytes are needed.
    pub(crate) fn parse(lead: Lead, input: &[u8]) -> Result<Option<Self>, Failure> {
        let Some(&second) = input.get(1) else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Failure::protocol("frame is not masked"));
        }
        let short = second & !MASKED;
        if lead.opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(Failure::protocol("control frame too long"));
        }
        let (payload, header, shortest) = match short {
            LENGTH_16 => match input.get(2..).and_then(<[u8]>::first_chunk) {
                Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 4, 126),
                None => return Ok(None),
            },
            LENGTH_64 => match input.get(2..).and_then(<[u8]>::first_chunk) {
                Some(bytes) => (u64::from_be_bytes(*bytes), 10, 1 << 16),
                None => return Ok(None),
            },
            short => (u64::from(short), 2, 0),
        };
        if payload >> 63 != 0 {
            return Err(Failure::protocol("payload length of more than 63 bits"));
        }
        if payload < shortest {
            return Err(Failure::protocol("payload length is not in its shortest form"));
        }
        Ok(Some(Self { payload, header }))
    }
}

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) lead: Lead,
    pub(crate) payload: u64,
    pub(crate) key: [u8; 4],
    /// Length of the header itself, in bytes.
    pub(crate) len: usize,
}

impl Header {
    /// Completes a header whose lengths are known; `None` if the masking key is incomplete.
    pub(crate) fn complete(lead: Lead, length: Length, input: &[u8]) -> Option<Self> {
        let key = *input.get(length.header..)?.first_chunk()?;
        Some(Self { lead, payload: length.payload, key, len: length.header + key.len() })
    }

    /// Parses a client's frame without regard to earlier frames.
    pub(crate) fn parse(input: &[u8]) -> Result<Option<Self>, Failure> {
        let Some(&first) = input.first() else { return Ok(None) };
        let lead = Lead::parse(first)?;
        let length = Length::parse(lead, input)?;
        Ok(length.and_then(|length| Self::complete(lead, length, input)))
    }

    /// Returns the length of the frame in bytes, or the largest number if it is longer.
    pub(crate) fn frame_len(&self) -> usize {
        usize::try_from(self.payload).unwrap_or(usize::MAX).saturating_add(self.len)
    }
}

/// Returns the length of the header of a server's frame, in bytes.
pub(crate) fn header_len(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends the header of a server's frame, which is not masked.
pub(crate) fn write_header(out: &mut Vec<u8>, lead: Lead, payload: usize) {
    let first = lead.opcode.to_bits() | if lead.fin { FIN } else { 0 } | if lead.rsv1 { RSV1 } else { 0 };
    match payload {
        0..=125 => out.extend_from_slice(&[first, payload as u8]),
        126..=0xffff => {
            let [a, b] = (payload as u16).to_be_bytes();
            out.extend_from_slice(&[first, LENGTH_16, a, b]);
        }
        _ => {
            out.extend_from_slice(&[first, LENGTH_64]);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// Appends a server's control frame; `payload` has at most [`MAX_CONTROL_PAYLOAD`] bytes.
pub(crate) fn write_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(payload.len() <= MAX_CONTROL_PAYLOAD, "{} bytes in a control frame", payload.len());
    write_header(out, Lead { opcode, fin: true, rsv1: false }, payload.len());
    out.extend_from_slice(payload);
}

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV23: u8 = 0x30;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

//! QPACK (RFC 9204): field sections of requests are decoded, those of responses are encoded.
//!
//! The decoder has a dynamic table, but no section may wait for insertions that are not here: the client refers to
//! what was acknowledged. The encoder uses the static table alone, so that a section may leave on any stream, and
//! costs no memory of the connection.

mod decode;
mod encode;
mod instructions;
mod static_table;
mod table;

pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;
pub(crate) use instructions::{DecoderStream, EncoderStream};

/// `SETTINGS_QPACK_MAX_TABLE_CAPACITY`
pub(crate) const TABLE_CAPACITY: u64 = table::CAPACITY_MAX as u64;

#[cfg(test)]
mod tests;

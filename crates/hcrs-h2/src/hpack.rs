//! HPACK (RFC 7541): header blocks of requests are decoded, those of responses are encoded.

mod decode;
mod encode;
mod static_table;

pub(crate) use decode::{Decoder, MalformedBlock};
pub(crate) use encode::Encoder;

/// Size of the dynamic table of either direction, in bytes: that with which every connection begins. The peer
/// may make the encoder's smaller.
const TABLE_SIZE: usize = 4096;

#[cfg(test)]
mod tests;

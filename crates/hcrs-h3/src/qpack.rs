//! QPACK (RFC 9204): field sections of requests are decoded, those of responses are encoded.
//!
//! Neither direction has a dynamic table: the decoder announces none, and the encoder uses none, so that a
//! section never waits for another stream and holds no memory of the connection.

mod decode;
mod encode;
mod static_table;

pub(crate) use decode::{Decoder, DecoderStream, encoder_stream};
pub(crate) use encode::Encoder;

//! The encoders of streams.

mod brotli;
mod gzip;
mod zstd;

use std::fmt;

pub(crate) use brotli::BrotliEncoder;
pub(crate) use gzip::{GzipEncoder, GzipWhole};
pub(crate) use zstd::{ZstdEncoder, ZstdWhole};

/// An encoder has failed. The rest of the body cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode the body as {coding}: {reason}")]
pub struct EncodeError {
    pub(crate) coding: &'static str,
    pub(crate) reason: &'static str,
}

/// What follows the bytes that an encoder is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// More bytes.
    More,
    /// Nothing for now: the client has to be able to decode all bytes so far.
    Flush,
    /// The end of the body.
    Finish,
}

/// The encoder of one body.
pub(crate) enum AnyEncoder {
    Zstd(ZstdEncoder),
    Brotli(Box<BrotliEncoder>),
    Gzip(GzipEncoder),
}

impl AnyEncoder {
    /// Encodes `input` and appends to `out` what there is to send. `input` is not empty unless the body ends.
    pub(crate) fn encode(&mut self, input: &[u8], then: Then, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Zstd(encoder) => encoder.encode(input, then, out),
            Self::Brotli(encoder) => encoder.encode(input, then, out),
            Self::Gzip(encoder) => encoder.encode(input, then, out),
        }
    }
}

impl fmt::Debug for AnyEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zstd(_) => "Zstd",
            Self::Brotli(_) => "Brotli",
            Self::Gzip(_) => "Gzip",
        })
    }
}

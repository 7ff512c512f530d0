//! gzip (RFC 1952).

use libdeflater::{CompressionLvl, Compressor};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

use super::{EncodeError, Then};

/// The level of streams.
const LEVEL: i32 = 3;

/// The base-two logarithm of the window, and what zlib adds to it to mean gzip.
const WINDOW_BITS: i32 = 15;
const AS_GZIP: i32 = 16;

/// Room for what one call writes.
const ROOM: usize = 16 << 10;

/// The level of whole bodies. 10 KiB of JSON take 19 µs, to 2,950 bytes; zlib-rs takes 37 µs to
/// 2,971 with level 2, but encodes streams, which libdeflate does not.
const WHOLE_LEVEL: i32 = 1;

/// An encoder of streams. After [`GzipEncoder::reset`] it can be used for another.
pub(crate) struct GzipEncoder(Deflate);

impl GzipEncoder {
    pub(crate) fn new() -> Self {
        Self(Deflate::new_with_config(DeflateConfig {
            level: LEVEL,
            window_bits: WINDOW_BITS + AS_GZIP,
            ..DeflateConfig::default()
        }))
    }

    pub(crate) fn encode(
        &mut self,
        mut input: &[u8],
        then: Then,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let flush = match then {
            Then::More => DeflateFlush::NoFlush,
            Then::Flush => DeflateFlush::SyncFlush,
            Then::Finish => DeflateFlush::Finish,
        };
        loop {
            let start = out.len();
            out.resize(start + ROOM, 0);
            let (read, written) = (self.0.total_in(), self.0.total_out());
            let outcome = self.0.compress(input, &mut out[start..], flush);
            let written = (self.0.total_out() - written) as usize;
            out.truncate(start + written);
            input = &input[(self.0.total_in() - read) as usize..];
            match outcome {
                Ok(Status::StreamEnd) => return Ok(()),
                Ok(_) if then != Then::Finish && input.is_empty() && written < ROOM => return Ok(()),
                Ok(Status::BufError) if written == 0 => {
                    return Err(EncodeError { coding: "gzip", reason: "it does not continue" });
                }
                Ok(_) => {}
                Err(error) => return Err(EncodeError { coding: "gzip", reason: error.as_str() }),
            }
        }
    }

    /// Prepares for another body.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }
}

/// An encoder of whole bodies, one after another.
pub(crate) struct GzipWhole(Compressor);

impl GzipWhole {
    pub(crate) fn new() -> Self {
        let level = CompressionLvl::new(WHOLE_LEVEL).expect("invariant: it is a level");
        Self(Compressor::new(level))
    }

    /// Encodes a whole body into `out`, which is empty.
    pub(crate) fn encode(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.resize(self.0.gzip_compress_bound(body.len()), 0);
        let outcome = self.0.gzip_compress(body, out);
        let len = outcome.map_err(|_| EncodeError { coding: "gzip", reason: "its bound is wrong" })?;
        out.truncate(len);
        Ok(())
    }
}

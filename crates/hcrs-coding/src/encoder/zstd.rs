//! zstd (RFC 8878).

use zstd_safe::zstd_sys::ZSTD_EndDirective::{ZSTD_e_continue, ZSTD_e_end, ZSTD_e_flush};
use zstd_safe::{CCtx, CParameter, ErrorCode, InBuffer, OutBuffer, ResetDirective, get_error_name};

use super::{EncodeError, Then};

/// The level: that of zstd's own default. 10 KiB of JSON take 21 µs.
const LEVEL: i32 = 3;

/// The base-two logarithms of a stream's window, of its hash table and of its chain table. With them an encoder has
/// 0.55 MiB; with the level's own for bodies of unknown length it would have 2.5 MiB.
const WINDOW_LOG: u32 = 16;
const HASH_LOG: u32 = 14;
const CHAIN_LOG: u32 = 13;

/// Room for what one call writes.
const ROOM: usize = 16 << 10;

fn failed(code: ErrorCode) -> EncodeError {
    EncodeError { coding: "zstd", reason: get_error_name(code) }
}

/// An encoder of streams. After [`ZstdEncoder::reset`] it can be used for another.
pub(crate) struct ZstdEncoder(CCtx<'static>);

impl ZstdEncoder {
    /// Returns an encoder; `None` without memory for it.
    pub(crate) fn new() -> Option<Self> {
        let mut context = CCtx::try_create()?;
        for parameter in [
            CParameter::CompressionLevel(LEVEL),
            CParameter::WindowLog(WINDOW_LOG),
            CParameter::HashLog(HASH_LOG),
            CParameter::ChainLog(CHAIN_LOG),
        ] {
            context.set_parameter(parameter).ok()?;
        }
        Some(Self(context))
    }

    pub(crate) fn encode(&mut self, input: &[u8], then: Then, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let directive = match then {
            Then::More => ZSTD_e_continue,
            Then::Flush => ZSTD_e_flush,
            Then::Finish => ZSTD_e_end,
        };
        let mut input = InBuffer::around(input);
        loop {
            out.reserve(ROOM);
            let start = out.len();
            let mut output = OutBuffer::around_pos(out, start);
            let left = self.0.compress_stream2(&mut output, &mut input, directive).map_err(failed)?;
            let is_done = if then == Then::More { input.pos() == input.src.len() } else { left == 0 };
            if is_done {
                return Ok(());
            }
        }
    }

    /// Prepares for another stream. Returns false if that is impossible.
    pub(crate) fn reset(&mut self) -> bool {
        self.0.reset(ResetDirective::SessionOnly).is_ok()
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.0.sizeof()
    }
}

/// An encoder of whole bodies, one after another.
pub(crate) struct ZstdWhole(CCtx<'static>);

impl ZstdWhole {
    /// Returns an encoder; `None` without memory for it.
    pub(crate) fn new() -> Option<Self> {
        let mut context = CCtx::try_create()?;
        context.set_parameter(CParameter::CompressionLevel(LEVEL)).ok()?;
        Some(Self(context))
    }

    /// Encodes a whole body into `out`, which is empty.
    pub(crate) fn encode(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.reserve(zstd_safe::compress_bound(body.len()));
        self.0.compress2(out, body).map(drop).map_err(failed)
    }
}

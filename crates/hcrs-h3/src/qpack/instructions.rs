//! The instructions of both QPACK streams of a client (RFC 9204 §4.3, §4.4).

use hcrs_mux::literal::{MalformedLiteral, take_integer, take_text};
use hcrs_mux::{Entry, Field};

use super::static_table;
use super::table::{CAPACITY_MAX, Table, TooLarge};
use crate::error::ErrorCode;

/// Most bytes of a string of an instruction: one that fits into the table, in a code that is four times as long.
const TEXT_MAX: usize = 4 * CAPACITY_MAX;

/// A reader of the client's encoder stream.
#[derive(Debug, Default)]
pub(crate) struct EncoderStream {
    /// The beginning of an instruction whose rest has not arrived.
    partial: Vec<u8>,
}

impl EncoderStream {
    /// Takes bytes of the stream. Returns the number of instructions.
    pub(super) fn receive(&mut self, mut bytes: &[u8], table: &mut Table) -> Result<u32, ErrorCode> {
        const ERROR: ErrorCode = ErrorCode::QPACK_ENCODER_STREAM_ERROR;
        let mut count = 0;
        while !self.partial.is_empty() && !bytes.is_empty() {
            // An instruction that is cut is completed byte by byte: its length is in its bytes.
            let (&byte, after) = bytes.split_first().ok_or(ERROR)?;
            self.partial.push(byte);
            bytes = after;
            if length(&self.partial).map_err(|MalformedLiteral| ERROR)?.is_some() {
                apply(&self.partial, table).ok_or(ERROR)?;
                self.partial = Vec::new();
                count += 1;
            }
        }
        while let Some(len) = length(bytes).map_err(|MalformedLiteral| ERROR)? {
            let (instruction, after) = bytes.split_at(len);
            apply(instruction, table).ok_or(ERROR)?;
            bytes = after;
            count += 1;
        }
        self.partial.extend_from_slice(bytes);
        Ok(count)
    }
}

/// Returns the length of the instruction at the front; `None` if bytes are missing.
fn length(bytes: &[u8]) -> Result<Option<usize>, MalformedLiteral> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let mut at = 0;
    let is_whole = if first & 0x80 != 0 {
        skip_integer(bytes, 6, &mut at)?.is_some() && skip_text(bytes, 7, &mut at)?
    } else if first & 0x40 != 0 {
        skip_text(bytes, 5, &mut at)? && skip_text(bytes, 7, &mut at)?
    } else {
        skip_integer(bytes, 5, &mut at)?.is_some()
    };
    Ok(is_whole.then_some(at))
}

/// Skips an integer and returns it; `None` if bytes are missing.
fn skip_integer(bytes: &[u8], prefix: u32, at: &mut usize) -> Result<Option<usize>, MalformedLiteral> {
    let mut rest = bytes.get(*at..).unwrap_or_default();
    let Some(&first) = rest.first() else { return Ok(None) };
    let max = (1 << prefix) - 1;
    // RFC 7541 §5.1: the last byte has no mark.
    let is_long = first & max == max;
    if is_long && rest.len() <= 4 && rest[1..].iter().all(|byte| byte & 0x80 != 0) {
        return Ok(None);
    }
    let before = rest.len();
    let value = take_integer(&mut rest, prefix)?;
    *at += before - rest.len();
    Ok(Some(value))
}

/// Skips a string. Returns false if bytes are missing.
fn skip_text(bytes: &[u8], prefix: u32, at: &mut usize) -> Result<bool, MalformedLiteral> {
    let Some(len) = skip_integer(bytes, prefix, at)? else { return Ok(false) };
    if len > TEXT_MAX {
        return Err(MalformedLiteral);
    }
    *at += len;
    Ok(*at <= bytes.len())
}

/// Applies a whole instruction to the table. `None` if it is none, or cannot be.
fn apply(mut bytes: &[u8], table: &mut Table) -> Option<()> {
    let rest = &mut bytes;
    let first = *rest.first()?;
    let (mut name, mut value) = (Vec::new(), Vec::new());
    let entry = if first & 0x80 != 0 {
        let index = take_integer(rest, 6).ok()?;
        let named = if first & 0x40 != 0 { static_table::get(index) } else { table.get_newest(index) };
        let value = take_text(rest, 7).ok()?.decode(&mut value).ok()?;
        Entry::of(&Field::with_value(&named?, value))
    } else if first & 0x40 != 0 {
        let name = take_text(rest, 5).ok()?.decode(&mut name).ok()?;
        let value = take_text(rest, 7).ok()?.decode(&mut value).ok()?;
        Entry::of(&Field::new(name, value))
    } else {
        let number = take_integer(rest, 5).ok()?;
        if first & 0x20 != 0 {
            return table.set_capacity(number).ok();
        }
        Entry::of(&table.get_newest(number)?)
    };
    table.insert(entry).map_err(|TooLarge| ()).ok()
}

/// A reader of the client's decoder stream. As no section that leaves refers to a dynamic table, none can be
/// acknowledged, and no insertion is counted; streams may be cancelled.
#[derive(Debug, Default)]
pub(crate) struct DecoderStream {
    /// Number of bytes of a stream's number that have come.
    midway: usize,
}

impl DecoderStream {
    /// Takes bytes of the stream.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        for &byte in bytes {
            let goes_on = match self.midway {
                0 if byte & 0xc0 == 0x40 => byte & 0x3f == 0x3f,
                1..=9 => byte & 0x80 != 0,
                _ => return Err(ErrorCode::QPACK_DECODER_STREAM_ERROR),
            };
            self.midway = if goes_on { self.midway + 1 } else { 0 };
        }
        Ok(())
    }
}

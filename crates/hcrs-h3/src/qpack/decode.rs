//! The decoder of field sections (RFC 9204 §4.5), and what it reports to the client's encoder (RFC 9204 §4.4).

use hcrs_mux::Field;
use hcrs_mux::literal::{MalformedLiteral, put_integer, take_integer, take_text};

use super::instructions::EncoderStream;
use super::static_table;
use super::table::{CAPACITY_MAX, Table};
use crate::error::ErrorCode;

/// Most bytes that a buffer for decoded strings keeps between two sections.
const KEPT: usize = 256;

/// Most entries that a table of any capacity has (RFC 9204 §4.5.1.1).
const ENTRIES_MAX: u64 = (CAPACITY_MAX / hcrs_mux::ENTRY_COST) as u64;

/// The decoder of one connection.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    table: Table,
    /// Number of insertions that the client's encoder knows to be here.
    acknowledged: u64,
    /// Instructions for the client's encoder.
    instructions: Vec<u8>,
    /// The last name and value in Huffman's code.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Decodes a whole section of a stream and calls `take` with each field, in order.
    pub(crate) fn decode(
        &mut self,
        stream_id: u64,
        section: &[u8],
        take: impl FnMut(&Field<'_>),
    ) -> Result<(), ErrorCode> {
        let Self { table, name, value, .. } = self;
        let decoded = fields(section, table, name, value, take);
        for buffer in [name, value] {
            buffer.clear();
            buffer.shrink_to(KEPT);
        }
        let required = decoded.map_err(|MalformedLiteral| ErrorCode::QPACK_DECOMPRESSION_FAILED)?;
        if required > 0 {
            self.acknowledged = self.acknowledged.max(required);
            put_integer(&mut self.instructions, 0x80, 7, stream_id as usize);
        }
        Ok(())
    }

    /// Takes bytes of the client's encoder stream. Returns the number of instructions.
    pub(crate) fn receive(&mut self, stream: &mut EncoderStream, bytes: &[u8]) -> Result<u32, ErrorCode> {
        stream.receive(bytes, &mut self.table)
    }

    /// Notes that a stream may have sections that will not be decoded.
    pub(crate) fn cancel(&mut self, stream_id: u64) {
        // A client that has inserted nothing does not refer to the table.
        if self.table.inserted() > 0 {
            put_integer(&mut self.instructions, 0x40, 6, stream_id as usize);
        }
    }

    /// Takes the instructions for the client's encoder.
    pub(crate) fn take_instructions(&mut self) -> Vec<u8> {
        let unknown = self.table.inserted() - self.acknowledged;
        if unknown > 0 {
            self.acknowledged = self.table.inserted();
            put_integer(&mut self.instructions, 0, 6, unknown as usize);
        }
        std::mem::take(&mut self.instructions)
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }
}

/// Decodes a section. Returns the number of insertions that it needs.
fn fields(
    mut rest: &[u8],
    table: &Table,
    name_buffer: &mut Vec<u8>,
    value_buffer: &mut Vec<u8>,
    mut take: impl FnMut(&Field<'_>),
) -> Result<u64, MalformedLiteral> {
    let required = required(take_integer(&mut rest, 8)?, table.inserted())?;
    let is_negative = rest.first().is_some_and(|first| first & 0x80 != 0);
    let delta = take_integer(&mut rest, 7)? as u64;
    let base =
        if is_negative { required.checked_sub(delta + 1).ok_or(MalformedLiteral)? } else { required + delta };
    let at = |index: u64| {
        if index < required { table.get(index).ok_or(MalformedLiteral) } else { Err(MalformedLiteral) }
    };
    let before_base = |index: usize| at(base.checked_sub(1 + index as u64).ok_or(MalformedLiteral)?);
    let of_static = |index: usize| static_table::get(index).ok_or(MalformedLiteral);
    while let Some(&first) = rest.first() {
        let named = if first & 0x80 != 0 {
            let index = take_integer(&mut rest, 6)?;
            take(&if first & 0x40 != 0 { of_static(index)? } else { before_base(index)? });
            continue;
        } else if first & 0x40 != 0 {
            let index = take_integer(&mut rest, 4)?;
            if first & 0x10 != 0 { of_static(index)? } else { before_base(index)? }
        } else if first & 0x20 != 0 {
            let name = take_text(&mut rest, 3)?.decode(name_buffer)?;
            let value = take_text(&mut rest, 7)?.decode(value_buffer)?;
            take(&Field::new(name, value));
            continue;
        } else if first & 0x10 != 0 {
            take(&at(base + take_integer(&mut rest, 4)? as u64)?);
            continue;
        } else {
            at(base + take_integer(&mut rest, 3)? as u64)?
        };
        let value = take_text(&mut rest, 7)?.decode(value_buffer)?;
        take(&Field::with_value(&named, value));
    }
    Ok(required)
}

/// Returns the number of insertions that a section needs (RFC 9204 §4.5.1.1). All of them have to be here, because
/// the client may have no stream wait for others (`SETTINGS_QPACK_BLOCKED_STREAMS`).
fn required(encoded: usize, inserted: u64) -> Result<u64, MalformedLiteral> {
    if encoded == 0 {
        return Ok(0);
    }
    let (encoded, range) = (encoded as u64, 2 * ENTRIES_MAX);
    if encoded > range {
        return Err(MalformedLiteral);
    }
    let max = inserted + ENTRIES_MAX;
    let mut required = max / range * range + encoded - 1;
    if required > max {
        required = required.checked_sub(range).ok_or(MalformedLiteral)?;
    }
    if required == 0 || required > inserted { Err(MalformedLiteral) } else { Ok(required) }
}

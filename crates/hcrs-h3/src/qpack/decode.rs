//! The decoder of field sections, and the client's two streams of instructions (RFC 9204 §4.3 to §4.5).

use hcrs_mux::Field;
use hcrs_mux::literal::{MalformedLiteral, take_integer, take_text};

use super::static_table;
use crate::error::ErrorCode;

/// Most bytes that a buffer for decoded strings keeps between two sections.
const KEPT: usize = 256;

/// The decoder of one connection.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The last name and value in Huffman's code.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Decodes a whole section and calls `take` with each field, in order.
    pub(crate) fn decode(&mut self, section: &[u8], take: impl FnMut(&Field<'_>)) -> Result<(), ErrorCode> {
        let Self { name, value } = self;
        let decoded = fields(section, name, value, take);
        for buffer in [name, value] {
            buffer.clear();
            buffer.shrink_to(KEPT);
        }
        decoded.map_err(|MalformedLiteral| ErrorCode::QPACK_DECOMPRESSION_FAILED)
    }
}

fn fields(
    mut rest: &[u8],
    name_buffer: &mut Vec<u8>,
    value_buffer: &mut Vec<u8>,
    mut take: impl FnMut(&Field<'_>),
) -> Result<(), MalformedLiteral> {
    // Without a dynamic table the count of insertions that a section needs is 0, and its base means nothing.
    let required = take_integer(&mut rest, 8)?;
    let is_negative = rest.first().is_some_and(|first| first & 0x80 != 0);
    take_integer(&mut rest, 7)?;
    if required != 0 || is_negative {
        return Err(MalformedLiteral);
    }
    while let Some(&first) = rest.first() {
        if first & 0x80 != 0 {
            let is_static = first & 0x40 != 0;
            take(&entry(take_integer(&mut rest, 6)?, is_static)?);
        } else if first & 0x40 != 0 {
            let is_static = first & 0x10 != 0;
            let named = entry(take_integer(&mut rest, 4)?, is_static)?;
            let value = take_text(&mut rest, 7)?.decode(value_buffer)?;
            take(&Field::with_value(&named, value));
        } else if first & 0x20 != 0 {
            let name = take_text(&mut rest, 3)?.decode(name_buffer)?;
            let value = take_text(&mut rest, 7)?.decode(value_buffer)?;
            take(&Field::new(name, value));
        } else {
            // A reference to an entry behind the base of a dynamic table.
            return Err(MalformedLiteral);
        }
    }
    Ok(())
}

#[inline]
fn entry(index: usize, is_static: bool) -> Result<Field<'static>, MalformedLiteral> {
    static_table::get(index).filter(|_| is_static).ok_or(MalformedLiteral)
}

/// Takes bytes of the client's encoder stream. Without a dynamic table it may only say that its table has no
/// bytes (RFC 9204 §3.2.3, §4.3.1).
pub(crate) fn encoder_stream(bytes: &[u8]) -> Result<(), ErrorCode> {
    const CAPACITY_0: u8 = 0x20;
    if bytes.iter().all(|&byte| byte == CAPACITY_0) {
        Ok(())
    } else {
        Err(ErrorCode::QPACK_ENCODER_STREAM_ERROR)
    }
}

/// A reader of the client's decoder stream. As no section that leaves refers to a dynamic table, none can be
/// acknowledged, and no insertion is counted; streams may be cancelled (RFC 9204 §4.4).
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

//! The encoder of field sections (RFC 9204 §4.5), by the static table and Huffman's code.

use hcrs_mux::FieldEncoder;
use hcrs_mux::literal::{put_integer, put_text};

use super::static_table;

/// Index of the first entry with the name `:status`.
const STATUS: usize = 24;

/// Index of `set-cookie`.
const SET_COOKIE: usize = 14;

/// The encoder. It has no state, so that a section may leave on any number of streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoder;

impl FieldEncoder for Encoder {
    #[inline]
    fn index_of(name: &[u8]) -> usize {
        static_table::index_of(name)
    }

    #[inline]
    fn begin(&mut self, out: &mut Vec<u8>) {
        // No insertions are needed, and the base is 0.
        out.extend_from_slice(&[0, 0]);
    }

    fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        let index = match status {
            103 => 24,
            200 => 25,
            304 => 26,
            404 => 27,
            503 => 28,
            204 => 64,
            206 => 65,
            302 => 66,
            400 => 67,
            403 => 68,
            421 => 69,
            425 => 70,
            500 => 71,
            _ => {
                let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
                return literal(STATUS, &digits, out);
            }
        };
        put_integer(out, 0xc0, 6, index);
    }

    fn field_with(&mut self, name: &[u8], value: &[u8], name_index: usize, out: &mut Vec<u8>) {
        if name_index == 0 {
            put_text(out, 0x20, 3, name, true);
            return put_text(out, 0, 7, value, true);
        }
        match static_table::index_with(name_index, name, value) {
            Some(index) => put_integer(out, 0xc0, 6, index),
            None => literal(name_index, value, out),
        }
    }
}

/// Appends a field by the index of its name. A secret is marked as one that no end may put into a table (RFC
/// 9204 §7.1.3).
fn literal(name_index: usize, value: &[u8], out: &mut Vec<u8>) {
    let never = if name_index == SET_COOKIE { 0x20 } else { 0 };
    put_integer(out, 0x50 | never, 4, name_index);
    put_text(out, 0, 7, value, true);
}

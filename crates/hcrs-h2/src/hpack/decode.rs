//! The decoder of header blocks (RFC 7541 §3.2).

use std::collections::VecDeque;

use hcrs_mux::literal::{MalformedLiteral, take_integer, take_text};
use hcrs_mux::{Entry, Field};

use super::{TABLE_SIZE, static_table};

/// A header block that is none: the tables of both ends differ from now on, so that the connection has to end
/// (RFC 9113 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MalformedBlock;

/// Most bytes that a buffer for decoded strings keeps between two blocks.
const KEPT: usize = 256;

/// The decoder of one connection. Its table holds at most [`TABLE_SIZE`] bytes as RFC 7541 §4.1 counts them.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The dynamic table, newest entry first.
    table: VecDeque<Entry>,
    size: usize,
    max_size: usize,
    /// The last name and value in Huffman's code.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, max_size: TABLE_SIZE, name: Vec::new(), value: Vec::new() }
    }

    /// Decodes a whole block and calls `take` with each field, in order.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(&Field<'_>),
    ) -> Result<(), MalformedBlock> {
        let mut rest = block;
        let mut may_resize = true;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = take_integer(&mut rest, 7)?;
                take(&self.get(index)?);
            } else if first & 0x40 != 0 {
                let entry = self.literal(&mut rest, 6, |field| {
                    take(field);
                    Entry::of(field)
                })?;
                self.insert(entry);
            } else if first & 0x20 != 0 {
                if !may_resize {
                    return Err(MalformedBlock);
                }
                self.resize(take_integer(&mut rest, 5)?)?;
                continue;
            } else {
                self.literal(&mut rest, 4, |field| take(field))?;
            }
            may_resize = false;
        }
        self.name.clear();
        self.name.shrink_to(KEPT);
        self.value.clear();
        self.value.shrink_to(KEPT);
        Ok(())
    }

    #[inline]
    fn get(&self, index: usize) -> Result<Field<'_>, MalformedBlock> {
        get(&self.table, index)
    }

    /// Reads a literal field whose name has an index of `prefix` bits, or follows if that is 0.
    fn literal<R>(
        &mut self,
        rest: &mut &[u8],
        prefix: u32,
        take: impl FnOnce(&Field<'_>) -> R,
    ) -> Result<R, MalformedBlock> {
        let Self { table, name, value, .. } = self;
        let index = take_integer(rest, prefix)?;
        if index == 0 {
            let name = take_text(rest, 7)?.decode(name)?;
            let value = take_text(rest, 7)?.decode(value)?;
            Ok(take(&Field::new(name, value)))
        } else {
            let named = get(table, index)?;
            let value = take_text(rest, 7)?.decode(value)?;
            Ok(take(&Field::with_value(&named, value)))
        }
    }

    fn insert(&mut self, entry: Entry) {
        let cost = entry.cost();
        self.evict(self.max_size.saturating_sub(cost));
        // An entry that is larger than the table only empties it (RFC 7541 §4.4).
        if cost <= self.max_size {
            self.size += cost;
            self.table.push_front(entry);
        }
    }

    fn resize(&mut self, max_size: usize) -> Result<(), MalformedBlock> {
        if max_size > TABLE_SIZE {
            return Err(MalformedBlock);
        }
        self.max_size = max_size;
        self.evict(max_size);
        Ok(())
    }

    fn evict(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.table.pop_back() else { break };
            self.size -= oldest.cost();
        }
    }
}

#[inline]
fn get(table: &VecDeque<Entry>, index: usize) -> Result<Field<'_>, MalformedBlock> {
    if index <= static_table::LEN {
        return static_table::get(index).ok_or(MalformedBlock);
    }
    table.get(index - static_table::LEN - 1).map(Entry::field).ok_or(MalformedBlock)
}

impl From<MalformedLiteral> for MalformedBlock {
    fn from(_: MalformedLiteral) -> Self {
        Self
    }
}

#[cfg(test)]
impl Decoder {
    pub(super) fn table_len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    pub(super) fn counted_size(&self) -> usize {
        self.table.iter().map(Entry::cost).sum()
    }
}

//! The encoder of header blocks (RFC 7541 §3.1).
//!
//! Fields that responses repeat, such as `server`, `date` and `content-type`, go into the dynamic table,
//! where they cost a byte or two from then on. A field with an unknown name goes there when it comes for the
//! second time.

use std::collections::VecDeque;

use hcrs_mux::literal::{put_integer, put_text};
use hcrs_mux::{ENTRY_COST, FieldEncoder};

use super::{TABLE_SIZE, static_table};

/// Size of the longest field that goes into the table, in bytes.
const ENTRY_MAX: usize = 512;

/// Number of places in which fields are looked for. Two fields with the same place take turns in it.
const PLACES: usize = 32;

/// The encoder of one connection.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// The dynamic table, oldest entry first.
    table: VecDeque<Entry>,
    size: usize,
    max_size: usize,
    /// Number of entries that were ever evicted: the serial number of the first in the table.
    evicted: u32,
    places: [Place; PLACES],
    /// The smallest size that the peer has set since the last block, if it has set any.
    resized: Option<usize>,
    /// Number of changes of the table: a block is only valid as long as there was none since it was begun.
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    /// The name, and behind it the value.
    text: Box<[u8]>,
    name_len: usize,
}

/// The last field with a hash that belongs here.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    hash: u32,
    /// The serial number of its entry, if it has one.
    serial: Option<u32>,
}

/// The way in which a field is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indexing {
    /// The field goes into the table.
    AtOnce,
    /// The field goes into the table once it is repeated.
    IfRepeated,
    /// The value is likely another one each time.
    Not,
    /// No end may ever put the field into a table, since its value is a secret (RFC 7541 §7.1.3).
    Never,
}

impl Indexing {
    /// Returns the way of a field whose name has `index` in the static table, or 0 if the table does not have it.
    #[inline]
    fn of(index: usize) -> Self {
        match index {
            // :authority, :status, cache-control, content-encoding, content-type, date, server, vary
            1 | 8 | 24 | 26 | 31 | 33 | 54 | 59 => Self::AtOnce,
            // authorization, cookie, set-cookie
            23 | 32 | 55 => Self::Never,
            // :path, age, content-length, content-range, etag, expires, last-modified, location
            4 | 21 | 28 | 30 | 34 | 36 | 44 | 46 => Self::Not,
            _ => Self::IfRepeated,
        }
    }
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            table: VecDeque::new(),
            size: 0,
            max_size: TABLE_SIZE,
            evicted: 0,
            places: [Place::default(); PLACES],
            resized: None,
            changes: 0,
        }
    }

    /// Takes the size that the peer allows for the table (`SETTINGS_HEADER_TABLE_SIZE`).
    pub(crate) fn resize(&mut self, max_size: usize) {
        let max_size = max_size.min(TABLE_SIZE);
        if max_size == self.max_size && self.resized.is_none() {
            return;
        }
        self.resized = Some(self.resized.unwrap_or(max_size).min(max_size));
        self.max_size = max_size;
        self.changes += 1;
        self.evict(max_size);
    }

    /// Returns the number of changes of the table: a block may be used again as long as it stays the same.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Appends a field that equals an entry of the static table.
    pub(crate) fn indexed(index: u8, out: &mut Vec<u8>) {
        out.push(0x80 | index);
    }

    /// Returns the index of a field in the dynamic table.
    #[inline]
    fn find(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let place = self.places[hash as usize % PLACES];
        if place.hash != hash {
            return None;
        }
        let at = place.serial?.wrapping_sub(self.evicted) as usize;
        let entry = self.table.get(at)?;
        let (entry_name, entry_value) = entry.text.split_at(entry.name_len);
        (entry_name == name && entry_value == value).then(|| static_table::LEN + self.table.len() - at)
    }

    fn insert(&mut self, name: &[u8], value: &[u8], cost: usize, hash: u32) {
        self.changes += 1;
        self.evict(self.max_size - cost);
        let serial = self.evicted.wrapping_add(self.table.len() as u32);
        self.places[hash as usize % PLACES] = Place { hash, serial: Some(serial) };
        self.size += cost;
        self.table.push_back(Entry { text: [name, value].concat().into(), name_len: name.len() });
    }

    fn evict(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.table.pop_front() else { break };
            self.size -= oldest.text.len() + ENTRY_COST;
            self.evicted = self.evicted.wrapping_add(1);
        }
    }
}

impl FieldEncoder for Encoder {
    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(least) = self.resized.take() {
            self.changes += 1;
            if least < self.max_size {
                put_integer(out, 0x20, 5, least);
            }
            put_integer(out, 0x20, 5, self.max_size);
        }
    }

    fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
                return self.field_with(b":status", &digits, 8, out);
            }
        };
        out.push(0x80 | index);
    }

    #[inline]
    fn index_of(name: &[u8]) -> usize {
        static_table::index_of(name)
    }

    fn field_with(&mut self, name: &[u8], value: &[u8], name_index: usize, out: &mut Vec<u8>) {
        let mut indexing = Indexing::of(name_index);
        let cost = name.len() + value.len() + ENTRY_COST;
        if matches!(indexing, Indexing::AtOnce | Indexing::IfRepeated) {
            if cost > ENTRY_MAX.min(self.max_size) {
                indexing = Indexing::Not;
            } else {
                let hash = hash(name, value);
                if let Some(index) = self.find(hash, name, value) {
                    return put_integer(out, 0x80, 7, index);
                }
                let place = &mut self.places[hash as usize % PLACES];
                let is_repeated = place.hash == hash;
                *place = Place { hash, serial: None };
                if indexing == Indexing::AtOnce || is_repeated {
                    literal(name, value, name_index, Indexing::AtOnce, out);
                    return self.insert(name, value, cost, hash);
                }
                indexing = Indexing::Not;
            }
        }
        literal(name, value, name_index, indexing, out);
    }
}

/// Returns a number by which a field is looked for. Fields that have the same one are still compared.
#[inline]
fn hash(name: &[u8], value: &[u8]) -> u32 {
    let ends = |text: &[u8]| match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(23),
        _ => text.iter().fold(0, |ends, &byte| ends << 8 | u64::from(byte)),
    };
    let lens = (name.len() as u64) << 32 | value.len() as u64;
    let mixed = (ends(value) ^ ends(name).rotate_left(41) ^ lens).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

fn literal(name: &[u8], value: &[u8], name_index: usize, indexing: Indexing, out: &mut Vec<u8>) {
    let (pattern, prefix) = match indexing {
        Indexing::AtOnce => (0x40, 6),
        Indexing::Never => (0x10, 4),
        Indexing::IfRepeated | Indexing::Not => (0x00, 4),
    };
    // A field that goes into the table is coded once; any other would be coded each time.
    let is_coded = indexing == Indexing::AtOnce;
    put_integer(out, pattern, prefix, name_index);
    if name_index == 0 {
        put_text(out, 0, 7, name, is_coded);
    }
    put_text(out, 0, 7, value, is_coded);
}

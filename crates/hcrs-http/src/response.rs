//! A response's head as one flat block.
//!
//! Layout, little-endian: status u16, field count u16, then the fields.

use bytes::Bytes;

use crate::MalformedHead;
use crate::fields::{self, Field, Fields};

const FIXED: usize = 4;

/// A response's head as it came from a worker. Its form is checked, its contents are not.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    block: Bytes,
}

impl ResponseHead {
    /// Returns a head with these fields.
    ///
    /// # Panics
    ///
    /// If a name or a value is longer than 65,535 bytes.
    pub fn new<'a>(status: u16, fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut block = Vec::with_capacity(256);
        let mut writer = ResponseHeadWriter::begin(&mut block, status);
        for (name, value) in fields {
            writer.field(&mut block, name, value);
        }
        writer.into_head(block)
    }

    /// Takes a block after checking its form. Status and fields may still be invalid.
    pub fn parse(block: Bytes) -> Result<Self, MalformedHead> {
        let (fixed, rest) = block.split_first_chunk::<FIXED>().ok_or(MalformedHead)?;
        Fields::check(rest, usize::from(u16::from_le_bytes([fixed[2], fixed[3]])))?;
        Ok(Self { block })
    }

    /// Returns the status code that the worker sent, which may be invalid.
    pub fn status(&self) -> u16 {
        u16::from_le_bytes([self.block[0], self.block[1]])
    }

    /// Returns the number of fields.
    pub fn field_count(&self) -> usize {
        usize::from(u16::from_le_bytes([self.block[2], self.block[3]]))
    }

    /// Returns the fields, in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields::new(&self.block[FIXED..])
    }

    /// Returns the head with `field`, which is short, at its end; as it is if it has as many fields as it can.
    #[must_use]
    pub fn with_field(&self, field: Field<'_>) -> Self {
        let Some(count) = u16::try_from(self.field_count() + 1).ok() else {
            return self.clone();
        };
        let added = fields::PREFIX + field.name.len() + field.value.len();
        let mut block = Vec::with_capacity(self.block.len() + added);
        block.extend_from_slice(&self.block);
        block[2..FIXED].copy_from_slice(&count.to_le_bytes());
        fields::push(&mut block, field.name, field.value);
        Self { block: block.into() }
    }

    /// Whether another head may be a copy of this one, in the same memory.
    pub fn is_shared(&self) -> bool {
        !self.block.is_unique()
    }

    /// Whether the heads are copies of one, in the same memory.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(&raw const *self.block, &raw const *other.block)
    }

    /// Returns a part of this head, such as a value of [`ResponseHead::fields`], without a copy.
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.block.slice_ref(part)
    }
}

/// A writer of a response's head, straight into the buffer that it leaves in.
#[derive(Debug)]
#[must_use = "a head has to be finished"]
pub struct ResponseHeadWriter {
    start: usize,
    field_count: u16,
}

impl ResponseHeadWriter {
    /// Size of a head without fields, in bytes.
    pub const FIXED_SIZE: usize = FIXED;

    /// Size of a field beside its name and value, in bytes.
    pub const FIELD_PREFIX: usize = fields::PREFIX;

    /// Begins a head at the end of `out`.
    pub fn begin(out: &mut Vec<u8>, status: u16) -> Self {
        let start = out.len();
        out.extend_from_slice(&status.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        Self { start, field_count: 0 }
    }

    /// Appends a field.
    pub fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        self.field_count += 1;
        fields::push(out, name, value);
    }

    /// Appends a field, whose name is put into lower case.
    #[inline]
    pub fn field_in_lower_case(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let at = out.len() + fields::PREFIX;
        self.field(out, name, value);
        out[at..at + name.len()].make_ascii_lowercase();
    }

    /// Completes a head that was begun in an empty `block`.
    pub fn into_head(self, mut block: Vec<u8>) -> ResponseHead {
        debug_assert_eq!(self.start, 0, "the head was begun in an empty block");
        self.finish(&mut block);
        // Without room behind it, of which the shared form would keep a record.
        ResponseHead { block: block.into_boxed_slice().into() }
    }

    /// Completes the head.
    pub fn finish(self, out: &mut [u8]) {
        out[self.start + 2..self.start + 4].copy_from_slice(&self.field_count.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_back_as_it_was_written() {
        let mut out = b"before".to_vec();
        let mut writer = ResponseHeadWriter::begin(&mut out, 204);
        writer.field(&mut out, b"x-a", b"1");
        writer.field(&mut out, b"x-a", b"");
        writer.finish(&mut out);
        let head = ResponseHead::parse(Bytes::from(out.split_off(6))).unwrap();
        assert_eq!(head.status(), 204);
        assert_eq!(head.field_count(), 2);
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(fields, [(&b"x-a"[..], &b"1"[..]), (b"x-a", b"")]);
        assert_eq!(head.share(fields[0].1), "1");
    }

    #[test]
    fn a_field_is_added_at_the_end() {
        let head = ResponseHead::new(200, [(&b"x-a"[..], &b"1"[..])]);
        let head = head.with_field(Field { name: b"x-b", value: b"2" });
        assert_eq!((head.status(), head.field_count()), (200, 2));
        assert_eq!(head.fields().collect::<Vec<_>>(), [(&b"x-a"[..], &b"1"[..]), (b"x-b", b"2")]);
    }

    #[test]
    fn copies_share_their_memory() {
        let fields = [(&b"x-a"[..], &b"1"[..])];
        let (head, equal) = (ResponseHead::new(200, fields), ResponseHead::new(200, fields));
        assert!(!head.is_shared() && !head.is_same(&equal));
        let copy = head.clone();
        assert!(head.is_shared() && copy.is_shared() && head.is_same(&copy));
        drop(copy);
        assert!(!head.is_shared());
    }

    #[test]
    fn a_short_block_is_malformed() {
        assert!(ResponseHead::parse(Bytes::from_static(b"\xc8\x00\x01")).is_err());
        assert!(ResponseHead::parse(Bytes::from_static(b"\xc8\x00\x01\x00")).is_err());
    }
}

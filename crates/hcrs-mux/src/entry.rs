//! An entry of the dynamic table of a decoder.

use crate::ENTRY_COST;
use crate::field::{Field, Form, Name};

/// A field in a dynamic table, with what was found out about it.
#[derive(Debug)]
pub struct Entry {
    /// The name, and behind it the value.
    text: Box<[u8]>,
    name_len: usize,
    kind: Name,
    form: Form,
}

impl Entry {
    /// Creates an entry with a field.
    pub fn of(field: &Field<'_>) -> Self {
        Self {
            text: [field.name, field.value].concat().into(),
            name_len: field.name.len(),
            kind: field.kind,
            form: field.form,
        }
    }

    /// Returns the field.
    #[inline]
    pub fn field(&self) -> Field<'_> {
        let (name, value) = self.text.split_at(self.name_len);
        Field { name, value, kind: self.kind, form: self.form }
    }

    /// Returns the bytes of the table that the entry takes (RFC 7541 §4.1, RFC 9204 §3.2.1).
    #[inline]
    pub fn cost(&self) -> usize {
        self.text.len() + ENTRY_COST
    }
}

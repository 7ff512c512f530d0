//! A response's trailers, which an app may send in several messages.

use hcrs_http::{ResponseHeadWriter, is_trailer_name};

use pyo3::types::PyBytesMethods as _;

use crate::message::{Field, FieldError, Parts, Seen, write_field};

/// The trailers that were sent so far, checked and encoded as a head.
#[derive(Debug)]
pub(crate) struct Trailers {
    block: Vec<u8>,
    writer: ResponseHeadWriter,
    seen: Seen,
}

impl Default for Trailers {
    fn default() -> Self {
        let mut block = Vec::new();
        let writer = ResponseHeadWriter::begin(&mut block, 0);
        Self { block, writer, seen: Seen::default() }
    }
}

impl Trailers {
    /// Adds the fields of one message. If one of them is invalid, none is added.
    pub(crate) fn add(&mut self, parts: &Parts<'_>) -> Result<(), FieldError> {
        let mut scratch = Vec::new();
        let mut trial = ResponseHeadWriter::begin(&mut scratch, 0);
        let mut seen = self.seen.clone();
        for (name, value) in parts {
            let name = name.as_bytes().trim_ascii();
            if !is_trailer_name(name) {
                return Err(FieldError::Trailer(name.to_vec()));
            }
            write_field(&mut trial, &mut scratch, Field { name, value: value.as_bytes() }, &mut seen)?;
        }
        for (name, value) in parts {
            let (name, value) = (name.as_bytes().trim_ascii(), value.as_bytes().trim_ascii());
            self.writer.field(&mut self.block, name, value);
        }
        self.seen = seen;
        Ok(())
    }

    /// Returns the block for the edge.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.writer.finish(&mut self.block);
        self.block
    }
}

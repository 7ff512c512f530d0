//! The fields after a response's body, which an app may send in several messages.

use hcrs_http::{ResponseHeadWriter, is_trailer_name};

use pyo3::types::PyBytesMethods as _;

use crate::message::{FieldError, Parts, Seen, write_field};

/// Trailers so far, checked, in the form of a head.
#[derive(Debug)]
pub struct Trailers {
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
    /// Adds the fields of one message, all of them or, with an error, none.
    pub(crate) fn add(&mut self, parts: &Parts<'_>) -> Result<(), FieldError> {
        let mut scratch = Vec::new();
        let mut trial = ResponseHeadWriter::begin(&mut scratch, 0);
        let mut seen = self.seen.clone();
        for (name, value) in parts {
            let name = name.as_bytes().trim_ascii();
            if !is_trailer_name(name) {
                return Err(FieldError::Trailer(name.to_vec()));
            }
            write_field(&mut trial, &mut scratch, (name, value.as_bytes()), &mut seen)?;
        }
        for (name, value) in parts {
            let (name, value) = (name.as_bytes().trim_ascii(), value.as_bytes().trim_ascii());
            self.writer.field(&mut self.block, name, value);
        }
        self.seen = seen;
        Ok(())
    }

    /// The block that goes to the edge.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.writer.finish(&mut self.block);
        self.block
    }
}

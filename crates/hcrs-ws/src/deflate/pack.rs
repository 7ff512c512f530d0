//! Compresses messages to the client.

use std::fmt;
use std::rc::Rc;

use zlib_rs::{Deflate, DeflateFlush};

use super::TAIL;
use super::pool::DeflatePool;

/// Room for the bytes that a flush adds to data that does not shrink.
const FLUSH_ROOM: usize = 64;

/// The compressing half of one connection.
pub(crate) struct Packer {
    pool: Rc<DeflatePool>,
    window_bits: u8,
    takeover: bool,
    /// The compressor, borrowed for a message or kept between messages; a kept one is counted.
    deflater: Option<Deflate>,
    is_counted: bool,
}

impl Packer {
    pub(crate) fn new(pool: Rc<DeflatePool>, window_bits: u8, takeover: bool) -> Self {
        Self { pool, window_bits, takeover, deflater: None, is_counted: false }
    }

    /// Compresses a whole message and calls `write` with the payload, or with `None` if the message is
    /// shorter uncompressed. That is allowed only for a message that later ones cannot refer to.
    pub(crate) fn pack_message(&mut self, data: &[u8], write: impl FnOnce(Option<&[u8]>)) {
        let pool = Rc::clone(&self.pool);
        pool.with_packed(|packed| {
            self.pack(data, true, packed);
            let is_kept = self.deflater.is_some();
            write((is_kept || packed.len() < data.len()).then_some(packed));
        });
    }

    /// Compresses a fragment and calls `write` with the payload.
    pub(crate) fn pack_fragment(&mut self, data: &[u8], is_last: bool, write: impl FnOnce(&[u8])) {
        let pool = Rc::clone(&self.pool);
        pool.with_packed(|packed| {
            self.pack(data, is_last, packed);
            write(packed);
        });
    }

    /// Drops the kept compressor. The next message starts a new context, which the client need not know.
    pub(crate) fn shed(&mut self) {
        if self.is_counted {
            self.is_counted = false;
            self.pool.discount_context();
        }
        if let Some(deflater) = self.deflater.take() {
            self.pool.put_deflater(self.window_bits, deflater);
        }
    }

    fn pack(&mut self, data: &[u8], is_last: bool, packed: &mut Vec<u8>) {
        if data.is_empty() {
            // A flush without new data writes no byte, so the empty block is written by hand (RFC 7692
            // §7.2.3.6).
            packed.push(0);
            if !is_last {
                packed.extend_from_slice(&TAIL);
            }
        } else {
            let deflater = self.deflater.get_or_insert_with(|| self.pool.take_deflater(self.window_bits));
            flush(deflater, data, packed);
            if is_last {
                debug_assert!(packed.ends_with(&TAIL), "what a flush ends with");
                packed.truncate(packed.len() - TAIL.len());
            }
        }
        if is_last {
            self.end_message();
        }
    }

    fn end_message(&mut self) {
        if self.deflater.is_none() || self.is_counted {
            return;
        }
        if self.takeover && self.pool.count_context() {
            self.is_counted = true;
        } else {
            self.shed();
        }
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.shed();
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").field("is_kept", &self.is_counted).finish_non_exhaustive()
    }
}

/// Appends `data`, which is not empty, and a flush.
fn flush(deflater: &mut Deflate, mut data: &[u8], packed: &mut Vec<u8>) {
    loop {
        let start = packed.len();
        packed.resize(start + data.len() + FLUSH_ROOM, 0);
        let (read, written) = (deflater.total_in(), deflater.total_out());
        deflater
            .compress(data, &mut packed[start..], DeflateFlush::SyncFlush)
            .expect("a compressor that was made with valid parameters takes all data");
        data = &data[(deflater.total_in() - read) as usize..];
        let end = start + (deflater.total_out() - written) as usize;
        let is_full = end == packed.len();
        packed.truncate(end);
        if !is_full && data.is_empty() {
            return;
        }
    }
}

//! Inflates messages of the client, in steps that the caller bounds.

use std::fmt;
use std::rc::Rc;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::TAIL;
use super::pool::DeflatePool;
use crate::close::Failure;

/// The inflating half of one connection.
pub(crate) struct Unpacker {
    pool: Rc<DeflatePool>,
    window_bits: u8,
    takeover: bool,
    inflater: Option<Inflate>,
    /// The last bytes of the message's payload so far.
    last: [u8; 4],
    /// The payload so far ends with the end of a stream (BFINAL), or is empty.
    at_start: bool,
}

impl Unpacker {
    pub(crate) fn new(pool: Rc<DeflatePool>, window_bits: u8, takeover: bool) -> Self {
        Self { pool, window_bits, takeover, inflater: None, last: [0; 4], at_start: true }
    }

    /// Whether the turn's share is used up, so that other connections have to get theirs.
    pub(crate) fn must_yield(&self) -> bool {
        self.pool.has_inflated_its_share()
    }

    /// Inflates the next piece of a message into `sink`. A failure of `sink` ends it.
    pub(crate) fn unpack(
        &mut self,
        piece: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if piece.is_empty() {
            return Ok(());
        }
        self.remember(piece);
        let (pool, takeover, bits) = (&self.pool, self.takeover, self.window_bits);
        let inflater = self.inflater.get_or_insert_with(|| {
            // A kept window is as small as agreed; a borrowed one serves all.
            if takeover { Inflate::new(false, bits) } else { pool.take_inflater() }
        });
        self.at_start = false;
        let mut rest = piece;
        loop {
            let step =
                pool.with_scratch(|scratch| step(inflater, rest, scratch, InflateFlush::NoFlush, sink))?;
            pool.count_inflated(step.written);
            rest = &rest[step.read..];
            if step.ended {
                // A stream may end within a message (RFC 7692 §7.2.3.4); a new one follows.
                inflater.reset(false);
                if rest.is_empty() {
                    self.at_start = true;
                    return Ok(());
                }
            } else if rest.is_empty() && !step.is_full {
                return Ok(());
            } else if step.read == 0 && step.written == 0 {
                return Err(Failure::NOT_DEFLATE);
            }
        }
    }

    /// Ends a message: inflates the tail that it left out (RFC 7692 §7.2.2).
    pub(crate) fn finish(
        &mut self,
        sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // A payload whose last block is complete cannot end within the header of another block, so a tail
        // that the client did not remove is recognized by its last byte.
        if !self.at_start && self.last != TAIL {
            self.unpack_tail(sink)?;
        }
        self.end_message();
        Ok(())
    }

    /// Inflates the tail. The decompressor must not want a byte behind it: otherwise the message ends within
    /// a block.
    fn unpack_tail(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        const TAIL_AND_ONE: [u8; 5] = [TAIL[0], TAIL[1], TAIL[2], TAIL[3], 0];
        let Some(inflater) = &mut self.inflater else { return Ok(()) };
        let mut rest = &TAIL_AND_ONE[..];
        while rest.len() > 1 {
            let step =
                self.pool.with_scratch(|scratch| step(inflater, rest, scratch, InflateFlush::Block, sink))?;
            rest = &rest[step.read..];
            if step.ended || (step.read == 0 && step.written == 0) {
                return Err(Failure::NOT_DEFLATE);
            }
        }
        if rest.is_empty() { Err(Failure::NOT_DEFLATE) } else { Ok(()) }
    }

    fn end_message(&mut self) {
        self.last = [0; 4];
        self.at_start = true;
        if !self.takeover
            && let Some(inflater) = self.inflater.take()
        {
            self.pool.put_inflater(inflater);
        }
    }

    fn remember(&mut self, piece: &[u8]) {
        if let Some(last) = piece.last_chunk() {
            self.last = *last;
        } else {
            self.last.rotate_left(piece.len());
            self.last[4 - piece.len()..].copy_from_slice(piece);
        }
    }
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").field("is_kept", &self.inflater.is_some()).finish_non_exhaustive()
    }
}

/// The result of one call of the decompressor.
struct Step {
    read: usize,
    written: usize,
    /// The output is full, and more may follow.
    is_full: bool,
    /// The stream has ended.
    ended: bool,
}

fn step(
    inflater: &mut Inflate,
    input: &[u8],
    scratch: &mut [u8],
    flush: InflateFlush,
    sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Step, Failure> {
    let (read, written) = (inflater.total_in(), inflater.total_out());
    let status = inflater.decompress(input, scratch, flush);
    let read = (inflater.total_in() - read) as usize;
    let written = (inflater.total_out() - written) as usize;
    // Output before an error may fail as well, and comes first.
    sink(&scratch[..written])?;
    let status = status.map_err(|_| Failure::NOT_DEFLATE)?;
    Ok(Step { read, written, is_full: written == scratch.len(), ended: status == Status::StreamEnd })
}

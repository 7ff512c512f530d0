//! Compressors and decompressors that the connections of one thread lend each other.

use std::cell::{Cell, RefCell};
use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, Inflate};

use crate::Compression;

/// Windows that a compressor can have. 8 is not among them: no zlib writes a raw stream with it.
pub(crate) const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=15;

/// Decompressors that are kept for the next message.
const SPARE_INFLATERS: usize = 4;

/// Bytes that are inflated at a time.
const SCRATCH: usize = 16 << 10;

/// Bytes that are inflated in one turn, but for a piece more, whichever connections they are for.
const INFLATED_PER_TURN: usize = 256 << 10;

/// A buffer longer than this is given back to the system after the message.
const KEPT_BUFFER: usize = 256 << 10;

/// What the connections of one thread share for permessage-deflate: state that is lent for the time of a
/// message, buffers, and the count of the compressors that connections keep.
///
/// It takes nothing until something is compressed, and then, at rest, at most one compressor for each of the
/// seven window sizes that clients ask for, four decompressors, and some 300 KiB of buffers.
pub struct DeflatePool {
    level: u8,
    mem_level: u8,
    max_contexts: usize,
    contexts: Cell<usize>,
    /// Bytes that were inflated in this turn.
    inflated: Cell<usize>,
    deflaters: RefCell<[Option<Deflate>; 7]>,
    inflaters: RefCell<Vec<Inflate>>,
    scratch: RefCell<Vec<u8>>,
    packed: RefCell<Vec<u8>>,
}

impl DeflatePool {
    /// An empty pool; `compression` decides how its compressors are made.
    pub fn new(compression: &Compression) -> Self {
        Self {
            level: compression.level.clamp(1, 9),
            mem_level: compression.mem_level.clamp(1, 9),
            max_contexts: compression.max_contexts,
            contexts: Cell::new(0),
            inflated: Cell::new(0),
            deflaters: RefCell::default(),
            inflaters: RefCell::default(),
            scratch: RefCell::default(),
            packed: RefCell::default(),
        }
    }

    /// A compressor at the start of a stream.
    pub(crate) fn take_deflater(&self, window_bits: u8) -> Deflate {
        self.deflaters.borrow_mut()[slot(window_bits)].take().unwrap_or_else(|| {
            Deflate::new_with_config(DeflateConfig {
                level: self.level.into(),
                // Negative: a raw stream, without the wrapping of zlib.
                window_bits: -i32::from(window_bits),
                mem_level: self.mem_level.into(),
                ..DeflateConfig::default()
            })
        })
    }

    /// Takes a compressor back, whatever it was in the middle of.
    pub(crate) fn put_deflater(&self, window_bits: u8, mut deflater: Deflate) {
        let slot = &mut self.deflaters.borrow_mut()[slot(window_bits)];
        if slot.is_none() {
            deflater.reset();
            *slot = Some(deflater);
        }
    }

    /// A decompressor at the start of a stream, for any window.
    pub(crate) fn take_inflater(&self) -> Inflate {
        self.inflaters.borrow_mut().pop().unwrap_or_else(|| Inflate::new(false, *WINDOW_BITS.end()))
    }

    /// Takes a decompressor back, whatever it was in the middle of.
    pub(crate) fn put_inflater(&self, mut inflater: Inflate) {
        let mut inflaters = self.inflaters.borrow_mut();
        if inflaters.len() < SPARE_INFLATERS {
            inflater.reset(false);
            inflaters.push(inflater);
        }
    }

    /// Begins a turn, in which so much may be inflated that others need not wait long for theirs.
    pub fn begin_turn(&self) {
        self.inflated.set(0);
    }

    /// Whether the turn's share was inflated.
    pub(crate) fn has_inflated_its_share(&self) -> bool {
        self.inflated.get() >= INFLATED_PER_TURN
    }

    pub(crate) fn count_inflated(&self, len: usize) {
        self.inflated.set(self.inflated.get() + len);
    }

    /// Counts a compressor that a connection keeps; false if that would be one too many.
    pub(crate) fn count_context(&self) -> bool {
        let may = self.contexts.get() < self.max_contexts;
        if may {
            self.contexts.set(self.contexts.get() + 1);
        }
        may
    }

    /// Undoes one [`DeflatePool::count_context`].
    pub(crate) fn discount_context(&self) {
        self.contexts.set(self.contexts.get() - 1);
    }

    /// Lends the buffer that is inflated into.
    pub(crate) fn with_scratch<T>(&self, inflate: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut scratch = self.scratch.borrow_mut();
        scratch.resize(SCRATCH, 0);
        inflate(&mut scratch)
    }

    /// Lends the buffer that is compressed into, empty.
    pub(crate) fn with_packed<T>(&self, pack: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut packed = self.packed.borrow_mut();
        packed.clear();
        let result = pack(&mut packed);
        packed.clear();
        packed.shrink_to(KEPT_BUFFER);
        result
    }
}

impl fmt::Debug for DeflatePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeflatePool").field("contexts", &self.contexts.get()).finish_non_exhaustive()
    }
}

fn slot(window_bits: u8) -> usize {
    usize::from(window_bits.clamp(*WINDOW_BITS.start(), *WINDOW_BITS.end()) - WINDOW_BITS.start())
}

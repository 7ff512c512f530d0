//! The pool of compressors and decompressors that the connections of one thread share.

use std::cell::{Cell, RefCell};
use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, Inflate};

use crate::Compression;

/// Window sizes of a compressor, as base-two logarithms. 8 is missing: no zlib writes a raw stream with it.
pub(crate) const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=15;

/// Number of decompressors that are kept for later messages.
const SPARE_INFLATERS: usize = 4;

/// Number of bytes that are inflated at a time.
const SCRATCH: usize = 16 << 10;

/// Number of bytes that all connections together inflate in one turn, to within one piece.
const INFLATED_PER_TURN: usize = 256 << 10;

/// Capacity above which a buffer is freed after a message, in bytes.
const KEPT_BUFFER: usize = 256 << 10;

/// The pool that the connections of one thread share for permessage-deflate: compressors and decompressors
/// that are borrowed for the time of a message, buffers, and the count of the compressors that connections
/// keep.
///
/// It takes no memory until a message is compressed, and then, at rest, at most one compressor for each of
/// the seven window sizes that clients ask for, four decompressors, and some 300 KiB of buffers.
pub struct DeflatePool {
    level: u8,
    mem_level: u8,
    max_contexts: usize,
    contexts: Cell<usize>,
    /// Number of bytes that were inflated in this turn.
    inflated: Cell<usize>,
    deflaters: RefCell<[Option<Deflate>; 7]>,
    inflaters: RefCell<Vec<Inflate>>,
    scratch: RefCell<Vec<u8>>,
    packed: RefCell<Vec<u8>>,
}

impl DeflatePool {
    /// Creates an empty pool; `compression` has the parameters of its compressors.
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

    /// Takes a compressor at the start of a stream.
    pub(crate) fn take_deflater(&self, window_bits: u8) -> Deflate {
        self.deflaters.borrow_mut()[slot(window_bits)].take().unwrap_or_else(|| {
            Deflate::new_with_config(DeflateConfig {
                level: self.level.into(),
                // Negative means a raw stream, without zlib's header.
                window_bits: -i32::from(window_bits),
                mem_level: self.mem_level.into(),
                ..DeflateConfig::default()
            })
        })
    }

    /// Puts a compressor back, in whatever state it is.
    pub(crate) fn put_deflater(&self, window_bits: u8, mut deflater: Deflate) {
        let slot = &mut self.deflaters.borrow_mut()[slot(window_bits)];
        if slot.is_none() {
            deflater.reset();
            *slot = Some(deflater);
        }
    }

    /// Takes a decompressor at the start of a stream, for any window.
    pub(crate) fn take_inflater(&self) -> Inflate {
        self.inflaters.borrow_mut().pop().unwrap_or_else(|| Inflate::new(false, *WINDOW_BITS.end()))
    }

    /// Puts a decompressor back, in whatever state it is.
    pub(crate) fn put_inflater(&self, mut inflater: Inflate) {
        let mut inflaters = self.inflaters.borrow_mut();
        if inflaters.len() < SPARE_INFLATERS {
            inflater.reset(false);
            inflaters.push(inflater);
        }
    }

    /// Begins a turn, with a new share of bytes that may be inflated in it.
    pub fn begin_turn(&self) {
        self.inflated.set(0);
    }

    /// Whether the turn's share is used up.
    pub(crate) fn has_inflated_its_share(&self) -> bool {
        self.inflated.get() >= INFLATED_PER_TURN
    }

    pub(crate) fn count_inflated(&self, len: usize) {
        self.inflated.set(self.inflated.get() + len);
    }

    /// Counts a compressor that a connection keeps. Returns false, and counts none, if the limit is reached.
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

    /// Calls a closure with the buffer that is inflated into.
    pub(crate) fn with_scratch<T>(&self, inflate: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut scratch = self.scratch.borrow_mut();
        scratch.resize(SCRATCH, 0);
        inflate(&mut scratch)
    }

    /// Calls a closure with the buffer that is compressed into, which is empty.
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

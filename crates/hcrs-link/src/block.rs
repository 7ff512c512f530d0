//! Blocks: memory shared by the edge and a worker, through which large pieces of a response's body pass
//! without being copied into and out of a socket.
//!
//! ```text
//! free ──put (worker)──► taken ──► full ──lend (edge, on the Block frame)──► lent ──drop (edge)──► free
//! free ──empty (edge)──► taken ──► free
//! ```
//!
//! When no block is free, a piece goes over the socket, so a client that does not read costs others speed at
//! most. Blocks that were used keep their memory until the edge empties them, once traffic is over. The edge copies or encrypts the bytes in a block and never interprets them: a worker that writes
//! into a lent block changes the bytes of its own response and nothing else.

use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hcrs_http::PIECE;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::frame::DATA_MAX;

/// Number of blocks of a link, each of [`DATA_MAX`] bytes. Only blocks that were used take memory.
pub const BLOCKS: usize = u64::BITS as usize;

/// Length of the shortest piece that is worth a block, in bytes.
pub const BLOCK_MIN: usize = 8 << 10;

/// Start of the blocks' states in the link's memory, in bytes: after the page of the claim table.
const START: usize = 4096;

/// Size of the states' page, which the blocks follow, in bytes.
const STATES: usize = 4096;

const LEN: usize = STATES + BLOCKS * DATA_MAX;

/// Size of the link's memory with its blocks, in bytes.
pub(crate) const END: usize = START + LEN;

/// The steps of a block's state. Both ends change it by these functions alone, whose memory orderings also
/// order the accesses to the block's bytes.
pub(crate) mod state {
    use std::sync::atomic::Ordering;

    use crate::word::Word;

    pub(crate) const FREE: u32 = 0;
    const FULL: u32 = 1;
    const LENT: u32 = 2;
    const TAKEN: u32 = 3;

    /// Takes a free block, whose bytes this end alone accesses then. Returns false if it is not free.
    pub(crate) fn take(state: &impl Word<u32>) -> bool {
        // Most blocks that are not free are seen by a load, which is cheaper.
        state.load(Ordering::Relaxed) == FREE
            && state.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Worker: marks a taken block that has been written to as full.
    pub(crate) fn fill(state: &impl Word<u32>) {
        state.store(FULL, Ordering::Release);
    }

    /// Edge: marks a full block as lent, after which it may be read. Returns false if it is not full.
    pub(crate) fn lend(state: &impl Word<u32>) -> bool {
        state.compare_exchange(FULL, LENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Edge: marks a block that it no longer accesses as free.
    pub(crate) fn free(state: &impl Word<u32>) {
        state.store(FREE, Ordering::Release);
    }
}

/// One end's view of a link's blocks.
#[derive(Debug)]
pub struct BlockArea {
    map: NonNull<u8>,
    /// Edge: a bit for each block that was lent since it was last emptied.
    used: AtomicU64,
}

impl BlockArea {
    /// Opens the blocks in a link's memory; `None` if it has none.
    pub fn open(fd: impl AsFd) -> std::io::Result<Option<Self>> {
        let size = rustix::fs::fstat(&fd)?.st_size;
        if usize::try_from(size).unwrap_or(0) < END {
            return Ok(None);
        }
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: a fresh mapping chosen by the kernel, of a file that is at least END long and sealed
        // against shrinking; it is unmapped only in Drop.
        let map = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                LEN,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                START as u64,
            )?
        };
        let map = NonNull::new(map).ok_or_else(|| std::io::Error::other("mmap returned a null page"))?;
        crate::fork::note(map, LEN);
        Ok(Some(Self { map: map.cast(), used: AtomicU64::new(0) }))
    }

    /// Worker: copies `bytes` into a free block and returns its number. `None` if no block is free, or for
    /// more than [`DATA_MAX`] bytes.
    pub fn put(&self, bytes: &[u8]) -> Option<usize> {
        if bytes.len() > DATA_MAX {
            return None;
        }
        // The first free block, so that little traffic uses few blocks, which stay in the processor's caches.
        let block = (0..BLOCKS).find(|&block| state::take(self.state(block)))?;
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the block lies within the mapping and holds DATA_MAX bytes; it is taken, so nothing else accesses
        // it.
        let room = unsafe { std::slice::from_raw_parts_mut(self.bytes(block).as_ptr(), bytes.len()) };
        for (room, piece) in room.chunks_mut(PIECE).zip(bytes.chunks(PIECE)) {
            room.copy_from_slice(piece);
        }
        state::fill(self.state(block));
        Some(block)
    }

    /// Edge: returns the first `len` bytes of a full block, which becomes free when they are dropped. `None`
    /// if there is no such block, or it is not full.
    pub fn lend(self: &Arc<Self>, block: usize, len: usize) -> Option<Block> {
        if block >= BLOCKS || len > DATA_MAX {
            return None;
        }
        if !state::lend(self.state(block)) {
            return None;
        }
        self.used.fetch_or(1 << block, Ordering::Relaxed);
        Some(Block { area: Arc::clone(self), number: block, len })
    }

    /// Edge: returns the memory of free blocks to the system. Those that are not free are left for the next time.
    pub fn empty(&self) {
        let used = self.used.swap(0, Ordering::Relaxed);
        for block in (0..BLOCKS).filter(|block| used & (1 << block) != 0) {
            if !state::take(self.state(block)) {
                self.used.fetch_or(1 << block, Ordering::Relaxed);
                continue;
            }
            #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
            // SAFETY: the block lies within the mapping, of a file that the kernel fills with zeros where it was
            // emptied; it is taken, so nothing else accesses it.
            let _kept = unsafe {
                rustix::mm::madvise(self.bytes(block).as_ptr().cast(), DATA_MAX, Advice::LinuxRemove)
            };
            state::free(self.state(block));
        }
    }

    fn state(&self, block: usize) -> &AtomicU32 {
        assert!(block < BLOCKS, "invariant: blocks are below {BLOCKS}");
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the mapping begins with a page of aligned words for as long as self lives, and block is
        // below BLOCKS.
        unsafe {
            self.map.cast::<AtomicU32>().add(block).as_ref()
        }
    }

    fn bytes(&self, block: usize) -> NonNull<u8> {
        assert!(block < BLOCKS, "invariant: blocks are below {BLOCKS}");
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the offset lies within the mapping.
        unsafe {
            self.map.add(STATES + block * DATA_MAX)
        }
    }
}

impl Drop for BlockArea {
    fn drop(&mut self) {
        crate::fork::forget(self.map.cast());
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the mapping was made by open with this length; every Block holds the area, so none is left.
        let _unmapped = unsafe { rustix::mm::munmap(self.map.as_ptr().cast(), LEN) };
    }
}

#[expect(unsafe_code, reason = "moving the pointer to shared memory between threads is sound")]
// SAFETY: the area is only a pointer to a mapping that belongs to the process, not to a thread.
unsafe impl Send for BlockArea {}

#[expect(unsafe_code, reason = "the state of a block, which is atomic, decides which end may access it")]
// SAFETY: the states are atomics; a block's bytes are accessed by the end that has taken it, and read by the edge
// while it is lent.
unsafe impl Sync for BlockArea {}

/// The bytes in a block that is lent to the edge. The block becomes free when they are dropped.
#[derive(Debug)]
pub struct Block {
    area: Arc<BlockArea>,
    number: usize,
    len: usize,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the block holds DATA_MAX bytes, len is not more, the area outlives self, and the worker
        // writes to no block that is lent.
        unsafe {
            std::slice::from_raw_parts(self.area.bytes(self.number).as_ptr(), self.len)
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        state::free(self.area.state(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClaimTable;

    fn area() -> (Arc<BlockArea>, BlockArea) {
        let (_claims, fd) = ClaimTable::create().unwrap();
        (Arc::new(BlockArea::open(&fd).unwrap().unwrap()), BlockArea::open(&fd).unwrap().unwrap())
    }

    #[test]
    fn what_the_worker_puts_is_what_the_edge_is_lent() {
        let (edge, worker) = area();
        let bytes: Vec<u8> = (0..=255).cycle().take(DATA_MAX).collect();
        let block = worker.put(&bytes).unwrap();
        let lent = edge.lend(block, bytes.len()).unwrap();
        assert_eq!(lent.as_ref(), bytes);
        assert!(edge.lend(block, 1).is_none(), "a block is lent once");
        drop(lent);
        assert!(edge.lend(block, 1).is_none(), "a free block is not lent");
        assert_eq!(worker.put(b"again"), Some(block));
    }

    #[test]
    fn the_number_of_blocks_is_bounded() {
        let (edge, worker) = area();
        let taken: Vec<_> = (0..BLOCKS).map(|_| worker.put(b"x").unwrap()).collect();
        assert_eq!(worker.put(b"x"), None);
        drop(edge.lend(taken[7], 1).unwrap());
        assert_eq!(worker.put(b"y"), Some(taken[7]));
        assert!(edge.lend(BLOCKS, 1).is_none());
        assert!(edge.lend(taken[0], DATA_MAX + 1).is_none());
        assert_eq!(worker.put(&vec![0; DATA_MAX + 1]), None);
    }

    /// Returns the memory of a link's blocks, in units of 512 bytes.
    fn allocated(fd: &impl AsFd) -> usize {
        usize::try_from(rustix::fs::fstat(fd).unwrap().st_blocks).unwrap()
    }

    #[test]
    fn blocks_that_were_used_are_emptied_and_others_keep_their_bytes() {
        let (_claims, fd) = ClaimTable::create().unwrap();
        let (edge, worker) =
            (Arc::new(BlockArea::open(&fd).unwrap().unwrap()), BlockArea::open(&fd).unwrap().unwrap());
        let bytes = vec![b'x'; DATA_MAX];
        let taken: Vec<_> = (0..BLOCKS).map(|_| worker.put(&bytes).unwrap()).collect();
        let mut lent: Vec<_> = taken[..4].iter().map(|&block| edge.lend(block, DATA_MAX).unwrap()).collect();
        let one = DATA_MAX / 512;
        let before = allocated(&fd);
        lent.truncate(1);
        edge.empty();
        assert_eq!(allocated(&fd), before - 3 * one, "of four that were used one is lent");
        assert_eq!(lent[0].as_ref(), bytes);
        assert_eq!(worker.put(&bytes[1..]), Some(taken[1]));
        assert_eq!(edge.lend(taken[1], DATA_MAX - 1).unwrap().as_ref(), &bytes[1..]);
        drop(lent);
        edge.empty();
        assert_eq!(allocated(&fd), before - 4 * one);
        for &block in &taken[4..] {
            assert_eq!(edge.lend(block, DATA_MAX).unwrap().as_ref(), bytes);
        }
        edge.empty();
        assert_eq!(allocated(&fd), before - BLOCKS * one);
    }

    #[test]
    fn memory_with_a_claim_table_alone_has_no_blocks() {
        let fd = rustix::fs::memfd_create("claims", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, START as u64).unwrap();
        assert!(BlockArea::open(fd).unwrap().is_none());
    }

    #[test]
    fn claims_and_blocks_do_not_touch() {
        let (claims, fd) = ClaimTable::create().unwrap();
        let worker = BlockArea::open(&fd).unwrap().unwrap();
        for _ in 0..BLOCKS {
            worker.put(&vec![0xff; DATA_MAX]).unwrap();
        }
        assert!(
            (0..crate::SLOTS)
                .all(|slot| !claims.is_begun(slot) && !claims.claim(slot, crate::StreamId::new(1).unwrap()))
        );
    }
}

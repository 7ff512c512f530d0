//! The claim table: the first page of the memory that the edge and a worker share, with a word for each request that was sent
//! and perhaps not begun.
//!
//! ```text
//! free ──offer (edge)──► offered ──claim (worker)──► begun ──release (edge)──► free
//!                           └─────withdraw (edge)──► free
//! ```
//!
//! `claim` and `withdraw` are compare-and-swaps on the same word, so exactly one of them succeeds.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

/// Requests that a link can hold that are sent and not yet known to be begun.
pub const SLOTS: usize = 64;

const LEN: usize = SLOTS * size_of::<AtomicU64>();
const FREE: u64 = 0;
const OFFERED: u64 = 1;
const BEGUN: u64 = 2;

/// One end's view of the shared page.
#[derive(Debug)]
pub struct ClaimTable {
    page: NonNull<AtomicU64>,
}

impl ClaimTable {
    /// Makes a link's memory with a table and blocks, and gives the descriptor by which each end opens them.
    pub fn create() -> std::io::Result<(Self, OwnedFd)> {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
        let fd = memfd_create("hcrs-link", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, crate::block::END as u64)?;
        // A file that cannot shrink cannot raise SIGBUS under the other end.
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::open(&fd)?, fd))
    }

    /// Opens the table behind a descriptor that [`ClaimTable::create`] made.
    pub fn open(fd: impl AsFd) -> std::io::Result<Self> {
        let size = rustix::fs::fstat(&fd)?.st_size;
        if u64::try_from(size).unwrap_or(0) < LEN as u64 {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "claim table too short"));
        }
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: a fresh mapping chosen by the kernel, of a file that is at least LEN long and sealed
        // against shrinking; it is unmapped only in Drop, and reached only through atomics.
        let page = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                LEN,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )?
        };
        let page = NonNull::new(page.cast()).ok_or_else(|| std::io::Error::other("mmap gave a null page"))?;
        Ok(Self { page })
    }

    /// Edge: offers the free `slot` for `stream`, before the request is sent.
    pub fn offer(&self, slot: usize, stream: u32) {
        self.word(slot).store(word(stream, OFFERED), Ordering::Release);
    }

    /// Worker: begins the request. False if the edge has withdrawn it; it must then not be run.
    #[must_use]
    pub fn claim(&self, slot: usize, stream: u32) -> bool {
        slot < SLOTS && self.swap(slot, word(stream, OFFERED), word(stream, BEGUN))
    }

    /// Worker: whether the request waits to be begun. Once false it stays so: the edge has withdrawn it, or it was
    /// begun.
    pub fn is_offered(&self, slot: usize, stream: u32) -> bool {
        slot < SLOTS && self.word(slot).load(Ordering::Acquire) == word(stream, OFFERED)
    }

    /// Edge: takes back a request that was not begun. False if it was.
    #[must_use]
    pub fn withdraw(&self, slot: usize, stream: u32) -> bool {
        self.swap(slot, word(stream, OFFERED), FREE)
    }

    /// Edge: whether the request offered in `slot` has been begun.
    pub fn is_begun(&self, slot: usize) -> bool {
        self.word(slot).load(Ordering::Acquire) & 3 == BEGUN
    }

    /// Edge: frees a slot whose request has been begun.
    pub fn release(&self, slot: usize) {
        self.word(slot).store(FREE, Ordering::Release);
    }

    fn swap(&self, slot: usize, from: u64, to: u64) -> bool {
        self.word(slot).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn word(&self, slot: usize) -> &AtomicU64 {
        assert!(slot < SLOTS, "invariant: claim slots are below {SLOTS}");
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the mapping holds SLOTS aligned words for as long as self lives, and slot is below SLOTS.
        unsafe {
            self.page.add(slot).as_ref()
        }
    }
}

fn word(stream: u32, state: u64) -> u64 {
    u64::from(stream) << 2 | state
}

impl Drop for ClaimTable {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the mapping was made by open with this length and no reference into it outlives self.
        let _unmapped = unsafe { rustix::mm::munmap(self.page.as_ptr().cast(), LEN) };
    }
}

#[expect(
    unsafe_code,
    reason = "the page is shared memory; moving the pointer to it between threads is sound"
)]
// SAFETY: the table is only a pointer to atomics in a mapping that belongs to the process, not to a thread.
unsafe impl Send for ClaimTable {}

#[expect(unsafe_code, reason = "every access to the page is atomic")]
// SAFETY: all methods take &self and touch the page through atomics only.
unsafe impl Sync for ClaimTable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_see_one_table() {
        let (edge, fd) = ClaimTable::create().unwrap();
        let worker = ClaimTable::open(&fd).unwrap();
        edge.offer(5, 77);
        assert!(!edge.is_begun(5));
        assert!(!worker.claim(5, 78), "another stream's claim fails");
        assert!(!worker.claim(SLOTS, 77), "a slot out of range fails");
        assert!(worker.claim(5, 77));
        assert!(edge.is_begun(5));
        assert!(!edge.withdraw(5, 77));
        edge.release(5);
        assert!(!worker.claim(5, 77), "a released slot cannot be claimed");
    }

    #[test]
    fn a_worker_sees_what_was_withdrawn_without_beginning_what_was_not() {
        let (edge, fd) = ClaimTable::create().unwrap();
        let worker = ClaimTable::open(&fd).unwrap();
        edge.offer(5, 77);
        assert!(worker.is_offered(5, 77) && !worker.is_offered(5, 78) && !worker.is_offered(SLOTS, 77));
        assert!(edge.withdraw(5, 77));
        assert!(!worker.is_offered(5, 77));
        edge.offer(5, 78);
        assert!(!worker.is_offered(5, 77) && worker.is_offered(5, 78));
        assert!(worker.claim(5, 78));
        assert!(!worker.is_offered(5, 78));
    }

    #[test]
    fn a_request_is_begun_or_withdrawn_but_never_both() {
        let (edge, fd) = ClaimTable::create().unwrap();
        let worker = ClaimTable::open(&fd).unwrap();
        let (begun, withdrawn) = std::thread::scope(|scope| {
            let (to_worker, offers) = std::sync::mpsc::sync_channel::<u32>(0);
            let worker = scope
                .spawn(move || offers.iter().filter(|&stream| worker.claim(1, stream)).collect::<Vec<_>>());
            let mut withdrawn = Vec::new();
            for stream in 1..5_000 {
                edge.offer(1, stream);
                to_worker.send(stream).unwrap();
                if edge.withdraw(1, stream) {
                    withdrawn.push(stream);
                }
            }
            drop(to_worker);
            (worker.join().unwrap(), withdrawn)
        });
        let mut all: Vec<_> = begun.iter().chain(&withdrawn).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (1..5_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_short_file_is_refused() {
        let fd = rustix::fs::memfd_create("short", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        assert!(ClaimTable::open(fd).is_err());
    }
}

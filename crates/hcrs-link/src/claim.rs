//! The claim table: the first page of the memory that the edge and a worker share. It has a word for each
//! request that was sent and that the worker may not have passed yet.
//!
//! ```text
//! free ──offer (edge)──► offered ──claim (worker)──► begun ──release (edge)──────────────► free
//!                           └─────withdraw (edge)──► withdrawn ──claim fails (worker)──► free
//! ```
//!
//! `claim` and `withdraw` are compare-and-swaps on the same word, so exactly one of them succeeds. A
//! withdrawn slot stays taken until the worker has read the request's frame: so the number of slots bounds
//! the requests on a link that a worker has not read, even if they are withdrawn.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

use crate::StreamId;

/// Most requests on a link that the worker is not known to have passed.
pub const SLOTS: usize = 64;

/// The version of the protocol between edge and worker: the frames, the claim table and the blocks. It is in
/// the shared memory, where each end reads it before it sends a frame.
pub const LINK_VERSION: u64 = 4;

/// Place of the version, in words.
const VERSION_AT: usize = SLOTS;

const LEN: usize = (SLOTS + 1) * size_of::<AtomicU64>();

/// The steps of a claim word, which has the stream's number above two bits of state. Both ends change it by
/// these functions alone.
pub(crate) mod word {
    use std::sync::atomic::Ordering;

    use crate::StreamId;
    use crate::word::Word;

    pub(crate) const FREE: u64 = 0;
    const OFFERED: u64 = 1;
    const BEGUN: u64 = 2;
    const WITHDRAWN: u64 = 3;

    fn of(stream: StreamId, state: u64) -> u64 {
        stream.get() << 2 | state
    }

    pub(crate) fn offer(word: &impl Word<u64>, stream: StreamId) {
        word.store(of(stream, OFFERED), Ordering::Release);
    }

    pub(crate) fn is_offered(word: &impl Word<u64>, stream: StreamId) -> bool {
        word.load(Ordering::Acquire) == of(stream, OFFERED)
    }

    pub(crate) fn claim(word: &impl Word<u64>, stream: StreamId) -> bool {
        let (offered, begun) = (of(stream, OFFERED), of(stream, BEGUN));
        match word.compare_exchange(offered, begun, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(found) => {
                // Neither end changes a word in this state elsewhere.
                if found == of(stream, WITHDRAWN) {
                    word.store(FREE, Ordering::Release);
                }
                false
            }
        }
    }

    pub(crate) fn withdraw(word: &impl Word<u64>, stream: StreamId) -> bool {
        let (offered, withdrawn) = (of(stream, OFFERED), of(stream, WITHDRAWN));
        word.compare_exchange(offered, withdrawn, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn is_begun(word: &impl Word<u64>) -> bool {
        word.load(Ordering::Acquire) & 3 == BEGUN
    }

    pub(crate) fn is_free(word: &impl Word<u64>) -> bool {
        word.load(Ordering::Acquire) == FREE
    }

    pub(crate) fn release(word: &impl Word<u64>) {
        word.store(FREE, Ordering::Release);
    }
}

/// One end's view of the shared page.
#[derive(Debug)]
pub struct ClaimTable {
    page: NonNull<AtomicU64>,
}

impl ClaimTable {
    /// Creates a link's memory with a table and blocks, and the descriptor by which each end opens them.
    pub fn create() -> std::io::Result<(Self, OwnedFd)> {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
        let fd = memfd_create("hcrs-link", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, crate::block::END as u64)?;
        // A file that cannot shrink cannot raise SIGBUS under the other end.
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let table = Self::map(&fd)?;
        table.word(VERSION_AT).store(LINK_VERSION, Ordering::Release);
        Ok((table, fd))
    }

    /// Opens the table behind a descriptor that [`ClaimTable::create`] made. If another version of hcrs made
    /// it, the error tells the operator to restart the server.
    pub fn open(fd: impl AsFd) -> std::io::Result<Self> {
        let size = rustix::fs::fstat(&fd)?.st_size;
        if u64::try_from(size).unwrap_or(0) < LEN as u64 {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "claim table too short"));
        }
        let table = Self::map(fd)?;
        match table.word(VERSION_AT).load(Ordering::Acquire) {
            LINK_VERSION => Ok(table),
            other => Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!(
                    "the running hcrs uses version {other} of the link protocol and the installed package \
                     version {LINK_VERSION}: the package was reinstalled since hcrs was started; restart \
                     hcrs, because a reload is not enough"
                ),
            )),
        }
    }

    fn map(fd: impl AsFd) -> std::io::Result<Self> {
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: a fresh mapping chosen by the kernel, of a file that is at least LEN long and that its
        // maker has sealed against shrinking; it is unmapped only in Drop, and reached only through atomics.
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
        let page = NonNull::new(page).ok_or_else(|| std::io::Error::other("mmap returned a null page"))?;
        crate::fork::note(page, LEN);
        Ok(Self { page: page.cast() })
    }

    /// Edge: offers the free `slot` for `stream`, before the request is sent.
    pub fn offer(&self, slot: usize, stream: StreamId) {
        word::offer(self.slot(slot), stream);
    }

    /// Worker: passes the request, and begins it if the edge has not withdrawn it. Has to be called once for
    /// each request that was read; the request must be run if and only if this returns true.
    #[must_use]
    pub fn claim(&self, slot: usize, stream: StreamId) -> bool {
        slot < SLOTS && word::claim(self.slot(slot), stream)
    }

    /// Worker: whether the request waits to be begun. It never does again once it was begun or the edge has
    /// withdrawn it.
    pub fn is_offered(&self, slot: usize, stream: StreamId) -> bool {
        slot < SLOTS && word::is_offered(self.slot(slot), stream)
    }

    /// Edge: withdraws a request that was not begun. Returns false if it was. The slot stays taken until
    /// [`ClaimTable::is_passed`].
    #[must_use]
    pub fn withdraw(&self, slot: usize, stream: StreamId) -> bool {
        word::withdraw(self.slot(slot), stream)
    }

    /// Edge: whether the request offered in `slot` has been begun.
    pub fn is_begun(&self, slot: usize) -> bool {
        word::is_begun(self.slot(slot))
    }

    /// Edge: whether the worker has passed the request that was withdrawn from `slot`.
    pub fn is_passed(&self, slot: usize) -> bool {
        word::is_free(self.slot(slot))
    }

    /// Edge: frees a slot whose request has been begun.
    pub fn release(&self, slot: usize) {
        word::release(self.slot(slot));
    }

    fn slot(&self, slot: usize) -> &AtomicU64 {
        assert!(slot < SLOTS, "invariant: claim slots are below {SLOTS}");
        self.word(slot)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at <= VERSION_AT, "invariant: the table ends with the version");
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the mapping holds that many aligned words, and more, for as long as self lives.
        unsafe {
            self.page.add(at).as_ref()
        }
    }
}

impl Drop for ClaimTable {
    fn drop(&mut self) {
        crate::fork::forget(self.page.cast());
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the mapping was made by map with this length and no reference into it outlives self.
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

    fn stream(number: u64) -> StreamId {
        StreamId::new(number).unwrap()
    }

    #[test]
    fn both_ends_see_one_table() {
        let (edge, fd) = ClaimTable::create().unwrap();
        let worker = ClaimTable::open(&fd).unwrap();
        edge.offer(5, stream(77));
        assert!(!edge.is_begun(5));
        assert!(!worker.claim(5, stream(78)), "another stream's claim fails");
        assert!(!worker.claim(SLOTS, stream(77)), "a slot out of range fails");
        assert!(worker.claim(5, stream(77)));
        assert!(edge.is_begun(5));
        assert!(!edge.withdraw(5, stream(77)));
        edge.release(5);
        assert!(!worker.claim(5, stream(77)), "a released slot cannot be claimed");
    }

    #[test]
    fn a_withdrawn_slot_is_taken_until_the_worker_has_passed_the_request() {
        let (edge, fd) = ClaimTable::create().unwrap();
        let worker = ClaimTable::open(&fd).unwrap();
        edge.offer(0, stream(1));
        assert!(edge.withdraw(0, stream(1)));
        assert!(!edge.is_passed(0));
        assert!(!worker.claim(0, stream(2)) && !edge.is_passed(0), "another request passes nothing");
        assert!(!worker.claim(0, stream(1)));
        assert!(edge.is_passed(0));
    }

    #[test]
    fn a_worker_sees_what_was_withdrawn_without_beginning_what_was_not() {
        let (edge, fd) = ClaimTable::create().unwrap();
        let worker = ClaimTable::open(&fd).unwrap();
        let (first, second) = (stream(77), stream(78));
        edge.offer(5, first);
        assert!(worker.is_offered(5, first) && !worker.is_offered(5, second));
        assert!(!worker.is_offered(SLOTS, first), "a slot out of range offers nothing");
        assert!(edge.withdraw(5, first));
        assert!(!worker.is_offered(5, first) && !edge.is_passed(5), "looking does not pass the request");
        assert!(!worker.claim(5, first) && edge.is_passed(5));
        edge.offer(5, second);
        assert!(!worker.is_offered(5, first) && worker.is_offered(5, second));
        assert!(worker.claim(5, second));
        assert!(!worker.is_offered(5, second));
    }

    #[test]
    fn a_request_is_begun_or_withdrawn_but_never_both() {
        let (edge, fd) = ClaimTable::create().unwrap();
        let worker = ClaimTable::open(&fd).unwrap();
        let (begun, withdrawn) = std::thread::scope(|scope| {
            let (to_worker, offers) = std::sync::mpsc::sync_channel::<u64>(0);
            let worker = scope.spawn(move || {
                offers.iter().filter(|&number| worker.claim(1, stream(number))).collect::<Vec<_>>()
            });
            let mut withdrawn = Vec::new();
            for number in 1..5_000 {
                edge.offer(1, stream(number));
                to_worker.send(number).unwrap();
                if edge.withdraw(1, stream(number)) {
                    withdrawn.push(number);
                    while !edge.is_passed(1) {
                        std::thread::yield_now();
                    }
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

    #[test]
    fn memory_of_another_version_is_refused_with_advice() {
        let (edge, fd) = ClaimTable::create().unwrap();
        edge.word(VERSION_AT).store(LINK_VERSION + 1, Ordering::Release);
        let error = ClaimTable::open(&fd).unwrap_err().to_string();
        let versions = [LINK_VERSION, LINK_VERSION + 1].map(|version| format!("version {version}"));
        assert!(
            versions.iter().all(|version| error.contains(version)) && error.contains("restart"),
            "{error}"
        );
    }
}

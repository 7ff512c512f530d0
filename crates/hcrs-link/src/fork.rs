//! A link's memory in a forked child. The child of a worker has no part in its links: what it would write there would
//! be taken for its parent's words.

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError, TryLockError};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// The address and the length of each mapping of a link in this process.
static MAPPINGS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Takes note of a mapping that a link has made.
pub(crate) fn note(map: NonNull<c_void>, len: usize) {
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner).push((map.as_ptr().expose_provenance(), len));
}

/// To be called before a mapping that was noted is unmapped.
pub(crate) fn forget(map: NonNull<c_void>) {
    let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    mappings.retain(|&(address, _)| address != map.as_ptr().addr());
}

/// Puts private, empty memory in the place of all links' memory, in a child process right after the fork: there nothing
/// can be claimed, and what is written reaches nobody.
///
/// # Errors
///
/// If the system has no memory left; what was not replaced is still shared.
pub fn leave_shared_memory() -> io::Result<()> {
    // Another thread may have held the lock in the instant of the fork. It does not exist here, so the lock stays held.
    let mappings = match MAPPINGS.try_lock() {
        Ok(mappings) => mappings,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
    };
    for &(address, len) in &*mappings {
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the range is a mapping of a link that lives, as it leaves the list before it is unmapped. It is only
        // reached through atomics and by copying, for both of which zeroed memory that nobody shares is as good.
        unsafe {
            mmap_anonymous(
                std::ptr::with_exposed_provenance_mut(address),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
            )?
        };
    }
    Ok(())
}

//! A link's memory in a forked child. The child of a worker must not take part in its links: anything that it
//! wrote there would look like its parent's.

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError, TryLockError};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// Address and length of each mapping of a link in this process.
static MAPPINGS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Notes a mapping that a link has made.
pub(crate) fn note(map: NonNull<c_void>, len: usize) {
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner).push((map.as_ptr().expose_provenance(), len));
}

/// Forgets a mapping. Has to be called before the mapping is unmapped.
pub(crate) fn forget(map: NonNull<c_void>) {
    let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    mappings.retain(|&(address, _)| address != map.as_ptr().addr());
}

/// Replaces all links' memory with private, empty memory. To be called in a child process right after the
/// fork: the child then can claim no request, and its writes reach no other process.
///
/// # Errors
///
/// An error of the system, which has no memory left. Memory that was not replaced is still shared.
pub fn leave_shared_memory() -> io::Result<()> {
    // Another thread may have held the lock at the fork. It does not exist here, so the lock is never
    // released.
    let mappings = match MAPPINGS.try_lock() {
        Ok(mappings) => mappings,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
    };
    for &(address, len) in &*mappings {
        #[expect(unsafe_code, reason = "shared memory is where the OS begins")]
        // SAFETY: the range is a mapping of a live link, since a mapping leaves the list before it is
        // unmapped. It is only accessed through atomics and by copying, and zeroed private memory is valid
        // for both.
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

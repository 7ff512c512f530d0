//! The allocator of the command.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives memory that the calling thread has freed back to the system, with the allocator that can. By itself it does
/// so only while it is asked for more: after a burst, a quiet server would keep what the burst took.
pub(crate) const GIVE_BACK: Option<fn()> = if cfg!(feature = "mimalloc") { Some(give_back) } else { None };

fn give_back() {
    #[cfg(feature = "mimalloc")]
    #[expect(unsafe_code, reason = "the allocator's own function, which its safe wrapper leaves out")]
    // SAFETY: it may be called at any time from any thread, and touches only memory that nobody uses.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

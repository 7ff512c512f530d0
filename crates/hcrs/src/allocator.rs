//! The allocator of the command.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Returns memory that the calling thread has freed to the system, if the allocator supports it. By itself
/// the allocator does so only during further allocations: after a burst, an idle server would keep the
/// memory.
pub(crate) const GIVE_BACK: Option<fn()> = if cfg!(feature = "mimalloc") { Some(give_back) } else { None };

fn give_back() {
    #[cfg(feature = "mimalloc")]
    #[expect(unsafe_code, reason = "a function of the allocator that its safe wrapper lacks")]
    // SAFETY: it may be called at any time from any thread, and touches only free memory.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

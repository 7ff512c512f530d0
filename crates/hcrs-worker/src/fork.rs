//! The detachment of forked child processes from the links. A child inherits the sockets and the memory
//! shared with the edge, but the requests are its parent's, and its copies of the sockets would hide the
//! parent's end from the edge.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Mutex;

use hcrs_link::leave_shared_memory;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict as _, PyModule};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::lock;

/// Descriptors that forked children do not keep.
static OURS: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Registers [`leave_links`] to be called in each child that Python forks.
pub(crate) fn watch(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let leave = module.getattr("_leave_links")?;
    let when = [("after_in_child", leave)].into_py_dict(module.py())?;
    module.py().import("os")?.call_method("register_at_fork", (), Some(&when)).map(drop)
}

/// Makes forked children replace this descriptor by a closed connection, until [`release`].
#[pyfunction]
pub(crate) fn withhold(descriptor: RawFd) {
    lock(&OURS).push(descriptor);
}

/// Undoes [`withhold`]. Must be called before the descriptor is closed.
#[pyfunction]
pub(crate) fn release(descriptor: RawFd) {
    lock(&OURS).retain(|&ours| ours != descriptor);
}

/// Replaces, in a forked child, each withheld descriptor by a closed connection, and detaches from the memory
/// of all links.
///
/// The numbers stay in use, because event loops and objects still hold them.
#[pyfunction]
#[pyo3(name = "_leave_links")]
pub(crate) fn leave_links() -> PyResult<()> {
    // Another thread may have held the lock at the time of the fork. It does not exist in the child.
    let descriptors = OURS.try_lock().map(|ours| ours.clone()).unwrap_or_default();
    if descriptors.is_empty() {
        return Ok(());
    }
    let (dead, other_end) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(io::Error::from)?;
    drop(other_end);
    for descriptor in descriptors {
        replace(descriptor, &dead)?;
    }
    leave_shared_memory()?;
    Ok(())
}

/// Makes `descriptor` a duplicate of `dead`.
fn replace(descriptor: RawFd, dead: &OwnedFd) -> io::Result<()> {
    #[expect(unsafe_code, reason = "a number of a descriptor that another object owns")]
    // SAFETY: the descriptor is open, because its owner releases it before closing it. The `OwnedFd` made of
    // it here is never dropped, so the descriptor stays its owner's, which finds a closed connection there.
    let mut number = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(descriptor) });
    rustix::io::dup3(dead.as_fd(), &mut number, rustix::io::DupFlags::CLOEXEC)?;
    Ok(())
}

//! What a process that the app forks has of the links: nothing. It inherits the sockets and the memory shared with the
//! edge, but the requests are its parent's; and as long as it held a socket, nobody would see the end of its parent.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Mutex;

use hcrs_link::leave_shared_memory;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict as _, PyModule};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::lock;

/// Descriptors that are of the process that has opened them, and not of its children.
static OURS: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Has Python call [`leave_links`] in each child that is forked by its means.
pub(crate) fn watch(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let leave = module.getattr("_leave_links")?;
    let when = [("after_in_child", leave)].into_py_dict(module.py())?;
    module.py().import("os")?.call_method("register_at_fork", (), Some(&when)).map(drop)
}

/// Has forked children find a closed connection behind the number of this descriptor, until [`release`].
#[pyfunction]
pub(crate) fn withhold(descriptor: RawFd) {
    lock(&OURS).push(descriptor);
}

/// Ends [`withhold`]; to be called before the descriptor is closed.
#[pyfunction]
pub(crate) fn release(descriptor: RawFd) {
    lock(&OURS).retain(|&ours| ours != descriptor);
}

/// In a forked child: puts a closed connection in the place of each descriptor that was withheld, so that the numbers,
/// which loops and objects hold, stay taken, and leaves the memory of all links.
#[pyfunction]
#[pyo3(name = "_leave_links")]
pub(crate) fn leave_links() -> PyResult<()> {
    // Another thread may have held the lock in the instant of the fork. It does not exist here.
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

/// Makes `descriptor` another name of `dead`.
fn replace(descriptor: RawFd, dead: &OwnedFd) -> io::Result<()> {
    #[expect(unsafe_code, reason = "a number of a descriptor that another object owns")]
    // SAFETY: its owner withholds it and releases it before it closes it, so it is open. What is made of the number here
    // is never dropped: it stays the owner's, which finds a connection there that has ended.
    let mut number = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(descriptor) });
    rustix::io::dup3(dead.as_fd(), &mut number, rustix::io::DupFlags::CLOEXEC)?;
    Ok(())
}

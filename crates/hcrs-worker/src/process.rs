//! What a worker process takes over from the edge that has started it, and what it does not.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use rustix::thread::disable_transparent_huge_pages;

/// Has the kernel kill this process when the thread that has started it ends.
#[pyfunction]
pub(crate) fn die_with_parent() -> PyResult<()> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
    if parent.is_none() || getppid() != parent {
        return Err(PyRuntimeError::new_err("the edge ended while it was starting this worker"));
    }
    Ok(())
}

/// Lets the kernel give this process huge pages, as `numpy` asks for. The edge turns them off for itself, because
/// they would double its memory, and a process inherits that from the one that starts it.
#[pyfunction]
pub(crate) fn allow_huge_pages() {
    let _unsupported = disable_transparent_huge_pages(false); // then they were never turned off
}

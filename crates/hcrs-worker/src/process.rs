//! The end of a worker with the edge that has started it.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Makes the kernel kill this process when the thread that has started it ends.
#[pyfunction]
pub(crate) fn die_with_parent() -> PyResult<()> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
    if parent.is_none() || getppid() != parent {
        return Err(PyRuntimeError::new_err("the edge ended while it was starting this worker"));
    }
    Ok(())
}

//! `wsgi.file_wrapper`: a file as a response's body (PEP 3333, "Optional Platform-Specific File Handling").

use hcrs_link::FileOut;
use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;

use crate::file;

/// Bytes of a file that the server reads at a time, as the block size that an app suggests is usually small.
pub(crate) const FILE_READ: usize = 64 << 10;

/// An iterator over the blocks of a file-like object.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct FileWrapper {
    file: Py<PyAny>,
    block_size: usize,
}

impl FileWrapper {
    /// Returns the rest of the file for the edge to send, if it is a plain file.
    pub(crate) fn rest(&self, py: Python<'_>) -> Option<FileOut> {
        file::rest_of(self.file.bind(py))
    }

    /// Reads the next block of at least `size` bytes, or fewer at the end of the file, where it is empty.
    pub(crate) fn read<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyAny>> {
        self.file.bind(py).call_method1(intern!(py, "read"), (self.block_size.max(size),))
    }
}

#[pymethods]
impl FileWrapper {
    /// Wraps an object that has a `read`.
    #[new]
    #[pyo3(signature = (filelike, block_size = 8192, /))]
    fn new(filelike: Py<PyAny>, block_size: usize) -> Self {
        Self { file: filelike, block_size }
    }

    /// Returns the file's `close`, if it has one.
    #[getter]
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.file.bind(py).getattr(intern!(py, "close"))
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let block = self.read(py, 0)?;
        if block.is_truthy()? { Ok(block) } else { Err(PyStopIteration::new_err(())) }
    }
}

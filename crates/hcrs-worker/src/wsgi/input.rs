//! `wsgi.input`: the request's body as a stream (PEP 3333, "Input and Error Streams").

use std::sync::{Arc, Mutex};

use hcrs_link::{MESSAGE_MAX, Next};
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::lock;
use crate::wsgi::link::{WsgiLink, WsgiStream};
use crate::wsgi::spool::Spooled;
use crate::{BodyTooLargeError, ClientGoneError};

/// The body of one request.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct Input {
    link: Arc<WsgiLink>,
    stream: Arc<WsgiStream>,
    read: Mutex<Read>,
}

/// The state of reading, which a thread takes out of its lock while it reads.
#[derive(Debug, Default)]
struct Read {
    /// The beginning of the body, if it was spooled.
    spooled: Option<Spooled>,
    /// Bytes of the spooled part that were read.
    spooled_at: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that the app has read.
    at: usize,
    progress: Progress,
    /// Bytes that may still arrive before the body is too large.
    left: usize,
}

/// The progress of a body.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Progress {
    #[default]
    Arriving,
    /// Read to its end, or to the point at which the client has left.
    Ended,
    /// Longer than allowed, and not read further.
    TooLarge,
}

impl Input {
    /// Creates the body of `stream`, of at most `max` bytes, the first of which are `spooled`.
    pub(crate) fn new(
        link: Arc<WsgiLink>,
        stream: Arc<WsgiStream>,
        spooled: Option<Spooled>,
        max: usize,
    ) -> Self {
        Self { link, stream, read: Mutex::new(Read { spooled, left: max, ..Read::default() }) }
    }

    /// Drops the spooled part of the body, as the app may keep this object.
    pub(crate) fn close(&self) {
        let _closed = lock(&self.read).spooled.take();
    }

    /// Returns whether the app has read up to the limit of the body's size.
    pub(crate) fn is_too_large(&self) -> bool {
        lock(&self.read).progress == Progress::TooLarge
    }

    /// Reads until `take`, called with the buffered bytes, returns the number of bytes to take, or until the
    /// body ends, where all are taken.
    fn read_until<'py>(
        &self,
        py: Python<'py>,
        mut take: impl FnMut(&[u8]) -> Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut read = std::mem::take(&mut *lock(&self.read));
        let outcome = loop {
            let there = &read.buffer[read.at..];
            if let Some(len) = take(there) {
                break Ok(len);
            }
            if read.progress != Progress::Arriving {
                break Ok(there.len());
            }
            if let Err(error) = self.fill(py, &mut read) {
                break Err(error);
            }
        };
        let taken = outcome.map(|len| {
            let bytes = PyBytes::new(py, &read.buffer[read.at..read.at + len]);
            read.at += len;
            bytes
        });
        *lock(&self.read) = read;
        taken
    }

    fn fill(&self, py: Python<'_>, read: &mut Read) -> PyResult<()> {
        read.buffer.drain(..read.at);
        read.at = 0;
        match self.next(py, read)? {
            Next::Body { piece, more } => {
                if piece.len() > read.left {
                    read.progress = Progress::TooLarge;
                    return Err(BodyTooLargeError::new_err(
                        "the request's body is longer than wsgi_max_body_size",
                    ));
                }
                read.left -= piece.len();
                read.progress = if more { Progress::Arriving } else { Progress::Ended };
                if read.buffer.is_empty() {
                    read.buffer = piece;
                } else {
                    read.buffer.extend_from_slice(&piece);
                }
                Ok(())
            }
            Next::Disconnect | Next::Wait => {
                read.progress = Progress::Ended;
                Err(ClientGoneError::new_err(
                    "the client has disconnected before the end of its request's body",
                ))
            }
        }
    }

    /// Returns the next piece of the body, from the spool and then from the stream.
    fn next(&self, py: Python<'_>, read: &mut Read) -> PyResult<Next> {
        if let Some(spooled) = &read.spooled {
            let piece = py.detach(|| spooled.read(read.spooled_at, MESSAGE_MAX))?;
            read.spooled_at += piece.len() as u64;
            if !piece.is_empty() {
                return Ok(Next::Body { piece, more: true });
            }
            read.spooled = None;
        }
        Ok(self.stream.next(py, &self.link, MESSAGE_MAX))
    }

    fn line<'py>(&self, py: Python<'py>, size: Option<i64>) -> PyResult<Bound<'py, PyBytes>> {
        let max = limit(size);
        let mut searched = 0;
        self.read_until(py, |there| {
            let end = there[searched..].iter().position(|&b| b == b'\n').map(|at| searched + at + 1);
            searched = there.len();
            match end {
                Some(end) => Some(end.min(max)),
                None => (there.len() >= max).then_some(max),
            }
        })
    }
}

/// Returns the limit of a size argument. None and negative numbers stand for no limit.
fn limit(size: Option<i64>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}

#[pymethods]
impl Input {
    /// Reads `size` bytes, or the whole body.
    #[pyo3(signature = (size = None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<i64>) -> PyResult<Bound<'py, PyBytes>> {
        let max = limit(size);
        self.read_until(py, |there| (there.len() >= max).then_some(max))
    }

    /// Reads a line with its end, at most `size` bytes of it.
    #[pyo3(signature = (size = None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<i64>) -> PyResult<Bound<'py, PyBytes>> {
        self.line(py, size)
    }

    /// Reads lines until their total length reaches `hint`, or all lines.
    #[pyo3(signature = (hint = None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<i64>) -> PyResult<Bound<'py, PyList>> {
        let hint = hint.filter(|&hint| hint > 0);
        let (lines, mut size) = (PyList::empty(py), 0);
        while size < limit(hint) {
            let line = self.line(py, None)?;
            let len = line.as_bytes().len();
            if len == 0 {
                break;
            }
            size += len;
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.line(py, None)?;
        if line.as_bytes().is_empty() { Err(PyStopIteration::new_err(())) } else { Ok(line) }
    }
}

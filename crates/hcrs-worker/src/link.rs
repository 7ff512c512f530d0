//! The worker's end of a link before an app is served on it: the descriptors that the edge has passed, and
//! the report that there is no app.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use hcrs_link::{BlockArea, ClaimTable, FromWorker, StreamId};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendFlags, send};

use crate::{fork, lock, pulse};

/// Bytes of a failure's text that are sent to the edge. Of a longer text the end is sent, which contains the
/// error.
const FAILURE_MAX: usize = 64 << 10;

/// The socket and the shared memory of a link.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    /// The stream socket.
    pub(crate) socket: OwnedFd,
    /// The claim table.
    pub(crate) claims: ClaimTable,
    /// The blocks for large pieces of body, until the outbox takes them.
    pub(crate) blocks: Option<BlockArea>,
}

impl LinkEnd {
    fn new(socket: OwnedFd, claims: ClaimTable, blocks: Option<BlockArea>) -> Self {
        fork::withhold(socket.as_raw_fd());
        Self { socket, claims, blocks }
    }

    /// Passes a request and, unless the edge has withdrawn it, begins it. The request must be run if and only
    /// if this returns true.
    #[must_use]
    pub(crate) fn claim(&self, slot: usize, stream: StreamId) -> bool {
        let is_begun = self.claims.claim(slot, stream);
        if is_begun {
            pulse::note_step();
        }
        is_begun
    }
}

impl Drop for LinkEnd {
    fn drop(&mut self) {
        fork::release(self.socket.as_raw_fd());
    }
}

/// A link on which no app is served yet.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct Link {
    end: Mutex<Option<LinkEnd>>,
}

impl Link {
    /// Takes the link's end out, to serve an app on it.
    pub(crate) fn take(&self) -> PyResult<LinkEnd> {
        lock(&self.end).take().ok_or_else(|| PyRuntimeError::new_err("this link already serves an app"))
    }
}

#[pymethods]
impl Link {
    /// Creates a link from its inherited descriptors, a stream socket and shared memory.
    #[new]
    fn new(socket: RawFd, memory: RawFd) -> PyResult<Self> {
        let socket = take_descriptor(socket)?;
        let memory = take_descriptor(memory)?;
        let (claims, blocks) = (ClaimTable::open(&memory)?, BlockArea::open(&memory)?);
        Ok(Self { end: Mutex::new(Some(LinkEnd::new(socket, claims, blocks))) })
    }

    /// Reports to the edge that the app cannot be served, and the reason.
    fn fail(&self, py: Python<'_>, why: &str) -> PyResult<()> {
        let mut start = why.len().saturating_sub(FAILURE_MAX);
        while !why.is_char_boundary(start) {
            start += 1;
        }
        let mut frame = Vec::new();
        FromWorker::Failed { why: &why.as_bytes()[start..] }.write(&mut frame);
        py.detach(|| {
            let end = lock(&self.end);
            end.as_ref().map_or(Ok(()), |end| send_all(end.socket.as_fd(), &frame))
        })?;
        Ok(())
    }
}

/// Writes all of `bytes`, blocking while the socket is full. Must not be called with the interpreter
/// attached.
pub(crate) fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let _ready = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Takes ownership of an inherited descriptor, and sets its close-on-exec flag.
pub(crate) fn take_descriptor(fd: RawFd) -> PyResult<OwnedFd> {
    if fd < 3 {
        return Err(pyo3::exceptions::PyValueError::new_err(format!("{fd} is not a descriptor of a link")));
    }
    #[expect(unsafe_code, reason = "a number that was inherited from the edge becomes an owned descriptor")]
    // SAFETY: the edge has passed this descriptor to this process for this purpose only. Its number is in the
    // arguments once, and nothing else in the process uses it. A wrong number fails in fcntl below before any
    // other use.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(io::Error::from)?;
    Ok(fd)
}

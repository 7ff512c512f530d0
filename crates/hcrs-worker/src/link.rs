//! A worker's end of one link before the app is there: the descriptors that the edge has passed on, and the
//! words that a worker can say without an app.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use hcrs_link::{BlockArea, ClaimTable, FromWorker, StreamId};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendFlags, send};

use crate::{fork, lock, pulse};

/// Bytes of a failure's text that are told to the edge; of a longer one the end, where the error stands.
const FAILURE_MAX: usize = 64 << 10;

/// The socket, and what the memory shared with the edge holds.
#[derive(Debug)]
pub struct LinkEnd {
    /// The stream socket.
    pub socket: OwnedFd,
    /// The claim table.
    pub claims: ClaimTable,
    /// The blocks for large pieces of body, until the outbox takes them.
    pub blocks: Option<BlockArea>,
}

impl LinkEnd {
    fn new(socket: OwnedFd, claims: ClaimTable, blocks: Option<BlockArea>) -> Self {
        fork::withhold(socket.as_raw_fd());
        Self { socket, claims, blocks }
    }

    /// Passes a request, and begins it unless the edge has withdrawn it: it must be run if and only if this returns true.
    #[must_use]
    pub fn claim(&self, slot: usize, stream: StreamId) -> bool {
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

/// A link that serves no app yet.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub struct Link {
    end: Mutex<Option<LinkEnd>>,
}

impl Link {
    /// Gives the link's end to what will serve the app on it.
    pub fn take(&self) -> PyResult<LinkEnd> {
        lock(&self.end).take().ok_or_else(|| PyRuntimeError::new_err("this link already serves an app"))
    }
}

#[pymethods]
impl Link {
    /// Takes the descriptors of a link: a stream socket and shared memory.
    #[new]
    fn new(socket: RawFd, memory: RawFd) -> PyResult<Self> {
        let socket = take_descriptor(socket)?;
        let memory = take_descriptor(memory)?;
        let (claims, blocks) = (ClaimTable::open(&memory)?, BlockArea::open(&memory)?);
        Ok(Self { end: Mutex::new(Some(LinkEnd::new(socket, claims, blocks))) })
    }

    /// Tells the edge that the app cannot be served, and why.
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

/// Writes all of `bytes`, waiting while the socket is full. Never call it with the interpreter attached.
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

/// Owns an inherited descriptor, which programs that the app starts do not inherit again.
pub(crate) fn take_descriptor(fd: RawFd) -> PyResult<OwnedFd> {
    if fd < 3 {
        return Err(pyo3::exceptions::PyValueError::new_err(format!("{fd} is no descriptor of a link")));
    }
    #[expect(unsafe_code, reason = "a number that was inherited from the edge becomes an owned descriptor")]
    // SAFETY: the edge has passed this descriptor to this process for this purpose only; its number stands
    // in the arguments once, and nothing else in the process uses it. A wrong number fails in fcntl below
    // before anything else is done with it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(io::Error::from)?;
    Ok(fd)
}

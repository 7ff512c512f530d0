//! The ends of the links, pipes and sockets that join a worker with the edge.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use hcrs_link::{BlockArea, ClaimTable, STACKS_MAX};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::pread;
use tokio::net::unix::pipe;

use super::Plan;
use crate::AppName;
use crate::origin::app::WorkerId;
use crate::origin::app::link::LinkParts;
use crate::origin::app::request_quota::RequestQuota;
use crate::supervise::{liveness, output};
use crate::thread::control::LinkEnd;

/// The bytes that a link's socket holds in each direction, so that neither end waits for the other's turn on
/// the processor after every frame or two. The system may allow less.
const LINK_BUFFER: usize = 1 << 20;

/// The two ends of what joins a worker with the edge.
#[derive(Debug)]
pub(in crate::supervise) struct Ends {
    /// The edge's end of each link, by thread. The process id is still missing.
    pub links: Vec<LinkEnd>,
    /// The pipe on which the worker reports the files that it has loaded, if they are watched.
    pub loaded: Option<PipeReader>,
    /// The socket on which it is pinged, if it is.
    pub pulse: Option<OwnedFd>,
    /// The file that it writes its stack to if it crashes, of which both have an end.
    pub crash: OwnedFd,
    /// The pipe of its output, if that is captured.
    pub output: Option<pipe::Receiver>,
    /// The worker's ends.
    pub theirs: WorkerEnds,
}

/// The descriptors of a worker.
#[derive(Debug)]
pub(in crate::supervise) struct WorkerEnds {
    /// The socket and the memory of each link.
    pub links: Vec<(OwnedFd, OwnedFd)>,
    /// The pipe for loaded files.
    pub loaded_files: Option<PipeWriter>,
    /// The socket of the pulse.
    pub pulse: Option<OwnedFd>,
    /// The pipe that takes the places of standard output and standard error.
    pub output: Option<OwnedFd>,
}

impl WorkerEnds {
    /// Returns all descriptors of the worker: those of the links first, then the pipe, the pulse, the crash file
    /// and the pipe of the output, as far as there are any.
    pub(in crate::supervise) fn descriptors<'a>(&'a self, crash: &'a OwnedFd) -> Vec<BorrowedFd<'a>> {
        let links = self.links.iter().flat_map(|(socket, memory)| [socket.as_fd(), memory.as_fd()]);
        let others = [self.loaded_files.as_ref().map(AsFd::as_fd), self.pulse.as_ref().map(AsFd::as_fd)];
        let output = self.output.as_ref().map(AsFd::as_fd);
        links.chain(others.into_iter().flatten()).chain([crash.as_fd()]).chain(output).collect()
    }
}

impl Ends {
    /// Creates what joins a worker with each thread of the edge, and with the supervisor.
    pub(in crate::supervise) fn create(plan: &Plan<'_>, worker: WorkerId) -> io::Result<Self> {
        let quota = plan.app.max_requests.map(|limit| {
            let limit = limit.get().saturating_add(random_up_to(plan.app.max_requests_jitter));
            Arc::new(RequestQuota::new(limit))
        });
        let mut links = Vec::with_capacity(plan.threads);
        let mut theirs = Vec::with_capacity(plan.threads);
        for _ in 0..plan.threads {
            let (mut end, socket, memory) = link(worker, &plan.app.name)?;
            end.parts.slot = plan.seat;
            end.parts.quota.clone_from(&quota);
            links.push(end);
            theirs.push((socket, memory));
        }
        let (loaded, loaded_files) =
            if plan.app.use_reloader { io::pipe().map(both_some)? } else { (None, None) };
        let (pulse, answers) =
            if plan.app.worker_timeout.is_zero() { (None, None) } else { liveness::pair().map(both_some)? };
        let crash = crash_file()?;
        let (output, written) =
            if plan.capture.is_some() { output::pipe().map(both_some)? } else { (None, None) };
        let theirs = WorkerEnds { links: theirs, loaded_files, pulse: answers, output: written };
        Ok(Self { links, loaded, pulse, crash, output, theirs })
    }
}

/// Sets the process id of a worker in its links.
pub(in crate::supervise) fn set_pid(links: &mut [LinkEnd], pid: u32) {
    for link in links {
        link.parts.pid = pid;
    }
}

/// Returns a file for the stack of a process that crashes.
pub(in crate::supervise) fn crash_file() -> io::Result<OwnedFd> {
    Ok(memfd_create("hcrs-crash", MemfdFlags::CLOEXEC)?)
}

/// Returns one link to a worker of the app: the edge's end, and the socket and shared memory that the worker
/// inherits.
pub(in crate::supervise) fn link(worker: WorkerId, app: &AppName) -> io::Result<(LinkEnd, OwnedFd, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    for end in [&ours, &theirs] {
        socket2::SockRef::from(end).set_send_buffer_size(LINK_BUFFER)?;
    }
    ours.set_nonblocking(true)?;
    let (claims, memory) = ClaimTable::create()?;
    let blocks = BlockArea::open(&memory)?;
    let parts = LinkParts { worker, pid: 0, slot: 0, claims, blocks, quota: None };
    Ok((LinkEnd { app: app.clone(), parts, socket: ours }, theirs.into(), memory))
}

/// Returns the stack that a worker has written because it crashed.
pub(in crate::supervise) fn crash_of(file: &OwnedFd) -> Option<String> {
    let mut text = vec![0; STACKS_MAX];
    let length = pread(file, &mut text[..], 0).ok().filter(|&length| length > 0)?;
    Some(String::from_utf8_lossy(&text[..length]).into_owned())
}

/// Returns a random number from 0 to `most`.
pub(in crate::supervise) fn random_up_to(most: u64) -> u64 {
    // The standard library seeds its hashers from the system's randomness.
    let random = RandomState::new().build_hasher().finish();
    most.checked_add(1).map_or(random, |numbers| random % numbers)
}

fn both_some<A, B>((a, b): (A, B)) -> (Option<A>, Option<B>) {
    (Some(a), Some(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_keep_to_their_bound_and_differ() {
        assert_eq!(random_up_to(0), 0);
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| random_up_to(3)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
        random_up_to(u64::MAX);
    }
}

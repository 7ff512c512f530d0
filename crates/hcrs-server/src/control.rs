//! What the supervisor and the edge threads say to each other.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use hcrs_link::{BlockArea, ClaimTable};

/// Names a worker process: a later one in the same place has another number.
pub(crate) type WorkerId = u64;

/// The edge's end of a link to one worker.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    /// The worker at the other end.
    pub worker: WorkerId,
    /// Its process id.
    pub pid: u32,
    /// The socket, non-blocking.
    pub socket: UnixStream,
    /// The claim table of this link.
    pub claims: ClaimTable,
    /// The blocks of this link.
    pub blocks: Option<BlockArea>,
}

/// From the supervisor to an edge thread.
#[derive(Debug)]
pub(crate) enum Control {
    /// A worker was started; requests go to it once its link says that it is ready.
    Attach(LinkEnd),
    /// Begin to accept connections.
    Accept,
    /// Take no more requests, finish what is under way until the instant, cut off the rest, then send
    /// `Drain` over every link and report [`Report::Drained`].
    Drain(Instant),
}

/// From an edge thread to the supervisor.
#[derive(Debug)]
pub(crate) enum Report {
    /// A worker said that it is ready on this thread's link.
    Ready(WorkerId),
    /// A worker said why it cannot serve.
    Failed(WorkerId, String),
    /// The link to a worker has ended; what it had not begun was given to others.
    Detached(WorkerId),
    /// The drain of the thread of this number is over; false if requests had to be cut off.
    Drained(usize, bool),
}

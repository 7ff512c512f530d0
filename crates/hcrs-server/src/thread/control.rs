//! What the supervisor and the edge threads say to each other.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use crate::origin::app::WorkerId;
use crate::origin::app::link::LinkParts;

/// The edge's end of a link to one worker.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    /// The worker and the memory that is shared with it.
    pub parts: LinkParts,
    /// The socket, non-blocking.
    pub socket: UnixStream,
}

/// From the supervisor to an edge thread.
#[derive(Debug)]
pub(crate) enum Control {
    /// A worker was started; requests go to it once its link says that it is ready.
    Attach(LinkEnd),
    /// Begin to accept connections.
    Accept,
    /// Give the worker no more requests, and those that it has not begun to others; let it finish the rest, cut off what is
    /// left when its time is up, then send it `Drain`.
    Retire(Retirement),
    /// The worker's process has ended: read what it has said, and end its link. Somebody else may hold the other end
    /// of it, so that its closing is not to be waited for.
    Lost(WorkerId),
    /// Count one, to show that the thread turns.
    Turn(Arc<AtomicUsize>),
    /// Log which requests the worker has under way: it hangs.
    Describe(WorkerId),
    /// Take no more connections, finish what is under way, cut off the rest when the time is up, then send `Drain` over
    /// every link and report [`Report::Drained`]. A second order only changes the time.
    Drain(Drain),
}

/// How a worker that was replaced is to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retirement {
    /// The worker.
    pub worker: WorkerId,
    /// How long what is under way in it may go on.
    pub grace: Duration,
}

/// How a drain is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// When what is still under way is cut off.
    pub until: Instant,
    /// The number of the signal that the workers are told of.
    pub signal: u16,
}

/// From an edge thread to the supervisor.
#[derive(Debug)]
pub(crate) enum Report {
    /// A worker said that it is ready on this thread's link.
    Ready(WorkerId),
    /// A worker said why it cannot serve.
    Failed(WorkerId, String),
    /// A worker has been given more requests than it is meant to.
    Spent(WorkerId),
    /// The link to a worker has ended; what it had not begun was given to others.
    Detached(WorkerId),
    /// A worker has finished, or given up, what it had to do for requests, and begins its shutdown.
    Finished(WorkerId),
    /// The drain of the thread of this number is over; so many requests had to be cut off.
    Drained(usize, usize),
}

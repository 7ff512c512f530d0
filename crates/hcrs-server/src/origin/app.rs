//! The apps as origins: the choice of a worker for each request, and the links to the workers.

pub(crate) mod apps;
pub(crate) mod dispatch;
pub(crate) mod link;
pub(crate) mod pressure;
pub(crate) mod request_quota;
pub(crate) mod tick_waker;

use std::process::ExitStatus;

/// The number of a worker process. A later process in the same slot has another number.
pub(crate) type WorkerId = u64;

/// An event in the life of a worker, as one of its links or its process shows it.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// It is ready for requests on one more link.
    Ready,
    /// It cannot serve; the text is its reason. It may report this on each link.
    Failed(String),
    /// It has reached its request quota, or a link has used up its stream numbers.
    Spent,
    /// It has finished, or given up, its work on requests, and begins its shutdown. It reports this on each
    /// link.
    Finished,
    /// One more of its links has ended; requests that it had not begun went to others.
    Detached,
    /// Its process has ended, with this status if the system reported one.
    Exited(Option<ExitStatus>),
}

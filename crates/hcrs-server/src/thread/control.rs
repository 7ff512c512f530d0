//! The messages between the supervisor and the edge threads.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use hcrs_metrics::ThreadSnapshot;
use socket2::Socket;
use tokio::sync::oneshot;

use crate::origin::app::link::LinkParts;
use crate::origin::app::{WorkerEvent, WorkerId};
use crate::settings::{AppName, Settings};

/// The edge's end of a link to one worker.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    /// The app that the worker serves.
    pub app: AppName,
    /// The worker and the memory that is shared with it.
    pub parts: LinkParts,
    /// The socket, non-blocking.
    pub socket: UnixStream,
}

/// An order from the supervisor to an edge thread.
#[derive(Debug)]
pub(crate) enum Control {
    /// Attach the link to a worker that was started. Requests go to it once it reports that it is ready.
    Attach(LinkEnd),
    /// Begin to accept connections.
    Accept,
    /// Send the worker no more requests, and those that it has not begun to others; let it finish the rest,
    /// cut off what is left when its time is up, then send it `Drain`.
    Retire(Retirement),
    /// Answer an app's requests with this reason why it cannot be served, those that wait included; or, with
    /// `None`, let them wait for a worker again.
    ExplainFailure(AppName, Option<Arc<str>>),
    /// Serve with these settings.
    Apply(Arc<Settings>),
    /// End the link to a worker whose process has ended, after reading what it has sent. Another process may
    /// hold the other end open, so its closing is not awaited.
    Lost(WorkerId),
    /// Add one, to show that the thread is running.
    Turn(Arc<AtomicUsize>),
    /// Send the thread's metrics and its oldest requests in flight.
    Snapshot(oneshot::Sender<ThreadSnapshot>),
    /// Log the requests that the worker has in flight: it hangs.
    Describe(WorkerId),
    /// Receive no more datagrams: another server has the sockets. One thread gets the way by which it passes on those
    /// of connections of this server.
    Succeed(Option<Socket>),
    /// Accept no more connections, finish requests in flight, cut off the rest when the time is up, then send
    /// `Drain` over every link and report [`Report::Drained`]. A second order only changes the time.
    Drain(Drain),
}

/// The replacement of a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retirement {
    /// The worker.
    pub worker: WorkerId,
    /// How long requests in flight in the worker may take to finish.
    pub grace: Duration,
}

/// The parameters of a drain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// When requests still in flight are cut off.
    pub until: Instant,
    /// The number of the signal that the workers are notified of.
    pub signal: u16,
}

/// A report from an edge thread to the supervisor.
#[derive(Debug)]
pub(crate) enum Report {
    /// This has happened on the thread's link to the worker.
    Worker(WorkerId, WorkerEvent),
    /// The thread's drain is over.
    Drained {
        /// The number of requests that were cut off.
        cut: usize,
    },
}

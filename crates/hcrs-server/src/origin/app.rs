//! The app as an origin: the choice of a worker for each request, and the links to the workers.

pub(crate) mod dispatch;
pub(crate) mod link;
pub(crate) mod request_quota;

/// The number of a worker process. A later process in the same place has another number.
pub(crate) type WorkerId = u64;

//! The app as an origin: which worker gets a request, and the links to the workers.

pub(crate) mod dispatch;
pub(crate) mod link;
pub(crate) mod tally;

/// Names a worker process: a later one in the same place has another number.
pub(crate) type WorkerId = u64;

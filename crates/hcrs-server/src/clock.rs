//! The clock of an edge thread: the runtime's, so that tests can control the time.

use std::time::Instant;

/// Returns the current instant.
#[inline]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

//! The one clock of an edge thread: the runtime's, so that tests can let time pass.

use std::time::Instant;

/// The present.
#[inline]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

//! A deadline that moves as bytes flow.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::clock;

/// How often it is looked whether there is a deadline, while there is none.
const TICK: Duration = Duration::from_secs(1);

/// Ready once the deadline that `due` returns has passed. `due` is asked again whenever `timer` fires, so that a deadline
/// that moves costs nothing; one that begins to count is noticed a second later at most.
pub(super) fn poll_deadline(
    mut timer: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
    due: impl Fn() -> Option<Instant>,
) -> Poll<()> {
    loop {
        ready!(timer.as_mut().poll(cx));
        let now = clock::now();
        match due() {
            Some(at) if at <= now => return Poll::Ready(()),
            at => timer.as_mut().reset(at.map_or(now + TICK, |at| at.min(now + TICK)).into()),
        }
    }
}

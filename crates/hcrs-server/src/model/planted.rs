//! Faults that tests plant, each at the smallest place where it can be made, to see that the model finds them.

use std::cell::Cell;

use hcrs_link::StreamId;

/// A planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A claim slot is free as soon as its request is withdrawn, and numbers are used again.
    SlotFreedAtWithdrawal,
    /// Streams beyond the first few do not give their start credit back.
    CreditsByIndex,
    /// The frame that ends an abandoned stream does not arrive.
    DoneLost,
    /// What is kept of a body to be sent again is sent twice.
    ReplaySentTwice,
    /// Credit for a response arrives twice.
    CreditTwice,
    /// What a dead worker had not begun is forgotten.
    UnbegunDropped,
    /// What a worker has begun is taken back.
    BegunRescued,
    /// That a client has closed its side is lost while its request is not begun.
    HalfCloseLost,
    /// The connection is not told of what comes after its first look.
    WakeLost,
    /// Requests are refused while the queue is half empty.
    QueueHalved,
}

/// How many numbers there are where they are used again.
const NUMBERS: u64 = 4;

/// The last stream that gives its start credit back where later ones do not.
const LAST_INDEX: u64 = 3;

thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Runs `run` with a fault.
pub(super) fn with<R>(planted: Planted, run: impl FnOnce() -> R) -> R {
    PLANTED.set(Some(planted));
    let result = run();
    PLANTED.set(None);
    result
}

/// Whether this is the fault that is planted.
pub(crate) fn is(planted: Planted) -> bool {
    PLANTED.get() == Some(planted)
}

/// The number of the next stream, which would be `stream`.
pub(crate) fn number(stream: StreamId) -> StreamId {
    if is(Planted::SlotFreedAtWithdrawal) {
        StreamId::new((stream.get() - 1) % NUMBERS + 1).unwrap_or(stream)
    } else {
        stream
    }
}

/// How many requests may wait, which would be `size`.
pub(crate) fn queue_size(size: usize) -> usize {
    if is(Planted::QueueHalved) { size / 2 } else { size }
}

/// Whether the stream keeps its start credit.
pub(crate) fn leaks(stream: StreamId) -> bool {
    is(Planted::CreditsByIndex) && stream.get() > LAST_INDEX
}

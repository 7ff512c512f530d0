//! Faults that tests plant, each at the smallest place where it can be made, to check that the model finds
//! them.

use std::cell::Cell;

use hcrs_link::StreamId;

/// A planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A claim slot is free as soon as its request is withdrawn, and numbers are reused.
    SlotFreedAtWithdrawal,
    /// Streams beyond the first few do not return their start credit.
    CreditsByIndex,
    /// The frame that ends an abandoned stream does not arrive.
    DoneLost,
    /// The part of a body that is kept to be sent again is sent twice.
    ReplaySentTwice,
    /// Credit for a response arrives twice.
    CreditTwice,
    /// Requests that a dead worker had not begun are lost.
    UnbegunDropped,
    /// A request that a worker has begun is withdrawn.
    BegunRescued,
    /// The close of a client's side is lost while its request is not begun.
    HalfCloseLost,
    /// The connection is not notified of output after its first check.
    WakeLost,
    /// Requests are refused while the queue is half empty.
    QueueHalved,
    /// A request that was sent is not withdrawn when its client leaves.
    GoneBegun,
    /// The oldest request is served first under pressure.
    OldestFirst,
    /// Late requests are refused although there is no pressure.
    ShedInCalm,
}

/// The number of stream numbers where they are reused.
const NUMBERS: u64 = 4;

/// The last stream that returns its start credit where later ones do not.
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

/// Whether this fault is planted.
pub(crate) fn is(planted: Planted) -> bool {
    PLANTED.get() == Some(planted)
}

/// Returns the number of the next stream, which would be `stream`.
pub(crate) fn number(stream: StreamId) -> StreamId {
    if is(Planted::SlotFreedAtWithdrawal) {
        StreamId::new((stream.get() - 1) % NUMBERS + 1).unwrap_or(stream)
    } else {
        stream
    }
}

/// Returns the number of requests that may wait, which would be `size`.
pub(crate) fn queue_size(size: usize) -> usize {
    if is(Planted::QueueHalved) { size / 2 } else { size }
}

/// Whether the stream keeps its start credit.
pub(crate) fn leaks(stream: StreamId) -> bool {
    is(Planted::CreditsByIndex) && stream.get() > LAST_INDEX
}

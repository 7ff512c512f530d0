//! The events of a connection.

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};

use crate::error::ErrorCode;

/// The key of a stream on a connection. It never means another stream, since a connection uses each number
/// once (RFC 9000 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    pub(crate) slot: usize,
    pub(crate) id: u64,
}

impl StreamKey {
    /// Returns the stream's place among the open streams: a number below the most streams that were open at a
    /// time. A later stream may have the same place.
    pub fn slot(self) -> usize {
        self.slot
    }

    /// Returns the stream's number on the wire.
    pub fn id(self) -> u64 {
        self.id
    }
}

/// The immediate result of [`Turn::send_data`](crate::Turn::send_data).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Number of bytes that were taken; an [`Event::Sent`] follows for the rest.
    pub len: usize,
    /// The response is complete and the stream over.
    pub done: bool,
}

/// An event on a connection.
#[derive(Debug)]
pub enum Event {
    /// A stream began. If its request has no body, no `Data` or `End` follows.
    Request {
        /// The stream.
        key: StreamKey,
        /// The request's head.
        head: RequestHead,
    },
    /// A stream began and was answered at once with a fault's response. It is over, and has no key.
    Refused {
        /// The stream's number on the wire.
        stream_id: u64,
        /// The request's head as far as it can be represented, for a log.
        head: RequestHead,
        /// The reason.
        fault: Fault,
    },
    /// Bytes of a request's body arrived. They hold the stream's window until they are released.
    Data {
        /// The stream.
        key: StreamKey,
        /// The bytes.
        data: Bytes,
        /// The bytes are known to be the last, before [`Event::End`].
        end: bool,
    },
    /// Trailers of a request arrived, of which [`Event::End`] follows.
    Trailers {
        /// The stream.
        key: StreamKey,
        /// The fields, as a head without a status.
        trailers: ResponseHead,
    },
    /// The request's body is complete.
    End {
        /// The stream.
        key: StreamKey,
    },
    /// Bytes of a response that had to wait were taken.
    Sent {
        /// The stream.
        key: StreamKey,
        /// Number of bytes.
        len: usize,
        /// The response is complete and the stream over.
        done: bool,
    },
    /// The client reset a stream, or broke the protocol on it. The stream is over.
    Reset {
        /// The stream.
        key: StreamKey,
    },
}

/// The end of a connection. The transport was closed with its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A shutdown is complete: `H3_NO_ERROR`.
    Closed,
    /// The client broke the protocol.
    Protocol(ErrorCode),
    /// The client exceeded a budget.
    Fault(Fault),
}

//! The events of a connection.

use std::io;

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};

use crate::frame::ErrorCode;

/// The key of a stream on a connection. It never means another stream, since a connection uses each number
/// once (RFC 9113 §5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    pub(crate) slot: usize,
    pub(crate) id: u32,
}

impl StreamKey {
    /// Returns the stream's place among the open streams: a number below the most streams that were open at a
    /// time. A later stream may have the same place.
    pub fn slot(self) -> usize {
        self.slot
    }

    /// Returns the stream's number on the wire.
    pub fn id(self) -> u32 {
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
    /// A request that was promised to the client began, as if the client had made it.
    Pushed {
        /// The stream.
        key: StreamKey,
        /// The request's head.
        head: RequestHead,
    },
    /// A stream began and was answered at once with a fault's response. It is over, and has no key.
    Refused {
        /// The stream's number on the wire.
        stream_id: u32,
        /// The request's head as far as it can be represented, for a log.
        head: RequestHead,
        /// The reason.
        fault: Fault,
    },
    /// Bytes of a request's body arrived. They hold the client's window until they are released.
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

/// The end of a connection.
#[derive(Debug)]
pub enum Ended {
    /// The client closed it, or a graceful shutdown is complete.
    Closed,
    /// The client broke the protocol; GOAWAY has the reason.
    Protocol(ErrorCode),
    /// The client exceeded a budget; GOAWAY with the fault's code was sent.
    Fault(Fault),
    /// The transport failed.
    Io(io::Error),
}

//! The events of a connection.

use std::collections::VecDeque;

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};

use crate::spare;

/// The key of a stream on a connection. It never means another stream, since a connection uses each number
/// once (RFC 9113 §5.1.1, RFC 9000 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The stream's place among the open streams: a number below the most streams that were open at a time. A
    /// later stream may have the same place.
    pub slot: usize,
    /// The stream's number on the wire.
    pub id: u64,
}

/// The immediate result of sending a part of a response's body.
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
    /// A request that was promised to the client began, as if the client had made it. HTTP/2 alone has it.
    Pushed {
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

/// Takes the next event. Those of requests that the app no longer has are dropped: `announce` returns whether it has
/// the stream, and notes that it knows of it now.
#[inline]
pub fn next_event(
    events: &mut VecDeque<Event>,
    mut announce: impl FnMut(StreamKey) -> bool,
) -> Option<Event> {
    while let Some(event) = events.pop_front() {
        let is_wanted = match &event {
            Event::Request { key, .. }
            | Event::Pushed { key, .. }
            | Event::Data { key, .. }
            | Event::Trailers { key, .. }
            | Event::End { key } => announce(*key),
            Event::Sent { .. } | Event::Reset { .. } | Event::Refused { .. } => true,
        };
        if is_wanted {
            return Some(event);
        }
        if let Event::Request { head, .. } | Event::Pushed { head, .. } = event {
            spare::recycle(head.into_block());
        }
    }
    None
}

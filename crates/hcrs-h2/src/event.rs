//! What a connection tells its driver.

use std::io;

use bytes::Bytes;
use h2::Reason;
use hcrs_http::{Fault, RequestHead};

/// Names a stream of a connection, and never another one, however long ago it was done or reset: a connection uses
/// each number once (RFC 9113 §5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    pub(crate) slot: usize,
    pub(crate) id: u32,
}

impl StreamKey {
    /// Its place among the streams that are open at a time: a small number, which the next stream may have once this one
    /// is over.
    pub fn slot(self) -> usize {
        self.slot
    }

    /// Its number on the wire.
    pub fn id(self) -> u32 {
        self.id
    }
}

/// What a client did.
#[derive(Debug)]
pub enum Event {
    /// A stream began. Without a body no `Data` or `End` follows.
    Request {
        /// The stream.
        key: StreamKey,
        /// The request's head.
        head: RequestHead,
    },
    /// A request that was promised to the client begins, as if the client had made it.
    Pushed {
        /// The stream.
        key: StreamKey,
        /// The request's head.
        head: RequestHead,
    },
    /// A stream began and was refused at once, with the answer that the fault is owed. It is over, and has no key.
    Refused {
        /// Its number on the wire.
        stream_id: u32,
        /// What can be said of the request's head, for a log.
        head: RequestHead,
        /// Why.
        fault: Fault,
    },
    /// Bytes of a request's body. They hold the client's window until they are released.
    Data {
        /// The stream.
        key: StreamKey,
        /// The bytes.
        data: Bytes,
        /// They are known to be the last, before [`Event::End`] says so.
        end: bool,
    },
    /// The request's body is complete.
    End {
        /// The stream.
        key: StreamKey,
    },
    /// Bytes of the response that had to wait were taken.
    Sent {
        /// The stream.
        key: StreamKey,
        /// How many bytes.
        len: usize,
        /// The response is complete and the stream over.
        done: bool,
    },
    /// The client reset the stream, or broke the protocol on it; it is over.
    Reset {
        /// The stream.
        key: StreamKey,
    },
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The client closed it, or a graceful shutdown is complete.
    Closed,
    /// The client broke the protocol; GOAWAY says how.
    Protocol(Option<Reason>),
    /// The client overdrew a budget; `GOAWAY(ENHANCE_YOUR_CALM)` was sent.
    Fault(Fault),
    /// The transport failed.
    Io(io::Error),
}

impl From<h2::Error> for Ended {
    fn from(error: h2::Error) -> Self {
        if error.is_io() {
            match error.into_io() {
                Some(error) => Self::Io(error),
                None => Self::Closed,
            }
        } else {
            Self::Protocol(error.reason())
        }
    }
}

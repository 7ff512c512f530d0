//! The events of a connection, and the part of a request that it awaits.

use bytes::Bytes;
use hcrs_http::{RequestHead, ResponseHead};

/// A request whose head has arrived.
#[derive(Debug)]
pub struct Request {
    /// The head. Names are in lower case, values have no blanks around them.
    pub head: RequestHead,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
}

/// An event on the connection: a part of a request has arrived.
#[derive(Debug)]
pub enum Event {
    /// A head. Without a body it is the whole request, and no [`Event::End`] follows.
    Request(Request),
    /// A piece of the body as it arrived, never empty.
    Data(Bytes),
    /// The trailers, as a head without a status, of which [`Event::End`] follows. Fields that may not stand there were
    /// left out.
    Trailers(ResponseHead),
    /// The body, trailers included, is complete.
    End,
}

/// The part of a request that the connection waits for, by which the caller chooses a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// A request's head.
    Head {
        /// Whether some bytes of the head have arrived.
        started: bool,
    },
    /// More of a body.
    Body,
    /// No part: the request is complete, broken, or held back by its client until `100 Continue`.
    Nothing,
}

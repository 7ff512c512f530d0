//! The end of a connection.

use std::io;

use hcrs_http::Fault;

use crate::frame::ErrorCode;

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

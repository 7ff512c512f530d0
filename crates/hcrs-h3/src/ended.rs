//! The end of a connection.

use hcrs_http::Fault;

use crate::error::ErrorCode;

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

//! Requests in flight, as an operator sees them.

use std::fmt::Write as _;
use std::time::Duration;

use crate::label::Protocol;

/// The most bytes of a method that are shown.
pub const METHOD_SHOWN_MAX: usize = 24;
/// The most bytes of a path that are shown.
pub const PATH_SHOWN_MAX: usize = 200;

/// The stage of a request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for a worker.
    Queued,
    /// A worker has it, and has not sent the response's head.
    App,
    /// The response is being sent.
    Sending,
}

impl Stage {
    /// Returns the name of the stage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::App => "app",
            Self::Sending => "sending",
        }
    }
}

/// A worker, by its slot and its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerName {
    /// The worker's slot, counted from 0.
    pub slot: usize,
    /// The process id.
    pub pid: u32,
}

/// A request in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveRequest {
    /// The number of the edge thread that has its connection.
    pub thread: usize,
    /// The connection's number on that thread.
    pub connection: u64,
    /// The number of the stream, if the protocol has streams.
    pub stream: Option<u64>,
    /// The protocol.
    pub protocol: Protocol,
    /// The method, escaped, at most [`METHOD_SHOWN_MAX`] bytes.
    pub method: String,
    /// The path without the query, which may hold secrets; escaped, at most [`PATH_SHOWN_MAX`] bytes.
    pub path: String,
    /// The time since it arrived.
    pub age: Duration,
    /// The stage.
    pub stage: Stage,
    /// The worker that it was sent to.
    pub worker: Option<WorkerName>,
}

impl ActiveRequest {
    /// Returns the text of a client for a terminal or a page: printable ASCII stays, a `\` is doubled, each
    /// other byte becomes `\xNN`. What exceeds `max` bytes is cut off.
    pub fn shown(text: &[u8], max: usize) -> String {
        let mut shown = String::with_capacity(text.len().min(max));
        for &byte in text {
            let end = shown.len();
            let _infallible = match byte {
                b'\\' => write!(shown, "\\\\"),
                0x20..=0x7e => write!(shown, "{}", char::from(byte)),
                _ => write!(shown, "\\x{byte:02x}"),
            };
            if shown.len() > max {
                shown.truncate(end);
                break;
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_is_escaped_and_cut_at_whole_escapes() {
        assert_eq!(ActiveRequest::shown(b"/a b?", 200), "/a b?");
        assert_eq!(ActiveRequest::shown(b"/\x1b[2J\\\n\xff", 200), "/\\x1b[2J\\\\\\x0a\\xff");
        assert_eq!(ActiveRequest::shown(b"/ab\n", 6), "/ab", "half an escape would be another text");
        assert_eq!(ActiveRequest::shown(&[b'x'; 1000], 200).len(), 200);
    }
}

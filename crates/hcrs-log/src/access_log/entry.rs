//! The facts about a request when it is over.

use std::time::Duration;

use hcrs_http::trace_context::TraceParent;
use hcrs_http::{Address, Fault, Fields, Scheme};

/// A finished request, or one that was refused before its head was complete.
#[derive(Debug, Clone)]
pub struct AccessEntry<'a> {
    /// The client; `None` on a unix socket.
    pub client: Option<Address<'a>>,
    /// The scheme of the connection.
    pub scheme: Scheme,
    /// `http/1.0`, `http/1.1` or `h2`.
    pub protocol: &'static str,
    /// The connection's number on its edge thread.
    pub connection: u64,
    /// The stream's number on its connection, where it has one.
    pub stream: Option<u64>,
    /// The method, as sent; empty if none could be read.
    pub method: &'a [u8],
    /// The path, as sent.
    pub path: &'a [u8],
    /// The query, without the path's question mark, as sent.
    pub query: &'a [u8],
    /// The version, as in `1.1`; empty if none could be read.
    pub version: &'a [u8],
    /// The request's fields; `None` if they could not be read.
    pub fields: Option<Fields<'a>>,
    /// The status of the response; `None` if none was begun.
    pub status: Option<u16>,
    /// The app's `content-length`, if the format shows it.
    pub content_length: Option<u64>,
    /// The values of the response's fields that the format shows, in its order.
    pub response_fields: &'a [Option<Box<[u8]>>],
    /// The number of bytes of the response's body that were sent.
    pub bytes_sent: u64,
    /// The number of bytes of the request's body that arrived.
    pub bytes_received: u64,
    /// The time from the request's head to the response's end.
    pub duration: Duration,
    /// The time from the request's head to its sending to the worker that has it; `None` if none had.
    pub queue_time: Option<Duration>,
    /// The time from the request's head to the response's head.
    pub head_time: Option<Duration>,
    /// The process id of the worker that had it.
    pub worker: Option<u32>,
    /// The id of the request, if requests have one.
    pub request_id: Option<&'a [u8]>,
    /// The trace that the request belongs to and its parent span, if the server looks at them.
    pub trace: Option<TraceParent<'a>>,
    /// The fault that ended it, if there is one.
    pub fault: Option<Fault>,
}

impl<'a> AccessEntry<'a> {
    /// Returns the request's field `name`, given in lower case; of several the last, as in Hypercorn.
    pub(super) fn field(&self, name: &[u8]) -> Option<&'a [u8]> {
        let fields = self.fields.clone()?;
        // Field names of requests are in lower case.
        fields.filter(|(other, _)| *other == name).last().map(|(_, value)| value)
    }
}

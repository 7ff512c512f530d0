//! The spans of a request.

use std::time::{Duration, SystemTime};

/// The id of a span: 16 hexadecimal digits.
pub type SpanId = [u8; 16];

/// The longest method, path and host that a span has, in bytes. It bounds what waits for the collector.
pub(crate) const TEXT_MAX: usize = 256;

/// A request that is over. It becomes a span of its own, and one for each of its stages below it: in the queue,
/// in the app, and on the way to the client.
#[derive(Debug, Clone)]
pub struct Span {
    /// The id of the trace: 32 hexadecimal digits.
    pub trace_id: [u8; 32],
    /// The id of the span, which is the parent of the app's.
    pub id: SpanId,
    /// The client's span, if the trace began there.
    pub parent: Option<SpanId>,
    /// When the request arrived.
    pub start: SystemTime,
    /// The time from the request's head to the response's end.
    pub duration: Duration,
    /// The time from the request's head to its sending to a worker.
    pub queue: Option<Duration>,
    /// The time from the request's head to the response's head.
    pub head: Option<Duration>,
    /// The method.
    pub method: String,
    /// The path, as sent, without the query, in which secrets may stand.
    pub path: String,
    /// The host that the client named; empty if it named none.
    pub host: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The version of HTTP, as in `1.1`.
    pub version: &'static str,
    /// The status of the response; `None` if none was begun.
    pub status: Option<u16>,
    /// The name of the fault that ended the request, if there is one.
    pub fault: Option<&'static str>,
    /// Whether it failed on this side.
    pub is_error: bool,
    /// The process id of the worker that had it.
    pub worker: Option<u32>,
}

impl Span {
    /// Returns the part of a text that a span has.
    pub fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]).into_owned()
    }
}

#[cfg(feature = "export")]
#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a span with all parts.
    pub(crate) fn span() -> Span {
        Span {
            trace_id: *b"4bf92f3577b34da6a3ce929d0e0e4736",
            id: *b"00f067aa0ba902b7",
            parent: Some(*b"1111111111111111"),
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_406_491),
            duration: Duration::from_millis(30),
            queue: Some(Duration::from_millis(1)),
            head: Some(Duration::from_millis(20)),
            method: "GET".to_owned(),
            path: "/a\"b".to_owned(),
            host: "a.test".to_owned(),
            scheme: "https",
            version: "2",
            status: Some(502),
            fault: Some("worker_lost"),
            is_error: true,
            worker: Some(4242),
        }
    }

    #[test]
    fn texts_are_bounded() {
        assert_eq!(Span::text(b"/a\xff"), "/a\u{fffd}");
        assert_eq!(Span::text(&[b'a'; 1000]).len(), TEXT_MAX);
    }
}

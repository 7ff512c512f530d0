//! The fault table: everything that can end or refuse an exchange, and all that follows from it.
//!
//! The response's status, the HTTP/2 error code, the WebSocket's close code, the log level, the counter's
//! name and whether the connection closes are decided here and nowhere else.

use crate::close_code;

/// The party to blame for a fault. It decides how loud the log is about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client: expected on an open network.
    Peer,
    /// The Python app. The worker itself logs the traceback, at error.
    App,
    /// A worker process that died, broke the link or was replaced.
    Worker,
    /// A server that a route proxies to.
    Upstream,
    /// Too much load: a limit was reached.
    Overload,
}

impl Blame {
    /// Returns the name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "client",
            Self::App => "app",
            Self::Worker => "worker",
            Self::Upstream => "upstream",
            Self::Overload => "overload",
        }
    }

    /// Returns the level at which the edge logs such a fault.
    pub fn log_level(self) -> FaultLogLevel {
        match self {
            Self::Peer | Self::App => FaultLogLevel::Debug,
            Self::Worker | Self::Upstream | Self::Overload => FaultLogLevel::Warn,
        }
    }
}

/// The level of a log record about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultLogLevel {
    /// One record for each fault, for an operator who is looking for it.
    Debug,
    /// One record for all faults of some seconds, for any operator.
    Warn,
}

/// The extent of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// One exchange; its connection goes on (on HTTP/1.1 only if framing allows).
    Stream,
    /// The whole connection.
    Connection,
}

/// An error code of HTTP/2 (RFC 9113 §7); `as u32` is its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum H2Code {
    /// `NO_ERROR`
    NoError = 0x0,
    /// `PROTOCOL_ERROR`
    ProtocolError = 0x1,
    /// `INTERNAL_ERROR`
    InternalError = 0x2,
    /// `REFUSED_STREAM`
    RefusedStream = 0x7,
    /// `CANCEL`
    Cancel = 0x8,
    /// `ENHANCE_YOUR_CALM`
    EnhanceYourCalm = 0xb,
}

/// The reason why an exchange was ended or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request breaks the protocol; the text describes how.
    BadRequest(&'static str),
    /// The request's head, or its trailer section, has more bytes or fields than allowed.
    HeadTooLarge,
    /// The request's target is longer than allowed.
    TargetTooLong,
    /// The request's body is longer than allowed.
    BodyTooLarge,
    /// The method or target form is one that this server does not serve (CONNECT).
    MethodNotAllowed,
    /// The request's host is none of those that are served here.
    UnknownHost,
    /// No route takes the request, and no app is the default one.
    NoRoute,
    /// The request has an `Expect` other than `100-continue`.
    ExpectationFailed,
    /// The request has a protocol version that is not supported.
    VersionNotSupported,
    /// The request has a transfer coding that is not supported.
    CodingNotSupported,
    /// The request's head did not arrive in time.
    HeadTimeout,
    /// The request's body stopped arriving.
    BodyTimeout,
    /// The client stopped reading.
    WriteStalled,
    /// The client reset the stream or closed the connection.
    ClientGone,
    /// The client caused more resets than an honest client needs (CVE-2023-44487, CVE-2025-8671).
    TooManyResets,
    /// The client sent more frames without progress than an honest client does.
    TooManyFrames,
    /// The app raised, returned early, or sent what cannot be sent.
    AppFailed,
    /// The worker died after it had begun the request.
    WorkerLost,
    /// The worker was replaced, and the request outlasted the time that its drain allows.
    RetireTimeout,
    /// No upstream could be reached, or it broke off or sent what is no response.
    UpstreamFailed,
    /// The upstream did not answer, or stopped reading or sending, for as long as it may.
    UpstreamTimeout,
    /// All connections to the upstreams are taken, and too many requests wait for one, or this one has for too long.
    UpstreamBusy,
    /// No worker began the request within the queue timeout.
    QueueTimeout,
    /// The queue is full.
    QueueFull,
    /// The server is shutting down and the drain's deadline has passed.
    DrainTimeout,
    /// The client's address is not allowed.
    Forbidden,
    /// The request has no name and password, or a wrong one.
    Unauthorized,
    /// Too many names and passwords wait to be verified.
    AuthQueueFull,
    /// The client makes more requests than its rate allows. The next is allowed in this number of seconds.
    RateLimited(u32),
    /// The response was not complete within the request's timeout.
    RequestTimeout,
}

/// A row of the table.
struct Row {
    blame: Blame,
    reach: Reach,
    status: u16,
    h2_code: H2Code,
    close_code: Option<u16>,
    counter: &'static str,
    text: &'static str,
}

impl Fault {
    /// All faults, in the order of [`Fault::index`].
    pub const ALL: [Self; 30] = [
        Self::BadRequest("malformed request"),
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::BodyTooLarge,
        Self::MethodNotAllowed,
        Self::UnknownHost,
        Self::ExpectationFailed,
        Self::VersionNotSupported,
        Self::CodingNotSupported,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::WriteStalled,
        Self::ClientGone,
        Self::TooManyResets,
        Self::TooManyFrames,
        Self::AppFailed,
        Self::WorkerLost,
        Self::RetireTimeout,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
        Self::UpstreamBusy,
        Self::QueueTimeout,
        Self::QueueFull,
        Self::DrainTimeout,
        Self::NoRoute,
        Self::Forbidden,
        Self::Unauthorized,
        Self::AuthQueueFull,
        Self::RateLimited(1),
        Self::RequestTimeout,
    ];

    /// Returns the place of the fault in [`Fault::ALL`], whatever its text or number.
    pub fn index(self) -> usize {
        match self {
            Self::BadRequest(_) => 0,
            Self::HeadTooLarge => 1,
            Self::TargetTooLong => 2,
            Self::BodyTooLarge => 3,
            Self::MethodNotAllowed => 4,
            Self::UnknownHost => 5,
            Self::ExpectationFailed => 6,
            Self::VersionNotSupported => 7,
            Self::CodingNotSupported => 8,
            Self::HeadTimeout => 9,
            Self::BodyTimeout => 10,
            Self::WriteStalled => 11,
            Self::ClientGone => 12,
            Self::TooManyResets => 13,
            Self::TooManyFrames => 14,
            Self::AppFailed => 15,
            Self::WorkerLost => 16,
            Self::RetireTimeout => 17,
            Self::UpstreamFailed => 18,
            Self::UpstreamTimeout => 19,
            Self::UpstreamBusy => 20,
            Self::QueueTimeout => 21,
            Self::QueueFull => 22,
            Self::DrainTimeout => 23,
            Self::NoRoute => 24,
            Self::Forbidden => 25,
            Self::Unauthorized => 26,
            Self::AuthQueueFull => 27,
            Self::RateLimited(_) => 28,
            Self::RequestTimeout => 29,
        }
    }

    /// The table. Columns: blame, reach, status, HTTP/2 error code, WebSocket close code, counter, text.
    #[rustfmt::skip]
    fn row(self) -> Row {
        use Blame::{App, Overload, Peer, Upstream, Worker};
        use H2Code::{Cancel, EnhanceYourCalm, InternalError, NoError, ProtocolError, RefusedStream};
        use Reach::{Connection, Stream};
        use close_code::{GOING_AWAY, INTERNAL_ERROR, POLICY_VIOLATION, SERVICE_RESTART};
        let (blame, reach, status, h2_code, close_code, counter, text) = match self {
            Self::BadRequest(text) => (Peer, Stream, 400, ProtocolError, None, "bad_request", text),
            Self::HeadTooLarge =>
                (Peer, Stream, 431, ProtocolError, None, "head_too_large", "request head too large"),
            Self::TargetTooLong =>
                (Peer, Stream, 414, ProtocolError, None, "target_too_long", "request target too long"),
            Self::BodyTooLarge =>
                (Peer, Stream, 413, Cancel, None, "body_too_large", "request body too large"),
            Self::MethodNotAllowed =>
                (Peer, Stream, 405, ProtocolError, None, "method_not_allowed", "method not served"),
            Self::UnknownHost => (Peer, Stream, 404, NoError, None, "unknown_host", "host not served"),
            Self::NoRoute => (Peer, Stream, 404, NoError, None, "no_route", "no route takes the request"),
            Self::ExpectationFailed =>
                (Peer, Stream, 417, ProtocolError, None, "expectation_failed", "unknown expectation"),
            Self::VersionNotSupported =>
                (Peer, Connection, 505, ProtocolError, None, "version_not_supported",
                 "protocol version not supported"),
            Self::CodingNotSupported =>
                (Peer, Stream, 501, ProtocolError, None, "coding_not_supported",
                 "transfer coding not supported"),
            Self::HeadTimeout =>
                (Peer, Connection, 408, NoError, None, "head_timeout", "request head did not arrive in time"),
            Self::BodyTimeout =>
                (Peer, Stream, 408, Cancel, Some(POLICY_VIOLATION), "body_timeout",
                 "request body stopped arriving"),
            Self::WriteStalled =>
                (Peer, Stream, 500, Cancel, None, "write_stalled", "client stopped reading"),
            Self::ClientGone => (Peer, Stream, 500, Cancel, None, "gone", "client went away"),
            Self::TooManyResets =>
                (Peer, Connection, 429, EnhanceYourCalm, None, "too_many_resets", "too many stream resets"),
            Self::TooManyFrames =>
                (Peer, Connection, 429, EnhanceYourCalm, None, "too_many_frames",
                 "too many frames without progress"),
            Self::AppFailed =>
                (App, Stream, 500, InternalError, Some(INTERNAL_ERROR), "app_failed", "app failed"),
            Self::WorkerLost =>
                (Worker, Stream, 502, InternalError, Some(SERVICE_RESTART), "worker_lost", "worker died"),
            Self::RetireTimeout =>
                (Worker, Stream, 502, InternalError, Some(SERVICE_RESTART), "retire_timeout",
                 "cut off in a worker that was replaced"),
            Self::UpstreamFailed =>
                (Upstream, Stream, 502, InternalError, None, "upstream_failed", "upstream failed"),
            Self::UpstreamTimeout =>
                (Upstream, Stream, 504, InternalError, None, "upstream_timeout",
                 "upstream did not answer in time"),
            Self::UpstreamBusy =>
                (Overload, Stream, 503, RefusedStream, None, "upstream_busy",
                 "no connection to an upstream was free"),
            Self::QueueTimeout =>
                (Overload, Stream, 503, RefusedStream, None, "queue_timeout",
                 "no worker took the request in time"),
            Self::QueueFull =>
                (Overload, Stream, 503, RefusedStream, None, "queue_full", "request queue full"),
            Self::DrainTimeout =>
                (Overload, Stream, 503, Cancel, Some(GOING_AWAY), "drain_timeout",
                 "cut off at the end of the drain"),
            Self::Forbidden => (Peer, Stream, 403, NoError, None, "forbidden", "client's address not allowed"),
            Self::Unauthorized =>
                (Peer, Stream, 401, NoError, None, "unauthorized", "no valid name and password"),
            Self::AuthQueueFull =>
                (Overload, Stream, 503, RefusedStream, None, "auth_queue_full",
                 "too many passwords to verify"),
            Self::RateLimited(_) => (Peer, Stream, 429, NoError, None, "rate_limited", "too many requests"),
            Self::RequestTimeout =>
                (App, Stream, 504, Cancel, None, "request_timeout",
                 "response not complete within request_timeout"),
        };
        Row { blame, reach, status, h2_code, close_code, counter, text }
    }

    /// Returns the party to blame.
    pub fn blame(self) -> Blame {
        self.row().blame
    }

    /// Returns the extent of the fault.
    pub fn reach(self) -> Reach {
        self.row().reach
    }

    /// Whether the fault ends the connection and not only the exchange.
    pub fn closes_connection(self) -> bool {
        self.reach() == Reach::Connection
    }

    /// Returns the status of the response, for an exchange whose response has not begun.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// Returns the code of the `RST_STREAM`, or of the GOAWAY if the fault reaches the connection.
    pub fn h2_code(self) -> H2Code {
        self.row().h2_code
    }

    /// Returns the code of the Close frame that ends an open WebSocket; `None` for a fault that ends none, or
    /// that leaves no way to send the frame.
    pub fn close_code(self) -> Option<u16> {
        self.row().close_code
    }

    /// Returns the level at which the edge logs the fault.
    pub fn log_level(self) -> FaultLogLevel {
        self.blame().log_level()
    }

    /// Returns the name of the fault's counter in metrics.
    pub fn counter(self) -> &'static str {
        self.row().counter
    }

    /// Returns the description for logs.
    pub fn as_str(self) -> &'static str {
        self.row().text
    }

    /// Returns the value of the response's `allow` field, which RFC 9110 §15.5.6 requires with 405. It is
    /// empty: a target that is refused like that has no methods here.
    pub fn allow(self) -> Option<&'static str> {
        (self.status() == 405).then_some("")
    }

    /// Returns the value of the response's `retry-after` field, in seconds, where trying again is sensible.
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Self::RateLimited(seconds) => Some(seconds),
            _ => (self.blame() == Blame::Overload).then_some(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_is_not_served_gets_an_allow_that_names_none() {
        assert_eq!(Fault::MethodNotAllowed.allow(), Some(""));
        assert_eq!(Fault::HeadTooLarge.allow(), None);
    }

    #[test]
    fn the_list_has_each_fault_in_its_place_with_a_counter_of_its_own() {
        let mut counters: Vec<_> = Fault::ALL.iter().map(|fault| fault.counter()).collect();
        for (at, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(fault.index(), at, "{fault:?}");
        }
        counters.sort_unstable();
        counters.dedup();
        assert_eq!(counters.len(), Fault::ALL.len());
    }

    #[test]
    fn blame_decides_how_loud_the_log_is() {
        for (fault, level) in [
            (Fault::ClientGone, FaultLogLevel::Debug),
            (Fault::AppFailed, FaultLogLevel::Debug),
            (Fault::WorkerLost, FaultLogLevel::Warn),
            (Fault::QueueFull, FaultLogLevel::Warn),
        ] {
            assert_eq!(fault.log_level(), level, "{fault:?}");
        }
    }

    #[test]
    fn overload_and_rates_ask_the_client_to_try_again() {
        assert_eq!(Fault::RateLimited(7).retry_after(), Some(7));
        assert_eq!(Fault::QueueTimeout.retry_after(), Some(1));
        assert_eq!(Fault::WorkerLost.retry_after(), None);
    }
}

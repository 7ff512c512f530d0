//! The labels of metrics, and all values that each may have.

use hcrs_http::{Fault, Version};

/// A label of metrics whose values are known beforehand, so that the number of series is bounded.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// All values.
    const ALL: &'static [Self];

    /// Returns the place of the value in [`Label::ALL`].
    fn index(self) -> usize;

    /// Returns the text of the value.
    fn as_str(self) -> &'static str;
}

/// Defines a label and its values.
macro_rules! label {
    ($(#[$doc:meta])* $type:ident, $name:literal, { $($(#[$of:meta])* $value:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type { $($(#[$of])* $value),+ }

        impl Label for $type {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }
        }
    };
}

label!(
    /// The protocol of a request.
    Protocol, "protocol", {
        /// HTTP/1.0
        Http10 => "http/1.0",
        /// HTTP/1.1
        Http11 => "http/1.1",
        /// HTTP/2
        Http2 => "h2",
        /// HTTP/3
        Http3 => "h3",
        /// A WebSocket, over any version.
        WebSocket => "websocket",
    }
);

impl Protocol {
    /// Returns the protocol of a request of this version.
    pub fn of(version: Version, is_websocket: bool) -> Self {
        match version {
            _ if is_websocket => Self::WebSocket,
            Version::Http10 => Self::Http10,
            Version::Http11 => Self::Http11,
            Version::Http2 => Self::Http2,
            Version::Http3 => Self::Http3,
        }
    }
}

label!(
    /// The protocol of a connection.
    ConnectionProtocol, "protocol", {
        /// Neither ALPN nor the first bytes have decided yet.
        Unknown => "unknown",
        /// HTTP/1.0 or HTTP/1.1.
        Http1 => "http/1",
        /// HTTP/2
        Http2 => "h2",
        /// HTTP/3
        Http3 => "h3",
    }
);

label!(
    /// The class of a response's status.
    StatusClass, "status", {
        /// 101
        Informational => "1xx",
        /// 200 to 299
        Success => "2xx",
        /// 300 to 399
        Redirection => "3xx",
        /// 400 to 499
        ClientError => "4xx",
        /// 500 to 599
        ServerError => "5xx",
        /// No response was begun: the client went away before.
        None => "none",
    }
);

impl StatusClass {
    /// Returns the class of the status of a response; that of no response without one.
    #[inline]
    pub fn of(status: Option<u16>) -> Self {
        match status.unwrap_or_default() {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::None,
        }
    }
}

label!(
    /// The reason why a TLS handshake failed.
    HandshakeFailure, "reason", {
        /// No whole `ClientHello` arrived in time.
        NoHello => "no_hello",
        /// The handshake was not finished in time.
        Timeout => "timeout",
        /// The client closed the connection, or it was lost.
        Disconnect => "disconnect",
        /// The client has sent an alert: it does not accept the server's certificate, for example.
        Alert => "alert",
        /// The client's certificate is missing or not accepted.
        Certificate => "certificate",
        /// Client and server have no version, cipher suite or protocol in common.
        Incompatible => "incompatible",
        /// The client has sent something that is not TLS, or breaks its rules.
        Protocol => "protocol",
    }
);

label!(
    /// The place where the bytes of a body, of a WebSocket's messages, or of a connection, wait for credit.
    Stall, "at", {
        /// The body of a request, or a message for the app, waits until the app has taken more.
        RequestWindow => "request_window",
        /// The body of a request waits for room in the link to its worker.
        Link => "link",
        /// The worker has used up the window of a response, and waits until the client has taken more of it.
        ResponseWindow => "response_window",
        /// The body of a response waits for the client's HTTP/2 window.
        ClientWindow => "client_window",
        /// A connection waits because the client's socket takes no more bytes.
        ClientSocket => "client_socket",
    }
);

label!(
    /// The reason why a request was refused because of overload.
    ShedReason, "reason", {
        /// The queue was full.
        QueueFull => "queue_full",
        /// No worker began the request in time.
        QueueTimeout => "queue_timeout",
    }
);

impl ShedReason {
    /// Returns the fault that requests are refused with for this reason.
    pub fn fault(self) -> Fault {
        match self {
            Self::QueueFull => Fault::QueueFull,
            Self::QueueTimeout => Fault::QueueTimeout,
        }
    }
}

label!(
    /// The reason why a worker was replaced, restarted or ended.
    RestartCause, "cause", {
        /// The process ended by itself.
        Crash => "crash",
        /// It did not respond, and was killed.
        Hang => "hang",
        /// It had served as many requests as it may.
        MaxRequests => "max_requests",
        /// It had reached its age.
        Age => "age",
        /// It had taken too much memory.
        Rss => "rss",
        /// The operator, or a changed file, had asked for new workers.
        Reload => "reload",
        /// The number of workers was changed.
        Scale => "scale",
    }
);

label!(
    /// The state of a worker process.
    WorkerState, "state", {
        /// It is not ready on every link.
        Starting => "starting",
        /// It serves.
        Ready => "ready",
        /// It gets no more requests, and ends.
        Ending => "ending",
    }
);

impl Label for Fault {
    const NAME: &'static str = "fault";
    const ALL: &'static [Self] = &Self::ALL;

    #[inline]
    fn index(self) -> usize {
        Self::index(self)
    }

    fn as_str(self) -> &'static str {
        self.counter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Label>() {
        let mut texts: Vec<_> = L::ALL.iter().map(|value| value.as_str()).collect();
        for (at, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), at, "{} {}", L::NAME, value.as_str());
        }
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), L::ALL.len(), "{}: each value has a text of its own", L::NAME);
    }

    #[test]
    fn each_value_of_a_label_has_its_own_place_and_text() {
        check::<Protocol>();
        check::<ConnectionProtocol>();
        check::<StatusClass>();
        check::<HandshakeFailure>();
        check::<Stall>();
        check::<ShedReason>();
        check::<RestartCause>();
        check::<WorkerState>();
        check::<Fault>();
    }

    #[test]
    fn statuses_have_a_class_and_no_response_has_one_of_its_own() {
        let classes = [Some(101), Some(204), Some(304), Some(404), Some(599), None, Some(600), Some(99)];
        let texts = classes.map(|status| StatusClass::of(status).as_str());
        assert_eq!(texts, ["1xx", "2xx", "3xx", "4xx", "5xx", "none", "none", "none"]);
    }

    #[test]
    fn a_websocket_is_a_protocol_of_its_own() {
        assert_eq!(Protocol::of(Version::Http2, true), Protocol::WebSocket);
        assert_eq!(Protocol::of(Version::Http10, false), Protocol::Http10);
    }
}

//! What can go wrong with an exchange, who is to blame, how far it reaches, and what is answered.
//!
//! This is the one table: nobody else chooses a status, a reset code or a log level for a fault.

/// Who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client. Expected, counted, logged at debug.
    Peer,
    /// The Python app. Counted; the worker logs it at error, with its traceback where there is one.
    App,
    /// A worker process that died or broke the link. Counted; a warning tells how many requests it cost.
    Worker,
    /// Too much to do: a limit was reached. Counted; a warning tells how many requests were refused in a while.
    Load,
}

/// How far a fault reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// One exchange; its connection goes on (on HTTP/1.1 only if framing allows).
    Stream,
    /// The whole connection.
    Connection,
}

/// What ended an exchange, or refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request breaks the protocol; the text says how.
    BadRequest(&'static str),
    /// The request's head has more bytes or fields than allowed.
    HeadTooLarge,
    /// The request's target is longer than allowed.
    TargetTooLong,
    /// The method or target form is one that this server does not serve (CONNECT).
    MethodNotAllowed,
    /// A host that is none of those that are served here.
    UnknownHost,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// A protocol version that is not spoken here.
    VersionNotSupported,
    /// A transfer coding that is not spoken here.
    CodingNotSupported,
    /// The request's head did not arrive in time.
    HeadTimeout,
    /// The request's body stopped arriving.
    BodyTimeout,
    /// The request's body is longer than the app may be given.
    BodyTooLarge,
    /// The client stopped reading.
    WriteStalled,
    /// The client reset the stream or closed the connection.
    Gone,
    /// More resets than an honest client needs (CVE-2023-44487, CVE-2025-8671).
    TooManyResets,
    /// More frames without progress than an honest client sends.
    TooManyFrames,
    /// The app raised, returned early, or sent what cannot be sent.
    AppFailed,
    /// The worker died after it had begun the request.
    WorkerLost,
    /// The worker was replaced, and the request has outlasted the time that it had for what was under way.
    RetireTimeout,
    /// No worker took the request within the queue deadline.
    QueueTimeout,
    /// The queue is full.
    QueueFull,
    /// The server is going down and the drain's deadline has passed.
    DrainTimeout,
}

/// What a fault becomes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Status of the response, where none has been started and one can still be sent.
    pub status: u16,
    /// HTTP/2 error code (RFC 9113 §7) of the `RST_STREAM`, or of the GOAWAY if it reaches the connection.
    pub h2_code: u32,
    /// How far it reaches.
    pub reach: Reach,
}

impl Fault {
    /// Who is to blame.
    pub fn blame(self) -> Blame {
        match self {
            Self::BadRequest(_)
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::MethodNotAllowed
            | Self::UnknownHost
            | Self::ExpectationFailed
            | Self::VersionNotSupported
            | Self::CodingNotSupported
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::BodyTooLarge
            | Self::WriteStalled
            | Self::Gone
            | Self::TooManyResets
            | Self::TooManyFrames => Blame::Peer,
            Self::AppFailed => Blame::App,
            Self::WorkerLost | Self::RetireTimeout => Blame::Worker,
            Self::QueueTimeout | Self::QueueFull | Self::DrainTimeout => Blame::Load,
        }
    }

    /// The answer owed.
    pub fn answer(self) -> Answer {
        use Reach::{Connection, Stream};
        let (status, h2_code, reach) = match self {
            Self::BadRequest(_) => (400, PROTOCOL_ERROR, Stream),
            Self::HeadTooLarge => (431, PROTOCOL_ERROR, Stream),
            Self::TargetTooLong => (414, PROTOCOL_ERROR, Stream),
            Self::MethodNotAllowed => (405, PROTOCOL_ERROR, Stream),
            Self::UnknownHost => (404, NO_ERROR, Stream),
            Self::ExpectationFailed => (417, PROTOCOL_ERROR, Stream),
            Self::VersionNotSupported => (505, PROTOCOL_ERROR, Connection),
            Self::CodingNotSupported => (501, PROTOCOL_ERROR, Stream),
            Self::HeadTimeout => (408, NO_ERROR, Connection),
            Self::BodyTimeout => (408, CANCEL, Stream),
            Self::BodyTooLarge => (413, NO_ERROR, Stream),
            Self::WriteStalled | Self::Gone => (500, CANCEL, Stream),
            Self::TooManyResets | Self::TooManyFrames => (429, ENHANCE_YOUR_CALM, Connection),
            Self::AppFailed => (500, INTERNAL_ERROR, Stream),
            Self::WorkerLost | Self::RetireTimeout => (502, INTERNAL_ERROR, Stream),
            Self::QueueTimeout | Self::QueueFull => (503, REFUSED_STREAM, Stream),
            Self::DrainTimeout => (503, CANCEL, Stream),
        };
        Answer { status, h2_code, reach }
    }

    /// Seconds for `Retry-After`, where trying again is sensible.
    pub fn retry_after(self) -> Option<u32> {
        matches!(self.blame(), Blame::Load).then_some(1)
    }

    /// What metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnknownHost => "unknown_host",
            Self::ExpectationFailed => "expectation_failed",
            Self::VersionNotSupported => "version_not_supported",
            Self::CodingNotSupported => "coding_not_supported",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::WriteStalled => "write_stalled",
            Self::Gone => "gone",
            Self::TooManyResets => "too_many_resets",
            Self::TooManyFrames => "too_many_frames",
            Self::AppFailed => "app_failed",
            Self::WorkerLost => "worker_lost",
            Self::RetireTimeout => "retire_timeout",
            Self::QueueTimeout => "queue_timeout",
            Self::QueueFull => "queue_full",
            Self::DrainTimeout => "drain_timeout",
        }
    }

    /// What the operator reads in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest(why) => why,
            Self::HeadTooLarge => "request head too large",
            Self::TargetTooLong => "request target too long",
            Self::MethodNotAllowed => "method not served",
            Self::UnknownHost => "host not served",
            Self::ExpectationFailed => "unknown expectation",
            Self::VersionNotSupported => "protocol version not supported",
            Self::CodingNotSupported => "transfer coding not supported",
            Self::HeadTimeout => "request head did not arrive in time",
            Self::BodyTimeout => "request body stopped arriving",
            Self::BodyTooLarge => "request body too large",
            Self::WriteStalled => "client stopped reading",
            Self::Gone => "client went away",
            Self::TooManyResets => "too many stream resets",
            Self::TooManyFrames => "too many frames without progress",
            Self::AppFailed => "app failed",
            Self::WorkerLost => "worker died",
            Self::RetireTimeout => "cut off in a worker that was replaced",
            Self::QueueTimeout => "no worker took the request in time",
            Self::QueueFull => "request queue full",
            Self::DrainTimeout => "cut off at the end of the drain",
        }
    }
}

// RFC 9113 §7
const NO_ERROR: u32 = 0x0;
const PROTOCOL_ERROR: u32 = 0x1;
const INTERNAL_ERROR: u32 = 0x2;
const REFUSED_STREAM: u32 = 0x7;
const CANCEL: u32 = 0x8;
const ENHANCE_YOUR_CALM: u32 = 0xb;

//! The transport that a connection runs over, as far as HTTP/3 needs it.

use std::time::Duration;

use bytes::Bytes;

use crate::error::ErrorCode;

/// A QUIC connection, as the server's end of it. Streams have their numbers on the wire (RFC 9000 §2.1).
///
/// The caller reports what happens on it to the [`Connection`](crate::Connection): `opened`, `readable`,
/// `writable`, `finished` and `stopped`. All calls below are made within a turn and return at once.
///
/// The transport's flow control does what HTTP/2's windows do. Its windows have to hold what a client may send
/// although no app reads it: a stream's is [`Settings::stream_window`](crate::Settings::stream_window) or
/// more, and the connection's is not smaller than those of all streams together, so that a body that is not
/// read does not stop another one.
pub trait Transport {
    /// Takes the next bytes of a stream, in order and at most `max`. It is called until it returns something
    /// other than bytes, or until there is no room; after [`Read::Blocked`] not before the stream was reported as
    /// readable, and never again after [`Read::Finished`] and [`Read::Reset`].
    fn read(&mut self, id: u64, max: usize) -> Read;

    /// Takes bytes to be sent on a stream: advances `chunks` behind the bytes that were taken. It is called until
    /// all is taken or it returns something other than [`Write::Taken`]; after [`Write::Blocked`] not before the
    /// stream was reported as writable.
    fn write(&mut self, id: u64, chunks: &mut [Bytes]) -> Write;

    /// Ends a stream behind the bytes that were written. The stream has to be reported as finished once the
    /// client has acknowledged all of them.
    fn finish(&mut self, id: u64);

    /// Ends a stream at once (`RESET_STREAM`). Bytes that were not sent are dropped. A stream that is over is
    /// left as it is.
    fn reset(&mut self, id: u64, code: ErrorCode);

    /// Asks the client to end a stream (`STOP_SENDING`). Bytes that arrive on it are dropped. A stream that is
    /// over is left as it is.
    fn stop_sending(&mut self, id: u64, code: ErrorCode);

    /// Opens a unidirectional stream to the client. `None` if the client allows no more.
    fn open_uni(&mut self) -> Option<u64>;

    /// Sets the order in which streams are sent: those with a greater number first, and those with the same one
    /// in turns. Streams begin with 0.
    fn set_priority(&mut self, id: u64, priority: i32);

    /// Closes the connection. Nothing that waits is sent.
    fn close(&mut self, code: ErrorCode);

    /// Returns the current estimate of the round-trip time.
    fn rtt(&self) -> Duration;
}

/// The result of [`Transport::read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Bytes, at least one.
    Bytes(Bytes),
    /// There are none for now.
    Blocked,
    /// The client has ended the stream, and all its bytes were taken.
    Finished,
    /// The client has reset the stream.
    Reset,
}

/// The result of [`Transport::write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Bytes were taken, at least one.
    Taken,
    /// None are taken for now: the client's window or the transport's buffer is full.
    Blocked,
    /// The client has asked to stop, or the stream is over for another reason.
    Closed,
}

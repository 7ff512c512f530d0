//! The protocol of many streams, as their driver needs it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Endpoints, Fault, Field, RequestHead, ResponseHead};
use hcrs_mux::{Event, Sent, StreamKey};

use crate::state::ServerFields;

/// A connection with many streams, of HTTP/2 or HTTP/3. It is polled in turns, one for each poll of its task.
pub(in crate::drive) trait Connection: Sized {
    type Controls: Controls;
    type Turn<'a>: Turn<Controls = Self::Controls>
    where
        Self: 'a;

    /// Takes what has arrived, if that does not wait for the turn. Returns the client's new addresses if it has
    /// moved.
    fn receive(&mut self, now: Instant) -> Option<Rc<Endpoints>>;

    /// Begins a turn, whose responses get these fields.
    fn begin_turn<'a>(&'a mut self, fields: &ServerFields) -> Self::Turn<'a>;

    /// Sends what turns have left. `Pending` if the transport takes no more for now.
    fn poll_flush(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>>;

    /// Whether the transport has taken bytes since the last call.
    fn take_progress(&mut self) -> bool;

    /// Writes what is left and closes the connection.
    fn poll_close(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()>;

    /// Returns the controls, between turns.
    fn controls(&mut self) -> &mut Self::Controls;

    /// Looks after the transport of a connection with something in flight: the client's silence alone is no reason
    /// to lose it, and it may have to send more if an app `is_hungry`.
    fn look_after(&mut self, is_hungry: bool, now: Instant);
}

/// The acts that are possible within a turn of a connection and between turns.
pub(in crate::drive) trait Controls {
    /// Ends a stream with a fault: sends the fault's response, with the field `own` too, if no head was sent, and
    /// resets the stream otherwise.
    fn fail(&mut self, key: StreamKey, fault: Fault, own: Option<Field<'_>>);

    /// Sends GOAWAY, and lets the open streams end.
    fn graceful_shutdown(&mut self);

    /// Sends the final GOAWAY; the connection ends once it is written.
    fn final_shutdown(&mut self);

    /// Ends the connection because of a fault, whose code the client gets.
    fn abrupt_shutdown(&mut self, fault: Fault);

    /// Returns the streams whose response has waited for the client since `instant` or longer.
    fn stalled_since(&self, instant: Instant) -> Vec<StreamKey>;

    /// Returns when a turn is needed although nothing has arrived, because of bodies that are not wanted any more
    /// or of a shutdown; `None` if there is no need.
    fn due_at(&self, now: Instant) -> Option<Instant>;

    /// Whether the whole connection waits for a head, or another frame that is no body, which the client has begun.
    fn awaits_head(&self) -> bool;

    /// Returns when the client began the oldest head that only its own stream waits for.
    fn oldest_head(&self) -> Option<Instant>;

    /// Resets the streams whose heads have taken longer than since `since`.
    fn refuse_heads(&mut self, since: Instant);
}

/// A turn of a connection.
pub(in crate::drive) trait Turn {
    type Controls: Controls;

    /// Returns the controls.
    fn controls(&mut self) -> &mut Self::Controls;

    /// Returns the next event.
    fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>>;

    /// Sends the head of an interim response.
    fn send_interim(&mut self, key: StreamKey, head: &ResponseHead) -> Result<(), Fault>;

    /// Sends a response's head, with `end` if no body follows. Returns whether the stream is over.
    fn send_head(&mut self, key: StreamKey, head: &ResponseHead, end: bool) -> Result<bool, Fault>;

    /// Sends bytes of a body, with `end` if they are the last.
    fn send_data(&mut self, now: Instant, key: StreamKey, data: Bytes, end: bool) -> Result<Sent, Fault>;

    /// Ends a response with trailers. Returns whether the stream is over.
    fn send_trailers(&mut self, now: Instant, key: StreamKey, trailers: &ResponseHead)
    -> Result<bool, Fault>;

    /// Promises a request to the client. The error has the head of one that cannot be promised.
    fn push(&mut self, parent: StreamKey, head: RequestHead) -> Result<(), RequestHead>;

    /// Notes that the app has taken bytes of a body.
    fn release(&mut self, key: StreamKey, len: usize);

    /// Lets the client send more, beyond the connection's own room only if `is_hungry`: an app reads a stream of
    /// which nothing is there.
    fn open_window(&mut self, is_hungry: impl FnOnce() -> bool);

    /// Takes the number of times that a response began to wait for the client.
    fn take_stalls(&mut self) -> u64;

    /// Ends the turn: writes what there is. `Pending` if the transport takes no more for now.
    fn end(self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>>;
}

/// The end of a connection.
#[derive(Debug)]
pub(in crate::drive) enum Ended {
    /// In order.
    Closed,
    /// The client broke the protocol; the text describes how, for the log.
    Protocol(String),
    /// By a fault.
    Fault(Fault),
    /// The transport failed.
    Io(io::Error),
}

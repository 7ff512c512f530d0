//! One HTTP/3 connection: its caller reports what happens on the transport, and in each turn polls it for
//! events and sends responses.

mod turn;

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use hcrs_http::{Endpoints, Fault, Field};
use hcrs_mux::{BodyRoom, ServerFields, StreamKey};

use crate::error::ErrorCode;
use crate::protocol::Protocol;
use crate::settings::Settings;
use crate::transport::Transport;

pub use turn::Turn;

/// The server side of one HTTP/3 connection.
///
/// A poll of its task is a [`Turn`], with which events are taken and responses sent. Before it the caller
/// reports what has happened on the transport.
#[derive(Debug)]
pub struct Connection {
    protocol: Protocol,
    /// The task that was last in a turn.
    task: Option<Waker>,
    in_turn: bool,
}

/// What has happened on the transport. None of it wakes the task.
impl Connection {
    /// Begins a connection over a transport whose handshake is complete. The request bodies that the connection
    /// holds count against `room`. The settings are sent in the first turn.
    pub fn new(settings: &Settings, endpoints: Rc<Endpoints>, room: &Rc<BodyRoom>) -> Self {
        Self { protocol: Protocol::new(settings, endpoints, room), task: None, in_turn: false }
    }

    /// Notes that the client has begun a stream, of either direction. It is read in the next turn; it need not
    /// be reported as readable.
    pub fn opened(&mut self, id: u64) {
        self.protocol.opened(id);
    }

    /// Notes that a stream of the client has bytes, has ended or was reset.
    pub fn readable(&mut self, id: u64) {
        self.protocol.readable(id);
    }

    /// Notes that a stream takes bytes again, after [`Write::Blocked`](crate::Write::Blocked).
    pub fn writable(&mut self, id: u64) {
        self.protocol.writable(id);
    }

    /// Notes that the client has acknowledged all bytes of a stream, and its end.
    pub fn finished(&mut self, id: u64) {
        self.protocol.finished(id);
    }

    /// Notes that the client has asked to stop sending on a stream (`STOP_SENDING`). The code does not matter.
    pub fn stopped(&mut self, id: u64) {
        self.protocol.stopped(id);
    }

    /// Changes the addresses of requests that begin later, because the client has moved.
    pub fn set_endpoints(&mut self, endpoints: Rc<Endpoints>) {
        self.protocol.set_endpoints(endpoints);
    }
}

impl Connection {
    /// Begins a turn: a poll of the connection by its task. Responses of this turn get the server's fields.
    pub fn begin_turn<'a>(&'a mut self, io: &'a mut dyn Transport, server_fields: &ServerFields) -> Turn<'a> {
        self.in_turn = true;
        self.protocol.begin_turn(server_fields);
        Turn::new(self, io)
    }

    /// Sends what is left, and closes the transport once the client has it. Events are dropped.
    pub fn poll_close(&mut self, io: &mut dyn Transport, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let fields = ServerFields::default();
        let mut turn = self.begin_turn(io, &fields);
        let ended = loop {
            match turn.poll_event(cx, now) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => break Poll::Ready(()),
                Poll::Pending => break Poll::Pending,
            }
        };
        turn.end(cx, now);
        ended
    }

    fn note_task(&mut self, cx: &Context<'_>) {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if !self.in_turn
            && let Some(task) = &self.task
        {
            task.wake_by_ref();
        }
    }
}

/// What may be done between turns, too. It wakes the task then, whose next turn writes the frames.
impl Connection {
    /// Ends a stream with a fault: sends a response with the fault's status if no head was sent, and resets
    /// the stream otherwise, which drops what the client does not have yet.
    pub fn fail(&mut self, key: StreamKey, fault: Fault) {
        self.fail_with(key, fault, None);
    }

    /// Like [`Connection::fail`]; the response has the field `own` too.
    pub fn fail_with(&mut self, key: StreamKey, fault: Fault, own: Option<Field<'_>>) {
        self.protocol.fail(key, fault, own);
        self.wake();
    }

    /// Sends GOAWAY, lets the open streams end, and then ends with [`Ended::Closed`](crate::Ended::Closed). A second GOAWAY
    /// follows after some round trips, when [`Connection::due_at`] says so.
    pub fn graceful_shutdown(&mut self) {
        self.protocol.leave();
        self.wake();
    }

    /// Sends the final GOAWAY, which names the first request that is not served, and ends as soon as the client
    /// has what was sent. Streams that are not answered are cut off then.
    pub fn final_shutdown(&mut self) {
        self.protocol.leave_finally();
        self.wake();
    }

    /// Closes the transport with the fault's code in the next turn.
    pub fn abrupt_shutdown(&mut self, fault: Fault) {
        self.protocol.leave_now(ErrorCode::of(fault));
        self.wake();
    }

    /// Takes the number of times that a response began to wait for the client's window.
    pub fn take_stalls(&mut self) -> u64 {
        self.protocol.take_stalls()
    }

    /// Returns the streams whose response has waited for the client's window since `instant` or longer. Some may
    /// be answered and over for the app; [`Connection::fail`] resets them.
    pub fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        self.protocol.stalled_since(instant)
    }

    /// Returns the instant at which a turn has to poll for events although nothing was reported, because of
    /// unwanted bodies or a shutdown; `None` if there is no need.
    pub fn due_at(&self, now: Instant) -> Option<Instant> {
        self.protocol.due_at(now)
    }

    /// Whether the client has not sent its settings.
    pub fn awaits_settings(&self) -> bool {
        self.protocol.awaits_settings()
    }

    /// Returns the instant at which the oldest head that is not complete began to arrive.
    pub fn oldest_head(&self) -> Option<Instant> {
        self.protocol.oldest_head()
    }

    /// Resets the streams whose head began to arrive at `since` or before, and is not complete. Nothing is
    /// known of them that could be answered or logged.
    pub fn refuse_heads(&mut self, since: Instant) {
        self.protocol.refuse_heads(since);
        self.wake();
    }
}

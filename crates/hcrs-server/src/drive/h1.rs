//! Drives an HTTP/1.1 connection: one exchange at a time, in order.

mod writing;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hcrs_h1::{Awaits, Connection, Event};
use hcrs_http::Fault;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::in_flight::record_unread;
use super::lifecycle::{Lifecycle, TICK};
use super::{InFlight, run_again};
use crate::client::Client;
use crate::clock;
use crate::exchange::Output;
use crate::exchange::send_file::SendFile;
use crate::request::{Arrived, Intake};
use crate::state::{FIRST_REQUEST, Phase};

/// The room for one read, in bytes.
const READ: usize = 16 << 10;

/// The number of bytes of a body that may be unread by the app before the socket is read no further.
const UNREAD_MAX: usize = 128 << 10;

/// The number of bytes of pipelined requests that are read while a response is in flight.
const PIPELINE_MAX: usize = 16 << 10;

/// The number of bytes that may wait for the client before no more is taken from the exchange.
const OUT_MAX: usize = 128 << 10;

/// The number of bytes that are read in one turn, before other connections get theirs: 64 KiB are 11,000
/// pings of a WebSocket.
const READ_PER_TURN: usize = 64 << 10;

/// The number of bytes of a file that are sent in one turn, before other connections get theirs.
const FILE_PER_TURN: usize = 1 << 20;

/// The number of bytes of a request's body that are read and dropped after an early response, so that the
/// connection can be kept.
const SKIP_MAX: usize = 1 << 20;

/// How long, and how many bytes, are read and dropped before a connection is closed: closing with unread
/// bytes would reset it, and the client might lose the response.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_MAX: usize = 1 << 20;

/// Serves the connection until it ends. `input` holds bytes that were already read.
pub(crate) async fn drive<T: AsyncRead + AsyncWrite + SendFile + Unpin>(
    client: Client,
    io: T,
    input: BytesMut,
) {
    let settings = &client.admitted.shared.settings.connection;
    let now = clock::now();
    let mut driver = Driver {
        connection: Connection::new(&settings.h1, client.scheme, Rc::clone(&client.endpoints)),
        lifecycle: Lifecycle::new(settings, now),
        io,
        input,
        input_ended: false,
        out: Vec::new(),
        written: 0,
        flush_owed: false,
        file_is_next: false,
        file_room: 0,
        read_room: 0,
        in_flight: None,
        // Unlimited, because requests run one at a time, and those that a client has abandoned end with their
        // connection.
        intake: Intake::new(&client, usize::MAX),
        requests: 0,
        skipped: 0,
        closing: false,
        has_polled_again: false,
        client,
    };
    let ended = poll_fn(|cx| driver.poll(cx)).await;
    if let Err(End::Fault(fault)) = &ended
        && let Some(in_flight) = driver.in_flight.take()
    {
        in_flight.cut(&driver.client, *fault, clock::now());
    }
    match ended {
        Ok(()) => {
            // The outcome does not matter: the client has its response, or is gone.
            let _closed = tokio::time::timeout(LINGER, driver.close()).await;
        }
        Err(End::Fault(fault)) => driver.client.note_fault(fault),
        Err(End::Io(error)) => driver.client.note_loss(&error),
    }
}

/// The reason why a connection ended out of order.
#[derive(Debug)]
enum End {
    Fault(Fault),
    Io(std::io::Error),
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

struct Driver<T> {
    client: Client,
    connection: Connection,
    io: T,
    input: BytesMut,
    input_ended: bool,
    out: Vec<u8>,
    written: usize,
    flush_owed: bool,
    /// Whether the response continues, behind `out`, with a file that the socket sends directly.
    file_is_next: bool,
    /// The number of bytes of that file that may still be sent in this turn.
    file_room: usize,
    /// The number of bytes that may still be read in this turn.
    read_room: usize,
    in_flight: Option<InFlight>,
    intake: Intake,
    requests: u64,
    /// The number of bytes of an unwanted body that were dropped so far.
    skipped: usize,
    /// Whether no other exchange follows; the bytes in `out` are still written.
    closing: bool,
    /// Whether the socket was polled for a last request after a drain began.
    has_polled_again: bool,
    lifecycle: Lifecycle,
}

impl<T: AsyncRead + AsyncWrite + SendFile + Unpin> Driver<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        self.client.admitted.mailbox.begin_turn(cx.waker());
        let now = clock::now();
        self.file_room = FILE_PER_TURN;
        self.read_room = READ_PER_TURN;
        self.client.admitted.shared.websockets.begin_turn();
        if let Some(in_flight) = &self.in_flight {
            in_flight.exchange.resume();
        }
        match self.client.admitted.shared.phase() {
            Phase::Serving => {}
            Phase::Draining | Phase::Finishing => {
                if let Some(in_flight) = &self.in_flight {
                    in_flight.exchange.go_away(now);
                }
            }
            Phase::Cut => self.fail(Fault::DrainTimeout, now),
        }
        loop {
            self.answer(now);
            self.read_events(now);
            if self.poll_write(cx, now)?.is_ready()
                && self.file_is_next
                && self.poll_file(cx, now)?.is_ready()
            {
                continue;
            }
            if self.closing && self.is_drained() {
                return Poll::Ready(Ok(()));
            }
            let has_room = self.out.len() < OUT_MAX && !self.file_is_next;
            if has_room && self.in_flight.as_ref().is_some_and(|in_flight| in_flight.exchange.has_output()) {
                continue;
            }
            // A client that does not read may still send the rest of its body, or close.
            if !self.wants_input() {
                break;
            }
            if self.read_room == 0 {
                run_again(cx);
                break;
            }
            match self.poll_input(cx)? {
                Poll::Ready(()) => {}
                Poll::Pending => break,
            }
        }
        if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.exchange.has_yielded()) {
            run_again(cx);
        }
        if self.may_close_in_drain(now) {
            if self.has_polled_again {
                self.closing = true;
                if self.is_drained() {
                    return Poll::Ready(Ok(()));
                }
            }
            // A request may have arrived together with the signal, on a socket that was not polled yet.
            self.has_polled_again = true;
            run_again(cx);
        }
        self.poll_deadlines(cx, now)
    }

    /// Whether the thread is draining and the connection has nothing in flight and nothing to wait for:
    /// neither a first request nor the next one of a busy client.
    fn may_close_in_drain(&self, now: Instant) -> bool {
        let is_waited_for = self.requests == 0 || self.lifecycle.idle_for(now) < FIRST_REQUEST;
        let is_over = match self.client.admitted.shared.phase() {
            Phase::Serving => false,
            Phase::Draining => !is_waited_for,
            Phase::Finishing | Phase::Cut => true,
        };
        // The rest of an unwanted body is not awaited either.
        let is_idle = self.connection.is_idle() || self.connection.response_ended();
        is_over && !self.closing && self.in_flight.is_none() && is_idle
    }

    /// Sends the output of the exchange to the client, as far as there is room.
    fn answer(&mut self, now: Instant) {
        let (close, close_if_whole) = (self.is_last(), self.is_last_if_whole());
        while self.out.len() < OUT_MAX && !self.file_is_next {
            if self.has_file_next() {
                self.file_is_next = true;
                return;
            }
            let Some(in_flight) = &mut self.in_flight else { return };
            let Some(output) = in_flight.exchange.next_output() else { return };
            let (connection, out) = (&mut self.connection, &mut self.out);
            let shared = &self.client.admitted.shared;
            let outcome = match output {
                Output::Continue => {
                    connection.write_continue(out);
                    Ok(())
                }
                Output::Release(_) => {
                    in_flight.body_at = now;
                    Ok(())
                }
                // Pushes are only offered to clients of HTTP/2.
                Output::Push(_) => Ok(()),
                Output::Interim(head) => connection.write_interim(&head, out),
                Output::Trailers(trailers) => connection.write_trailers(&trailers, out),
                Output::Head { head, .. } if head.status() == 101 => {
                    in_flight.note_head(&head, shared, now);
                    shared.with_server_fields(now, |fields| connection.write_switch(&head, &fields.h1(), out))
                }
                Output::Head { head, end, body } => {
                    let body = if end { Some(0) } else { body };
                    let close = if body.is_some() { close_if_whole } else { close };
                    shared
                        .with_server_fields(now, |fields| {
                            connection.write_head(&head, body, close, &fields.h1(), out)
                        })
                        .inspect(|()| in_flight.note_head(&head, shared, now))
                        .and_then(|()| if end { connection.write_end(out) } else { Ok(()) })
                }
                Output::Data { data, end } => {
                    let written = connection.write_data(&data, out);
                    in_flight.exchange.client_took(data.len());
                    if written.is_ok() {
                        in_flight.note_sent(data.len());
                    }
                    written.and_then(|()| if end { connection.write_end(out) } else { Ok(()) })
                }
                Output::Fault(fault) => Err(fault),
            };
            if let Err(fault) = outcome {
                return self.fail(fault, now);
            }
            if self.connection.response_ended() {
                return self.finish(now);
            }
        }
    }

    /// Whether the response that is about to be written is the connection's last one.
    fn is_last(&self) -> bool {
        let shared = &self.client.admitted.shared;
        let had_enough = shared.settings.connection.has_reached_max_requests(self.requests);
        self.input_ended || had_enough || shared.phase() != Phase::Serving
    }

    /// Whether a response that is complete at once is the connection's last one, because too much of an
    /// unwanted body would have to be read after it.
    fn is_last_if_whole(&self) -> bool {
        self.is_last() || self.connection.body_left() > SKIP_MAX as u64
    }

    /// Ends the exchange with the fault's response if none was begun, else with the end of the connection.
    fn fail(&mut self, fault: Fault, now: Instant) {
        let shared = Rc::clone(&self.client.admitted.shared);
        if self.in_flight.is_none() && !self.connection.has_head_out() && fault != Fault::DrainTimeout {
            let since = self.lifecycle.head_since().unwrap_or(now);
            record_unread(&self.client, &self.input, fault, now.saturating_duration_since(since));
        } else if self.in_flight.is_none() && fault != Fault::DrainTimeout {
            // The request is over and was recorded; the fault is in the rest of its body.
            self.client.note_fault(fault);
        }
        if self.connection.has_head_out() && !self.connection.response_ended() {
            self.closing = true;
        } else if self.in_flight.is_some() || fault != Fault::DrainTimeout {
            let close = self.is_last_if_whole();
            let (connection, out) = (&mut self.connection, &mut self.out);
            shared.with_server_fields(now, |fields| connection.write_fault(fault, close, &fields.h1(), out));
        } else {
            self.closing = true;
        }
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.note_fault(fault);
        }
        self.finish(now);
    }

    /// Ends an exchange whose response is complete, or will never be.
    fn finish(&mut self, now: Instant) {
        self.file_is_next = false;
        if let Some(in_flight) = self.in_flight.take()
            && let Some(block) = in_flight.finish(&self.client, now)
        {
            self.connection.set_spare_block(block);
        }
        self.lifecycle.rest(now);
        self.skipped = 0;
        self.settle();
    }

    /// Prepares for the next exchange after a response, or for the end of the connection.
    fn settle(&mut self) {
        if !self.connection.response_ended() {
            return;
        }
        if self.connection.can_keep_alive() {
            self.connection.next_exchange();
        } else if self.connection.must_close() || self.input_ended || self.skipped > SKIP_MAX {
            self.closing = true;
        }
    }

    /// Parses the bytes that were read into events.
    fn read_events(&mut self, now: Instant) {
        while !self.closing {
            if let Some(in_flight) = &self.in_flight
                && in_flight.exchange.unread() >= UNREAD_MAX
            {
                return;
            }
            if self.connection.has_switched()
                && let Some(in_flight) = &mut self.in_flight
            {
                if self.input.is_empty() {
                    break;
                }
                in_flight.receive_switched(&mut self.input, now);
                continue;
            }
            match self.connection.poll_event(&mut self.input) {
                Ok(Some(Event::Request(request))) => self.begin(request, now),
                Ok(Some(Event::Data(data))) => {
                    if let Some(in_flight) = &mut self.in_flight {
                        in_flight.receive((data, self.connection.has_read_body()), now);
                    } else {
                        self.skipped += data.len();
                        self.settle();
                    }
                }
                Ok(Some(Event::End)) => match &self.in_flight {
                    Some(in_flight) => in_flight.exchange.end_body(),
                    None => self.settle(),
                },
                Ok(None) => break,
                Err(fault) => {
                    self.fail(fault, now);
                    self.closing = true;
                }
            }
        }
        let is_awaited = match self.connection.awaits() {
            Awaits::Head { started } => started,
            Awaits::Body | Awaits::Nothing => false,
        };
        self.lifecycle.await_head(is_awaited, now);
    }

    fn begin(&mut self, request: hcrs_h1::Request, now: Instant) {
        self.requests += 1;
        let arrived =
            Arrived { key: 0, stream: None, head: request.head, expects_continue: request.expect_continue };
        let exchange = self.intake.take(&self.client, arrived, now);
        self.in_flight = Some(InFlight::new(exchange, None, now));
    }

    fn wants_input(&self) -> bool {
        if self.closing || self.input_ended {
            return false;
        }
        match (&self.in_flight, self.connection.awaits()) {
            (Some(in_flight), Awaits::Body) => in_flight.exchange.unread() < UNREAD_MAX,
            // Nothing is awaited, but the end of the connection has to be noticed.
            (_, Awaits::Nothing) => self.input.len() < PIPELINE_MAX,
            // The next request is not read while the client leaves responses unread.
            (None, Awaits::Head { .. } | Awaits::Body) => self.out.len() - self.written < OUT_MAX,
            (Some(_), Awaits::Head { .. }) => true,
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.input.reserve(READ);
        let len = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input))?;
        if len > 0 {
            self.read_room = self.read_room.saturating_sub(len);
            return Poll::Ready(Ok(()));
        }
        self.input_ended = true;
        match &self.in_flight {
            // The request is complete: its response is still sent, but the app is notified that the client
            // may be gone.
            Some(in_flight) if self.connection.request_ended() => in_flight.exchange.half_close(clock::now()),
            _ => self.closing = true,
        }
        Poll::Ready(Ok(()))
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), End>> {
        // All output so far was seen, or waits for room in the socket.
        self.client.admitted.mailbox.clear();
        if let Some(in_flight) = &self.in_flight {
            in_flight.exchange.note_seen();
        }
        self.client.admitted.mailbox.rest();
        if self.is_busy() {
            self.lifecycle.check_no_later_than(now + TICK);
        }
        while self.lifecycle.poll(cx).is_ready() {
            let next = self.check_deadlines(now)?;
            self.lifecycle.check_again_at(next, now);
        }
        Poll::Pending
    }

    /// Whether anything is in flight that has a deadline of its own; otherwise only the keep-alive timeout
    /// counts.
    fn is_busy(&self) -> bool {
        let is_skipping = self.connection.response_ended();
        self.in_flight.is_some() || self.lifecycle.is_waiting() || is_skipping
    }

    fn check_deadlines(&mut self, now: Instant) -> Result<Instant, End> {
        let shared = Rc::clone(&self.client.admitted.shared);
        let settings = &shared.settings.connection;
        match self.lifecycle.overdue(settings, now) {
            Some(Fault::HeadTimeout) => {
                self.fail(Fault::HeadTimeout, now);
                self.lifecycle.await_head(false, now);
                self.closing = true;
            }
            Some(fault) => return Err(End::Fault(fault)),
            None => {}
        }
        if let Some(in_flight) = &self.in_flight
            && self.connection.awaits() == Awaits::Body
            && in_flight.is_body_overdue(settings.body_timeout, now)
        {
            self.fail(Fault::BodyTimeout, now);
            self.closing = true;
        }
        let mut next = now + TICK;
        if let Some(in_flight) = &self.in_flight
            && let Some(at) = in_flight.exchange.tick(now)
        {
            next = next.min(at);
        }
        let is_skipping = self.in_flight.is_none() && self.connection.response_ended();
        let is_idle_too_long = self.lifecycle.idle_for(now) >= settings.keep_alive_timeout;
        if is_skipping && is_idle_too_long {
            self.closing = true;
        }
        if self.closing {
            self.client.admitted.mailbox.wake();
        }
        if self.is_busy() {
            return Ok(next);
        }
        if is_idle_too_long {
            self.closing = true;
            self.client.admitted.mailbox.wake();
            return Ok(now + TICK);
        }
        Ok(self.lifecycle.idle_until(settings.keep_alive_timeout))
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.cut(&self.client, Fault::ClientGone, clock::now());
        }
    }
}

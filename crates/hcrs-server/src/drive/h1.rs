//! Drives an HTTP/1.1 connection: one exchange at a time, in order.

mod deadlines;
mod writing;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hcrs_h1::{Awaits, Connection, Event};
use hcrs_http::{Fault, Field};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::in_flight::record_unread;
use super::lifecycle::{Framing, Lifecycle, ends_connection};
use super::{InFlight, run_again};
use crate::client::Client;
use crate::clock;
use crate::exchange::Output;
use crate::exchange::send_file::SendFile;
use crate::hangup::Hangup;
use crate::request::{Arrived, Intake};
use crate::state::Phase;
use writing::Out;

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
pub(crate) async fn drive<T: AsyncRead + AsyncWrite + SendFile + Hangup + Unpin>(
    client: Client,
    io: T,
    input: BytesMut,
) {
    let settings = client.admitted.shared.kept_settings();
    let settings = &settings.connection;
    let now = clock::now();
    let endpoints = Rc::clone(&client.endpoints);
    let mut driver = Driver {
        connection: Connection::new(&settings.h1, client.scheme, endpoints, input),
        lifecycle: Lifecycle::new(settings, now),
        io,
        out: Out::default(),
        share: Share::WHOLE,
        in_flight: None,
        // Unlimited, because requests run one at a time, and those that a client has abandoned end with their
        // connection.
        intake: Intake::new(&client, usize::MAX),
        requests: 0,
        skipped: 0,
        stage: Stage::Open,
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

/// The stage of a connection. Stages are passed in this order, and any of them may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Requests are read.
    Open,
    /// The thread drains, and the socket is polled once more: a request may have arrived together with the
    /// signal.
    LastPoll,
    /// The client has closed its side; the requests that it sent before are answered.
    HalfClosed,
    /// No other exchange follows; the bytes for the client are still written.
    Closing,
}

/// The share of a turn that the connection has left, before other connections get theirs.
#[derive(Debug)]
struct Share {
    /// The number of bytes that it may read.
    read: usize,
    /// The number of bytes of files that it may send.
    file: usize,
}

impl Share {
    /// The share of a turn that begins.
    const WHOLE: Self = Self { read: READ_PER_TURN, file: FILE_PER_TURN };
}

struct Driver<T> {
    client: Client,
    connection: Connection,
    io: T,
    out: Out,
    share: Share,
    in_flight: Option<InFlight>,
    intake: Intake,
    requests: u64,
    /// The number of bytes of an unwanted body that were dropped so far.
    skipped: usize,
    stage: Stage,
    lifecycle: Lifecycle,
}

impl<T: AsyncRead + AsyncWrite + SendFile + Hangup + Unpin> Driver<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        self.client.admitted.mailbox.begin_turn(cx.waker());
        let now = clock::now();
        self.share = Share::WHOLE;
        self.client.admitted.shared.begin_turn();
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
            Phase::Cut if self.in_flight.is_some() => self.fail(Fault::DrainTimeout, now),
            Phase::Cut => self.stage = Stage::Closing,
        }
        loop {
            self.answer(now);
            self.read_events(now);
            if self.poll_write(cx, now)?.is_ready()
                && self.out.is_before_file()
                && self.poll_file(cx, now)?.is_ready()
            {
                continue;
            }
            if self.has_ended() {
                return Poll::Ready(Ok(()));
            }
            if self.out.has_room()
                && self.in_flight.as_ref().is_some_and(|in_flight| in_flight.exchange.has_output())
            {
                continue;
            }
            // A client that does not read may still send the rest of its body, or close.
            if !self.wants_input() {
                break;
            }
            if self.share.read == 0 {
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
            self.stage = if self.stage == Stage::Open { Stage::LastPoll } else { Stage::Closing };
            if self.has_ended() {
                return Poll::Ready(Ok(()));
            }
            run_again(cx);
        }
        self.poll_deadlines(cx, now)
    }

    /// Whether no other exchange follows and all bytes are written.
    fn has_ended(&self) -> bool {
        self.stage == Stage::Closing && self.out.is_drained()
    }

    /// Sends the output of the exchange to the client, as far as there is room.
    fn answer(&mut self, now: Instant) {
        let (close, close_if_whole) = (self.is_last(), self.is_last_if_whole());
        while self.out.has_room() {
            if self.has_file_next() {
                return self.out.await_file();
            }
            let Some(in_flight) = &mut self.in_flight else { return };
            let Some(output) = in_flight.exchange.next_output() else { return };
            let (connection, out) = (&mut self.connection, self.out.end());
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
                    let head = in_flight.labelled(head, shared);
                    in_flight.note_head(&head, shared, now);
                    shared.with_server_fields(now, |fields| connection.write_switch(&head, &fields.h1(), out))
                }
                Output::Head { head, end, body } => {
                    let head = in_flight.labelled(head, shared);
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
        let had_enough = shared.settings().connection.has_reached_max_requests(self.requests);
        self.stage >= Stage::HalfClosed || had_enough || shared.phase() != Phase::Serving
    }

    /// Whether a response that is complete at once is the connection's last one, because too much of an
    /// unwanted body would have to be read after it.
    fn is_last_if_whole(&self) -> bool {
        self.is_last() || self.connection.body_left() > SKIP_MAX as u64
    }

    /// Ends the exchange with the fault's response if none was begun, else with the end of the connection.
    fn fail(&mut self, fault: Fault, now: Instant) {
        let may_answer = self.connection.can_answer(fault);
        if let Some(in_flight) = &mut self.in_flight
            && may_answer
            && in_flight.answer_fault(fault)
        {
            return;
        }
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.note_fault(fault);
        } else if self.connection.has_head_out() {
            // The request is over and was recorded; the fault is in the rest of its body.
            self.client.note_fault(fault);
        } else {
            let since = self.lifecycle.head_since().unwrap_or(now);
            let duration = now.saturating_duration_since(since);
            record_unread(&self.client, self.connection.unparsed(), fault, duration);
        }
        let is_cut_off = self.connection.has_head_out() && !self.connection.response_ended();
        let close = self.is_last_if_whole();
        let shared = &self.client.admitted.shared;
        let (connection, out) = (&mut self.connection, self.out.end());
        let mut write = |own: Option<Field<'_>>| {
            shared.with_server_fields(now, |fields| {
                connection.write_fault(fault, own, close, &fields.h1(), out);
            });
        };
        match &self.in_flight {
            Some(in_flight) => in_flight.with_own_field(shared, write),
            None => write(None),
        }
        let framing =
            if is_cut_off || self.connection.must_close() { Framing::Lost } else { Framing::Intact };
        if ends_connection(fault, framing) {
            self.stage = Stage::Closing;
        }
        self.finish(now);
    }

    /// Ends an exchange whose response is complete, or will never be.
    fn finish(&mut self, now: Instant) {
        self.out.forget_file();
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
        } else if self.connection.must_close() || self.stage == Stage::HalfClosed || self.skipped > SKIP_MAX {
            self.stage = Stage::Closing;
        }
    }

    /// Parses the bytes that were read into events.
    fn read_events(&mut self, now: Instant) {
        while self.stage != Stage::Closing {
            if let Some(in_flight) = &self.in_flight
                && in_flight.exchange.unread() >= UNREAD_MAX
            {
                return;
            }
            if let Some(in_flight) = &mut self.in_flight
                && let Some(input) = self.connection.switched_input()
            {
                if input.is_empty() {
                    break;
                }
                in_flight.receive_switched(input, now);
                continue;
            }
            match self.connection.poll_event() {
                Ok(Some(Event::Request(request))) => self.begin(request, now),
                Ok(Some(Event::Data(data))) => {
                    if let Some(in_flight) = &mut self.in_flight {
                        in_flight.receive(data, self.connection.has_read_body(), now);
                    } else {
                        self.skipped += data.len();
                        self.settle();
                    }
                }
                Ok(Some(Event::Trailers(trailers))) => {
                    if let Some(in_flight) = &self.in_flight {
                        in_flight.exchange.push_request_trailers(trailers);
                    }
                }
                Ok(Some(Event::End)) => match &self.in_flight {
                    Some(in_flight) => in_flight.exchange.end_body(),
                    None => self.settle(),
                },
                Ok(None) => break,
                Err(fault) => self.fail(fault, now),
            }
        }
        if self.stage == Stage::HalfClosed && self.in_flight.is_none() {
            // All requests that arrived are answered, and no other can follow.
            self.stage = Stage::Closing;
        }
        let is_awaited = match self.connection.awaits() {
            Awaits::Head { started } => started,
            Awaits::Body | Awaits::Nothing => false,
        };
        self.lifecycle.await_head(is_awaited, now);
    }

    fn begin(&mut self, request: hcrs_h1::Request, now: Instant) {
        self.requests += 1;
        let arrived = Arrived {
            key: 0,
            stream: None,
            head: request.head,
            expects_continue: request.expect_continue,
            rules: None,
        };
        let exchange = self.intake.take(&self.client, arrived, now);
        self.in_flight = Some(InFlight::new(exchange, None, now));
    }

    fn wants_input(&self) -> bool {
        if self.stage >= Stage::HalfClosed {
            return false;
        }
        match (&self.in_flight, self.connection.awaits()) {
            (Some(in_flight), Awaits::Body) => in_flight.exchange.unread() < UNREAD_MAX,
            // Nothing is awaited, but the end of the connection has to be noticed.
            (_, Awaits::Nothing) => self.connection.unparsed().len() < PIPELINE_MAX,
            // The next request is not read while the client leaves responses unread.
            (None, Awaits::Head { .. } | Awaits::Body) => self.out.unwritten() < OUT_MAX,
            (Some(_), Awaits::Head { .. }) => true,
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let len = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.connection.input_mut(READ)))?;
        if len > 0 {
            self.share.read = self.share.read.saturating_sub(len);
            return Poll::Ready(Ok(()));
        }
        match &self.in_flight {
            // The request is complete: its response is still sent, but the app is notified that the client
            // may be gone.
            Some(in_flight) if self.connection.request_ended() => {
                self.stage = Stage::HalfClosed;
                in_flight.exchange.half_close(clock::now());
            }
            _ => self.stage = Stage::Closing,
        }
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.cut(&self.client, Fault::ClientGone, clock::now());
        }
    }
}

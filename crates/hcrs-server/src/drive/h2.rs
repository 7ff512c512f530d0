//! Drives an HTTP/2 connection: many exchanges at a time.

mod open_streams;

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hcrs_h2::{Connection, Ended, Event, StreamKey};
use hcrs_http::{Fault, RequestHead};
use tokio::io::{AsyncRead, AsyncWrite};

use super::lifecycle::{Lifecycle, TICK};
use super::{InFlight, run_again};
use crate::client::Client;
use crate::clock;
use crate::exchange::Output;
use crate::request::{self, Arrived, Intake};
use crate::state::{FIRST_REQUEST, Phase};

use open_streams::OpenStreams;

/// The most requests of one connection that may be in workers, including those that the client has reset, as
/// a multiple of the streams that it may have open. More are refused until their apps have ended
/// (CVE-2023-44487).
const RUNNING_PER_STREAM: usize = 2;

/// How long, and how many bytes, are read and dropped after the last response of a connection that was closed
/// in order. A drain waits less for clients that do not close.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_IN_DRAIN: Duration = Duration::from_millis(500);
const LINGER_MAX: usize = 1 << 20;

/// Serves the connection until it ends.
pub(crate) async fn drive<T: AsyncRead + AsyncWrite + Unpin>(client: Client, io: T) {
    let settings = &client.admitted.shared.settings.connection;
    let bodies = Rc::clone(&client.admitted.shared.bodies);
    let handshake =
        hcrs_h2::handshake(io, &settings.h2, client.scheme, Rc::clone(&client.endpoints), &bodies);
    let handshake = tokio::time::timeout(settings.head_timeout, handshake);
    let connection = match client.admitted.until_drained(handshake).await {
        Some(Ok(Ok(connection))) => connection,
        Some(Ok(Err(ended))) => return note(&client, &ended),
        Some(Err(_)) => return client.note_fault(Fault::HeadTimeout),
        None => return,
    };
    let now = clock::now();
    let max_running = settings.h2.max_concurrent_streams as usize * RUNNING_PER_STREAM;
    let mut driver = Driver {
        connection,
        streams: OpenStreams::default(),
        max_open: settings.h2.max_concurrent_streams as usize,
        intake: Intake::new(&client, max_running),
        requests: 0,
        shutdown: Shutdown::No,
        lifecycle: Lifecycle::new(settings, now),
        ready: Vec::new(),
        yielded: VecDeque::new(),
        client,
    };
    let ended = std::future::poll_fn(|cx| driver.poll(cx)).await;
    if let Ended::Fault(fault) = ended {
        driver.cut_all(fault);
    }
    note(&driver.client, &ended);
    if matches!(ended, Ended::Closed) && !matches!(driver.shutdown, Shutdown::No) {
        let is_serving = driver.client.admitted.shared.phase() == Phase::Serving;
        let since_last = driver.lifecycle.idle_for(clock::now());
        let limit = if is_serving { LINGER } else { LINGER_IN_DRAIN }.saturating_sub(since_last);
        // The last bytes may still be in transit to a client that is sending: closing with unread bytes would
        // reset the connection.
        let _closed = tokio::time::timeout(limit, driver.connection.linger(LINGER_MAX)).await;
    }
}

fn arrived(key: StreamKey, head: RequestHead) -> Arrived {
    // HTTP/2 clients send the body without waiting for `100 Continue`.
    Arrived { key: key.slot(), stream: Some(key.id()), head, expects_continue: false }
}

fn note(client: &Client, ended: &Ended) {
    match ended {
        Ended::Closed => {}
        Ended::Protocol(reason) => {
            tracing::debug!(conn = client.serial, "Connection closed: HTTP/2 protocol error {reason:?}");
        }
        Ended::Fault(fault) => client.note_fault(*fault),
        Ended::Io(error) => client.note_loss(error),
    }
}

struct Driver<T> {
    client: Client,
    connection: Connection<T>,
    streams: OpenStreams,
    /// The number of open streams at which promises are no longer sent.
    max_open: usize,
    intake: Intake,
    requests: u64,
    shutdown: Shutdown,
    lifecycle: Lifecycle,
    /// The slots of exchanges that have reported output; emptied in each turn.
    ready: Vec<usize>,
    /// WebSockets that continue inflating, one in each turn.
    yielded: VecDeque<StreamKey>,
}

/// The stage of the connection's shutdown.
#[derive(Debug, Clone, Copy)]
enum Shutdown {
    No,
    /// GOAWAY was sent; open streams may finish by themselves until the instant.
    Graceful(Instant),
    /// The last GOAWAY was queued and only has to be written, until the instant.
    Final(Instant),
    /// A GOAWAY with an error was queued and only has to be written, until the instant.
    Abrupt(Fault, Instant),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let mailbox = Rc::clone(&self.client.admitted.mailbox);
        let shared = Rc::clone(&self.client.admitted.shared);
        mailbox.begin_turn(cx.waker());
        let now = clock::now();
        if let Some(ended) = self.follow_phase(shared.phase(), now) {
            return Poll::Ready(ended);
        }
        let last_word = match self.shutdown {
            Shutdown::No | Shutdown::Graceful(_) => None,
            Shutdown::Final(_) => Some(Ended::Closed),
            Shutdown::Abrupt(fault, _) => Some(Ended::Fault(fault)),
        };
        if let Some(ended) = last_word {
            if self.connection.poll_close(cx).is_ready() {
                return Poll::Ready(ended);
            }
            return self.poll_deadlines(cx, now);
        }
        shared.with_server_fields(now, |fields| self.connection.begin_turn(&fields.h2));
        shared.websockets.begin_turn();
        if let Some(key) = self.yielded.pop_front()
            && let Some(in_flight) = self.streams.get_mut(key)
        {
            in_flight.exchange.resume();
        }
        loop {
            let mut ready = std::mem::take(&mut self.ready);
            mailbox.take(&mut ready);
            for slot in ready.drain(..) {
                // Another stream may have the slot by now; polling it is harmless.
                if let Some(key) = self.streams.key_at(slot) {
                    self.answer(now, key);
                }
            }
            self.ready = ready;
            while let Poll::Ready(event) = self.connection.poll_event(cx, now) {
                match event {
                    Ok(event) => self.handle(now, event),
                    Err(Ended::Fault(fault)) => {
                        self.close_abruptly(fault, now);
                        return self.poll_deadlines(cx, now);
                    }
                    Err(ended) => return Poll::Ready(ended),
                }
            }
            if mailbox.is_empty() {
                break;
            }
        }
        let streams = &self.streams;
        self.connection.open_window(|| streams.iter().any(|in_flight| in_flight.exchange.is_hungry()));
        if !self.yielded.is_empty() {
            run_again(cx);
        }
        if self.connection.nears_its_end() {
            self.close_gracefully(now);
        }
        match self.connection.poll_drain(cx) {
            Poll::Ready(Ok(())) => self.lifecycle.unblock_writing(),
            Poll::Ready(Err(error)) => return Poll::Ready(Ended::Io(error)),
            Poll::Pending => self.lifecycle.block_writing(now),
        }
        self.poll_deadlines(cx, now)
    }

    fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { key, head } => self.begin(now, key, head),
            Event::Pushed { key, head } => self.begin_pushed(now, key, head),
            Event::Data { key, data, end } => {
                if let Some(in_flight) = self.streams.get_mut(key) {
                    in_flight.receive((data, end), now);
                }
            }
            Event::End { key } => {
                if let Some(in_flight) = self.streams.get_mut(key) {
                    in_flight.exchange.end_body();
                }
            }
            Event::Sent { key, len, done } => {
                let mut goes_on = false;
                if let Some(in_flight) = self.streams.get_mut(key) {
                    in_flight.exchange.client_took(len);
                    in_flight.note_sent(len);
                    goes_on = in_flight.exchange.has_output();
                }
                if done {
                    self.finish(key, now);
                } else if goes_on {
                    self.answer(now, key);
                }
            }
            Event::Reset { key } => self.cut(key, Fault::ClientGone, now),
            Event::Refused { stream_id, head, fault } => {
                // The connection has answered the request, which has no slot.
                let arrived =
                    Arrived { key: usize::MAX, stream: Some(stream_id), head, expects_continue: false };
                let exchange = request::refused(&self.client, arrived, fault, now);
                let mut in_flight = InFlight::new(exchange, Some(stream_id), now);
                in_flight.note_fault(fault);
                if let Some(block) = in_flight.finish(&self.client, now) {
                    self.connection.recycle(block);
                }
            }
        }
    }

    fn begin(&mut self, now: Instant, key: StreamKey, head: RequestHead) {
        self.requests += 1;
        let shared = &self.client.admitted.shared;
        if shared.settings.connection.has_reached_max_requests(self.requests)
            || shared.phase() != Phase::Serving
        {
            self.close_gracefully(now);
        }
        let exchange = self.intake.take(&self.client, arrived(key, head), now);
        self.streams.insert(key, InFlight::new(exchange, Some(key.id()), now));
    }

    /// Begins a request that was promised to the client.
    fn begin_pushed(&mut self, now: Instant, key: StreamKey, head: RequestHead) {
        let exchange = self.intake.take_promised(&self.client, arrived(key, head), now);
        self.streams.insert(key, InFlight::new(exchange, Some(key.id()), now));
    }

    /// Sends the output of an exchange to the client.
    fn answer(&mut self, now: Instant, key: StreamKey) {
        loop {
            let Some(in_flight) = self.streams.get_mut(key) else { return };
            let Some(output) = in_flight.exchange.next_output() else {
                if in_flight.exchange.has_yielded() && !self.yielded.contains(&key) {
                    self.yielded.push_back(key);
                }
                return;
            };
            let outcome = match output {
                // HTTP/2 clients send the body without waiting for `100 Continue`.
                Output::Continue => Ok(false),
                Output::Release(len) => {
                    in_flight.body_at = now;
                    self.connection.release(key, len);
                    Ok(false)
                }
                Output::Push(head) => {
                    self.promise(key, head);
                    Ok(false)
                }
                Output::Interim(head) => self.connection.send_interim(key, &head).map(|()| false),
                Output::Trailers(trailers) => self.connection.send_trailers(now, key, &trailers),
                Output::Head { head, end, .. } => {
                    let sent = self.connection.send_head(key, &head, end);
                    if sent.is_ok() {
                        in_flight.note_head(&head, &self.client.admitted.shared, now);
                    }
                    sent
                }
                Output::Data { data, end } => self.connection.send_data(now, key, data, end).map(|sent| {
                    in_flight.exchange.client_took(sent.len);
                    in_flight.note_sent(sent.len);
                    sent.done
                }),
                Output::Fault(fault) => Err(fault),
            };
            match outcome {
                Ok(false) => {}
                Ok(true) => return self.finish(key, now),
                Err(fault) => return self.fail(key, fault, now),
            }
        }
    }

    /// Promises a request to the client, unless the connection is busy or about to end: a promise is only a
    /// hint.
    fn promise(&mut self, key: StreamKey, head: RequestHead) {
        let is_wanted = matches!(self.shutdown, Shutdown::No)
            && self.streams.len() < self.max_open
            && !self.intake.has_too_many_running();
        let refused = if is_wanted { self.connection.push(key, head) } else { Err(head) };
        if let Err(head) = refused {
            self.connection.recycle(head.into_block());
        }
    }

    /// Sends the fault's response if no head was sent, and resets the stream otherwise.
    fn fail(&mut self, key: StreamKey, fault: Fault, now: Instant) {
        if let Some(in_flight) = self.streams.get_mut(key) {
            in_flight.note_fault(fault);
        }
        self.connection.fail(key, fault);
        self.finish(key, now);
    }

    /// Ends an exchange whose response is complete.
    fn finish(&mut self, key: StreamKey, now: Instant) {
        self.end(key, now, |in_flight, client| in_flight.finish(client, now));
    }

    /// Ends an exchange whose response will never be complete.
    fn cut(&mut self, key: StreamKey, fault: Fault, now: Instant) {
        self.end(key, now, |in_flight, client| in_flight.cut(client, fault, now));
    }

    fn end(&mut self, key: StreamKey, now: Instant, end: impl FnOnce(InFlight, &Client) -> Option<Vec<u8>>) {
        let Some(in_flight) = self.streams.remove(key) else { return };
        if let Some(block) = end(in_flight, &self.client) {
            self.connection.recycle(block);
        }
        if self.streams.len() == 0 {
            self.lifecycle.rest(now);
        }
    }

    fn follow_phase(&mut self, phase: Phase, now: Instant) -> Option<Ended> {
        match phase {
            Phase::Serving => None,
            // Some clients treat GOAWAY as the end, so a connection without a request yet gets time for its
            // first.
            Phase::Draining if self.requests == 0 => None,
            Phase::Draining | Phase::Finishing => {
                for in_flight in self.streams.iter() {
                    in_flight.exchange.go_away(now);
                }
                self.close_gracefully(now);
                if phase == Phase::Finishing && self.streams.len() == 0 {
                    self.lifecycle.check_no_later_than(self.lifecycle.idle_until(FIRST_REQUEST));
                }
                None
            }
            Phase::Cut if matches!(self.shutdown, Shutdown::Abrupt(..)) => None,
            Phase::Cut => {
                for slot in self.streams.slots() {
                    if let Some(key) = self.streams.key_at(slot) {
                        self.fail(key, Fault::DrainTimeout, now);
                    }
                }
                self.connection.graceful_shutdown();
                self.shutdown = Shutdown::Abrupt(Fault::DrainTimeout, now + TICK);
                None
            }
        }
    }

    fn close_gracefully(&mut self, now: Instant) {
        if matches!(self.shutdown, Shutdown::No) {
            self.connection.graceful_shutdown();
            let limit = self.client.admitted.shared.settings.connection.write_timeout;
            self.shutdown = Shutdown::Graceful(now + limit);
        }
    }

    /// Shuts the connection down without waiting for the client to see the first GOAWAY.
    fn close_finally(&mut self, now: Instant) {
        self.connection.final_shutdown();
        self.shutdown = Shutdown::Final(now + TICK);
    }

    fn close_abruptly(&mut self, fault: Fault, now: Instant) {
        self.connection.abrupt_shutdown(fault);
        self.shutdown = Shutdown::Abrupt(fault, now + TICK);
    }

    /// Checks the deadlines if they are due, and sets the next check.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Ended> {
        self.client.admitted.mailbox.rest();
        self.lifecycle.await_head(self.connection.awaits_head(), now);
        let unwanted_until = self.connection.unwanted_until(now);
        if unwanted_until.is_some() {
            self.lifecycle.rest(now);
        }
        if matches!(self.shutdown, Shutdown::Abrupt(..) | Shutdown::Final(_)) {
            self.lifecycle.check_at(now);
        } else if self.is_busy(now) {
            self.lifecycle.check_no_later_than(unwanted_until.unwrap_or(now + TICK).min(now + TICK));
        }
        while self.lifecycle.poll(cx).is_ready() {
            match self.check_deadlines(now) {
                Ok(next) => self.lifecycle.check_again_at(next, now),
                Err(ended) => return Poll::Ready(ended),
            }
        }
        Poll::Pending
    }

    /// Whether the thread is draining and nothing has been in flight for a while: the client does not close
    /// the connection.
    fn may_close_in_drain(&self, now: Instant) -> bool {
        self.client.admitted.shared.phase() >= Phase::Finishing
            && self.streams.len() == 0
            && !self.lifecycle.is_waiting()
            && self.lifecycle.idle_for(now) >= FIRST_REQUEST
    }

    /// Whether anything is in flight that has a deadline of its own; otherwise only the keep-alive timeout
    /// counts.
    fn is_busy(&self, now: Instant) -> bool {
        let is_ending = !matches!(self.shutdown, Shutdown::No);
        let has_streams = self.streams.len() > 0 || self.connection.unwanted_until(now).is_some();
        has_streams || self.lifecycle.is_waiting() || is_ending
    }

    /// Ends what has passed its deadline. Returns when to check again.
    fn check_deadlines(&mut self, now: Instant) -> Result<Instant, Ended> {
        let shared = Rc::clone(&self.client.admitted.shared);
        let settings = &shared.settings.connection;
        match self.shutdown {
            Shutdown::Abrupt(fault, until) if now >= until => return Err(Ended::Fault(fault)),
            Shutdown::Final(until) if now >= until => return Err(Ended::Closed),
            Shutdown::Graceful(until) if now >= until && self.streams.len() == 0 => {
                return Err(Ended::Closed);
            }
            Shutdown::Graceful(_) if self.may_close_in_drain(now) => {
                self.close_finally(now);
                return Ok(now);
            }
            _ => {}
        }
        match self.lifecycle.overdue(settings, now) {
            Some(Fault::HeadTimeout) => {
                self.close_abruptly(Fault::HeadTimeout, now);
                return Ok(now);
            }
            Some(fault) => return Err(Ended::Fault(fault)),
            None => {}
        }
        if let Some(before) = now.checked_sub(settings.write_timeout) {
            for key in self.connection.stalled_since(before) {
                self.fail(key, Fault::WriteStalled, now);
            }
        }
        let mut next = self.connection.unwanted_until(now).unwrap_or(now + TICK).min(now + TICK);
        for slot in self.streams.slots() {
            let Some(key) = self.streams.key_at(slot) else { continue };
            let Some(in_flight) = self.streams.get_mut(key) else { continue };
            if let Some(at) = in_flight.exchange.tick(now) {
                next = next.min(at);
            }
            if in_flight.is_body_overdue(settings.body_timeout, now) {
                self.fail(key, Fault::BodyTimeout, now);
            }
        }
        if self.is_busy(now) {
            return Ok(next);
        }
        if self.lifecycle.idle_for(now) >= settings.keep_alive_timeout {
            // GOAWAY first, so that a client knows that a request in transit was not processed.
            self.close_gracefully(now);
            self.client.admitted.mailbox.wake();
            return Ok(now + TICK);
        }
        Ok(self.lifecycle.idle_until(settings.keep_alive_timeout))
    }
}

impl<T> Driver<T> {
    /// Ends all exchanges because the connection is over.
    fn cut_all(&mut self, fault: Fault) {
        for in_flight in self.streams.drain() {
            in_flight.cut(&self.client, fault, clock::now());
        }
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.cut_all(Fault::ClientGone);
    }
}

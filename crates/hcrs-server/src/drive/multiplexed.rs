//! Drives a connection of many exchanges at a time, of HTTP/2 or HTTP/3.

mod deadlines;
mod protocol;

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hcrs_http::{Fault, RequestHead};
use hcrs_metrics::Stall;
use hcrs_mux::{Event, StreamKey};

use super::lifecycle::{Framing, Lifecycle, TICK, ends_connection};
use super::streams::Streams;
use super::{InFlight, run_again};
use crate::client::Client;
use crate::clock;
use crate::exchange::Output;
use crate::request::{self, Arrived, Intake};
use crate::settings::ConnectionSettings;
use crate::state::{FIRST_REQUEST, Phase};

pub(super) use protocol::{Connection, Controls, Ended, Turn};

/// The most requests of one connection that may be in workers, including those that the client has reset, as
/// a multiple of the streams that it may have open. More are refused until their apps have ended
/// (CVE-2023-44487).
const RUNNING_PER_STREAM: usize = 2;

fn arrived(key: StreamKey, head: RequestHead) -> Arrived {
    // Clients send the body without waiting for `100 Continue`.
    Arrived { key: key.slot, stream: Some(key.id), head, expects_continue: false, rules: None }
}

/// Logs the end of a connection.
pub(super) fn note(client: &Client, ended: &Ended) {
    match ended {
        Ended::Closed => {}
        Ended::Protocol(reason) => tracing::debug!(conn = client.serial, "Connection closed: {reason}"),
        Ended::Fault(fault) => client.note_fault(*fault),
        Ended::Io(error) => client.note_loss(error),
    }
}

/// The state of a connection beside its protocol's.
#[derive(Debug)]
pub(super) struct Driver {
    client: Client,
    streams: Streams,
    /// The number of open streams at which promises are no longer sent.
    max_open: usize,
    intake: Intake,
    requests: u64,
    shutdown: Shutdown,
    lifecycle: Lifecycle,
    /// The slots of exchanges that have reported output; emptied in each turn.
    ready: Vec<usize>,
    /// Exchanges that continue inflating or encoding in the next turn.
    yielded: VecDeque<StreamKey>,
}

/// The stage of the connection's shutdown.
#[derive(Debug, Clone, Copy)]
enum Shutdown {
    /// Requests are taken.
    No,
    /// GOAWAY was sent; open streams may finish by themselves until the instant.
    Graceful(Instant),
    /// The last GOAWAY was queued and only has to be written, until the instant.
    Final(Instant),
    /// A GOAWAY with an error was queued and only has to be written, until the instant.
    Abrupt(Fault, Instant),
}

impl Driver {
    /// Returns the driver of a connection that has begun.
    pub(super) fn new(client: Client, settings: &ConnectionSettings) -> Self {
        let max_open = settings.h2.max_concurrent_streams as usize;
        Self {
            streams: Streams::default(),
            max_open,
            intake: Intake::new(&client, max_open * RUNNING_PER_STREAM),
            requests: 0,
            shutdown: Shutdown::No,
            lifecycle: Lifecycle::new(settings, clock::now()),
            ready: Vec::new(),
            yielded: VecDeque::new(),
            client,
        }
    }

    /// Serves the connection until it ends, which is logged.
    pub(super) async fn run<C: Connection>(&mut self, connection: &mut C) -> Ended {
        let ended = std::future::poll_fn(|cx| self.poll(connection, cx)).await;
        if let Ended::Fault(fault) = ended {
            self.cut_all(fault);
        }
        note(&self.client, &ended);
        ended
    }

    /// Whether this end has begun to shut the connection down.
    pub(super) fn is_shut_down(&self) -> bool {
        !matches!(self.shutdown, Shutdown::No)
    }

    /// Returns the phase of the thread.
    pub(super) fn phase(&self) -> Phase {
        self.client.admitted.shared.phase()
    }

    /// Returns how long nothing has been in flight.
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        self.lifecycle.idle_for(now)
    }

    fn poll<C: Connection>(&mut self, connection: &mut C, cx: &mut Context<'_>) -> Poll<Ended> {
        let mailbox = Rc::clone(&self.client.admitted.mailbox);
        let shared = Rc::clone(&self.client.admitted.shared);
        mailbox.begin_turn(cx.waker());
        let now = clock::now();
        if let Some(endpoints) = connection.receive(now) {
            self.client.endpoints = endpoints;
        }
        self.follow_phase(connection.controls(), shared.phase(), now);
        let last_word = match self.shutdown {
            Shutdown::No | Shutdown::Graceful(_) => None,
            Shutdown::Final(_) => Some(Ended::Closed),
            Shutdown::Abrupt(fault, _) => Some(Ended::Fault(fault)),
        };
        if let Some(ended) = last_word {
            if connection.poll_close(cx, now).is_ready() {
                return Poll::Ready(ended);
            }
            return self.poll_deadlines(connection, cx, now);
        }
        let mut turn = shared.with_server_fields(now, |fields| connection.begin_turn(fields));
        shared.begin_turn();
        // Those that find the shares of this turn used up yield again, in their order.
        for key in std::mem::take(&mut self.yielded) {
            if let Some(in_flight) = self.streams.get_mut(key) {
                in_flight.exchange.resume();
            }
        }
        loop {
            let mut ready = std::mem::take(&mut self.ready);
            mailbox.take(&mut ready);
            for slot in ready.drain(..) {
                // Another stream may have the slot by now; polling it is harmless.
                if let Some(key) = self.streams.key_at(slot) {
                    self.answer(&mut turn, now, key);
                }
            }
            self.ready = ready;
            while let Poll::Ready(event) = turn.poll_event(cx, now) {
                match event {
                    Ok(event) => self.handle(&mut turn, now, event),
                    Err(Ended::Fault(fault)) => {
                        drop(turn);
                        self.close_abruptly(connection.controls(), fault, now);
                        return self.poll_deadlines(connection, cx, now);
                    }
                    Err(ended) => return Poll::Ready(ended),
                }
            }
            if mailbox.is_empty() {
                break;
            }
        }
        let streams = &self.streams;
        turn.open_window(|| streams.iter().any(|in_flight| in_flight.exchange.is_hungry()));
        shared.metrics.stalls.of(Stall::ClientWindow).add(turn.take_stalls());
        if !self.yielded.is_empty() {
            run_again(cx);
        }
        let written = match turn.end(cx, now) {
            Poll::Ready(Ok(())) => connection.poll_flush(cx, now),
            other => other,
        };
        match written {
            Poll::Ready(Ok(())) => self.lifecycle.unblock_writing(),
            Poll::Ready(Err(error)) => return Poll::Ready(Ended::Io(error)),
            Poll::Pending => {
                if connection.take_progress() {
                    self.lifecycle.unblock_writing();
                }
                self.lifecycle.block_writing(now);
            }
        }
        self.poll_deadlines(connection, cx, now)
    }

    fn handle<T: Turn>(&mut self, turn: &mut T, now: Instant, event: Event) {
        match event {
            Event::Request { key, head } => self.begin(turn, now, key, head),
            Event::Pushed { key, head } => self.begin_pushed(now, key, head),
            Event::Data { key, data, end } => {
                if let Some(in_flight) = self.streams.get_mut(key) {
                    in_flight.receive(data, end, now);
                }
            }
            Event::Trailers { key, trailers } => {
                if let Some(in_flight) = self.streams.get_mut(key) {
                    in_flight.exchange.push_request_trailers(trailers);
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
                    self.answer(turn, now, key);
                }
            }
            Event::Reset { key } => self.cut(key, Fault::ClientGone, now),
            Event::Refused { stream_id, head, fault } => {
                // The connection has answered the request, which has no slot.
                let arrived = Arrived {
                    key: usize::MAX,
                    stream: Some(stream_id),
                    head,
                    expects_continue: false,
                    rules: self.client.admitted.shared.settings().routes.rules(None).for_exchange(),
                };
                let exchange = request::refused(&self.client, arrived, fault, now);
                let mut in_flight = InFlight::new(exchange, Some(stream_id), now);
                in_flight.note_fault(fault);
                if let Some(block) = in_flight.finish(&self.client, now) {
                    hcrs_mux::recycle(block);
                }
            }
        }
    }

    fn begin<T: Turn>(&mut self, turn: &mut T, now: Instant, key: StreamKey, head: RequestHead) {
        self.requests += 1;
        let shared = &self.client.admitted.shared;
        if shared.settings().connection.has_reached_max_requests(self.requests)
            || shared.phase() != Phase::Serving
        {
            self.close_gracefully(turn.controls(), now);
        }
        let exchange = self.intake.take(&self.client, arrived(key, head), now);
        self.streams.insert(key, InFlight::new(exchange, Some(key.id), now));
    }

    /// Begins a request that was promised to the client.
    fn begin_pushed(&mut self, now: Instant, key: StreamKey, head: RequestHead) {
        let exchange = self.intake.take_promised(&self.client, arrived(key, head), now);
        self.streams.insert(key, InFlight::new(exchange, Some(key.id), now));
    }

    /// Sends the output of an exchange to the client.
    fn answer<T: Turn>(&mut self, turn: &mut T, now: Instant, key: StreamKey) {
        loop {
            let Some(in_flight) = self.streams.get_mut(key) else { return };
            let Some(output) = in_flight.exchange.next_output() else {
                if in_flight.exchange.has_yielded() && !self.yielded.contains(&key) {
                    self.yielded.push_back(key);
                }
                return;
            };
            let outcome = match output {
                // Clients send the body without waiting for `100 Continue`.
                Output::Continue => Ok(false),
                Output::Release(len) => {
                    in_flight.body_at = now;
                    turn.release(key, len);
                    Ok(false)
                }
                Output::Push(head) => {
                    self.promise(turn, key, head);
                    Ok(false)
                }
                Output::Interim(head) => turn.send_interim(key, &head).map(|()| false),
                Output::Trailers(trailers) => turn.send_trailers(now, key, &trailers),
                Output::Head { head, end, .. } => {
                    let shared = &self.client.admitted.shared;
                    let head = in_flight.labelled(head, shared);
                    let sent = turn.send_head(key, &head, end);
                    if sent.is_ok() {
                        in_flight.note_head(&head, shared, now);
                    }
                    sent
                }
                Output::Data { data, end } => turn.send_data(now, key, data, end).map(|sent| {
                    in_flight.exchange.client_took(sent.len);
                    in_flight.note_sent(sent.len);
                    sent.done
                }),
                Output::Fault(fault) => Err(fault),
            };
            match outcome {
                Ok(false) => {}
                Ok(true) => return self.finish(key, now),
                Err(fault) => return self.fail(turn.controls(), key, fault, now),
            }
        }
    }

    /// Promises a request to the client, unless the connection is busy or about to end: a promise is only a
    /// hint.
    fn promise<T: Turn>(&mut self, turn: &mut T, key: StreamKey, head: RequestHead) {
        let is_wanted = matches!(self.shutdown, Shutdown::No)
            && self.streams.len() < self.max_open
            && !self.intake.has_too_many_running();
        let refused = if is_wanted { turn.push(key, head) } else { Err(head) };
        if let Err(head) = refused {
            hcrs_mux::recycle(head.into_block());
        }
    }

    /// Sends the fault's response if no head was sent, and resets the stream otherwise.
    fn fail<C: Controls>(&mut self, connection: &mut C, key: StreamKey, fault: Fault, now: Instant) {
        match self.streams.get_mut(key) {
            Some(in_flight) if !fault.closes_connection() && in_flight.answer_fault(fault) => return,
            Some(in_flight) => {
                in_flight.note_fault(fault);
                let shared = &self.client.admitted.shared;
                in_flight.with_own_field(shared, |own| connection.fail(key, fault, own));
            }
            None => connection.fail(key, fault, None),
        }
        self.finish(key, now);
        // The frames of the other streams are whole.
        if ends_connection(fault, Framing::Intact) {
            self.close_abruptly(connection, fault, now);
        }
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
            hcrs_mux::recycle(block);
        }
        if self.streams.len() == 0 {
            self.lifecycle.rest(now);
        }
    }

    fn follow_phase<C: Controls>(&mut self, connection: &mut C, phase: Phase, now: Instant) {
        match phase {
            Phase::Serving => {}
            // Some clients treat GOAWAY as the end, so a connection without a request yet gets time for its
            // first.
            Phase::Draining if self.requests == 0 => {}
            Phase::Draining | Phase::Finishing => {
                for in_flight in self.streams.iter() {
                    in_flight.exchange.go_away(now);
                }
                self.close_gracefully(connection, now);
                if phase == Phase::Finishing && self.streams.len() == 0 {
                    self.lifecycle.check_no_later_than(self.lifecycle.idle_until(FIRST_REQUEST));
                }
            }
            Phase::Cut if matches!(self.shutdown, Shutdown::Abrupt(..)) => {}
            Phase::Cut => {
                for slot in self.streams.slots() {
                    if let Some(key) = self.streams.key_at(slot) {
                        self.fail(connection, key, Fault::DrainTimeout, now);
                    }
                }
                connection.graceful_shutdown();
                self.shutdown = Shutdown::Abrupt(Fault::DrainTimeout, now + TICK);
            }
        }
    }

    fn close_gracefully<C: Controls>(&mut self, connection: &mut C, now: Instant) {
        if matches!(self.shutdown, Shutdown::No) {
            connection.graceful_shutdown();
            let limit = self.client.admitted.shared.settings().connection.write_timeout;
            self.shutdown = Shutdown::Graceful(now + limit);
        }
    }

    /// Shuts the connection down without waiting for the client to see the first GOAWAY.
    fn close_finally<C: Controls>(&mut self, connection: &mut C, now: Instant) {
        connection.final_shutdown();
        self.shutdown = Shutdown::Final(now + TICK);
    }

    /// Shuts the connection down because of a fault, which cuts off all streams.
    fn close_abruptly<C: Controls>(&mut self, connection: &mut C, fault: Fault, now: Instant) {
        connection.abrupt_shutdown(fault);
        self.shutdown = Shutdown::Abrupt(fault, now + TICK);
    }

    /// Ends all exchanges because the connection is over.
    fn cut_all(&mut self, fault: Fault) {
        for in_flight in self.streams.drain() {
            in_flight.cut(&self.client, fault, clock::now());
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.cut_all(Fault::ClientGone);
    }
}

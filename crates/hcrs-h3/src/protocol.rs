//! The protocol of one connection: what its streams carry in, events and frames out. No I/O but the calls of
//! the transport, no clock.

mod control;
mod receive;
mod requests;
mod responses;
mod room;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrs_http::{Endpoints, Fault, Scheme, Version};
use hcrs_mux::{BodyRoom, Budget, Checks, ServerFields, Unwanted};

use crate::error::ErrorCode;
use crate::event::{Ended, Event, StreamKey};
use crate::frame::stream;
use crate::qpack::Decoder;
use crate::settings::Settings;
use crate::stream::{Owner, Phase, Sending, Stream};
use crate::streams::Streams;
use crate::transport::Transport;
use control::{Control, EarlyPriority, Outgoing, Uni};
use responses::LastHead;
use room::Room;

/// Least time between the two GOAWAY frames of a shutdown, in which requests cross the first.
const LEAVE_LEAST: Duration = Duration::from_millis(100);

/// The time between the two GOAWAY frames, in round trips.
const LEAVE_ROUND_TRIPS: u32 = 3;

/// The end of a connection, found in what the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// The client broke the protocol.
    Protocol(ErrorCode),
    /// The client exceeded a budget.
    Fault(Fault),
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Self::Protocol(code)
    }
}

/// An act on a stream of the transport, done in the next call that has the transport.
#[derive(Debug, Clone, Copy)]
enum Command {
    Reset(u64, ErrorCode),
    StopSending(u64, ErrorCode),
    SetPriority(u64, i32),
}

/// The stage of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// GOAWAY has announced the end. Requests that cross it are still served, until the instant.
    Announced(Option<Instant>),
    /// GOAWAY has named the first request that is not served.
    Last(u64),
    /// The same, and only what was sent is waited for.
    Final(u64),
    /// The transport is closed with the code.
    Now(ErrorCode),
}

/// The protocol of one connection.
#[derive(Debug)]
pub(crate) struct Protocol {
    checks: Checks,
    max_streams: usize,
    stream_window: usize,
    server_fields: ServerFields,
    /// The last head of this turn, if others may share its memory.
    last_head: Option<LastHead>,

    control: Control,
    /// The stream with instructions for the client's encoder.
    reports: Outgoing,
    /// The client's unidirectional streams.
    unis: Vec<Uni>,
    streams: Streams,
    /// The number of the first request stream that the client has not begun.
    next_id: u64,
    /// Numbers of the streams that may be read.
    readable: VecDeque<u64>,
    /// Bytes that were read in this turn.
    read_in_turn: usize,
    /// Streams whose outbox may go on.
    writable: Vec<StreamKey>,
    /// Streams that are to be written at the end of the turn.
    dirty: Vec<StreamKey>,
    /// Streams whose response the client has not acknowledged.
    finishing: Vec<u64>,
    /// Streams that the client no longer wants an answer on.
    stopped: Vec<u64>,
    /// Number of streams that were rejected since the reset budget was last spent.
    rejected: u32,
    /// Streams that were answered and whose body still arrives.
    unwanted: Vec<StreamKey>,
    /// The body of a stream that is being read, kept for the next.
    body: Vec<u8>,
    early_priorities: Vec<EarlyPriority>,

    decoder: Decoder,
    /// Number of instructions that the client's encoder may send before they count as frames without progress.
    instructions_allowed: u32,
    room: Room,
    /// Bytes of frames that wait for their rest on all streams.
    waiting: usize,
    /// The number of times that a response began to wait for the client.
    stalls: u64,
    events: VecDeque<Event>,
    commands: Vec<Command>,

    reset_budget: Budget,
    /// Responses that have ended since the reset budget was last checked.
    answered: u32,
    frame_budget: Budget,
    leaving: Leaving,
    ended: Option<Ended>,
}

impl Protocol {
    /// Begins a connection.
    pub(crate) fn new(settings: &Settings, endpoints: Rc<Endpoints>, room: &Rc<BodyRoom>) -> Self {
        Self {
            checks: Checks {
                version: Version::Http3,
                scheme: Scheme::Https,
                endpoints,
                max_fields: settings.max_fields,
                max_list_size: settings.max_header_list_size as usize,
                extended_connect: settings.extended_connect,
            },
            max_streams: settings.max_concurrent_streams as usize,
            stream_window: settings.stream_window,
            server_fields: ServerFields::default(),
            last_head: None,
            control: Control::new(settings),
            reports: Outgoing::new(stream::DECODER),
            unis: Vec::new(),
            streams: Streams::default(),
            next_id: 0,
            readable: VecDeque::new(),
            read_in_turn: 0,
            writable: Vec::new(),
            dirty: Vec::new(),
            finishing: Vec::new(),
            stopped: Vec::new(),
            rejected: 0,
            unwanted: Vec::new(),
            body: Vec::new(),
            early_priorities: Vec::new(),
            decoder: Decoder::default(),
            instructions_allowed: requests::INSTRUCTIONS_PER_HEAD,
            room: Room::new(room, settings.connection_room),
            waiting: 0,
            stalls: 0,
            events: VecDeque::new(),
            commands: Vec::new(),
            reset_budget: Budget::new(settings.reset_burst, settings.reset_refill),
            answered: 0,
            frame_budget: Budget::new(settings.frame_burst, settings.frame_refill),
            leaving: Leaving::No,
            ended: None,
        }
    }

    /// Changes the addresses of later requests.
    pub(crate) fn set_endpoints(&mut self, endpoints: Rc<Endpoints>) {
        self.checks.endpoints = endpoints;
    }

    /// Begins a turn. Responses of this turn get the server's fields.
    #[inline]
    pub(crate) fn begin_turn(&mut self, server_fields: &ServerFields) {
        self.read_in_turn = 0;
        if self.server_fields.date != server_fields.date
            || self.server_fields.server != server_fields.server
            || self.server_fields.alt_svc.is_some() != server_fields.alt_svc.is_some()
        {
            self.server_fields = server_fields.clone();
        }
    }

    /// Notes that the client has begun a stream.
    pub(crate) fn opened(&mut self, id: u64) {
        if self.is_closed() {
            return;
        }
        if id & 2 != 0 {
            return self.uni_opened(id);
        }
        self.next_id = self.next_id.max(id + 4);
        let is_late = matches!(self.leaving, Leaving::Last(limit) | Leaving::Final(limit) if id >= limit);
        if is_late || self.streams.len() >= self.max_streams {
            self.rejected += u32::from(!is_late);
            self.decoder.cancel(id);
            self.commands.push(Command::StopSending(id, ErrorCode::REQUEST_REJECTED));
            self.commands.push(Command::Reset(id, ErrorCode::REQUEST_REJECTED));
            return;
        }
        let mut stream = Stream::new(id);
        stream.receiving.is_queued = true;
        self.streams.insert(stream);
        self.readable.push_back(id);
    }

    /// Notes that a stream of the client may have bytes, an end or a reset.
    pub(crate) fn readable(&mut self, id: u64) {
        let is_queued = if id & 2 != 0 {
            let Some(uni) = self.unis.iter_mut().find(|uni| uni.id == id) else { return };
            std::mem::replace(&mut uni.is_queued, true)
        } else {
            let Some(key) = self.streams.find(id) else { return };
            let Some(stream) = self.streams.get_mut(key) else { return };
            if !stream.receiving.is_open() {
                return;
            }
            std::mem::replace(&mut stream.receiving.is_queued, true)
        };
        if !is_queued {
            self.readable.push_back(id);
        }
    }

    /// Whether a stream is one of the server's that both ends need.
    fn is_of_server(&self, id: u64) -> bool {
        self.control.out.is(id) || self.reports.is(id)
    }

    /// Notes that a stream takes bytes again.
    pub(crate) fn writable(&mut self, id: u64) {
        if self.control.out.is(id) {
            return self.control.out.is_blocked = false;
        }
        if self.reports.is(id) {
            return self.reports.is_blocked = false;
        }
        let Some(key) = self.streams.find(id) else { return };
        if !self.writable.contains(&key) {
            self.writable.push(key);
        }
    }

    /// Notes that the client has acknowledged all of a stream.
    pub(crate) fn finished(&mut self, id: u64) {
        self.finishing.retain(|&finishing| finishing != id);
    }

    /// Notes that the client has asked to stop sending on a stream.
    pub(crate) fn stopped(&mut self, id: u64) {
        if self.is_of_server(id) || self.finishing.contains(&id) || self.streams.find(id).is_some() {
            self.stopped.push(id);
        }
    }

    /// Returns the next event, or the end of the connection; `None` if there is none for now.
    pub(crate) fn poll(&mut self, io: &mut dyn Transport, now: Instant) -> Option<Result<Event, Ended>> {
        loop {
            if let Some(event) = self.next_event() {
                return Some(Ok(event));
            }
            if let Some(ended) = self.ended {
                return Some(Err(ended));
            }
            self.run_commands(io);
            match self.advance(io, now) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => self.end(io, error),
            }
        }
    }

    /// Ends a connection whose client has broken the protocol.
    fn end(&mut self, io: &mut dyn Transport, error: Error) {
        let (code, ended) = match error {
            Error::Protocol(code) => (code, Ended::Protocol(code)),
            Error::Fault(fault) => (ErrorCode::of(fault), Ended::Fault(fault)),
        };
        self.close(io, code, ended);
    }

    fn close(&mut self, io: &mut dyn Transport, code: ErrorCode, ended: Ended) {
        self.events.clear();
        self.leaving = Leaving::Now(code);
        self.ended = Some(ended);
        io.close(code);
    }

    fn is_closed(&self) -> bool {
        matches!(self.leaving, Leaving::Now(_))
    }

    /// Returns the next event. Those of streams that have ended since are dropped.
    #[inline]
    fn next_event(&mut self) -> Option<Event> {
        while let Some(event) = self.events.pop_front() {
            let stream = match &event {
                Event::Request { key, .. }
                | Event::Data { key, .. }
                | Event::Trailers { key, .. }
                | Event::End { key } => self.streams.of_app(*key),
                Event::Sent { .. } | Event::Reset { .. } | Event::Refused { .. } => return Some(event),
            };
            if let Some(stream) = stream {
                stream.is_announced = true;
                return Some(event);
            }
            if let Event::Request { head, .. } = event {
                hcrs_mux::recycle(head.into_block());
            }
        }
        None
    }

    /// Does one thing that is due. Returns false if there is nothing to do.
    fn advance(&mut self, io: &mut dyn Transport, now: Instant) -> Result<bool, Error> {
        if let Leaving::Now(code) = self.leaving {
            self.close(io, code, Ended::Closed);
            return Ok(true);
        }
        for _ in 0..std::mem::take(&mut self.rejected) {
            self.spend_reset(now)?;
        }
        while let Some(id) = self.stopped.pop() {
            self.stopped_by_client(id, now)?;
        }
        self.leave_step(io, now);
        self.control.out.write(io);
        if self.reports.is_overfull() {
            return Err(ErrorCode::EXCESSIVE_LOAD.into());
        }
        if !self.unwanted.is_empty() {
            self.check_unwanted(now);
        }
        while let Some(key) = self.writable.pop() {
            self.continue_response(io, key, now);
        }
        self.run_commands(io);
        if !self.events.is_empty() {
            return Ok(true);
        }
        if self.is_over() {
            self.close(io, ErrorCode::NO_ERROR, Ended::Closed);
            return Ok(true);
        }
        self.read_next(io, now)
    }

    /// Ends a turn: writes what was not written yet.
    pub(crate) fn end_turn(&mut self, io: &mut dyn Transport, now: Instant) {
        self.last_head = None;
        if self.is_closed() {
            return;
        }
        for key in std::mem::take(&mut self.dirty) {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.is_dirty = false;
                self.write(io, key, now);
            }
        }
        self.run_commands(io);
        self.control.out.write(io);
        self.reports.append(&self.decoder.take_instructions());
        self.reports.write(io);
    }

    fn run_commands(&mut self, io: &mut dyn Transport) {
        for command in self.commands.drain(..) {
            match command {
                Command::Reset(id, code) => io.reset(id, code),
                Command::StopSending(id, code) => io.stop_sending(id, code),
                Command::SetPriority(id, priority) => io.set_priority(id, priority),
            }
        }
    }

    /// Whether the connection has more to do than one turn may.
    pub(crate) fn has_more(&self) -> bool {
        !self.readable.is_empty() || !self.events.is_empty() || !self.stopped.is_empty()
    }

    /// Gives a stream room again by `len` body bytes that the app has taken.
    pub(crate) fn release(&mut self, key: StreamKey, len: usize) {
        let Some(stream) = self.streams.of_app(key) else { return };
        let Some(held) = stream.receiving.held.checked_sub(len) else { return };
        stream.receiving.held = held;
        self.room.release(len);
        self.resume(key);
    }

    /// Reads a stream again whose app had no room, if it has now.
    fn resume(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let receiving = &mut stream.receiving;
        if receiving.is_paused
            && (!matches!(stream.owner, Owner::App) || self.room.of(receiving.held, self.stream_window) > 0)
        {
            receiving.is_paused = false;
            if !std::mem::replace(&mut receiving.is_queued, true) {
                self.readable.push_back(key.id);
            }
        }
    }

    /// Whether the client has not sent its settings.
    pub(crate) fn awaits_settings(&self) -> bool {
        !self.control.has_settings
    }

    /// Returns the instant at which the first bytes of the oldest head came that is not complete.
    pub(crate) fn oldest_head(&self) -> Option<Instant> {
        self.streams
            .iter()
            .filter(|(_, stream)| is_in_head(stream))
            .filter_map(|(_, s)| s.receiving.since)
            .min()
    }

    /// Resets the streams whose head began at the instant or before and is not complete.
    pub(crate) fn refuse_heads(&mut self, since: Instant) {
        let is_slow =
            |stream: &Stream| is_in_head(stream) && stream.receiving.since.is_some_and(|at| at <= since);
        let slow: Vec<_> =
            self.streams.iter().filter(|(_, stream)| is_slow(stream)).map(|(key, _)| key).collect();
        for key in slow {
            self.rejected += 1;
            self.abandon(key, ErrorCode::REQUEST_INCOMPLETE);
            self.remove(key);
        }
    }

    /// Announces the end of the connection. Streams that are open may end.
    pub(crate) fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced(None);
            self.control.goaway(control::LAST_ID);
            for key in std::mem::take(&mut self.unwanted) {
                self.turn_away(key);
            }
        }
    }

    /// Names the first request that is not served, once those that crossed the announcement are here.
    fn leave_step(&mut self, io: &mut dyn Transport, now: Instant) {
        match self.leaving {
            Leaving::Announced(None) => {
                let wait = (io.rtt() * LEAVE_ROUND_TRIPS).max(LEAVE_LEAST);
                self.leaving = Leaving::Announced(Some(now + wait));
            }
            Leaving::Announced(Some(until)) if now >= until => {
                self.leaving = Leaving::Last(self.next_id);
                self.control.goaway(self.next_id);
            }
            _ => {}
        }
    }

    /// Names the first request that is not served, and ends the connection as soon as the client has what was
    /// sent.
    pub(crate) fn leave_finally(&mut self) {
        match self.leaving {
            Leaving::No | Leaving::Announced(_) => {
                self.leaving = Leaving::Final(self.next_id);
                self.control.goaway(self.next_id);
            }
            Leaving::Last(limit) => self.leaving = Leaving::Final(limit),
            Leaving::Final(_) | Leaving::Now(_) => {}
        }
    }

    /// Closes the transport in the next turn.
    pub(crate) fn leave_now(&mut self, code: ErrorCode) {
        if !self.is_closed() {
            self.leaving = Leaving::Now(code);
            self.events.clear();
        }
    }

    /// Whether nothing is left to be done before the transport may be closed.
    fn is_over(&self) -> bool {
        if !self.finishing.is_empty() {
            return false;
        }
        match self.leaving {
            Leaving::No | Leaving::Announced(_) => self.control.peer_leaves && self.streams.is_empty(),
            Leaving::Last(_) => self.streams.is_empty(),
            Leaving::Final(_) => self.streams.iter().all(|(_, stream)| stream.sending != Sending::Last),
            Leaving::Now(_) => true,
        }
    }

    /// Returns the instant at which a turn has to poll for events even if nothing is reported.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        let next = |key: &StreamKey| match &self.streams.get(*key)?.owner {
            Owner::Connection(unwanted) => Some(unwanted.next(now)),
            Owner::App => None,
        };
        let leaves = match self.leaving {
            Leaving::Announced(until) => Some(until.unwrap_or(now)),
            _ => None,
        };
        self.unwanted.iter().filter_map(next).chain(leaves).min()
    }

    /// Turns away the bodies that have arrived for long enough.
    fn check_unwanted(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&key) = self.unwanted.get(at) {
            let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.receiving.is_open()) else {
                self.unwanted.swap_remove(at);
                continue;
            };
            let is_over = match &mut stream.owner {
                Owner::Connection(unwanted) => unwanted.is_over(now, false),
                Owner::App => false,
            };
            if is_over {
                self.unwanted.swap_remove(at);
                self.turn_away(key);
            } else {
                at += 1;
            }
        }
    }

    /// Stops a client whose body is not wanted (RFC 9114 §4.1).
    fn turn_away(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.receiving.is_open() {
            stream.receiving.phase = Phase::Closed;
            self.decoder.cancel(key.id);
            self.commands.push(Command::StopSending(key.id, ErrorCode::NO_ERROR));
        }
        self.settle(key);
    }

    /// Ends the app's part of a stream whose response has ended. A body that still arrives is dropped.
    fn retire(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.owner = Owner::Connection(Unwanted::default());
        let held = std::mem::take(&mut stream.receiving.held);
        let is_open = stream.receiving.is_open();
        self.room.release(held);
        if !is_open {
            self.settle(key);
        } else if self.leaving == Leaving::No {
            self.unwanted.push(key);
            self.resume(key);
        } else {
            self.turn_away(key);
        }
    }

    /// Forgets a stream that is over on both sides and for the app.
    fn settle(&mut self, key: StreamKey) {
        let is_over = self.streams.get(key).is_some_and(|stream| {
            !stream.is_of_app() && !stream.receiving.is_open() && stream.sending == Sending::Ended
        });
        if is_over {
            self.remove(key);
        }
    }

    /// Forgets a stream.
    fn remove(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.remove(key) {
            self.room.release(stream.receiving.held);
            self.waiting -= stream.receiving.waiting;
        }
    }

    /// Ends both sides of a stream with a code.
    fn abandon(&mut self, key: StreamKey, code: ErrorCode) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.receiving.is_open() {
            self.decoder.cancel(key.id);
            self.commands.push(Command::StopSending(key.id, code));
        }
        if stream.sending != Sending::Ended {
            self.commands.push(Command::Reset(key.id, code));
        }
    }

    /// Ends a stream that the client has reset, or that was reset because of the client. The app is told if
    /// it knows of the stream.
    fn cut(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.is_of_app() && stream.is_announced {
            self.events.push_back(Event::Reset { key });
        }
        self.remove(key);
    }

    /// Resets a stream because of what the client sent on it.
    fn reset_for(&mut self, key: StreamKey, code: ErrorCode, now: Instant) -> Result<(), Error> {
        self.abandon(key, code);
        self.cut(key);
        self.spend_reset(now)
    }

    /// Takes note of a client that no longer wants the answer on a stream.
    fn stopped_by_client(&mut self, id: u64, now: Instant) -> Result<(), Error> {
        if self.is_of_server(id) {
            return Err(ErrorCode::CLOSED_CRITICAL_STREAM.into());
        }
        if self.finishing.contains(&id) {
            self.finished(id);
            self.commands.push(Command::Reset(id, ErrorCode::REQUEST_CANCELLED));
            return Ok(());
        }
        match self.streams.find(id) {
            Some(key) => self.reset_for(key, ErrorCode::REQUEST_CANCELLED, now),
            None => Ok(()),
        }
    }

    fn spend_reset(&mut self, now: Instant) -> Result<(), Error> {
        self.reset_budget.earn(std::mem::take(&mut self.answered));
        if self.reset_budget.spend(now, 1) { Ok(()) } else { Err(Error::Fault(Fault::TooManyResets)) }
    }

    fn spend_frames(&mut self, now: Instant, count: u32) -> Result<(), Error> {
        if count == 0 || self.frame_budget.spend(now, count) {
            Ok(())
        } else {
            Err(Error::Fault(Fault::TooManyFrames))
        }
    }

    /// Takes the number of times that a response began to wait for the client.
    pub(crate) fn take_stalls(&mut self) -> u64 {
        std::mem::take(&mut self.stalls)
    }

    fn data_event(&mut self, key: StreamKey, data: &[u8], end: bool) {
        self.events.push_back(Event::Data { key, data: Bytes::copy_from_slice(data), end });
    }
}

fn is_in_head(stream: &Stream) -> bool {
    stream.receiving.phase == Phase::Head
}

//! The protocol of one connection: what its streams carry in, events and frames out. No I/O but the calls of
//! the transport, no clock.

mod control;
mod endings;
mod priorities;
mod receive;
mod requests;
mod responses;
mod room;
mod shutdown;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Endpoints, Fault, Scheme, Version};
use hcrs_mux::{BodyRoom, Budget, Checks, Event, Owner, ServerFields, StreamKey, Streams};

use crate::ended::Ended;
use crate::error::ErrorCode;
use crate::frame::stream;
use crate::qpack::Decoder;
use crate::settings::Settings;
use crate::stream::Stream;
use crate::transport::Transport;
use control::{Control, Outgoing, Uni};
use priorities::Announced;
use responses::LastHead;
use room::Room;
use shutdown::Leaving;

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
    streams: Streams<Stream>,
    /// The number of the first request stream that the client has not begun.
    next_id: u64,
    /// Numbers of the streams that may be read.
    readable: VecDeque<u64>,
    /// Bytes that were read in this turn.
    read_in_turn: usize,
    /// Streams whose outbox may go on.
    writable: Vec<StreamKey>,
    /// Number of times that a stream was given a part of a body.
    served: u64,
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
    announced: Vec<Announced>,

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
            served: 0,
            dirty: Vec::new(),
            finishing: Vec::new(),
            stopped: Vec::new(),
            rejected: 0,
            unwanted: Vec::new(),
            announced: Vec::new(),
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
        let mut stream = Stream::new();
        stream.receiving.is_queued = true;
        self.streams.insert(id, stream);
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
        let streams = &mut self.streams;
        hcrs_mux::next_event(&mut self.events, |key| {
            streams.of_app(key).map(|stream| stream.is_announced = true).is_some()
        })
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
        if !self.writable.is_empty() {
            self.continue_responses(io, now);
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

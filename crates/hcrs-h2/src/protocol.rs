//! The protocol of one connection: bytes of the client in, events and bytes for the client out. No I/O, no
//! clock.

mod priorities;
mod pushes;
mod receive;
mod requests;
mod responses;
mod schedule;
mod window;

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use hcrs_http::{Endpoints, Fault, Scheme, Version};
use hcrs_mux::{
    BodyRoom, Budget, Checks, Event, Owned as _, Owner, ServerFields, StreamKey, Streams, Unwanted,
};

use crate::flow::FlowWindow;
use crate::frame::{ErrorCode, FIRST_WINDOW, LEAST_FRAME_SIZE, MAX_31, PING, SETTINGS, setting};
use crate::hpack::{Decoder, Encoder};
use crate::output::Output;
use crate::settings::Settings;
use crate::stream::{Receiving, Sending, Stream, wire_id};
use priorities::Announced;
use receive::Block;
use responses::{LastHead, UPDATES_PER_SEND};
use schedule::Schedule;
use window::Window;

/// Most streams that are remembered after the server has reset them: frames that were on their way are no
/// offence.
const REMEMBERED: usize = 256;

/// Most ranges of skipped numbers that are remembered.
const SKIPS_REMEMBERED: usize = 8;

/// The payload of the PING that measures the way to the client and back when the connection shuts down.
const PROBE: [u8; 8] = *b"hcrs:bye";

/// The end of a connection, found in what the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// The client broke the protocol.
    Protocol(ErrorCode),
    /// The client exceeded a budget.
    Fault(Fault),
}

/// The client's settings.
#[derive(Debug)]
struct PeerSettings {
    /// The client has sent settings.
    are_there: bool,
    takes_pushes: bool,
    max_concurrent_streams: u32,
    initial_window: u32,
    max_frame_size: usize,
}

/// The stage of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// GOAWAY has announced the end. Requests that cross it are still served.
    Announced,
    /// GOAWAY has named the last stream. Later ones are ignored.
    Last(u32),
    /// Nothing is read any more.
    Now,
}

/// The protocol of one connection, from behind the client's preface.
#[derive(Debug)]
pub(crate) struct Protocol {
    checks: Checks,
    max_streams: usize,
    max_frame_size: usize,
    /// The window of a stream that begins now, as far as the client was told for certain.
    stream_window: u32,
    /// The window of streams from the acknowledgement of the settings on.
    announced_window: u32,
    server_fields: ServerFields,
    /// The last head of this turn, if others may share its memory.
    last_head: Option<LastHead>,

    /// The beginning of a frame whose rest has not arrived.
    partial: Vec<u8>,
    block: Option<Block>,
    /// A frame, and with HEADERS the whole header block, has ended in this turn.
    went_on: bool,
    decoder: Decoder,
    encoder: Encoder,
    pub(crate) output: Output,
    peer: PeerSettings,

    streams: Streams<Stream>,
    /// The greatest number that a stream of the client has had.
    last_id: u32,
    /// The last numbers below that which no stream has had.
    skipped: VecDeque<Range<u32>>,
    /// The number of the next stream that is promised.
    next_pushed: u32,
    /// Number of streams that the client counts as open.
    open: usize,
    /// Number of promised streams that are not over.
    pushed: usize,
    /// Streams that the server has reset or refused while the client was sending.
    reset: VecDeque<u32>,
    /// Streams of which `receiving` has credit.
    credited: Vec<StreamKey>,
    /// Streams that were answered and whose body still arrives.
    unwanted: Vec<StreamKey>,
    /// Streams whose response waits.
    schedule: Schedule,
    /// Priorities of streams that have not begun, at most `max_streams`.
    announced: Vec<Announced>,
    /// Whether the client has shown that it knows RFC 9218.
    client_has_priorities: bool,
    /// The last time at which body bytes were sent.
    sent_at: Option<Instant>,

    window: Window,
    /// Bytes of bodies that the client lets the server send on the connection.
    send_window: FlowWindow,
    /// The number of times that a response began to wait for the client's window.
    stalls: u64,
    events: VecDeque<Event>,

    reset_budget: Budget,
    /// Responses that have ended since the reset budget was last checked.
    answered: u32,
    frame_budget: Budget,
    /// Number of `WINDOW_UPDATE` frames that the client may send before they count as frames without
    /// progress.
    updates_allowed: u32,
    leaving: Leaving,
    /// The client has sent GOAWAY.
    peer_leaves: bool,
}

impl Protocol {
    /// Begins a connection: its settings are in the output.
    pub(crate) fn new(
        settings: &Settings,
        scheme: Scheme,
        endpoints: Rc<Endpoints>,
        room: &Rc<BodyRoom>,
    ) -> Self {
        let mut protocol = Self {
            checks: Checks {
                version: Version::Http2,
                scheme,
                endpoints,
                max_fields: settings.max_fields,
                max_list_size: settings.max_header_list_size as usize,
                extended_connect: settings.extended_connect,
            },
            max_streams: settings.max_concurrent_streams as usize,
            max_frame_size: settings.max_inbound_frame_size.max(LEAST_FRAME_SIZE) as usize,
            // A client may begin to send before it has read the settings.
            stream_window: settings.stream_window.max(FIRST_WINDOW),
            announced_window: settings.stream_window,
            server_fields: ServerFields::default(),
            last_head: None,
            partial: Vec::new(),
            block: None,
            went_on: false,
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            output: Output::default(),
            peer: PeerSettings {
                are_there: false,
                takes_pushes: true,
                max_concurrent_streams: u32::MAX,
                initial_window: FIRST_WINDOW,
                max_frame_size: LEAST_FRAME_SIZE as usize,
            },
            streams: Streams::default(),
            last_id: 0,
            skipped: VecDeque::new(),
            next_pushed: 2,
            open: 0,
            pushed: 0,
            reset: VecDeque::new(),
            credited: Vec::new(),
            unwanted: Vec::new(),
            schedule: Schedule::default(),
            announced: Vec::new(),
            client_has_priorities: false,
            sent_at: None,
            window: Window::new(room, settings),
            send_window: FlowWindow::new(FIRST_WINDOW),
            stalls: 0,
            events: VecDeque::new(),
            reset_budget: Budget::new(settings.reset_burst, settings.reset_refill),
            answered: 0,
            frame_budget: Budget::new(settings.frame_burst, settings.frame_refill),
            updates_allowed: UPDATES_PER_SEND,
            leaving: Leaving::No,
            peer_leaves: false,
        };
        protocol.announce(settings);
        protocol
    }

    fn announce(&mut self, settings: &Settings) {
        let mut entries = vec![
            (setting::MAX_CONCURRENT_STREAMS, settings.max_concurrent_streams),
            (setting::INITIAL_WINDOW_SIZE, settings.stream_window),
            (setting::MAX_FRAME_SIZE, self.max_frame_size as u32),
            (setting::MAX_HEADER_LIST_SIZE, settings.max_header_list_size),
            (setting::NO_RFC7540_PRIORITIES, 1),
        ];
        if settings.extended_connect {
            // The head's check allows it for WebSocket alone (RFC 8441).
            entries.push((setting::ENABLE_CONNECT_PROTOCOL, 1));
        }
        let entry = |(name, value): (u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let payload: Vec<u8> = entries.into_iter().flat_map(entry).collect();
        self.output.frame(SETTINGS, 0, 0, &payload);
        self.open_windows();
    }

    /// Begins a turn. Responses of this turn get the server's fields.
    #[inline]
    pub(crate) fn begin_turn(&mut self, server_fields: &ServerFields) {
        self.went_on = false;
        if self.server_fields.date != server_fields.date
            || self.server_fields.server != server_fields.server
            || self.server_fields.alt_svc.is_some() != server_fields.alt_svc.is_some()
        {
            self.server_fields = server_fields.clone();
        }
    }

    /// Returns the next event. Those of streams that have ended since are dropped.
    #[inline]
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let streams = &mut self.streams;
        hcrs_mux::next_event(&mut self.events, |key| {
            streams.of_app(key).map(|stream| stream.is_announced = true).is_some()
        })
    }

    /// Does what is due without a byte of the client: unwanted bodies are turned away, responses that wait go
    /// on.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.window.widen(|| false);
        if !self.unwanted.is_empty() {
            self.check_unwanted(now);
        }
        if !self.schedule.is_empty() {
            self.serve_waiting(now);
        }
    }

    /// Ends a turn: opens the windows of the client by what was released.
    pub(crate) fn end_turn(&mut self) {
        self.last_head = None;
        self.open_windows();
    }

    fn open_windows(&mut self) {
        let Self { credited, streams, output, .. } = self;
        credited.retain(|&key| {
            let Some(stream) = streams.get_mut(key) else { return false };
            if let Some(increment) = stream.receiving.open() {
                output.window_update(wire_id(key), increment);
            }
            stream.receiving.is_open && stream.receiving.credit > 0
        });
        if let Some(increment) = self.window.open() {
            self.output.window_update(0, increment);
        }
    }

    /// Opens the window of the connection as far as there is room.
    pub(crate) fn widen_window(&mut self, is_hungry: impl FnOnce() -> bool) {
        self.window.widen(is_hungry);
    }

    /// Opens the client's window again by `len` body bytes that the app has taken.
    pub(crate) fn release(&mut self, key: StreamKey, len: usize) {
        let Some(stream) = self.streams.of_app(key) else { return };
        let receiving = &mut stream.receiving;
        // A stream that holds fewer bytes was reset meanwhile: there is no window to open.
        let Some(held) = receiving.held.checked_sub(len) else { return };
        receiving.held = held;
        if receiving.is_open {
            if receiving.credit == 0 && len > 0 {
                self.credited.push(key);
            }
            receiving.credit += len;
        }
        self.window.release(len);
        self.window.narrow();
    }

    /// Whether the client has stopped in the middle of a header block, or of another frame that is no body,
    /// or has not sent its settings. A client that completed a frame in this turn has not stopped.
    pub(crate) fn awaits_head(&self) -> bool {
        !self.peer.are_there || (self.block.is_some() || self.is_midway()) && !self.went_on
    }

    /// Announces the end of the connection. Streams that are open may end.
    pub(crate) fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            self.output.goaway(MAX_31, ErrorCode::NO_ERROR);
            self.output.frame(PING, 0, 0, &PROBE);
            for key in std::mem::take(&mut self.unwanted) {
                self.turn_away(key);
            }
        }
    }

    /// Names the last stream that is served, as the client has had the announcement.
    fn leave_at_last(&mut self) {
        if self.leaving == Leaving::Announced {
            self.leaving = Leaving::Last(self.last_id);
            self.output.goaway(self.last_id, ErrorCode::NO_ERROR);
        }
    }

    /// Ends the connection as soon as the output is written.
    pub(crate) fn leave_now(&mut self, code: ErrorCode) {
        if self.leaving == Leaving::Now {
            return;
        }
        let last = if let Leaving::Last(last) = self.leaving { last } else { self.last_id };
        self.leaving = Leaving::Now;
        self.output.goaway(last, code);
        self.events.clear();
    }

    /// Whether the connection is over once the output is written: the last stream has ended, or none shall.
    pub(crate) fn is_over(&self) -> bool {
        match self.leaving {
            Leaving::Now => true,
            Leaving::Last(_) => self.streams.is_empty(),
            Leaving::No | Leaving::Announced => false,
        }
    }

    /// Ends a connection that its client has left, once its last stream has ended.
    pub(crate) fn follow_peer(&mut self) {
        if self.peer_leaves && self.streams.is_empty() {
            self.leave_now(ErrorCode::NO_ERROR);
        }
    }

    /// Returns the instant at which unwanted bodies have to be looked at again; `None` if there are none.
    pub(crate) fn unwanted_until(&self, now: Instant) -> Option<Instant> {
        let next = |key: &StreamKey| match &self.streams.get(*key)?.owner {
            Owner::Connection(unwanted) => Some(unwanted.next(now)),
            Owner::App => None,
        };
        self.unwanted.iter().filter_map(next).min()
    }

    /// Turns away the bodies that have arrived for long enough.
    fn check_unwanted(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&key) = self.unwanted.get(at) {
            let Some(stream) = self.streams.get_mut(key) else {
                self.unwanted.swap_remove(at);
                continue;
            };
            let has_room = stream.receiving.window.left() > 0;
            let is_over = match &mut stream.owner {
                Owner::Connection(unwanted) => unwanted.is_over(now, has_room),
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

    /// Resets a stream whose body is not wanted (RFC 9113 §8.1).
    fn turn_away(&mut self, key: StreamKey) {
        if self.streams.get(key).is_some() {
            self.output.reset(wire_id(key), ErrorCode::NO_ERROR);
            self.remember_reset(wire_id(key));
            self.remove(key);
        }
    }

    /// Ends the app's part of a stream whose response has ended. A body that still arrives is dropped.
    fn retire(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let receiving = &mut stream.receiving;
        if !receiving.is_open {
            self.remove(key);
            return;
        }
        stream.owner = Owner::Connection(Unwanted::default());
        if receiving.held > 0 && receiving.credit == 0 {
            self.credited.push(key);
        }
        let held = std::mem::take(&mut receiving.held);
        receiving.credit += held;
        self.window.release(held);
        self.window.narrow();
        if self.leaving == Leaving::No {
            self.unwanted.push(key);
        } else {
            self.turn_away(key);
        }
    }

    /// Forgets a stream.
    fn remove(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.remove(key) else { return };
        self.open -= usize::from(stream.is_counted);
        self.pushed -= usize::from(stream.is_pushed);
        if stream.waiting_since.is_some() {
            self.schedule.remove(key);
        }
        if stream.receiving.held > 0 {
            self.window.release(stream.receiving.held);
            self.window.narrow();
        }
    }

    /// Notes that a stream may be over on the wire although the app still has it.
    fn settle(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key)
            && stream.is_counted
            && !stream.receiving.is_open
            && stream.sending == Sending::Ended
        {
            stream.is_counted = false;
            self.open -= 1;
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

    /// Remembers a stream on which frames of the client may still be on their way.
    fn remember_reset(&mut self, id: u32) {
        if self.reset.len() == REMEMBERED {
            self.reset.pop_front();
        }
        self.reset.push_back(id);
    }

    fn spend_reset(&mut self, now: Instant) -> Result<(), Error> {
        self.reset_budget.earn(std::mem::take(&mut self.answered));
        if self.reset_budget.spend(now, 1) { Ok(()) } else { Err(Error::Fault(Fault::TooManyResets)) }
    }

    fn spend_frame(&mut self, now: Instant) -> Result<(), Error> {
        if self.frame_budget.spend(now, 1) { Ok(()) } else { Err(Error::Fault(Fault::TooManyFrames)) }
    }

    fn new_receiving(&self, is_open: bool, left: Option<u64>) -> Receiving {
        Receiving { is_open, window: FlowWindow::new(self.stream_window), held: 0, credit: 0, left }
    }

    /// Takes the number of times that a response began to wait for the client's window.
    pub(crate) fn take_stalls(&mut self) -> u64 {
        std::mem::take(&mut self.stalls)
    }
}

#[cfg(test)]
mod tests;

//! Requests: their frames, their order, and what they carry (RFC 9114 §4.1).

use std::cell::Cell;
use std::time::Instant;

use hcrs_http::{Fault, Field, Priority, RequestHead, ResponseHead};
use hcrs_mux::{Decoded, Event, Owned as _, Owner, RequestReader, StreamKey, TrailersReader, response};

use super::{Error, Protocol};
use crate::error::ErrorCode;
use crate::frame::{
    CANCEL_PUSH, DATA, GOAWAY, HEADERS, Header, MAX_PUSH_ID, PRIORITY_UPDATE, PRIORITY_UPDATE_PUSH,
    PUSH_PROMISE, Payload, Piece, SETTINGS, is_of_http2,
};
use crate::qpack::Encoder;
use crate::stream::{Phase, Sending};
use crate::transport::{Read, Transport};

/// Most bytes that are read of one stream before others get their turn.
const BATCH: usize = 16 << 10;

/// Number of dropped bytes that count as one frame without progress.
pub(super) const DROPPED_PER_FRAME: u64 = 16 << 10;

/// Number of instructions that a client may send for a request before they count as frames without progress.
pub(super) const INSTRUCTIONS_PER_HEAD: u32 = 64;

thread_local! {
    /// The buffer into which bodies are gathered, one after another, so that no connection has its own.
    static BODY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What one visit has found on a stream.
#[derive(Debug, Default)]
struct Batch {
    head: Option<RequestHead>,
    body: Vec<u8>,
    trailers: Option<ResponseHead>,
    end: bool,
}

impl Protocol {
    /// Reads a request stream until there is nothing, no room, or others get their turn.
    pub(super) fn read_request(
        &mut self,
        io: &mut dyn Transport,
        key: StreamKey,
        now: Instant,
    ) -> Result<(), Error> {
        let mut batch = Batch { body: BODY.take(), ..Batch::default() };
        let read = self.read_batch(io, key, now, &mut batch);
        self.deliver(key, &mut batch);
        batch.body.clear();
        BODY.set(batch.body);
        read
    }

    fn read_batch(
        &mut self,
        io: &mut dyn Transport,
        key: StreamKey,
        now: Instant,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut read = 0;
        while let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.receiving.is_open()) {
            let receiving = &mut stream.receiving;
            let room = match (receiving.phase, &stream.owner) {
                (Phase::Body, Owner::App) => self.room.of(receiving.held, self.stream_window),
                _ => BATCH,
            };
            if room == 0 {
                receiving.is_paused = true;
                return Ok(());
            }
            if read >= BATCH {
                self.readable(key.id);
                return Ok(());
            }
            receiving.since.get_or_insert(now);
            match io.read(key.id, room.min(BATCH - read)) {
                Read::Bytes(bytes) => {
                    read += bytes.len();
                    self.read_in_turn += bytes.len();
                    self.request_bytes(key, &bytes, now, batch)?;
                }
                Read::Blocked => return Ok(()),
                Read::Finished => {
                    batch.end = true;
                    return self.request_ended(key, now);
                }
                Read::Reset => {
                    receiving.phase = Phase::Closed;
                    self.decoder.cancel(key.id);
                    return self.reset_by_client(key, now);
                }
            }
        }
        Ok(())
    }

    /// Passes on what one visit has found.
    fn deliver(&mut self, key: StreamKey, batch: &mut Batch) {
        if self.streams.of_app(key).is_none() {
            if let Some(head) = batch.head.take() {
                hcrs_mux::recycle(head.into_block());
            }
            return;
        }
        let begins = batch.head.is_some();
        let trailers = batch.trailers.take();
        let is_bare = batch.end && batch.body.is_empty() && trailers.is_none();
        if let Some(mut head) = batch.head.take() {
            if !is_bare && !head.is_websocket() {
                head.set_has_body();
            }
            self.events.push_back(Event::Request { key, head });
        }
        if !batch.body.is_empty() {
            self.data_event(key, &batch.body, batch.end && trailers.is_none());
        }
        if begins && is_bare {
            return;
        }
        if let Some(trailers) = trailers {
            self.events.push_back(Event::Trailers { key, trailers });
        }
        if batch.end {
            self.events.push_back(Event::End { key });
        }
    }

    fn request_bytes(
        &mut self,
        key: StreamKey,
        mut bytes: &[u8],
        now: Instant,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        // The reader is out of its stream meanwhile, which may end.
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let mut frames = std::mem::take(&mut stream.receiving.frames);
        while let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.receiving.is_open()) {
            let (phase, max_len) = (stream.receiving.phase, self.checks.max_list_size as u64 * 2);
            let mut idle = 0;
            let piece = frames.next(&mut bytes, |header| begin(header, key.id, phase, max_len, &mut idle));
            let spent = self.spend_frames(now, idle);
            match piece? {
                Some(Piece::Part(data)) => self.body(key, data, now, batch)?,
                Some(Piece::Whole(_, section)) if phase == Phase::Head => {
                    self.head(key, section, now, batch)?;
                }
                Some(Piece::Whole(_, section)) => self.trailers(key, section, now, batch)?,
                None => {
                    spent?;
                    break;
                }
            }
            spent?;
        }
        if let Some(stream) = self.streams.get_mut(key) {
            self.waiting = self.waiting - stream.receiving.waiting + frames.waiting();
            stream.receiving.waiting = frames.waiting();
            stream.receiving.frames = frames;
        }
        // Heads that are not complete are no bodies, but take room like them.
        let limit = self.room.size().max(self.checks.max_list_size * 4);
        if self.waiting > limit { Err(ErrorCode::EXCESSIVE_LOAD.into()) } else { Ok(()) }
    }

    fn head(&mut self, key: StreamKey, section: &[u8], now: Instant, batch: &mut Batch) -> Result<(), Error> {
        self.instructions_allowed = self.instructions_allowed.saturating_add(INSTRUCTIONS_PER_HEAD);
        let mut reader = RequestReader::new(&self.checks);
        self.decoder.decode(key.id, section, |field| reader.field(field))?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        stream.receiving.phase = Phase::Body;
        match reader.finish(false) {
            Decoded::Request(request) => {
                stream.is_head = request.is_head;
                stream.receiving.left = request.length;
                let default =
                    if request.head.is_websocket() { Priority::IN_TURNS } else { Priority::default() };
                let priority = self.first_priority(key.id, request.priority.unwrap_or(default));
                self.set_priority(key, priority);
                batch.head = Some(request.head);
            }
            Decoded::Refused(head, fault) => {
                self.events.push_back(Event::Refused { stream_id: key.id, head, fault });
                self.answer_fault(key, fault, None);
            }
            Decoded::Malformed | Decoded::Broken => {
                return self.reset_for(key, ErrorCode::MESSAGE_ERROR, now);
            }
            Decoded::Excessive => return Err(ErrorCode::EXCESSIVE_LOAD.into()),
        }
        Ok(())
    }

    fn trailers(
        &mut self,
        key: StreamKey,
        section: &[u8],
        now: Instant,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut reader = TrailersReader::new(&self.checks);
        self.decoder.decode(key.id, section, |field| reader.field(field))?;
        let Ok(trailers) = reader.finish() else {
            return self.reset_for(key, ErrorCode::MESSAGE_ERROR, now);
        };
        batch.trailers = (trailers.field_count() > 0).then_some(trailers);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.receiving.phase = Phase::Trailers;
        }
        Ok(())
    }

    fn body(&mut self, key: StreamKey, data: &[u8], now: Instant, batch: &mut Batch) -> Result<(), Error> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if let Err(code) = stream.receiving.count(data.len()) {
            return self.reset_for(key, code, now);
        }
        match &mut stream.owner {
            Owner::App => {
                stream.receiving.held += data.len();
                self.room.hold(data.len());
                batch.body.extend_from_slice(data);
            }
            Owner::Connection(unwanted) => {
                unwanted.arrive(now);
            }
        }
        Ok(())
    }

    fn request_ended(&mut self, key: StreamKey, now: Instant) -> Result<(), Error> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.receiving.frames.is_midway() {
            return Err(ErrorCode::FRAME_ERROR.into());
        }
        let was = stream.receiving.phase;
        let ended = stream.receiving.end();
        if was == Phase::Head {
            return self.reset_for(key, ErrorCode::REQUEST_INCOMPLETE, now);
        }
        if let Err(code) = ended {
            return self.reset_for(key, code, now);
        }
        self.settle(key);
        Ok(())
    }

    fn reset_by_client(&mut self, key: StreamKey, now: Instant) -> Result<(), Error> {
        let is_answered = self.streams.get(key).is_some_and(|stream| !stream.is_of_app());
        if is_answered {
            // Its response is complete, and leaves.
            self.settle(key);
            return self.spend_reset(now);
        }
        self.reset_for(key, ErrorCode::REQUEST_CANCELLED, now)
    }

    /// Answers a request with the response to a fault, and ends the app's part of the stream.
    pub(super) fn answer_fault(&mut self, key: StreamKey, fault: Fault, own: Option<Field<'_>>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let fields = &self.server_fields;
        super::responses::write_section(stream.outbox.frames(), key.id, |out| {
            response::write_fault(fault, own, fields, &mut Encoder, out);
        });
        stream.sending = Sending::Last;
        self.make_dirty(key);
        self.retire(key);
    }
}

/// Decides about a frame of a request stream. Frames without progress are added to `idle`.
fn begin(header: Header, id: u64, phase: Phase, max_len: u64, idle: &mut u32) -> Result<Payload, ErrorCode> {
    header.log("received", id);
    match header.kind {
        DATA if phase == Phase::Body => {
            *idle += u32::from(header.len == 0);
            Ok(Payload::Parts)
        }
        HEADERS if phase != Phase::Trailers => {
            // A section may be twice as large as a header list before it is given up: that is answered.
            if header.len > max_len { Err(ErrorCode::EXCESSIVE_LOAD) } else { Ok(Payload::Whole) }
        }
        DATA | HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID | PRIORITY_UPDATE
        | PRIORITY_UPDATE_PUSH => Err(ErrorCode::FRAME_UNEXPECTED),
        kind if is_of_http2(kind) => Err(ErrorCode::FRAME_UNEXPECTED),
        _ => {
            *idle = idle.saturating_add(dropped_cost(header));
            Ok(Payload::Dropped)
        }
    }
}

/// Returns the number of frames without progress that a frame of an unknown type counts as.
pub(super) fn dropped_cost(header: Header) -> u32 {
    u32::try_from(1 + header.len / DROPPED_PER_FRAME).unwrap_or(u32::MAX)
}

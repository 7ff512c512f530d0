//! Responses: the head, the body as far as the client's window allows, the trailers, and the answer to a
//! fault.

use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, Field, ResponseHead};
use hcrs_mux::{CheckedHead, Event, Sent, StreamKey, Streams, response};

use super::Protocol;
use super::schedule::Grant;
use crate::frame::{
    CONTINUATION, END_HEADERS, END_STREAM, ErrorCode, HEADER_LEN, HEADERS, Header, LEAST_FRAME_SIZE,
};
use crate::hpack::Encoder;
use crate::output::Output;
use crate::stream::{Sending, Stream, wire_id};

/// Most bytes that may wait for the socket before no more of a body is taken. Further bytes that the client's
/// windows allow stay with their stream, where they count against the worker's window.
const OUTPUT_MAX: usize = 256 << 10;

/// Most bytes of a body in one frame, which every client accepts.
pub(super) const FRAME_MAX: usize = LEAST_FRAME_SIZE as usize;

/// Number of `WINDOW_UPDATE` frames that a client may send for one piece of body before they count as frames
/// without progress.
pub(super) const UPDATES_PER_SEND: u32 = 10;

/// A head that was sent: many requests of a turn may be answered with one head.
#[derive(Debug)]
pub(super) struct LastHead {
    head: ResponseHead,
    checked: CheckedHead,
    block: Vec<u8>,
    /// The number of the encoder's changes for which the block is valid.
    valid_at: u64,
}

/// The progress of a response.
#[derive(Debug, Default)]
struct Pumped {
    /// Number of bytes that were taken.
    taken: usize,
    /// The response is complete.
    is_done: bool,
}

impl Protocol {
    pub(crate) fn send_interim(&mut self, key: StreamKey, interim: &ResponseHead) -> Result<(), Fault> {
        let Some(stream) = self.streams.of_app(key) else { return Ok(()) };
        if stream.sending != Sending::Head {
            return Err(Fault::AppFailed);
        }
        // Hints for a response that was not asked for would be of little use.
        let is_pushed = stream.is_pushed;
        response::check_interim::<Encoder>(interim)?;
        if !is_pushed {
            let Self { output, encoder, peer, .. } = self;
            write_block(output, block_of(HEADERS, END_HEADERS, key), peer.max_frame_size, |out| {
                response::write_interim(interim, encoder, out);
            });
        }
        Ok(())
    }

    pub(crate) fn send_head(
        &mut self,
        key: StreamKey,
        response: &ResponseHead,
        end: bool,
    ) -> Result<bool, Fault> {
        let last = self.last_head.as_ref().filter(|last| last.head.is_same(response));
        let checked = match last {
            Some(last) => last.checked,
            None => response::check_response::<Encoder>(response)?,
        };
        let can_open_pushed = self.can_open_pushed();
        let Self { streams, output, encoder, server_fields, last_head, peer, .. } = self;
        let Some(stream) = streams.of_app(key) else { return Ok(true) };
        if stream.sending != Sending::Head {
            return Err(Fault::AppFailed);
        }
        let is_bodiless = stream.is_head || matches!(response.status(), 204 | 304);
        if end && !is_bodiless && checked.length.is_some_and(|length| length > 0) {
            return Err(Fault::AppFailed);
        }
        if stream.is_pushed && !can_open_pushed {
            // The client did not ask for the response, so it can do without.
            output.reset(wire_id(key), ErrorCode::CANCEL);
            self.cut(key);
            return Ok(false);
        }
        stream.is_bodiless = is_bodiless;
        stream.response_left = checked.length;
        let is_last = end || is_bodiless;
        let flags = if is_last { END_HEADERS | END_STREAM } else { END_HEADERS };
        write_block(output, block_of(HEADERS, flags, key), peer.max_frame_size, |out| match last_head {
            Some(last) if last.valid_at == encoder.changes() && last.head.is_same(response) => {
                out.extend_from_slice(&last.block);
            }
            _ => {
                let (start, valid_at) = (out.len(), encoder.changes());
                checked.write(response, server_fields, encoder, out);
                *last_head = response.is_shared().then(|| LastHead {
                    head: response.clone(),
                    checked,
                    block: out[start..].to_vec(),
                    valid_at,
                });
            }
        });
        stream.sending = if is_last { Sending::Ended } else { Sending::Opened };
        if checked.has_priority {
            self.merge_priority(key, response);
        }
        if end {
            self.complete(key);
        } else if is_last {
            self.settle(key);
        }
        Ok(end)
    }

    pub(crate) fn send_data(
        &mut self,
        now: Instant,
        key: StreamKey,
        data: Bytes,
        end: bool,
    ) -> Result<Sent, Fault> {
        let len = data.len();
        let may_go_on = self.may_go_on(key);
        let Some(stream) = self.streams.of_app(key) else { return Ok(Sent { len, done: true }) };
        if stream.is_bodiless {
            if end {
                self.complete(key);
            }
            return Ok(Sent { len, done: end });
        }
        if stream.sending == Sending::Head {
            return Err(Fault::AppFailed);
        }
        stream.spend_length(len, end)?;
        stream.sending = Sending::Body;
        let room = OUTPUT_MAX.saturating_sub(self.output.len());
        let window = stream.send_window.left().min(self.send_window.left());
        if end && stream.pending.is_empty() && len <= room.min(window).min(FRAME_MAX) && may_go_on {
            // Most responses: the whole body in one frame.
            stream.send_window.take(len);
            self.send_window.take(len);
            self.updates_allowed = self.updates_allowed.saturating_add(UPDATES_PER_SEND);
            self.output.data(wire_id(key), data, true);
            self.sent_at = Some(now);
            stream.sending = Sending::Ended;
            self.complete(key);
            return Ok(Sent { len, done: true });
        }
        if len > 0 {
            stream.pending.push_back(data);
        }
        stream.pending_end = end;
        let pumped = self.pump_or_wait(key, now);
        Ok(Sent { len: pumped.taken, done: pumped.is_done })
    }

    pub(crate) fn send_trailers(
        &mut self,
        now: Instant,
        key: StreamKey,
        trailers: &ResponseHead,
    ) -> Result<bool, Fault> {
        let Some(stream) = self.streams.of_app(key) else { return Ok(true) };
        if stream.is_bodiless {
            self.complete(key);
            return Ok(true);
        }
        if stream.sending == Sending::Head {
            return Err(Fault::AppFailed);
        }
        stream.spend_length(0, true)?;
        response::check_trailers::<Encoder>(trailers)?;
        stream.sending = Sending::Body;
        stream.trailers = (trailers.field_count() > 0).then(|| trailers.clone());
        stream.pending_end = true;
        Ok(self.pump_or_wait(key, now).is_done)
    }

    /// Ends a stream with a fault: sends a response with the fault's status if no head was sent, and resets
    /// the stream otherwise, behind the bytes that were taken before.
    pub(crate) fn fail(&mut self, key: StreamKey, fault: Fault, own: Option<Field<'_>>) {
        let Some(stream) = self.streams.of_app(key) else { return };
        match stream.sending {
            Sending::Head if !stream.is_pushed => self.answer_fault(key, fault, own),
            Sending::Ended => self.retire(key),
            Sending::Head | Sending::Opened | Sending::Body => {
                if stream.receiving.is_open {
                    self.remember_reset(wire_id(key));
                }
                self.output.reset(wire_id(key), ErrorCode(fault.h2_code() as u32));
                self.remove(key);
            }
        }
    }

    /// Ends the app's part of a stream whose response has left completely.
    fn complete(&mut self, key: StreamKey) {
        self.answered = self.answered.saturating_add(1);
        self.retire(key);
    }

    /// Returns the streams whose response has waited for the client since `instant` or longer. One that other
    /// responses of the connection come before waits for the server.
    pub(crate) fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        let all_wait = self.sent_at.is_none_or(|sent_at| sent_at <= instant);
        let is_stalled = |stream: &Stream| {
            stream.waiting_since.is_some_and(|since| since <= instant)
                && (all_wait || stream.send_window.left() == 0)
        };
        self.schedule.iter().filter(|&key| self.streams.get(key).is_some_and(is_stalled)).collect()
    }

    /// Whether a response waits for room in the output alone.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.send_window.left() > 0
            && self.schedule.iter().any(|key| ready_since(&self.streams, key).is_some())
    }

    /// Serves the responses that wait, in the order of their priorities, as far as the windows and the output allow.
    /// It ends as well when a response has no piece left, so that its next ones are not behind those of others.
    pub(super) fn serve_waiting(&mut self, now: Instant) {
        let mut taken: Vec<(StreamKey, usize)> = Vec::new();
        while self.send_window.left() > 0 && self.output.len() < OUTPUT_MAX {
            let Self { schedule, streams, .. } = self;
            let Some(Grant { key, frames }) = schedule.next(|key| ready_since(streams, key)) else {
                break;
            };
            let pumped = self.pump(key, now, frames);
            self.schedule.spend(pumped.taken);
            let at = taken.iter().position(|(of, _)| *of == key).unwrap_or_else(|| {
                taken.push((key, 0));
                taken.len() - 1
            });
            taken[at].1 += pumped.taken;
            if pumped.is_done {
                let (_, len) = taken.swap_remove(at);
                self.events.push_back(Event::Sent { key, len, done: true });
            } else if !self.is_waiting(key) {
                break;
            }
        }
        for (key, len) in taken {
            self.events.push_back(Event::Sent { key, len, done: false });
        }
    }

    /// Whether no other response waits for the server or for the window of the connection.
    #[inline]
    fn may_go_on(&self, key: StreamKey) -> bool {
        !self.schedule.iter().any(|other| other != key && ready_since(&self.streams, other).is_some())
    }

    /// Sends what may be sent now. The rest waits in the stream.
    fn pump_or_wait(&mut self, key: StreamKey, now: Instant) -> Pumped {
        let may_go_on = self.may_go_on(key);
        let Some(stream) = self.streams.of_app(key) else { return Pumped::default() };
        if may_go_on || stream.pending.is_empty() {
            return self.pump(key, now, usize::MAX);
        }
        if stream.waiting_since.is_none() {
            stream.waiting_since = Some(now);
            self.stalls += u64::from(stream.send_window.left().min(self.send_window.left()) == 0);
            self.schedule.insert(key, stream.priority);
        }
        Pumped::default()
    }

    fn is_waiting(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_some_and(|stream| stream.waiting_since.is_some())
    }

    /// Sends pending pieces in at most `frames` frames, and the end of the response behind the last.
    fn pump(&mut self, key: StreamKey, now: Instant, frames: usize) -> Pumped {
        let mut pumped = Pumped::default();
        let Some(stream) = self.streams.of_app(key) else { return pumped };
        let was_waiting = stream.waiting_since.is_some();
        for _ in 0..frames {
            let Some(front) = stream.pending.front_mut() else { break };
            let window = stream.send_window.left().min(self.send_window.left());
            let room = OUTPUT_MAX.saturating_sub(self.output.len());
            let len = front.len().min(window).min(room).min(FRAME_MAX);
            if len == 0 {
                break;
            }
            let piece = front.split_to(len);
            if front.is_empty() {
                stream.pending.pop_front();
            }
            stream.send_window.take(len);
            self.send_window.take(len);
            self.updates_allowed = self.updates_allowed.saturating_add(UPDATES_PER_SEND);
            pumped.taken += len;
            let is_last = stream.pending_end && stream.pending.is_empty() && stream.trailers.is_none();
            self.output.data(wire_id(key), piece, is_last);
            pumped.is_done = is_last;
        }
        if stream.pending.is_empty() && stream.pending_end && !pumped.is_done {
            pumped.is_done = true;
            if let Some(trailers) = stream.trailers.take() {
                let Self { output, encoder, peer, .. } = self;
                let flags = END_HEADERS | END_STREAM;
                write_block(output, block_of(HEADERS, flags, key), peer.max_frame_size, |out| {
                    response::write_trailers(&trailers, encoder, out);
                });
            } else {
                // No piece is left to carry END_STREAM, so an empty frame does.
                self.output.data(wire_id(key), Bytes::new(), true);
            }
        }
        if pumped.taken > 0 {
            self.sent_at = Some(now);
        }
        if was_waiting && (pumped.is_done || stream.pending.is_empty()) {
            self.schedule.remove(key);
        } else if !was_waiting && !pumped.is_done && !stream.pending.is_empty() {
            self.schedule.insert(key, stream.priority);
        }
        if pumped.is_done {
            stream.sending = Sending::Ended;
            stream.waiting_since = None;
            self.complete(key);
        } else if stream.pending.is_empty() {
            stream.waiting_since = None;
        } else {
            // Without a byte of progress the stream has waited before.
            let begins = pumped.taken > 0 || stream.waiting_since.is_none();
            let lacks_window = stream.send_window.left().min(self.send_window.left()) == 0;
            if begins {
                stream.waiting_since = Some(now);
            }
            self.stalls += u64::from(begins && lacks_window);
        }
        pumped
    }
}

/// Returns since when a stream's response has waited, if the client's window for the stream allows it to be sent.
fn ready_since(streams: &Streams<Stream>, key: StreamKey) -> Option<Instant> {
    streams.get(key).filter(|stream| stream.send_window.left() > 0)?.waiting_since
}

/// Returns the header of a frame on a stream, whose length is not known yet.
pub(super) fn block_of(kind: u8, flags: u8, key: StreamKey) -> Header {
    Header { len: 0, kind, flags, stream_id: wire_id(key) }
}

/// Writes a frame with a header block, and CONTINUATION frames behind it if the block is longer than the
/// client takes in one.
pub(super) fn write_block<R>(
    output: &mut Output,
    header: Header,
    max_len: usize,
    write: impl FnOnce(&mut Vec<u8>) -> R,
) -> R {
    let out = output.frames();
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    let written = write(out);
    let len = out.len() - start - HEADER_LEN;
    let header = Header { len, ..header };
    header.log("send");
    if len <= max_len {
        out[start..start + HEADER_LEN].copy_from_slice(&header.bytes());
    } else {
        let block = out.split_off(start + HEADER_LEN);
        out.truncate(start);
        let mut pieces = block.chunks(max_len).enumerate().peekable();
        while let Some((at, piece)) = pieces.next() {
            let kind = if at == 0 { header.kind } else { CONTINUATION };
            let others = if at == 0 { header.flags & !END_HEADERS } else { 0 };
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let piece_header = Header { len: piece.len(), kind, flags: others | end, ..header };
            out.extend_from_slice(&piece_header.bytes());
            out.extend_from_slice(piece);
        }
    }
    written
}

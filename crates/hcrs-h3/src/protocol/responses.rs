//! Responses: the head, the body as far as the transport takes it, the trailers, and the answer to a fault.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, Field, ResponseHead};
use hcrs_mux::{CheckedHead, Event, Owned as _, Sent, StreamKey, response};

use super::Protocol;
use super::priorities::rank;
use crate::error::ErrorCode;
use crate::frame::{self, HEADERS};
use crate::outbox::State;
use crate::qpack::Encoder;
use crate::stream::Sending;
use crate::transport::Transport;

/// Most bytes of frames of one stream that may wait for the transport before hints are dropped.
const HINTS_MAX: usize = 64 << 10;

/// Most bytes that one stream is given before others of its rank get their turn.
const QUANTUM: usize = 16 << 10;

/// A head that was sent: many requests of a turn may be answered with one head.
#[derive(Debug)]
pub(super) struct LastHead {
    head: ResponseHead,
    checked: CheckedHead,
    section: Vec<u8>,
}

impl Protocol {
    pub(crate) fn send_interim(&mut self, key: StreamKey, interim: &ResponseHead) -> Result<(), Fault> {
        let Some(stream) = self.streams.of_app(key) else { return Ok(()) };
        if stream.sending != Sending::Head {
            return Err(Fault::AppFailed);
        }
        response::check_interim::<Encoder>(interim)?;
        if stream.outbox.framing() < HINTS_MAX {
            write_section(stream.outbox.frames(), key.id, |out| {
                response::write_interim(interim, &mut Encoder, out);
            });
            self.make_dirty(key);
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
        let Some(stream) = self.streams.of_app(key) else { return Ok(true) };
        if stream.sending != Sending::Head {
            return Err(Fault::AppFailed);
        }
        let is_bodiless = stream.is_head || matches!(response.status(), 204 | 304);
        if end && !is_bodiless && checked.length.is_some_and(|length| length > 0) {
            return Err(Fault::AppFailed);
        }
        stream.is_bodiless = is_bodiless;
        stream.response_left = checked.length;
        stream.sending = if end || is_bodiless { Sending::Last } else { Sending::Body };
        let out = stream.outbox.frames();
        match &self.last_head {
            Some(last) if last.head.is_same(response) => frame::put(out, key.id, HEADERS, &last.section),
            _ => {
                let mut section = Vec::with_capacity(256);
                checked.write(response, &self.server_fields, &mut Encoder, &mut section);
                frame::put(out, key.id, HEADERS, &section);
                self.last_head =
                    response.is_shared().then(|| LastHead { head: response.clone(), checked, section });
            }
        }
        if checked.has_priority {
            self.merge_priority(key, response);
        }
        self.make_dirty(key);
        if end {
            self.complete(key);
        }
        Ok(end)
    }

    /// Appends body bytes. Returns what has become of them if they are not to be written.
    pub(crate) fn queue_data(
        &mut self,
        key: StreamKey,
        data: Bytes,
        end: bool,
    ) -> Result<Option<Sent>, Fault> {
        let len = data.len();
        let Some(stream) = self.streams.of_app(key) else { return Ok(Some(Sent { len, done: true })) };
        if stream.is_bodiless {
            if end {
                self.complete(key);
            }
            return Ok(Some(Sent { len, done: end }));
        }
        if stream.sending != Sending::Body {
            return Err(Fault::AppFailed);
        }
        stream.spend_length(len, end)?;
        if len > 0 {
            stream.outbox.data(key.id, data);
        }
        if end {
            stream.sending = Sending::Last;
        }
        Ok(None)
    }

    /// Appends trailers, which are the end. Returns what has become of them if they are not to be written.
    pub(crate) fn queue_trailers(
        &mut self,
        key: StreamKey,
        trailers: &ResponseHead,
    ) -> Result<Option<Sent>, Fault> {
        let Some(stream) = self.streams.of_app(key) else { return Ok(Some(Sent { len: 0, done: true })) };
        if stream.is_bodiless {
            self.complete(key);
            return Ok(Some(Sent { len: 0, done: true }));
        }
        if stream.sending != Sending::Body {
            return Err(Fault::AppFailed);
        }
        stream.spend_length(0, true)?;
        response::check_trailers::<Encoder>(trailers)?;
        stream.sending = Sending::Last;
        if trailers.field_count() > 0 {
            write_section(stream.outbox.frames(), key.id, |out| {
                response::write_trailers(trailers, &mut Encoder, out);
            });
        }
        Ok(None)
    }

    /// Writes what was appended, unless earlier bytes wait.
    pub(crate) fn write_queued(&mut self, io: &mut dyn Transport, key: StreamKey, now: Instant) -> Sent {
        let is_waiting = self.streams.get(key).is_some_and(|stream| stream.waiting_since.is_some());
        if is_waiting { Sent { len: 0, done: false } } else { self.pump(io, key, now, usize::MAX).0 }
    }

    /// Ends a stream with a fault: sends a response with the fault's status if no head was sent, and resets
    /// the stream otherwise.
    pub(crate) fn fail(&mut self, key: StreamKey, fault: Fault, own: Option<Field<'_>>) {
        let Some(stream) = self.streams.get(key) else { return };
        match (stream.is_of_app(), stream.sending) {
            (true, Sending::Head) => self.answer_fault(key, fault, own),
            (true, Sending::Ended) => self.retire(key),
            (true, Sending::Last) if stream.is_bodiless => self.retire(key),
            (false, Sending::Ended) => {}
            (_, Sending::Head | Sending::Body | Sending::Last) => {
                self.abandon(key, ErrorCode::of(fault));
                self.remove(key);
            }
        }
    }

    /// Ends the app's part of a stream whose response is complete.
    fn complete(&mut self, key: StreamKey) {
        self.answered = self.answered.saturating_add(1);
        self.retire(key);
    }

    /// Returns the streams whose response has waited for the client since `instant` or longer.
    pub(crate) fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        let streams = self.streams.iter();
        let stalled =
            streams.filter(|(_, stream)| stream.waiting_since.is_some_and(|since| since <= instant));
        stalled.map(|(key, _)| key).collect()
    }

    /// Has a stream written at the end of the turn.
    pub(super) fn make_dirty(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key)
            && !std::mem::replace(&mut stream.is_dirty, true)
        {
            self.dirty.push(key);
        }
    }

    /// Writes what waits on the streams that the transport lets go on: the most urgent first, and those of the same
    /// rank in turns, from the one on that was served longest ago.
    pub(super) fn continue_responses(&mut self, io: &mut dyn Transport, now: Instant) {
        let mut queue: VecDeque<_> = std::mem::take(&mut self.writable).into();
        queue.make_contiguous().sort_by_key(|key| (Reverse(self.rank(*key)), self.served_at(*key)));
        while let Some(key) = queue.pop_front() {
            let limit = if queue.is_empty() { usize::MAX } else { QUANTUM };
            if self.continue_response(io, key, now, limit) {
                let rank = self.rank(key);
                let at = queue.partition_point(|other| self.rank(*other) >= rank);
                queue.insert(at, key);
            }
        }
    }

    fn rank(&self, key: StreamKey) -> i32 {
        self.streams.get(key).map_or(0, |stream| rank(stream.priority, key.id))
    }

    fn served_at(&self, key: StreamKey) -> u64 {
        self.streams.get(key).map_or(0, |stream| stream.served_at)
    }

    /// Writes what waits on a stream, and reports it to the app. Returns whether the stream takes more of it.
    fn continue_response(
        &mut self,
        io: &mut dyn Transport,
        key: StreamKey,
        now: Instant,
        limit: usize,
    ) -> bool {
        let (Sent { len, done }, goes_on) = self.pump(io, key, now, limit);
        if len > 0 || done {
            self.events.push_back(Event::Sent { key, len, done });
        }
        goes_on
    }

    /// Writes what waits on a stream that was not written in this turn.
    pub(super) fn write(&mut self, io: &mut dyn Transport, key: StreamKey, now: Instant) {
        let is_waiting = self.streams.get(key).is_some_and(|stream| stream.waiting_since.is_some());
        if !is_waiting {
            self.continue_response(io, key, now, usize::MAX);
        }
    }

    /// Writes as much as the transport takes, `limit` bytes at most, and the end of the response behind it. Returns
    /// the progress of the app's response, and whether the stream takes more of it.
    fn pump(&mut self, io: &mut dyn Transport, key: StreamKey, now: Instant, limit: usize) -> (Sent, bool) {
        let mut sent = Sent { len: 0, done: false };
        let Some(stream) = self.streams.get_mut(key) else { return (sent, false) };
        let progress = stream.outbox.write(io, key.id, limit);
        let is_of_app = stream.is_of_app();
        sent.len = if is_of_app { progress.body } else { 0 };
        if progress.body > 0 {
            self.served += 1;
            stream.served_at = self.served;
        }
        if progress.state == State::Closed {
            // The transport reports the client's wish to stop, too.
            self.stopped.push(key.id);
            return (sent, false);
        }
        if !stream.outbox.is_empty() {
            self.stalls += u64::from(progress.body > 0 || stream.waiting_since.is_none());
            // A stream that was reported as writable waits for its turn, and not for the client, even if others
            // have taken all the room before.
            stream.waiting_since = Some(now);
            return (sent, progress.state == State::Open);
        }
        stream.waiting_since = None;
        if stream.sending != Sending::Last {
            return (sent, false);
        }
        stream.sending = Sending::Ended;
        io.finish(key.id);
        self.finishing.push(key.id);
        if is_of_app && !stream.is_bodiless {
            sent.done = true;
            self.complete(key);
        } else {
            self.settle(key);
        }
        (sent, false)
    }
}

/// Writes a HEADERS frame whose section `write` appends.
pub(super) fn write_section(out: &mut Vec<u8>, stream_id: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let mut section = Vec::with_capacity(128);
    write(&mut section);
    frame::put(out, stream_id, HEADERS, &section);
}

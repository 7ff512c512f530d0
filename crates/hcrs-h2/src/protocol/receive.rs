//! The client's frames: their order, their form, and what each of them does (RFC 9113 §4 to §6).

use std::time::Instant;

use bytes::Bytes;
use hcrs_mux::{Event, Owned as _, Owner, StreamKey};

use super::{Error, Leaving, PROBE, Protocol};
use crate::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ErrorCode, GOAWAY, HEADER_LEN, HEADERS, Header,
    LEAST_FRAME_SIZE, MAX_31, MAX_FRAME_SIZE, PADDED, PING, PRIORITIZED, PRIORITY, PRIORITY_UPDATE,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, setting,
};
use crate::stream::wire_id;

/// Least number of CONTINUATION frames that a header block may have, whatever its limit.
const CONTINUATIONS: usize = 8;

/// A header block whose end has not arrived.
#[derive(Debug)]
pub(super) struct Block {
    header: Header,
    depends_on_itself: bool,
    bytes: Vec<u8>,
    continuations: usize,
}

const PROTOCOL_ERROR: Error = Error::Protocol(ErrorCode::PROTOCOL_ERROR);
const FRAME_SIZE_ERROR: Error = Error::Protocol(ErrorCode::FRAME_SIZE_ERROR);

impl Protocol {
    /// Takes bytes of the client. After an error nothing more may be passed.
    pub(crate) fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<(), Error> {
        let mut rest = bytes;
        if !self.partial.is_empty() {
            let mut partial = std::mem::take(&mut self.partial);
            let Some(header) = self.complete_frame(&mut partial, &mut rest)? else {
                self.partial = partial;
                return Ok(());
            };
            self.frame(header, &partial[HEADER_LEN..], now)?;
        }
        while let Some((&header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = Header::read(header);
            self.check_len(header)?;
            let Some((payload, after)) = after.split_at_checked(header.len) else { break };
            self.frame(header, payload, now)?;
            rest = after;
        }
        if !rest.is_empty() {
            self.partial.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Completes the frame that `partial` begins. Returns its header, or `None` if bytes are missing.
    fn complete_frame(&self, partial: &mut Vec<u8>, rest: &mut &[u8]) -> Result<Option<Header>, Error> {
        let mut fill = |len: usize| {
            let (taken, after) = rest.split_at(len.saturating_sub(partial.len()).min(rest.len()));
            partial.extend_from_slice(taken);
            *rest = after;
            partial.first_chunk::<HEADER_LEN>().copied().filter(|_| partial.len() >= len)
        };
        let Some(header) = fill(HEADER_LEN) else { return Ok(None) };
        let header = Header::read(header);
        self.check_len(header)?;
        Ok(fill(HEADER_LEN + header.len).map(|_| header))
    }

    /// Whether a frame that is no body has begun and not ended.
    pub(super) fn is_midway(&self) -> bool {
        match self.partial.first_chunk::<HEADER_LEN>() {
            Some(header) => Header::read(*header).kind != DATA,
            None => !self.partial.is_empty(),
        }
    }

    fn check_len(&self, header: Header) -> Result<(), Error> {
        if header.len > self.max_frame_size { Err(FRAME_SIZE_ERROR) } else { Ok(()) }
    }

    #[inline]
    fn frame(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Error> {
        if self.leaving == Leaving::Now {
            return Ok(());
        }
        header.log("received");
        let is_out_of_order = match &self.block {
            Some(block) => header.kind != CONTINUATION || block.header.stream_id != header.stream_id,
            None => header.kind == CONTINUATION || !self.peer.are_there && header.kind != SETTINGS,
        };
        if is_out_of_order {
            return Err(PROTOCOL_ERROR);
        }
        match header.kind {
            DATA => self.data(header, payload, now)?,
            HEADERS => self.headers(header, payload, now)?,
            CONTINUATION => self.continuation(header, payload, now)?,
            PRIORITY => self.priority(header, payload, now)?,
            RST_STREAM => self.reset_by_client(header, payload, now)?,
            SETTINGS => self.settings(header, payload, now)?,
            PUSH_PROMISE => return Err(PROTOCOL_ERROR),
            PING => self.ping(header, payload, now)?,
            GOAWAY => {
                if header.stream_id != 0 {
                    return Err(PROTOCOL_ERROR);
                }
                if payload.len() < 8 {
                    return Err(FRAME_SIZE_ERROR);
                }
                self.spend_frame(now)?;
                self.peer_leaves = true;
            }
            WINDOW_UPDATE => self.window_update(header, payload, now)?,
            PRIORITY_UPDATE => self.priority_update(header, payload, now)?,
            // RFC 9113 §4.1: frames of unknown kinds are ignored.
            _ => self.spend_frame(now)?,
        }
        self.went_on |= self.block.is_none();
        Ok(())
    }

    fn data(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Error> {
        let (id, end) = (header.stream_id, header.has(END_STREAM));
        let data = unpadded(header, payload)?;
        if !self.window.take(payload.len()) {
            return Err(Error::Protocol(ErrorCode::FLOW_CONTROL_ERROR));
        }
        if data.is_empty() && !end {
            self.spend_frame(now)?;
        }
        let Some(key) = self.streams.find(id.into()) else { return self.late(id, now) };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if let Err(code) = stream.receiving.take(payload.len(), data.len(), end) {
            return self.reset_for(key, code, now);
        }
        let receiving = &mut stream.receiving;
        let had_credit = receiving.credit > 0;
        match &mut stream.owner {
            Owner::App => {
                receiving.held += data.len();
                receiving.credit += payload.len() - data.len();
                self.window.hold(data.len());
                if !data.is_empty() {
                    let data = Bytes::copy_from_slice(data);
                    self.events.push_back(Event::Data { key, data, end });
                }
                if end {
                    self.events.push_back(Event::End { key });
                }
            }
            Owner::Connection(unwanted) => {
                if unwanted.arrive(now) {
                    receiving.credit += payload.len();
                }
            }
        }
        if !had_credit && receiving.credit > 0 {
            self.credited.push(key);
        }
        if end {
            self.end_receiving(key);
        }
        Ok(())
    }

    /// Notes that the client has sent all on a stream.
    pub(super) fn end_receiving(&mut self, key: StreamKey) {
        match self.streams.get(key) {
            Some(stream) if !stream.is_of_app() => self.remove(key),
            _ => self.settle(key),
        }
    }

    /// Answers a frame on a stream that is not open. One that the server has reset is no offence: the client
    /// had sent the frame before it knew (RFC 9113 §5.1).
    pub(super) fn late(&mut self, id: u32, now: Instant) -> Result<(), Error> {
        if self.is_idle(id) {
            return Err(PROTOCOL_ERROR);
        }
        if self.is_ignored(id) {
            return Ok(());
        }
        self.spend_frame(now)?;
        if !self.reset.contains(&id) {
            self.output.reset(id, ErrorCode::STREAM_CLOSED);
        }
        Ok(())
    }

    /// Whether a stream has not begun (RFC 9113 §5.1).
    pub(super) fn is_idle(&self, id: u32) -> bool {
        id == 0 || if id.is_multiple_of(2) { id >= self.next_pushed } else { id > self.last_id }
    }

    /// Whether a stream began behind the last that is served.
    pub(super) fn is_ignored(&self, id: u32) -> bool {
        matches!(self.leaving, Leaving::Last(last) if id > last && !id.is_multiple_of(2))
    }

    fn headers(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Error> {
        if header.stream_id.is_multiple_of(2) {
            return Err(PROTOCOL_ERROR);
        }
        let mut fragment = unpadded(header, payload)?;
        let mut depends_on_itself = false;
        if header.has(PRIORITIZED) {
            let (priority, after) = fragment.split_first_chunk::<5>().ok_or(FRAME_SIZE_ERROR)?;
            depends_on_itself = dependency(*priority) == header.stream_id;
            fragment = after;
        }
        if header.has(END_HEADERS) {
            return self.header_block(header, depends_on_itself, fragment, now);
        }
        self.block = Some(Block { header, depends_on_itself, bytes: fragment.to_vec(), continuations: 0 });
        Ok(())
    }

    fn continuation(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Error> {
        let Some(mut block) = self.block.take() else { return Err(PROTOCOL_ERROR) };
        block.continuations += 1;
        // A block may be twice as large as a header list before it is given up: that is answered.
        let max_len = self.checks.max_list_size.saturating_mul(2);
        let max_continuations = CONTINUATIONS.max(max_len / LEAST_FRAME_SIZE as usize);
        if block.continuations > max_continuations || block.bytes.len() + payload.len() > max_len {
            return Err(Error::Protocol(ErrorCode::ENHANCE_YOUR_CALM));
        }
        block.bytes.extend_from_slice(payload);
        if header.has(END_HEADERS) {
            return self.header_block(block.header, block.depends_on_itself, &block.bytes, now);
        }
        self.block = Some(block);
        Ok(())
    }

    /// Takes a priority of the scheme that RFC 9218 replaces: it is ignored (RFC 9113 §5.3.2), but for the errors of
    /// its frame.
    fn priority(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Error> {
        self.spend_frame(now)?;
        let id = header.stream_id;
        if id == 0 {
            return Err(PROTOCOL_ERROR);
        }
        let code = match payload.first_chunk::<5>() {
            Some(priority) if payload.len() == 5 => {
                if dependency(*priority) != id {
                    return Ok(());
                }
                ErrorCode::PROTOCOL_ERROR
            }
            _ => ErrorCode::FRAME_SIZE_ERROR,
        };
        match self.streams.find(id.into()) {
            Some(key) => self.reset_for(key, code, now),
            None if code == ErrorCode::FRAME_SIZE_ERROR => Err(FRAME_SIZE_ERROR),
            None => Ok(()),
        }
    }

    fn reset_by_client(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Error> {
        if payload.len() != 4 {
            return Err(FRAME_SIZE_ERROR);
        }
        if self.is_idle(header.stream_id) {
            return Err(PROTOCOL_ERROR);
        }
        if let Some(key) = self.streams.find(header.stream_id.into()) {
            self.cut(key);
        }
        self.spend_reset(now)
    }

    /// Resets a stream because of what the client sent on it (CVE-2025-8671).
    pub(super) fn reset_for(&mut self, key: StreamKey, code: ErrorCode, now: Instant) -> Result<(), Error> {
        self.output.reset(wire_id(key), code);
        self.remember_reset(wire_id(key));
        self.cut(key);
        self.spend_reset(now)
    }

    fn settings(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Error> {
        if header.stream_id != 0 {
            return Err(PROTOCOL_ERROR);
        }
        if std::mem::replace(&mut self.peer.are_there, true) {
            self.spend_frame(now)?;
        } else if header.has(ACK) {
            return Err(PROTOCOL_ERROR);
        }
        if header.has(ACK) {
            if !payload.is_empty() {
                return Err(FRAME_SIZE_ERROR);
            }
            self.settings_acknowledged();
            return Ok(());
        }
        let (entries, []) = payload.as_chunks::<6>() else { return Err(FRAME_SIZE_ERROR) };
        let mut initial_window = self.peer.initial_window;
        for &[a, b, value @ ..] in entries {
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([a, b]) {
                setting::HEADER_TABLE_SIZE => self.encoder.resize(value as usize),
                setting::ENABLE_PUSH if value <= 1 => self.peer.takes_pushes = value == 1,
                setting::MAX_CONCURRENT_STREAMS => self.peer.max_concurrent_streams = value,
                setting::INITIAL_WINDOW_SIZE if value <= MAX_31 => initial_window = value,
                setting::INITIAL_WINDOW_SIZE => return Err(Error::Protocol(ErrorCode::FLOW_CONTROL_ERROR)),
                setting::MAX_FRAME_SIZE if (LEAST_FRAME_SIZE..=MAX_FRAME_SIZE).contains(&value) => {
                    self.peer.max_frame_size = value as usize;
                }
                // RFC 9218 §2.1: whatever its value is, no other priorities are obeyed.
                setting::NO_RFC7540_PRIORITIES if value <= 1 => self.client_has_priorities |= value == 1,
                setting::ENABLE_PUSH | setting::MAX_FRAME_SIZE | setting::NO_RFC7540_PRIORITIES => {
                    return Err(PROTOCOL_ERROR);
                }
                // RFC 9113 §6.5.2: unknown settings are ignored.
                _ => {}
            }
        }
        // RFC 9113 §6.9.2: it changes the windows of all streams, which may become negative.
        let before = std::mem::replace(&mut self.peer.initial_window, initial_window);
        if before != initial_window {
            for stream in self.streams.iter_mut() {
                if !stream.send_window.change(before, initial_window) {
                    return Err(Error::Protocol(ErrorCode::FLOW_CONTROL_ERROR));
                }
            }
        }
        self.output.frame(SETTINGS, ACK, 0, &[]);
        Ok(())
    }

    /// The client has read the settings: from now on streams have the window that they announce.
    fn settings_acknowledged(&mut self) {
        let before = std::mem::replace(&mut self.stream_window, self.announced_window);
        if before != self.announced_window {
            for stream in self.streams.iter_mut() {
                let _fits = stream.receiving.window.change(before, self.announced_window);
            }
        }
    }

    fn ping(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Error> {
        if header.stream_id != 0 {
            return Err(PROTOCOL_ERROR);
        }
        if payload.len() != 8 {
            return Err(FRAME_SIZE_ERROR);
        }
        self.spend_frame(now)?;
        if !header.has(ACK) {
            self.output.frame(PING, ACK, 0, payload);
        } else if payload == PROBE {
            self.leave_at_last();
        }
        Ok(())
    }

    fn window_update(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Error> {
        let increment = payload.try_into().map_err(|_| FRAME_SIZE_ERROR)?;
        let increment = u32::from_be_bytes(increment) & MAX_31;
        match self.updates_allowed.checked_sub(1) {
            Some(left) => self.updates_allowed = left,
            None => self.spend_frame(now)?,
        }
        if header.stream_id == 0 {
            if increment == 0 {
                return Err(PROTOCOL_ERROR);
            }
            let fits = self.send_window.open(increment);
            return if fits { Ok(()) } else { Err(Error::Protocol(ErrorCode::FLOW_CONTROL_ERROR)) };
        }
        let Some(key) = self.streams.find(header.stream_id.into()) else {
            let is_idle = self.is_idle(header.stream_id) && !self.is_ignored(header.stream_id);
            return if is_idle { Err(PROTOCOL_ERROR) } else { Ok(()) };
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if increment == 0 {
            self.reset_for(key, ErrorCode::PROTOCOL_ERROR, now)
        } else if stream.send_window.open(increment) {
            Ok(())
        } else {
            self.reset_for(key, ErrorCode::FLOW_CONTROL_ERROR, now)
        }
    }
}

/// Returns the stream that another depends on (RFC 9113 §6.3).
fn dependency([a, b, c, d, _]: [u8; 5]) -> u32 {
    u32::from_be_bytes([a, b, c, d]) & MAX_31
}

/// Returns a payload without its padding.
#[inline]
fn unpadded(header: Header, payload: &[u8]) -> Result<&[u8], Error> {
    if !header.has(PADDED) {
        return Ok(payload);
    }
    let (&len, rest) = payload.split_first().ok_or(FRAME_SIZE_ERROR)?;
    let len = rest.len().checked_sub(usize::from(len)).ok_or(PROTOCOL_ERROR)?;
    Ok(&rest[..len])
}

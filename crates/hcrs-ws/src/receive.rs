//! Receiving: the client's frames are parsed, unmasked, joined to messages, inflated and checked.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::close::Failure;
use crate::connection::{Connection, DataFrame, Event, Message, MessageKind};
use crate::deflate::Unpacker;
use crate::frame::{Header, Lead, Length, Opcode};
use crate::mask;

/// Length up to which messages are copied, in bytes, so that a small one does not keep a large buffer.
const COPIED_MESSAGE_BYTES: usize = 4 * 1024;

/// Number of compressed bytes that are inflated at a time, to at most a thousand times as many.
const PACKED_PIECE: usize = 1024;

/// Number of compressed bytes that a message may have beyond twice its largest inflated size, for the flushes
/// of many small fragments.
const PACKED_ROOM: u64 = 1 << 20;

/// The result of reading the front of the input.
enum Read {
    Event(Event),
    /// The next frame can be read.
    Next,
    /// More bytes are needed.
    Starved,
}

impl Connection {
    /// Parses the front of `input` and removes the bytes that it has parsed. Returns `Ok(None)` when it needs
    /// more bytes. The caller only appends to `input` between two calls.
    ///
    /// A failure is returned once, and [`Connection::write_replies`] answers it. After it, and after
    /// [`Event::Close`], input is dropped. Once this end has sent a Close frame, messages are skipped: they
    /// are not joined, inflated or checked.
    pub fn poll_event(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Failure> {
        self.poll(input, Self::read_messages)
    }

    /// Polls for control frames while the app takes no messages: messages stay in `input`, unread, and pings
    /// and pongs among and behind them are returned. A Close frame is returned in its turn, after the
    /// messages before it.
    ///
    /// The bytes that the caller reads into `input` meanwhile are held there, so the caller has to bound
    /// them.
    pub fn poll_control(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Failure> {
        self.poll(input, Self::read_control)
    }

    fn poll(
        &mut self,
        input: &mut BytesMut,
        read: impl FnOnce(&mut Self, &mut BytesMut) -> Result<Option<Event>, Failure>,
    ) -> Result<Option<Event>, Failure> {
        if self.drops_input() {
            input.clear();
            return Ok(None);
        }
        let polled = read(self, input);
        if let Err(failure) = polled {
            self.fail(failure);
            input.clear();
        }
        polled
    }

    fn read_messages(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Failure> {
        loop {
            let read = if self.frame.is_some() { self.read_payload(input)? } else { self.read_frame(input)? };
            match read {
                Read::Event(event) => return Ok(Some(event)),
                Read::Next => {}
                Read::Starved => return Ok(None),
            }
        }
    }

    fn read_control(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Failure> {
        // Control frames at the front need not wait.
        while self.frame.is_none()
            && let Some(&first) = input.first()
            && !Lead::parse(first).is_ok_and(|lead| !lead.opcode.is_control())
        {
            match self.read_frame(input)? {
                Read::Event(event) => return Ok(Some(event)),
                Read::Next => {}
                Read::Starved => return Ok(None),
            }
        }
        Ok(self.look_ahead(input))
    }

    /// Returns a ping or pong behind data, and leaves its frame there, marked as handled.
    fn look_ahead(&mut self, input: &[u8]) -> Option<Event> {
        loop {
            let under_way = self.frame.map_or(0, |frame| usize::try_from(frame.left).unwrap_or(usize::MAX));
            let at = self.looked_at.max(under_way);
            let frame = input.get(at..)?;
            // Failures are returned in their turn.
            let header = Header::parse(frame).ok()??;
            let opcode = header.lead.opcode;
            let end = header.frame_len();
            if opcode == Opcode::Close {
                return None;
            }
            if opcode.is_control() {
                let mut payload = frame.get(header.len..end)?.to_vec();
                mask::apply(&mut payload, header.key);
                self.looked_at = at + end;
                return Some(self.receive_ping_or_pong(opcode, payload.into()));
            }
            self.looked_at = at.saturating_add(end);
        }
    }

    /// Reads a data frame's header, or a whole control frame.
    fn read_frame(&mut self, input: &mut BytesMut) -> Result<Read, Failure> {
        let Some(header) = self.read_header(input)? else { return Ok(Read::Starved) };
        if !header.lead.opcode.is_control() {
            self.consume(input, header.len);
            self.begin_data_frame(header);
            return Ok(Read::Next);
        }
        let end = header.frame_len();
        let Some(frame) = input.get_mut(..end) else { return Ok(Read::Starved) };
        let payload = &mut frame[header.len..];
        mask::apply(payload, header.key);
        let payload = Bytes::copy_from_slice(payload);
        let was_told = self.looked_at > 0;
        self.consume(input, end);
        match header.lead.opcode {
            Opcode::Close => self.receive_close(&payload).map(Read::Event),
            _ if was_told => Ok(Read::Next),
            opcode => Ok(Read::Event(self.receive_ping_or_pong(opcode, payload))),
        }
    }

    /// Reads a header and checks it against earlier frames, byte by byte, so that the failure does not depend
    /// on how the bytes were split.
    fn read_header(&self, input: &[u8]) -> Result<Option<Header>, Failure> {
        let Some(&first) = input.first() else { return Ok(None) };
        let lead = Lead::parse(first)?;
        let is_checked = !lead.opcode.is_control() && !self.is_discarding();
        if is_checked {
            self.check_order(lead)?;
        }
        let Some(length) = Length::parse(lead, input)? else { return Ok(None) };
        if is_checked {
            self.check_length(lead, length.payload)?;
        }
        Ok(Header::complete(lead, length, input))
    }

    /// Checks that such a data frame may come now (RFC 6455 §5.4, RFC 7692 §6).
    fn check_order(&self, lead: Lead) -> Result<(), Failure> {
        match (&self.message, lead.opcode) {
            (None, Opcode::Continuation) => Err(Failure::protocol("continuation of no message")),
            (Some(_), Opcode::Text | Opcode::Binary) => {
                Err(Failure::protocol("new message before the end of the last"))
            }
            _ if lead.rsv1 && self.unpacker.is_none() => Err(Failure::protocol("reserved bit is set")),
            (Some(message), _) if message.fragments >= self.max_fragments => Err(Failure::TOO_MANY_FRAGMENTS),
            _ => Ok(()),
        }
    }

    fn check_length(&self, lead: Lead, payload: u64) -> Result<(), Failure> {
        let announced = self.message.as_ref().map_or(0, |message| message.announced);
        let is_packed = self.message.as_ref().map_or(lead.rsv1, |message| message.is_packed);
        let max = self.max_message_size as u64;
        // Compressed bytes that inflate to none need a limit as well; no compressor doubles its input.
        let max = if is_packed { max.saturating_mul(2).saturating_add(PACKED_ROOM) } else { max };
        if announced.saturating_add(payload) > max { Err(Failure::TOO_BIG) } else { Ok(()) }
    }

    fn begin_data_frame(&mut self, header: Header) {
        if !self.is_discarding() {
            let message = self.message.get_or_insert_with(|| Message::new(header.lead, &self.room));
            message.fragments += 1;
            message.announced += header.payload;
        }
        self.frame = Some(DataFrame { left: header.payload, key: header.key, fin: header.lead.fin });
    }

    /// Reads the part of the payload that has arrived.
    fn read_payload(&mut self, input: &mut BytesMut) -> Result<Read, Failure> {
        let Some(frame) = &mut self.frame else { return Ok(Read::Next) };
        let is_packed = self.message.as_ref().is_some_and(|message| message.is_packed);
        let most = if is_packed { PACKED_PIECE } else { usize::MAX };
        let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len()).min(most);
        if here == 0 && frame.left > 0 {
            return Ok(Read::Starved);
        }
        if is_packed && self.unpacker.as_ref().is_some_and(Unpacker::must_yield) {
            return Ok(Read::Event(Event::Yield));
        }
        let piece = &mut input[..here];
        mask::apply(piece, frame.key);
        frame.key = mask::after(frame.key, here);
        frame.left -= here as u64;
        let frame_left = frame.left;
        let is_last = frame.fin && frame_left == 0;
        if frame_left == 0 {
            self.frame = None;
        }
        let mut whole = None;
        // Without a message the payload is skipped, since this end has closed.
        if let Some(message) = &mut self.message {
            if let Some(unpacker) = self.unpacker.as_mut().filter(|_| is_packed) {
                message.inflate(unpacker, piece, is_last, self.max_message_size)?;
            } else {
                message.check(piece, is_last)?;
                if is_last && message.data.is_empty() {
                    whole = Some(take(input, here));
                } else {
                    message.append(piece, frame_left)?;
                }
            }
        }
        match whole {
            Some(_) => self.note_consumed(here),
            None => self.consume(input, here),
        }
        if is_last && let Some(message) = self.message.take() {
            let data = whole.unwrap_or_else(|| message.data.into());
            return Ok(Read::Event(match message.kind {
                MessageKind::Text => Event::Text(data),
                MessageKind::Binary => Event::Binary(data),
            }));
        }
        Ok(Read::Next)
    }

    fn receive_ping_or_pong(&mut self, opcode: Opcode, payload: Bytes) -> Event {
        if opcode == Opcode::Ping {
            self.owe_pong(payload.clone());
            return Event::Ping(payload);
        }
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.on_pong(&payload);
        }
        Event::Pong(payload)
    }

    fn consume(&mut self, input: &mut BytesMut, len: usize) {
        input.advance(len);
        self.note_consumed(len);
    }

    fn note_consumed(&mut self, len: usize) {
        self.looked_at = self.looked_at.saturating_sub(len);
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.hear();
        }
    }
}

impl Message {
    /// Checks a piece, or the last one, of text.
    fn check(&mut self, piece: &[u8], is_last: bool) -> Result<(), Failure> {
        if self.kind == MessageKind::Text && !(self.utf8.push(piece) && (!is_last || self.utf8.is_complete()))
        {
            return Err(Failure::NOT_UTF8);
        }
        Ok(())
    }

    /// Appends a piece that at most `to_come` bytes follow in the same frame or message.
    fn append(&mut self, piece: &[u8], to_come: u64) -> Result<(), Failure> {
        let needed = self.data.len() + piece.len();
        if needed > self.data.capacity() {
            let all = needed.saturating_add(usize::try_from(to_come).unwrap_or(usize::MAX));
            let room = all.min(self.data.capacity() * 2).max(needed);
            if !self.held.try_hold(room) {
                return Err(Failure::NO_ROOM);
            }
            self.data.reserve_exact(room - self.data.len());
        }
        hcrs_http::append(&mut self.data, piece);
        Ok(())
    }

    /// Inflates a piece, or the last one.
    fn inflate(
        &mut self,
        unpacker: &mut Unpacker,
        piece: &[u8],
        is_last: bool,
        max_size: usize,
    ) -> Result<(), Failure> {
        let mut sink = |inflated: &[u8]| {
            let left = max_size - self.data.len();
            if inflated.len() > left {
                return Err(Failure::TOO_BIG);
            }
            self.check(inflated, false)?;
            self.append(inflated, (left - inflated.len()) as u64)
        };
        unpacker.unpack(piece, &mut sink)?;
        if is_last {
            unpacker.finish(&mut sink)?;
            self.check(b"", true)?;
        }
        Ok(())
    }
}

/// Takes `len` bytes from the front of `input`.
fn take(input: &mut BytesMut, len: usize) -> Bytes {
    if len > COPIED_MESSAGE_BYTES {
        return input.split_to(len).freeze();
    }
    let message = Bytes::copy_from_slice(&input[..len]);
    input.advance(len);
    message
}

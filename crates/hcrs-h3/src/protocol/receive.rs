//! Reading: which stream comes next, and the client's unidirectional streams (RFC 9114 §6.2).

use std::time::Instant;

use super::control::{CONTROL_FRAME_MAX, Kind, Uni, parse_settings, whole_varint};
use super::requests::dropped_cost;
use super::{Command, Error, Protocol};
use crate::error::ErrorCode;
use crate::frame::{
    CANCEL_PUSH, DATA, GOAWAY, HEADERS, Header, MAX_PUSH_ID, PRIORITY_UPDATE, PRIORITY_UPDATE_PUSH,
    PUSH_PROMISE, Payload, Piece, SETTINGS, is_of_http2, stream,
};
use crate::qpack;
use crate::transport::{Read, Transport};
use crate::varint;

/// Number of bytes that one turn of a connection may read before other connections get theirs.
const READ_PER_TURN: usize = 64 << 10;

/// Most bytes that are read of a unidirectional stream at a time.
const UNI_READ: usize = 4 << 10;

/// Most unidirectional streams of the client at a time: the three that it needs, and those of unknown types until
/// they are stopped.
const UNIS_MAX: usize = 16;

impl Protocol {
    /// Reads the next stream. Returns false if there is none for now, or the turn has read its share.
    pub(super) fn read_next(&mut self, io: &mut dyn Transport, now: Instant) -> Result<bool, Error> {
        if self.read_in_turn >= READ_PER_TURN {
            return Ok(false);
        }
        let Some(id) = self.readable.pop_front() else { return Ok(false) };
        if id & 2 != 0 {
            if let Some(at) = self.unis.iter().position(|uni| uni.id == id) {
                self.read_uni(io, at, now)?;
            }
        } else if let Some(key) = self.streams.find(id)
            && let Some(stream) = self.streams.get_mut(key)
        {
            stream.receiving.is_queued = false;
            self.read_request(io, key, now)?;
        }
        Ok(true)
    }

    /// Notes that the client has begun a unidirectional stream.
    pub(super) fn uni_opened(&mut self, id: u64) {
        if self.unis.len() >= UNIS_MAX {
            self.rejected += 1;
            return self.commands.push(Command::StopSending(id, ErrorCode::STREAM_CREATION_ERROR));
        }
        self.unis.push(Uni { id, kind: Kind::Unknown(Vec::new()), is_queued: true });
        self.readable.push_back(id);
    }

    fn read_uni(&mut self, io: &mut dyn Transport, at: usize, now: Instant) -> Result<(), Error> {
        let id = self.unis[at].id;
        self.unis[at].is_queued = false;
        match io.read(id, UNI_READ) {
            Read::Bytes(bytes) => {
                self.read_in_turn += bytes.len();
                let kind = std::mem::replace(&mut self.unis[at].kind, Kind::Unknown(Vec::new()));
                match self.uni_bytes(id, kind, &bytes, now)? {
                    Some(kind) => {
                        self.unis[at].kind = kind;
                        self.readable(id);
                    }
                    None => {
                        self.unis.swap_remove(at);
                    }
                }
                Ok(())
            }
            Read::Blocked => Ok(()),
            Read::Finished | Read::Reset => {
                let uni = self.unis.swap_remove(at);
                match uni.kind {
                    // A stream may end before its type is known (RFC 9114 §6.2).
                    Kind::Unknown(_) => self.spend_frames(now, 1),
                    Kind::Control(_) | Kind::Encoder(_) | Kind::Decoder(_) => {
                        Err(ErrorCode::CLOSED_CRITICAL_STREAM.into())
                    }
                }
            }
        }
    }

    /// Takes bytes of a unidirectional stream. Returns its type as far as it is known, or nothing if it is of no
    /// interest.
    fn uni_bytes(
        &mut self,
        id: u64,
        mut kind: Kind,
        mut bytes: &[u8],
        now: Instant,
    ) -> Result<Option<Kind>, Error> {
        if let Kind::Unknown(partial) = &mut kind {
            let Some(value) = take_type(partial, &mut bytes) else { return Ok(Some(kind)) };
            let begun = match value {
                stream::CONTROL => Kind::Control(crate::frame::FrameReader::default()),
                stream::ENCODER => Kind::Encoder(qpack::EncoderStream::default()),
                stream::DECODER => Kind::Decoder(qpack::DecoderStream::default()),
                stream::PUSH => return Err(ErrorCode::STREAM_CREATION_ERROR.into()),
                _ => {
                    self.commands.push(Command::StopSending(id, ErrorCode::STREAM_CREATION_ERROR));
                    self.spend_frames(now, 1)?;
                    return Ok(None);
                }
            };
            let is_there = |uni: &Uni| std::mem::discriminant(&uni.kind) == std::mem::discriminant(&begun);
            if self.unis.iter().any(is_there) {
                return Err(ErrorCode::STREAM_CREATION_ERROR.into());
            }
            kind = begun;
        }
        match &mut kind {
            Kind::Control(frames) => self.control_bytes(id, frames, bytes, now)?,
            Kind::Encoder(encoder) => {
                let count = self.decoder.receive(encoder, bytes)?;
                let beyond = count.saturating_sub(self.instructions_allowed);
                self.instructions_allowed = self.instructions_allowed.saturating_sub(count);
                self.spend_frames(now, beyond)?;
            }
            Kind::Decoder(decoder) => decoder.receive(bytes)?,
            Kind::Unknown(_) => {}
        }
        Ok(Some(kind))
    }

    fn control_bytes(
        &mut self,
        id: u64,
        frames: &mut crate::frame::FrameReader,
        mut bytes: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        loop {
            let (mut idle, has_settings) = (0, self.control.has_settings);
            let piece = frames.next(&mut bytes, |header| begin(header, id, has_settings, &mut idle));
            let spent = self.spend_frames(now, idle);
            let piece = piece?;
            spent?;
            let Some(Piece::Whole(kind, payload)) = piece else { return Ok(()) };
            match kind {
                SETTINGS => {
                    parse_settings(payload)?;
                    self.control.has_settings = true;
                }
                GOAWAY => {
                    let push = whole_varint(payload)?;
                    if self.control.last_push.is_some_and(|last| push > last) {
                        return Err(ErrorCode::ID_ERROR.into());
                    }
                    self.control.last_push = Some(push);
                    self.control.peer_leaves = true;
                }
                MAX_PUSH_ID => {
                    let max = whole_varint(payload)?;
                    if self.control.max_push.is_some_and(|before| max < before) {
                        return Err(ErrorCode::ID_ERROR.into());
                    }
                    self.control.max_push = Some(max);
                }
                CANCEL_PUSH => {
                    whole_varint(payload)?;
                    // No push was promised (RFC 9114 §7.2.3).
                    return Err(ErrorCode::ID_ERROR.into());
                }
                PRIORITY_UPDATE => self.priority_update(payload)?,
                _ => {
                    let mut rest = payload;
                    varint::take(&mut rest).ok_or(ErrorCode::FRAME_ERROR)?;
                    // It is about a push, and none was promised (RFC 9218 §7.2).
                    return Err(ErrorCode::ID_ERROR.into());
                }
            }
        }
    }
}

/// Decides about a frame of the control stream. Frames without progress are added to `idle`.
fn begin(header: Header, id: u64, has_settings: bool, idle: &mut u32) -> Result<Payload, ErrorCode> {
    header.log("received", id);
    match header.kind {
        SETTINGS if has_settings => return Err(ErrorCode::FRAME_UNEXPECTED),
        SETTINGS => {}
        _ if !has_settings => return Err(ErrorCode::MISSING_SETTINGS),
        DATA | HEADERS | PUSH_PROMISE => return Err(ErrorCode::FRAME_UNEXPECTED),
        kind if is_of_http2(kind) => return Err(ErrorCode::FRAME_UNEXPECTED),
        CANCEL_PUSH | GOAWAY | MAX_PUSH_ID | PRIORITY_UPDATE | PRIORITY_UPDATE_PUSH => *idle += 1,
        _ => {
            *idle = idle.saturating_add(dropped_cost(header));
            return Ok(Payload::Dropped);
        }
    }
    if header.len > CONTROL_FRAME_MAX { Err(ErrorCode::EXCESSIVE_LOAD) } else { Ok(Payload::Whole) }
}

/// Takes the type of a stream, which may have begun in `partial`.
fn take_type(partial: &mut Vec<u8>, bytes: &mut &[u8]) -> Option<u64> {
    while let Some((&byte, after)) = bytes.split_first() {
        partial.push(byte);
        *bytes = after;
        if let Some(value) = varint::take(&mut &partial[..]) {
            return Some(value);
        }
    }
    None
}

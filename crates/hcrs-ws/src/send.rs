//! Sending: messages, complete or in fragments, pings, and the Close frame.

use hcrs_http::close_code;

use crate::close::is_valid_code;
use crate::connection::{Connection, MessageKind, Sending};
use crate::frame::{self, Lead, MAX_CONTROL_PAYLOAD, Opcode};
use crate::utf8::Utf8;

/// The reason why no frame was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// One of the ends has closed.
    #[error("the WebSocket is closed")]
    Closed,
    /// The text is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A message that is being sent in fragments has not ended, or is of the other kind.
    #[error("another message is being sent in fragments")]
    InFragments,
    /// The close code is not one that may be sent (RFC 6455 §7.4).
    #[error("close code {0} may not be sent")]
    InvalidCloseCode(u16),
}

impl Connection {
    /// Appends a message as one frame. It is compressed if that was agreed and it is long enough.
    pub fn write_message(
        &mut self,
        kind: MessageKind,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if !self.can_send() {
            return Err(SendError::Closed);
        }
        if self.sending.is_some() {
            return Err(SendError::InFragments);
        }
        if kind == MessageKind::Text && simdutf8::basic::from_utf8(data).is_err() {
            return Err(SendError::NotUtf8);
        }
        let lead = Lead { opcode: kind.opcode(), fin: true, rsv1: false };
        match &mut self.packer {
            Some(packer) if data.len() >= self.min_packed_size => {
                packer.pack_message(data, |packed| match packed {
                    Some(payload) => write_frame(out, Lead { rsv1: true, ..lead }, payload),
                    None => write_frame(out, lead, data),
                });
            }
            _ => write_frame(out, lead, data),
        }
        Ok(())
    }

    /// Appends a frame of a message that is sent in pieces, with `is_last` for its last one. All pieces have
    /// the same kind; a piece of a text may end within a character. The message is compressed if that was
    /// agreed, unless it has only one piece that is too short for it.
    pub fn write_fragment(
        &mut self,
        kind: MessageKind,
        data: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if !self.can_send() {
            return Err(SendError::Closed);
        }
        let Some(sending) = &mut self.sending else {
            if is_last {
                return self.write_message(kind, data, out);
            }
            let is_packed = self.packer.is_some();
            let mut sending = Sending { kind, is_packed, utf8: Utf8::default() };
            sending.check(data, false)?;
            let opcode = kind.opcode();
            self.write_piece(Lead { opcode, fin: false, rsv1: is_packed }, is_packed, data, out);
            self.sending = Some(sending);
            return Ok(());
        };
        if sending.kind != kind {
            return Err(SendError::InFragments);
        }
        sending.check(data, is_last)?;
        let is_packed = sending.is_packed;
        let lead = Lead { opcode: Opcode::Continuation, fin: is_last, rsv1: false };
        self.write_piece(lead, is_packed, data, out);
        if is_last {
            self.sending = None;
        }
        Ok(())
    }

    /// Appends a Close frame. No frame can be sent after it, and messages are skipped until the client's own
    /// Close frame. A reason of more than 123 bytes is cut between two characters. [`close_code::NO_STATUS`]
    /// stands for a frame without a code, which has no reason either. If a failure of the client has not been
    /// answered, its Close frame is sent instead.
    pub fn write_close(&mut self, code: u16, reason: &str, out: &mut Vec<u8>) -> Result<(), SendError> {
        if !self.can_send() {
            return Err(SendError::Closed);
        }
        if self.has_failed() {
            self.write_replies(out);
        } else if code == close_code::NO_STATUS {
            self.write_close_frame(None, out);
        } else if is_valid_code(code) {
            self.write_close_frame(Some((code, cut(reason, MAX_CONTROL_PAYLOAD - size_of::<u16>()))), out);
        } else {
            return Err(SendError::InvalidCloseCode(code));
        }
        Ok(())
    }

    fn write_piece(&mut self, lead: Lead, is_packed: bool, data: &[u8], out: &mut Vec<u8>) {
        match &mut self.packer {
            Some(packer) if is_packed => {
                packer.pack_fragment(data, lead.fin, |payload| write_frame(out, lead, payload));
            }
            _ => write_frame(out, lead, data),
        }
    }
}

impl Sending {
    fn check(&mut self, data: &[u8], is_last: bool) -> Result<(), SendError> {
        if self.kind == MessageKind::Binary {
            return Ok(());
        }
        // A copy, so that a refused piece changes no state.
        let mut utf8 = self.utf8;
        if !utf8.push(data) || (is_last && !utf8.is_complete()) {
            return Err(SendError::NotUtf8);
        }
        self.utf8 = utf8;
        Ok(())
    }
}

impl MessageKind {
    fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// Returns the longest beginning of `text` that has at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    &text[..ends.take_while(|&end| end <= max).last().unwrap_or(0)]
}

fn write_frame(out: &mut Vec<u8>, lead: Lead, payload: &[u8]) {
    out.reserve(frame::header_len(payload.len()) + payload.len());
    frame::write_header(out, lead, payload.len());
    hcrs_http::append(out, payload);
}

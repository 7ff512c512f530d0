//! One WebSocket: the messages in progress in both directions, and the closing handshake.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::close_code;

use crate::close::{self, Failure};
use crate::deflate::{DeflatePool, Packer, Unpacker};
use crate::frame::{self, Lead, Opcode};
use crate::handshake::DeflateTerms;
use crate::keep_alive::{KeepAlive, PongMissing};
use crate::room::{HeldBytes, MessageRoom};
use crate::settings::Settings;
use crate::utf8::Utf8;

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A message of UTF-8 text.
    Text,
    /// A message of any bytes.
    Binary,
}

/// An event on the connection: the client has sent a message or a control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A text message, valid UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A ping with this payload. [`Connection::write_replies`] answers it.
    Ping(Bytes),
    /// A pong with this payload, solicited or not.
    Pong(Bytes),
    /// A Close frame, the last event. [`Connection::write_replies`] answers it, unless it is the answer
    /// itself.
    Close {
        /// The client's code, or [`NO_STATUS`](crate::close_code::NO_STATUS).
        code: u16,
        /// The client's reason, at most 123 bytes.
        reason: String,
        /// Whether it answers a Close frame of this end.
        is_reply: bool,
    },
    /// The turn's share of inflated bytes is used up. The caller polls again, after
    /// [`DeflatePool::begin_turn`], once other connections have had their turn.
    Yield,
}

/// The server side of one WebSocket, from the handshake's end on.
///
/// The caller calls [`Connection::poll_event`] with the bytes that it has read until that returns `None`, and
/// after each event [`Connection::write_replies`] with its output. While the app takes no messages, it calls
/// [`Connection::poll_control`] instead of `poll_event`. After a failure the app may still answer the
/// messages before it; the next `write_replies` answers the failure. The caller writes its output and closes
/// the transport once [`Connection::is_closed`]. If this end closed first, it waits for the client's answer
/// until a deadline of its own.
///
/// The connection holds at most one message up to `max_message_size`, one ping's payload, and the
/// decompressor that the message needs or context takeover keeps. Bytes that it has not read stay with the
/// caller.
#[derive(Debug)]
pub struct Connection {
    pub(crate) max_message_size: usize,
    pub(crate) max_fragments: u32,
    pub(crate) room: Rc<MessageRoom>,
    pub(crate) unpacker: Option<Unpacker>,
    /// The data frame whose payload is being read.
    pub(crate) frame: Option<DataFrame>,
    /// The message that the next data frame continues.
    pub(crate) message: Option<Message>,
    /// Number of bytes at the front of the input whose frames were inspected ahead of their turn. Events for
    /// the control frames among them have been returned.
    pub(crate) looked_at: usize,
    pub(crate) packer: Option<Packer>,
    pub(crate) min_packed_size: usize,
    /// The message that is being sent in fragments.
    pub(crate) sending: Option<Sending>,
    /// The payload of the latest unanswered ping.
    pong_owed: Option<Bytes>,
    pub(crate) keep_alive: Option<KeepAlive>,
    closing: Closing,
}

/// A data frame whose header has been read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataFrame {
    /// Number of bytes of the payload that are to come.
    pub(crate) left: u64,
    /// The masking key, rotated so that it begins at the next byte.
    pub(crate) key: [u8; 4],
    /// The message ends with this frame.
    pub(crate) fin: bool,
}

/// A message that has arrived in part.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: MessageKind,
    pub(crate) is_packed: bool,
    /// Number of frames so far.
    pub(crate) fragments: u32,
    /// Number of bytes announced so far, as on the wire: compressed, if the message is.
    pub(crate) announced: u64,
    pub(crate) utf8: Utf8,
    pub(crate) data: Vec<u8>,
    /// The share of `data` in the room for all messages.
    pub(crate) held: HeldBytes,
}

/// A message that has been sent in part.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) kind: MessageKind,
    pub(crate) is_packed: bool,
    pub(crate) utf8: Utf8,
}

/// The closing handshake (RFC 6455 §7.1).
#[derive(Debug, Default)]
struct Closing {
    /// Code and reason of the Close frame that [`Connection::write_replies`] has to send.
    owed: Option<(u16, &'static str)>,
    is_sent: bool,
    is_received: bool,
    /// The client broke the protocol: its further bytes are dropped.
    is_failed: bool,
}

impl Connection {
    /// Creates a connection whose handshake is complete, with the agreement on compression. The pool is
    /// shared with the other connections of the thread, the room with the other WebSockets of the client's
    /// connection.
    pub fn new(
        settings: &Settings,
        deflate: Option<DeflateTerms>,
        pool: &Rc<DeflatePool>,
        room: &Rc<MessageRoom>,
    ) -> Self {
        let unpacker = deflate.map(|terms| {
            Unpacker::new(Rc::clone(pool), terms.client_max_window_bits, terms.client_context_takeover)
        });
        let packer = deflate.map(|terms| {
            Packer::new(Rc::clone(pool), terms.server_max_window_bits, terms.server_context_takeover)
        });
        Self {
            max_message_size: settings.max_message_size,
            max_fragments: settings.max_fragments,
            room: Rc::clone(room),
            unpacker,
            frame: None,
            message: None,
            looked_at: 0,
            packer,
            min_packed_size: settings.compression.as_ref().map_or(0, |compression| compression.min_size),
            sending: None,
            pong_owed: None,
            keep_alive: settings
                .ping_interval
                .map(|interval| KeepAlive::new(interval, settings.ping_timeout)),
            closing: Closing::default(),
        }
    }

    /// Appends the pong or the Close frame that is owed. Returns false if none is. If it is called after each
    /// event, it answers each ping; if it is called later, because writing was not possible, it answers the
    /// latest (RFC 6455 §5.5.3).
    pub fn write_replies(&mut self, out: &mut Vec<u8>) -> bool {
        let pong = self.pong_owed.take();
        if let Some(payload) = &pong {
            frame::write_control(out, Opcode::Pong, payload);
        }
        let close = self.closing.owed.take();
        if let Some((code, reason)) = close {
            self.write_close_frame((code != close_code::NO_STATUS).then_some((code, reason)), out);
        }
        pong.is_some() || close.is_some()
    }

    /// Appends a ping if one is due. Returns the instant of the next call, which is earlier than the one
    /// before if [`Event::Pong`] came since; `None` if there are no pings, or no more. The error means that a
    /// pong is missing.
    ///
    /// Any byte of the client extends the time for its pong, so that a client that sends a long message does
    /// not time out. While the caller does not read (`is_reading` is false), no pong is missed.
    pub fn tick(
        &mut self,
        now: Instant,
        is_reading: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<Instant>, PongMissing> {
        if !self.can_send() {
            return Ok(None);
        }
        let Some(keep_alive) = &mut self.keep_alive else { return Ok(None) };
        let tick = keep_alive.tick(now, is_reading)?;
        if let Some(payload) = tick.ping {
            frame::write_control(out, Opcode::Ping, &payload);
        }
        Ok(Some(tick.next))
    }

    /// Whether messages can be sent, that is, neither end has closed.
    pub fn can_send(&self) -> bool {
        !self.closing.is_sent && !self.closing.is_received
    }

    /// Whether the client has broken the protocol and the Close frame about it has not been sent.
    pub fn has_failed(&self) -> bool {
        self.closing.is_failed && !self.closing.is_sent
    }

    /// Whether this end has sent its Close frame and awaits the client's.
    pub fn awaits_close(&self) -> bool {
        self.closing.is_sent && !self.drops_input()
    }

    /// Whether no more frames will be sent or read: both ends have closed, or this one has after a failure.
    /// The server closes the transport first (RFC 6455 §7.1.1).
    pub fn is_closed(&self) -> bool {
        self.closing.is_sent && self.drops_input()
    }

    /// Returns the number of bytes that have arrived of an incomplete message; `None` if there is no such
    /// message.
    pub fn unfinished(&self) -> Option<u64> {
        let message = self.message.as_ref()?;
        Some(message.announced - self.frame.map_or(0, |frame| frame.left))
    }

    /// Fails the connection because an incomplete message has not gone on in time, as if the client had
    /// broken the protocol.
    pub fn give_up_message(&mut self) -> Failure {
        self.fail(Failure::STALLED);
        Failure::STALLED
    }

    /// Frees the memory that context takeover keeps for messages to the client. To be called when the
    /// connection has been quiet for a while. The next message is compressed without reference to earlier
    /// ones.
    pub fn shed_context(&mut self) {
        if self.sending.is_none()
            && let Some(packer) = &mut self.packer
        {
            packer.shed();
        }
    }

    /// Whether further bytes are dropped and not answered: the client has closed, or broken the protocol.
    pub(crate) fn drops_input(&self) -> bool {
        self.closing.is_received || self.closing.is_failed
    }

    /// Whether further data frames are skipped, since this end has closed.
    pub(crate) fn is_discarding(&self) -> bool {
        self.closing.is_sent
    }

    pub(crate) fn owe_pong(&mut self, payload: Bytes) {
        if !self.closing.is_sent {
            self.pong_owed = Some(payload);
        }
    }

    /// Handles the client's Close frame.
    pub(crate) fn receive_close(&mut self, payload: &[u8]) -> Result<Event, Failure> {
        let (code, reason) = close::parse(payload)?;
        let is_reply = self.closing.is_sent;
        self.closing.is_received = true;
        if !is_reply {
            self.closing.owed = Some((code, ""));
        }
        self.forget_incoming();
        Ok(Event::Close { code, reason: reason.to_owned(), is_reply })
    }

    /// Fails the connection (RFC 6455 §7.1.7).
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.closing.is_failed = true;
        if !self.closing.is_sent {
            self.closing.owed = Some((failure.code, failure.reason));
        }
        self.forget_incoming();
    }

    /// Appends a Close frame, the last frame that is sent; `reason` has to fit.
    pub(crate) fn write_close_frame(&mut self, status: Option<(u16, &str)>, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        if let Some((code, reason)) = status {
            payload.extend_from_slice(&code.to_be_bytes());
            payload.extend_from_slice(reason.as_bytes());
        }
        frame::write_control(out, Opcode::Close, &payload);
        self.closing.is_sent = true;
        self.pong_owed = None;
        self.sending = None;
        self.packer = None;
        self.forget_incoming();
    }

    /// Drops an incomplete message.
    fn forget_incoming(&mut self) {
        self.message = None;
        self.unpacker = None;
    }
}

impl Message {
    pub(crate) fn new(lead: Lead, room: &Rc<MessageRoom>) -> Self {
        Self {
            kind: if lead.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary },
            is_packed: lead.rsv1,
            fragments: 0,
            announced: 0,
            utf8: Utf8::default(),
            data: Vec::new(),
            held: HeldBytes::new(room),
        }
    }
}

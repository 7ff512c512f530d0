//! One WebSocket: what is under way in both directions, and how far its end has come.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;

use crate::close::{self, Failure};
use crate::deflate::{DeflatePool, Packer, Unpacker};
use crate::frame::{self, Lead, Opcode};
use crate::handshake::DeflateTerms;
use crate::keep_alive::{KeepAlive, PongMissing};
use crate::room::{HeldBytes, MessageRoom};
use crate::settings::Settings;
use crate::utf8::Utf8;

/// What a message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// What the client has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A text message, valid UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A ping with this payload. [`Connection::write_replies`] answers it.
    Ping(Bytes),
    /// A pong with this payload, asked for or not.
    Pong(Bytes),
    /// A Close frame, the last event. [`Connection::write_replies`] answers it, unless it is the answer itself.
    Close {
        /// The client's code, or [`NO_STATUS`](crate::close_code::NO_STATUS).
        code: u16,
        /// The client's reason, at most 123 bytes.
        reason: String,
        /// Whether it answers a Close frame of this end.
        is_reply: bool,
    },
    /// Nothing yet: what may be inflated in a turn has been. Call again once others have had their turn, after
    /// [`DeflatePool::begin_turn`].
    Yield,
}

/// The server side of one WebSocket, from the handshake's end on.
///
/// What was read goes through [`Connection::poll_event`] until that gives `None`, each event followed by
/// [`Connection::write_replies`] into what is to be written. While the app takes no messages,
/// [`Connection::poll_control`] stands in for `poll_event`. After a fault the app may still answer the messages before
/// it: the fault is answered by the next `write_replies`. What is to be written then is written, and the transport is
/// closed as soon as [`Connection::is_closed`]; until then, if this end
/// closed first, the client's answer is awaited for as long as the caller's deadline allows.
///
/// At most it holds one message up to `max_message_size`, one ping's payload, and the decompressor that the
/// message needs or context takeover keeps. What it has not read stays with the caller.
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
    /// Bytes from the front of the input up to which the frames have been looked at ahead of their turn, and the
    /// control frames among them told.
    pub(crate) looked_at: usize,
    pub(crate) packer: Option<Packer>,
    pub(crate) min_packed_size: usize,
    /// The message that is being sent in fragments.
    pub(crate) sending: Option<Sending>,
    /// The payload of the latest ping without an answer.
    pong_owed: Option<Bytes>,
    pub(crate) keep_alive: Option<KeepAlive>,
    closing: Closing,
}

/// A data frame whose header has been read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataFrame {
    /// Bytes of the payload to come.
    pub(crate) left: u64,
    /// The masking key, turned so that it begins at the next byte.
    pub(crate) key: [u8; 4],
    /// The message ends with it.
    pub(crate) fin: bool,
}

/// A message of which some is here.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) is_packed: bool,
    /// Frames so far.
    pub(crate) fragments: u32,
    /// Bytes announced so far, as they come: compressed, if the message is.
    pub(crate) announced: u64,
    pub(crate) utf8: Utf8,
    pub(crate) data: Vec<u8>,
    /// What the room of `data` takes of that for all messages.
    pub(crate) held: HeldBytes,
}

/// A message of which some has been sent.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) kind: Kind,
    pub(crate) is_packed: bool,
    pub(crate) utf8: Utf8,
}

/// The closing handshake (RFC 6455 §7.1).
#[derive(Debug, Default)]
struct Closing {
    /// What [`Connection::write_replies`] is to send: a payload's code and reason.
    owed: Option<(u16, &'static str)>,
    is_sent: bool,
    is_received: bool,
    /// The client broke the protocol: nothing more of it is read.
    is_failed: bool,
}

impl Connection {
    /// A connection whose handshake is done, with what that agreed on compression. The pool is shared with the
    /// other connections of the thread, the room with the other WebSockets of the client's connection.
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

    /// Appends what is owed for what was read, a pong or a Close frame; false if nothing is. Called after each
    /// event it answers every ping; called later, while writing is held up, it answers the latest (RFC 6455
    /// §5.5.3).
    pub fn write_replies(&mut self, out: &mut Vec<u8>) -> bool {
        let pong = self.pong_owed.take();
        if let Some(payload) = &pong {
            frame::write_control(out, Opcode::Pong, payload);
        }
        let close = self.closing.owed.take();
        if let Some((code, reason)) = close {
            self.write_close_frame((code != close::close_code::NO_STATUS).then_some((code, reason)), out);
        }
        pong.is_some() || close.is_some()
    }

    /// Takes the time and appends a ping if one is due. Gives when to call it next, which is earlier than it
    /// said before if [`Event::Pong`] came since; `None` if there are no pings, or no more.
    ///
    /// Any byte of the client extends the time for its pong, so that a long message is not taken for death.
    /// While the caller does not read (`is_reading` is false) the pong is not missed.
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

    /// Whether messages can still be sent: neither end has closed.
    pub fn can_send(&self) -> bool {
        !self.closing.is_sent && !self.closing.is_received
    }

    /// Whether the client has broken the protocol and was not told yet.
    pub fn has_failed(&self) -> bool {
        self.closing.is_failed && !self.closing.is_sent
    }

    /// Whether this end has sent its Close frame and awaits the client's.
    pub fn awaits_close(&self) -> bool {
        self.closing.is_sent && !self.is_deaf()
    }

    /// Whether nothing more will be sent or read: both ends have closed, or this one has after a fault. The
    /// server closes the transport first (RFC 6455 §7.1.1).
    pub fn is_closed(&self) -> bool {
        self.closing.is_sent && self.is_deaf()
    }

    /// How many bytes of a message have come that is not complete; `None` if there is no such message.
    pub fn unfinished(&self) -> Option<u64> {
        let message = self.message.as_ref()?;
        Some(message.announced - self.frame.map_or(0, |frame| frame.left))
    }

    /// Gives up an unfinished message that has not gone on in time: the connection fails, as it does when the client breaks
    /// the protocol.
    pub fn give_up_message(&mut self) -> Failure {
        self.fail(Failure::STALLED);
        Failure::STALLED
    }

    /// Gives back the memory that context takeover keeps for messages to the client, such as when the
    /// connection has been quiet. The next message is compressed by itself.
    pub fn shed_context(&mut self) {
        if self.sending.is_none()
            && let Some(packer) = &mut self.packer
        {
            packer.shed();
        }
    }

    /// Whether what comes is neither read nor answered: the client has closed, or broken the protocol.
    pub(crate) fn is_deaf(&self) -> bool {
        self.closing.is_received || self.closing.is_failed
    }

    /// Whether data that comes is read over, since this end has closed.
    pub(crate) fn is_discarding(&self) -> bool {
        self.closing.is_sent
    }

    pub(crate) fn owe_pong(&mut self, payload: Bytes) {
        if !self.closing.is_sent {
            self.pong_owed = Some(payload);
        }
    }

    /// Takes the client's Close frame.
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

    /// Appends a Close frame, the last that is sent; `reason` fits.
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

    /// What has come of a message is for nobody any more.
    fn forget_incoming(&mut self) {
        self.message = None;
        self.unpacker = None;
    }
}

impl Message {
    pub(crate) fn new(lead: Lead, room: &Rc<MessageRoom>) -> Self {
        Self {
            kind: if lead.opcode == Opcode::Text { Kind::Text } else { Kind::Binary },
            is_packed: lead.rsv1,
            fragments: 0,
            announced: 0,
            utf8: Utf8::default(),
            data: Vec::new(),
            held: HeldBytes::new(room),
        }
    }
}

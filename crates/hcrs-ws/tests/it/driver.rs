//! Drives a connection as the server does, and acts as its client.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use hcrs_ws::{
    Compression, Connection, DeflatePool, DeflateTerms, Event, Failure, MessageKind, MessageRoom, Settings,
};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush};

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// The masking key of RFC 6455 §5.7.
pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An event of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Event(Event),
    /// A failure, by its code.
    Failed(u16),
}

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// A connection with its input and output.
pub(crate) struct Server {
    pub(crate) connection: Connection,
    pub(crate) input: BytesMut,
    pub(crate) out: Vec<u8>,
    pool: Rc<DeflatePool>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(&Settings::default(), None)
    }

    pub(crate) fn with(settings: &Settings, deflate: Option<DeflateTerms>) -> Self {
        Self::in_pool(settings, deflate, &pool(settings))
    }

    pub(crate) fn in_pool(
        settings: &Settings,
        deflate: Option<DeflateTerms>,
        pool: &Rc<DeflatePool>,
    ) -> Self {
        Self::in_room(settings, deflate, pool, &room(settings))
    }

    pub(crate) fn in_room(
        settings: &Settings,
        deflate: Option<DeflateTerms>,
        pool: &Rc<DeflatePool>,
        room: &Rc<MessageRoom>,
    ) -> Self {
        let connection = Connection::new(settings, deflate, pool, room);
        Self { connection, input: BytesMut::new(), out: Vec::new(), pool: Rc::clone(pool) }
    }

    /// Reads `wire` and answers each event.
    pub(crate) fn feed(&mut self, wire: &[u8]) -> Vec<Seen> {
        self.input.extend_from_slice(wire);
        self.drain(Connection::poll_event)
    }

    /// Reads `wire` while the app takes no messages.
    pub(crate) fn feed_paused(&mut self, wire: &[u8]) -> Vec<Seen> {
        self.input.extend_from_slice(wire);
        self.drain(Connection::poll_control)
    }

    fn drain(
        &mut self,
        poll: fn(&mut Connection, &mut BytesMut) -> Result<Option<Event>, Failure>,
    ) -> Vec<Seen> {
        let mut seen = Vec::new();
        loop {
            match poll(&mut self.connection, &mut self.input) {
                Ok(None) => return seen,
                Ok(Some(Event::Yield)) => self.pool.begin_turn(),
                Ok(Some(event)) => seen.push(Seen::Event(event)),
                Err(failure) => seen.push(Seen::Failed(failure.code)),
            }
            self.connection.write_replies(&mut self.out);
        }
    }

    pub(crate) fn send(&mut self, kind: MessageKind, data: &[u8]) {
        self.connection.write_message(kind, data, &mut self.out).expect("open");
    }

    /// Returns the frames that were written since the last call.
    pub(crate) fn sent(&mut self) -> Vec<Frame> {
        frames(&std::mem::take(&mut self.out))
    }
}

pub(crate) fn pool(settings: &Settings) -> Rc<DeflatePool> {
    Rc::new(DeflatePool::new(&settings.compression.clone().unwrap_or_default()))
}

/// Returns the room of a connection that has its thread for itself.
pub(crate) fn room(settings: &Settings) -> Rc<MessageRoom> {
    MessageRoom::of_connection(&MessageRoom::of_thread(settings), settings)
}

/// Reads frames of a server, which are not masked, to the end of `wire`.
pub(crate) fn frames(mut wire: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = wire {
        let (len, rest) = match second {
            126 => {
                let (len, rest) = rest.split_first_chunk().expect("whole header");
                (usize::from(u16::from_be_bytes(*len)), rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk().expect("whole header");
                (u64::from_be_bytes(*len) as usize, rest)
            }
            &len => (usize::from(len), rest),
        };
        let (payload, rest) = rest.split_at(len);
        frames.push(Frame { first: *first, payload: payload.to_vec() });
        wire = rest;
    }
    assert!(wire.is_empty(), "half a frame: {wire:x?}");
    frames
}

/// Returns a client's frame, masked, with its first byte given.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        len @ 0..=125 => wire.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            wire.push(0xfe);
            wire.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            wire.push(0xff);
            wire.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    wire.extend_from_slice(&KEY);
    wire.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    wire
}

pub(crate) fn text(payload: &str) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_bytes())
}

pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | BINARY, payload)
}

pub(crate) fn ping(payload: &[u8]) -> Vec<u8> {
    frame(FIN | PING, payload)
}

pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// Returns a message in frames of at most `size` bytes, its first frame marked as compressed by `first`.
pub(crate) fn fragments(first: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let pieces: Vec<&[u8]> = if payload.is_empty() { vec![payload] } else { payload.chunks(size).collect() };
    let mut wire = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let opcode = if at == 0 { first } else { CONTINUATION };
        let fin = if at + 1 == pieces.len() { FIN } else { 0 };
        wire.extend(frame(fin | opcode, piece));
    }
    wire
}

pub(crate) fn saw_text(payload: &str) -> Seen {
    Seen::Event(Event::Text(Bytes::copy_from_slice(payload.as_bytes())))
}

pub(crate) fn saw_binary(payload: &[u8]) -> Seen {
    Seen::Event(Event::Binary(Bytes::copy_from_slice(payload)))
}

pub(crate) fn saw_ping(payload: &[u8]) -> Seen {
    Seen::Event(Event::Ping(Bytes::copy_from_slice(payload)))
}

pub(crate) fn saw_pong(payload: &[u8]) -> Seen {
    Seen::Event(Event::Pong(Bytes::copy_from_slice(payload)))
}

pub(crate) fn saw_close(code: u16, reason: &str) -> Seen {
    Seen::Event(Event::Close { code, reason: reason.to_owned(), is_reply: false })
}

pub(crate) fn saw_close_reply(code: u16, reason: &str) -> Seen {
    Seen::Event(Event::Close { code, reason: reason.to_owned(), is_reply: true })
}

pub(crate) fn pong_frame(payload: &[u8]) -> Frame {
    Frame { first: FIN | PONG, payload: payload.to_vec() }
}

pub(crate) fn close_frame(code: u16) -> Frame {
    Frame { first: FIN | CLOSE, payload: code.to_be_bytes().to_vec() }
}

/// Returns the code of the Close frame that ends `frames`.
pub(crate) fn closed_with(frames: &[Frame]) -> u16 {
    let last = frames.last().expect("a frame");
    assert_eq!(last.first, FIN | CLOSE, "{frames:?}");
    u16::from_be_bytes(*last.payload.first_chunk().expect("a code"))
}

/// Returns the events of a connection with default settings for `wire`, however it is split. The code of a
/// failure must be the one in the Close frame.
pub(crate) fn see(wire: &[u8]) -> Vec<Seen> {
    see_with(&Settings::default(), None, wire)
}

pub(crate) fn see_with(settings: &Settings, deflate: Option<DeflateTerms>, wire: &[u8]) -> Vec<Seen> {
    let mut server = Server::with(settings, deflate);
    let seen = server.feed(wire);
    check_failure(&mut server, &seen);
    for size in [1, 2, 7] {
        let mut server = Server::with(settings, deflate);
        let cut: Vec<Seen> = wire.chunks(size).flat_map(|piece| server.feed(piece)).collect();
        assert_eq!(cut, seen, "in pieces of {size}");
        check_failure(&mut server, &cut);
    }
    seen
}

fn check_failure(server: &mut Server, seen: &[Seen]) {
    if let Some(Seen::Failed(code)) = seen.last() {
        assert_eq!(closed_with(&server.sent()), *code);
        assert!(server.connection.is_closed());
        assert!(!server.connection.can_send());
    }
}

/// Returns the byte at which a connection that reads byte by byte fails, and the code.
pub(crate) fn fails_at(deflate: Option<DeflateTerms>, wire: &[u8]) -> Option<(usize, u16)> {
    let mut server = Server::with(&Settings::default(), deflate);
    wire.iter().enumerate().find_map(|(at, byte)| match server.feed(&[*byte]).pop() {
        Some(Seen::Failed(code)) => Some((at + 1, code)),
        _ => None,
    })
}

/// Both ends keep their windows, of 32 KiB.
pub(crate) const TAKEOVER: DeflateTerms = DeflateTerms {
    server_max_window_bits: 15,
    client_max_window_bits: 15,
    server_context_takeover: true,
    client_context_takeover: true,
};

/// No end keeps its window, of 32 KiB.
pub(crate) const NO_TAKEOVER: DeflateTerms =
    DeflateTerms { server_context_takeover: false, client_context_takeover: false, ..TAKEOVER };

/// Compresses every message.
pub(crate) fn packing(compression: &Compression) -> Settings {
    Settings { compression: Some(Compression { min_size: 0, ..compression.clone() }), ..Settings::default() }
}

/// A client's half of permessage-deflate.
pub(crate) struct Client {
    terms: DeflateTerms,
    deflater: Deflate,
    inflater: Inflate,
}

impl Client {
    pub(crate) fn new(terms: DeflateTerms) -> Self {
        let deflater = Deflate::new_with_config(DeflateConfig {
            window_bits: -i32::from(terms.client_max_window_bits.max(9)),
            ..DeflateConfig::new(6)
        });
        Self { terms, deflater, inflater: Inflate::new(false, terms.server_max_window_bits) }
    }

    /// Returns the payload of a compressed message.
    pub(crate) fn pack(&mut self, data: &[u8]) -> Vec<u8> {
        if data.is_empty() {
            return vec![0];
        }
        let mut packed = vec![0; data.len() * 2 + 1000];
        let before = self.deflater.total_out();
        self.deflater.compress(data, &mut packed, DeflateFlush::SyncFlush).expect("valid");
        packed.truncate((self.deflater.total_out() - before) as usize);
        assert_eq!(packed.split_off(packed.len() - 4), b"\x00\x00\xff\xff");
        if !self.terms.client_context_takeover {
            self.deflater.reset();
        }
        packed
    }

    /// Returns the message in a compressed payload, with the window that was agreed on.
    pub(crate) fn unpack(&mut self, packed: &[u8]) -> Vec<u8> {
        let wire = [packed, b"\x00\x00\xff\xff"].concat();
        let (mut rest, mut data) = (&wire[..], Vec::new());
        loop {
            let mut piece = vec![0; 65536];
            let (read, written) = (self.inflater.total_in(), self.inflater.total_out());
            self.inflater.decompress(rest, &mut piece, InflateFlush::SyncFlush).expect("well-formed");
            rest = &rest[(self.inflater.total_in() - read) as usize..];
            let written = (self.inflater.total_out() - written) as usize;
            data.extend_from_slice(&piece[..written]);
            if rest.is_empty() && written < piece.len() {
                break;
            }
        }
        if !self.terms.server_context_takeover {
            self.inflater = Inflate::new(false, self.terms.server_max_window_bits);
        }
        data
    }

    /// Returns the message in the server's frames, compressed or not.
    pub(crate) fn message(&mut self, frames: &[Frame]) -> Vec<u8> {
        let joined: Vec<u8> = frames.iter().flat_map(|frame| frame.payload.iter().copied()).collect();
        if frames[0].first & RSV1 == 0 { joined } else { self.unpack(&joined) }
    }
}

/// Returns text that compresses as an API's does.
pub(crate) fn sample(len: usize) -> String {
    let mut text: String = (0..)
        .map(|n: u32| format!("{{\"id\":{n},\"name\":\"item {}\"}},", n.wrapping_mul(2_654_435_761) >> 20))
        .scan(0, |sum, item| {
            (*sum < len).then(|| {
                *sum += item.len();
                item
            })
        })
        .collect();
    text.truncate(len);
    text
}

/// Returns bytes that do not compress.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect()
}

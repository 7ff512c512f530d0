//! A client that packs its frames by hand and sends what no honest one would (RFC 9113 §4.1, §6).
//!
//! Header blocks are literal fields without Huffman coding or indexing (RFC 7541 §6.2.2).

use hcrs_h2::Settings;

use crate::pipe::{End, pipe, pipe_of};
use crate::server::{App, Server};

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;
pub(crate) const PRIORITY_UPDATE: u8 = 0x10;

pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

pub(crate) const NO_ERROR: u32 = 0x0;
pub(crate) const PROTOCOL_ERROR: u32 = 0x1;
pub(crate) const INTERNAL_ERROR: u32 = 0x2;
pub(crate) const STREAM_CLOSED: u32 = 0x5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 0x6;
pub(crate) const REFUSED_STREAM: u32 = 0x7;
pub(crate) const CANCEL: u32 = 0x8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;

/// `SETTINGS_INITIAL_WINDOW_SIZE`
pub(crate) const INITIAL_WINDOW: u16 = 0x4;

/// The client's end of a connection.
pub(crate) struct Peer {
    pub(crate) io: End,
    got: Vec<u8>,
}

/// A frame that the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) id: u32,
    pub(crate) payload: Vec<u8>,
}

impl Peer {
    /// Returns a connection with this crate's defaults whose client announces no settings.
    pub(crate) fn connect(app: App) -> (Self, Server) {
        Self::connect_with(&Settings::default(), &[], app)
    }

    /// Returns a connection whose client announces `announced`.
    pub(crate) fn connect_with(settings: &Settings, announced: &[(u16, u32)], app: App) -> (Self, Server) {
        let (ours, theirs) = pipe();
        Self::over(ours, theirs, settings, announced, app)
    }

    /// Returns a connection that holds no more than `capacity` bytes on their way.
    pub(crate) fn connect_narrow(capacity: usize, announced: &[(u16, u32)], app: App) -> (Self, Server) {
        let (ours, theirs) = pipe_of(capacity);
        Self::over(ours, theirs, &Settings::default(), announced, app)
    }

    fn over(
        ours: End,
        theirs: End,
        settings: &Settings,
        announced: &[(u16, u32)],
        app: App,
    ) -> (Self, Server) {
        let mut peer = Self { io: ours, got: Vec::new() };
        peer.send(hcrs_h2::PREFACE);
        let payload: Vec<u8> = announced
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        peer.send(&frame(SETTINGS, 0, 0, &payload));
        let mut server = Server::new(theirs, settings, app);
        server.settle();
        peer.send(&frame(SETTINGS, ACK, 0, &[]));
        let first = peer.read(&mut server);
        assert_eq!(first[0].kind, SETTINGS);
        (peer, server)
    }

    /// Sends bytes, all of which have to fit.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.io.send(bytes), bytes.len(), "the pipe is full");
    }

    /// Sends bytes, lets the server read them, and returns the frames that it sent.
    pub(crate) fn round_trip(&mut self, server: &mut Server, bytes: &[u8]) -> Vec<Frame> {
        self.send(bytes);
        self.read(server)
    }

    /// Lets the server run until it sleeps. Returns the frames that it sent, without its answers to SETTINGS
    /// and PING.
    pub(crate) fn read(&mut self, server: &mut Server) -> Vec<Frame> {
        loop {
            server.settle();
            let bytes = self.io.take();
            if bytes.is_empty() {
                break;
            }
            self.got.extend(bytes);
        }
        let mut frames = Vec::new();
        let mut rest = &self.got[..];
        while let Some((header, after)) = rest.split_first_chunk::<9>() {
            let len = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            let Some((payload, after)) = after.split_at_checked(len) else { break };
            rest = after;
            let id = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            let (kind, flags) = (header[3], header[4]);
            if !(matches!(kind, SETTINGS | PING) && flags & ACK != 0) {
                frames.push(Frame { kind, flags, id, payload: payload.to_vec() });
            }
        }
        self.got = rest.to_vec();
        frames
    }
}

impl Frame {
    /// Returns the number that the frame's payload begins with: an error code, or an increment.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// Returns the status of a response whose first field is the first of its value on the connection.
    pub(crate) fn status(&self) -> u16 {
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        assert_eq!(self.kind, HEADERS);
        match self.payload[..] {
            [first @ 0x88..=0x8e, ..] => INDEXED[usize::from(first - 0x88)],
            // A literal value in Huffman's code, of which digits alone are read: 0 to 2 in five bits, the
            // rest in six.
            [0x48, len @ 0x82..=0x83, ref rest @ ..] => {
                let bits: Vec<u8> = rest[..usize::from(len & 0x7f)]
                    .iter()
                    .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
                    .collect();
                let number =
                    |bits: &[u8]| bits.iter().fold(0u16, |number, &bit| number << 1 | u16::from(bit));
                let (mut at, mut status) = (0, 0);
                for _ in 0..3 {
                    let five = number(&bits[at..at + 5]);
                    let (digit, len) =
                        if five < 3 { (five, 5) } else { (number(&bits[at..at + 6]) - 0x19 + 3, 6) };
                    status = status * 10 + digit;
                    at += len;
                }
                status
            }
            _ => panic!("not a status: {:?}", self.payload),
        }
    }
}

/// Returns a frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let [_, len @ ..] = (payload.len() as u32).to_be_bytes();
    [&len[..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

/// Returns the header block of `fields`.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Returns an integer with a prefix of seven bits (RFC 7541 §5.1).
fn push_length(block: &mut Vec<u8>, mut len: usize) {
    if len < 127 {
        return block.push(len as u8);
    }
    block.push(127);
    len -= 127;
    while len >= 128 {
        block.push((len % 128) as u8 | 128);
        len /= 128;
    }
    block.push(len as u8);
}

/// Returns the header block of a request.
pub(crate) fn request(method: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let line = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", "/")];
    block(&[&line, fields].concat())
}

/// Returns a whole request without a body.
pub(crate) fn get(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, id, &request("GET", &[]))
}

/// Returns a request whose body follows.
pub(crate) fn post(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, id, &request("POST", &[]))
}

/// Returns body bytes.
pub(crate) fn data(id: u32, body: &[u8]) -> Vec<u8> {
    frame(DATA, 0, id, body)
}

/// Returns the last body bytes.
pub(crate) fn last_data(id: u32, body: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, id, body)
}

/// Returns `RST_STREAM(CANCEL)`
pub(crate) fn cancel(id: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes())
}

/// Returns `WINDOW_UPDATE`
pub(crate) fn window_update(id: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, id, &increment.to_be_bytes())
}

/// Returns the frames of one stream.
pub(crate) fn of_stream(frames: &[Frame], id: u32) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.id == id).collect()
}

/// Returns the body bytes of one stream.
pub(crate) fn body_len(frames: &[Frame], id: u32) -> usize {
    of_stream(frames, id).iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len()).sum()
}

/// Returns the code of the GOAWAY that is the last frame.
pub(crate) fn goodbye(frames: &[Frame]) -> Option<u32> {
    frames.last().filter(|frame| frame.kind == GOAWAY).map(Frame::code)
}

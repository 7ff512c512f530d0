//! Frames: payload length u32, kind u8, flags u8, claim slot u16, stream u32 (little-endian), payload.

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 12;

/// The longest payload that either end accepts. Heads are limited far below by the edge's settings.
pub const PAYLOAD_MAX: usize = 4 << 20;

/// The most bytes of a body that a `Data` frame or a block carries: no stream holds up another for longer.
pub const DATA_MAX: usize = 64 << 10;

/// The most `Interim` frames of one stream, which no window bounds.
pub const INTERIM_MAX: u8 = 16;

/// The most `Push` frames of one stream, which no window bounds.
pub const PUSH_MAX: u8 = 16;

/// The longest payload of an `Interim` or a `Push` frame.
pub const INTERIM_LEN_MAX: usize = 16 << 10;

/// What a `File` frame takes of the response's window, however long its part is.
pub const FILE_COST: usize = 16 << 10;

/// Flag of `Request`, `Response`, `Data`, `Block` and `File`: nothing more follows in this direction of the stream. Of `Text`
/// and `Binary`: the message ends.
pub const END: u8 = 1;

/// Flag of `Request`: the client sends the body only after `100 Continue`, so the worker says by a `Credit` of
/// zero that the app has begun to wait for it.
pub const EXPECT: u8 = 2;

/// Flag of the edge's `Reset`: the client has only closed its side of the connection. The app gets
/// `http.disconnect`, its response is still wanted, and no `Done` is owed.
pub const HALF: u8 = 4;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Edge: a request's head; the header names its claim slot.
    Request = 1,
    /// Both: bytes of a body.
    Data = 2,
    /// Worker: a response's head.
    Response = 3,
    /// Both: u32, so many body bytes were taken and may be sent again.
    Credit = 4,
    /// Edge: the client is gone. Worker: the app failed.
    Reset = 5,
    /// Worker: the app's task has ended after the edge's `Reset`.
    Done = 6,
    /// Worker: requests were begun; the claim table says which.
    Begun = 7,
    /// Worker: the app is loaded and its lifespan startup complete.
    Ready = 8,
    /// Worker: the app cannot be served; the payload is what the operator should read (UTF-8).
    Failed = 9,
    /// Edge: nothing more will come; run the lifespan shutdown and exit.
    Drain = 10,
    /// Edge: answer with `Pong`.
    Ping = 11,
    /// Worker: the answer to `Ping`.
    Pong = 12,
    /// Worker: bytes of a body that stand in a block (u32) of the link's memory, so many of them (u32).
    Block = 13,
    /// Edge: the facts of a TLS connection, in the form of [`TlsFacts`], by the number that heads name from now on; the
    /// header's slot is that number.
    ///
    /// [`TlsFacts`]: crate::TlsFacts
    Tls = 14,
    /// Both: a piece of a WebSocket's text message, UTF-8 as a whole; END with the last one.
    Text = 20,
    /// Both: a piece of a WebSocket's binary message; END with the last one.
    Binary = 21,
    /// Both: the WebSocket is closed; u16, the code, and the reason (UTF-8).
    Close = 22,
    /// Worker: the fields after the body, in the form of a response's head of status 0; the stream's last frame.
    Trailers = 30,
    /// Worker: a response's head of status 103, before the final one; at most [`INTERIM_MAX`] of them.
    Interim = 31,
    /// Worker: bytes of a body that stand in a file which the worker has open, in the form of a [`FilePart`]. It takes
    /// [`FILE_COST`] of the window.
    ///
    /// [`FilePart`]: crate::FilePart
    File = 32,
    /// Edge: the file of this descriptor (u32) was opened, or could not be; the worker may close its own.
    Opened = 33,
    /// Worker: a request that the edge is to promise to the client and to make itself, before the response has ended: its
    /// path and its fields; at most [`PUSH_MAX`] of them, and none unless the request's head says that the client takes them.
    Push = 34,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Request,
            2 => Self::Data,
            3 => Self::Response,
            4 => Self::Credit,
            5 => Self::Reset,
            6 => Self::Done,
            7 => Self::Begun,
            8 => Self::Ready,
            9 => Self::Failed,
            10 => Self::Drain,
            11 => Self::Ping,
            12 => Self::Pong,
            13 => Self::Block,
            14 => Self::Tls,
            20 => Self::Text,
            21 => Self::Binary,
            22 => Self::Close,
            30 => Self::Trailers,
            31 => Self::Interim,
            32 => Self::File,
            33 => Self::Opened,
            34 => Self::Push,
            _ => return None,
        })
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of payload that follow.
    pub len: usize,
    /// What the frame says.
    pub kind: Kind,
    /// [`END`] or 0.
    pub flags: u8,
    /// The claim slot of a `Request`; the number of a `Tls`.
    pub slot: u16,
    /// The stream; 0 is the link itself.
    pub stream: u32,
}

/// The other end does not keep to the protocol; the link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The kind byte is none of [`Kind`].
    #[error("unknown frame kind {0} on the link")]
    UnknownKind(u8),
    /// The payload is longer than [`PAYLOAD_MAX`].
    #[error("frame of {0} bytes on the link")]
    TooLong(usize),
    /// A frame that its sender may not send, or whose payload does not have its kind's form.
    #[error("misplaced or malformed {0:?} frame on the link")]
    Unexpected(Kind),
}

impl FrameHeader {
    /// Reads the header at the start of `input`; `None` while it is incomplete.
    #[inline]
    pub fn parse(input: &[u8]) -> Result<Option<Self>, LinkError> {
        let Some((h, _)) = input.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let len = u32::from_le_bytes([h[0], h[1], h[2], h[3]]) as usize;
        let kind = Kind::from_byte(h[4]).ok_or(LinkError::UnknownKind(h[4]))?;
        if len > PAYLOAD_MAX {
            return Err(LinkError::TooLong(len));
        }
        Ok(Some(Self {
            len,
            kind,
            flags: h[5],
            slot: u16::from_le_bytes([h[6], h[7]]),
            stream: u32::from_le_bytes([h[8], h[9], h[10], h[11]]),
        }))
    }

    /// Header and payload at the start of `input`, and the bytes they take; `None` while incomplete.
    #[inline]
    pub fn split(input: &[u8]) -> Result<Option<(Self, &[u8])>, LinkError> {
        let Some(header) = Self::parse(input)? else { return Ok(None) };
        Ok(input.get(HEADER_LEN..HEADER_LEN + header.len).map(|payload| (header, payload)))
    }

    /// Whether [`END`] is set.
    pub fn is_end(&self) -> bool {
        self.flags & END != 0
    }

    /// The header as it stands on the link.
    #[inline]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut h = [0; HEADER_LEN];
        h[0..4].copy_from_slice(&(self.len as u32).to_le_bytes());
        h[4] = self.kind as u8;
        h[5] = self.flags;
        h[6..8].copy_from_slice(&self.slot.to_le_bytes());
        h[8..12].copy_from_slice(&self.stream.to_le_bytes());
        h
    }
}

/// Appends a whole frame; the header's `len` is taken from the payload.
#[inline]
pub fn push_frame(out: &mut Vec<u8>, header: FrameHeader, payload: &[u8]) {
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&FrameHeader { len: payload.len(), ..header }.to_bytes());
    hcrs_exchange::append(out, payload);
}

/// Begins a frame whose payload the caller appends to `out`; gives what [`finish_frame`] needs.
#[inline]
pub fn begin_frame(out: &mut Vec<u8>, header: FrameHeader) -> usize {
    let start = out.len();
    out.extend_from_slice(&FrameHeader { len: 0, ..header }.to_bytes());
    start
}

/// Writes the length of the frame that [`begin_frame`] began at `start` and that ends with `out`.
#[inline]
pub fn finish_frame(out: &mut [u8], start: usize) {
    let len = (out.len() - start - HEADER_LEN) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = FrameHeader> {
        let kind = any::<u8>().prop_filter_map("a kind", Kind::from_byte);
        (kind, any::<u8>(), any::<u16>(), any::<u32>()).prop_map(|(kind, flags, slot, stream)| FrameHeader {
            len: 0,
            kind,
            flags,
            slot,
            stream,
        })
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            frames in proptest::collection::vec((header(), proptest::collection::vec(any::<u8>(), 0..50)), 0..8),
            cuts in proptest::collection::vec(1usize..40, 1..40),
        ) {
            let mut wire = Vec::new();
            for (header, payload) in &frames {
                push_frame(&mut wire, *header, payload);
            }
            let (mut seen, mut buffer, mut rest) = (Vec::new(), Vec::new(), &wire[..]);
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                rest = after;
                buffer.extend_from_slice(piece);
                while let Some((header, payload)) = FrameHeader::split(&buffer).unwrap() {
                    seen.push((FrameHeader { len: 0, ..header }, payload.to_vec()));
                    buffer.drain(..HEADER_LEN + header.len);
                }
            }
            prop_assert_eq!(seen, frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _outcome = FrameHeader::split(&bytes);
        }
    }

    #[test]
    fn a_frame_written_in_place_equals_one_pushed_whole() {
        let header = FrameHeader { len: 0, kind: Kind::Response, flags: END, slot: 3, stream: 9 };
        let (mut pushed, mut in_place) = (b"x".to_vec(), b"x".to_vec());
        push_frame(&mut pushed, header, b"payload");
        let start = begin_frame(&mut in_place, header);
        in_place.extend_from_slice(b"payload");
        finish_frame(&mut in_place, start);
        assert_eq!(pushed, in_place);
    }

    #[test]
    fn refuses_unknown_kinds_and_absurd_lengths() {
        let mut wire = FrameHeader { len: 0, kind: Kind::Ping, flags: 0, slot: 0, stream: 0 }.to_bytes();
        wire[4] = 99;
        assert_eq!(FrameHeader::parse(&wire), Err(LinkError::UnknownKind(99)));
        let wire =
            FrameHeader { len: PAYLOAD_MAX + 1, kind: Kind::Data, flags: 0, slot: 0, stream: 1 }.to_bytes();
        assert_eq!(FrameHeader::parse(&wire), Err(LinkError::TooLong(PAYLOAD_MAX + 1)));
    }
}

//! The encoding of frames: payload length u32, kind u8, flags u8, argument u16, stream u64 (little-endian),
//! payload.
//!
//! The meaning of frames is in [`FromEdge`](crate::FromEdge) and [`FromWorker`](crate::FromWorker).

use crate::StreamId;

/// Length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 16;

/// Length of the longest payload that either end accepts, in bytes.
pub const PAYLOAD_MAX: usize = HEAD_MAX + (4 << 10);

/// Length of the longest head of a request or of a response, in bytes as encoded on the link.
pub const HEAD_MAX: usize = 1 << 20;

/// Most bytes of a body that a frame or a block carries, so that no stream delays another for longer.
pub const DATA_MAX: usize = 64 << 10;

/// Flag: the stream ends in this direction, or the message ends.
pub(crate) const END: u8 = 1;

/// Flag of a request: the client sends the body only after `100 Continue`.
pub(crate) const EXPECT: u8 = 2;

/// Flag of a request: its response may have parts of files.
pub(crate) const FILES: u8 = 4;

/// Flag of a reset: the app's task is cancelled.
pub(crate) const CANCEL: u8 = 1;

/// Place of the flags in a header.
pub(crate) const FLAGS_AT: usize = 5;

/// A frame's header, whose kind has not been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the payload, in bytes.
    pub len: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// A small number whose meaning depends on the kind.
    pub(crate) argument: u16,
    /// The stream; `None` for the link itself.
    pub(crate) stream: Option<StreamId>,
}

/// A breach of the protocol by the other end, on which the link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The payload is longer than [`PAYLOAD_MAX`].
    #[error("frame of {0} bytes on the link")]
    TooLong(usize),
    /// The number is none that a stream can have.
    #[error("impossible stream number {0} on the link")]
    Stream(u64),
    /// The frame may not be sent now, or its payload is malformed.
    #[error("misplaced or malformed {0} frame on the link")]
    Unexpected(&'static str),
    /// The kind is none that the sender has.
    #[error("unknown frame kind {0} on the link")]
    UnknownKind(u8),
    /// The other end has left more bytes unread than it may.
    #[error("the other end has left {0} bytes on the link unread")]
    Unread(usize),
}

impl FrameHeader {
    /// Creates a header whose length is set when the payload is written.
    pub(crate) fn new(kind: u8, flags: u8, argument: u16, stream: Option<StreamId>) -> Self {
        Self { len: 0, kind, flags, argument, stream }
    }

    /// Parses the header at the start of `input`; `None` while it is incomplete.
    #[inline]
    pub fn parse(input: &[u8]) -> Result<Option<Self>, LinkError> {
        let Some((h, _)) = input.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let len = u32::from_le_bytes([h[0], h[1], h[2], h[3]]) as usize;
        if len > PAYLOAD_MAX {
            return Err(LinkError::TooLong(len));
        }
        let number = u64::from_le_bytes([h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15]]);
        let stream = match number {
            0 => None,
            _ => Some(StreamId::new(number).ok_or(LinkError::Stream(number))?),
        };
        Ok(Some(Self {
            len,
            kind: h[4],
            flags: h[FLAGS_AT],
            argument: u16::from_le_bytes([h[6], h[7]]),
            stream,
        }))
    }

    /// Returns header and payload at the start of `input`; `None` while they are incomplete.
    #[inline]
    pub fn split(input: &[u8]) -> Result<Option<(Self, &[u8])>, LinkError> {
        let Some(header) = Self::parse(input)? else { return Ok(None) };
        Ok(input.get(HEADER_LEN..HEADER_LEN + header.len).map(|payload| (header, payload)))
    }

    pub(crate) fn is_end(&self) -> bool {
        self.flags & END != 0
    }

    #[inline]
    fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut h = [0; HEADER_LEN];
        h[0..4].copy_from_slice(&(self.len as u32).to_le_bytes());
        h[4] = self.kind;
        h[FLAGS_AT] = self.flags;
        h[6..8].copy_from_slice(&self.argument.to_le_bytes());
        h[8..16].copy_from_slice(&self.stream.map_or(0, StreamId::get).to_le_bytes());
        h
    }
}

/// Appends a complete frame. The header's `len` is taken from the payload.
#[inline]
pub(crate) fn push_frame(out: &mut Vec<u8>, header: FrameHeader, payload: &[u8]) {
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&FrameHeader { len: payload.len(), ..header }.to_bytes());
    hcrs_http::append(out, payload);
}

/// Begins a frame whose payload the caller appends to `out`. Returns its start, for [`finish_frame`].
#[inline]
pub(crate) fn begin_frame(out: &mut Vec<u8>, header: FrameHeader) -> usize {
    let start = out.len();
    out.extend_from_slice(&FrameHeader { len: 0, ..header }.to_bytes());
    start
}

/// Writes the length of the frame that [`begin_frame`] began at `start` and that ends with `out`.
#[inline]
pub(crate) fn finish_frame(out: &mut [u8], start: usize) {
    let len = (out.len() - start - HEADER_LEN) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// Returns the flag [`END`] if `end`, or no flag.
#[inline]
pub(crate) fn end_flag(end: bool) -> u8 {
    if end { END } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = FrameHeader> {
        (any::<u8>(), any::<u8>(), any::<u16>(), any::<u64>()).prop_map(|(kind, flags, argument, stream)| {
            FrameHeader::new(kind, flags, argument, StreamId::new(stream >> 2))
        })
    }

    proptest! {
        #[test]
        fn frames_are_read_back_however_the_stream_is_split(
            frames in proptest::collection::vec(
                (header(), proptest::collection::vec(any::<u8>(), 0..50)), 0..8,
            ),
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
        let header = FrameHeader::new(3, END, 3, StreamId::new(9));
        let (mut pushed, mut in_place) = (b"x".to_vec(), b"x".to_vec());
        push_frame(&mut pushed, header, b"payload");
        let start = begin_frame(&mut in_place, header);
        in_place.extend_from_slice(b"payload");
        finish_frame(&mut in_place, start);
        assert_eq!(pushed, in_place);
    }

    #[test]
    fn refuses_absurd_lengths_and_numbers() {
        let header = FrameHeader { len: PAYLOAD_MAX + 1, ..FrameHeader::new(1, 0, 0, None) };
        assert_eq!(FrameHeader::parse(&header.to_bytes()), Err(LinkError::TooLong(PAYLOAD_MAX + 1)));
        let mut wire = FrameHeader::new(1, 0, 0, StreamId::new(1)).to_bytes();
        wire[15] = 0xff;
        assert!(matches!(FrameHeader::parse(&wire), Err(LinkError::Stream(_))));
    }
}

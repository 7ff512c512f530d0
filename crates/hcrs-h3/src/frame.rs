//! Frames, streams and settings: their types, and the reader of frames (RFC 9114 §6.2, §7).

use crate::error::ErrorCode;
use crate::varint;

/// Types of frames.
pub(crate) const DATA: u64 = 0x0;
pub(crate) const HEADERS: u64 = 0x1;
pub(crate) const CANCEL_PUSH: u64 = 0x3;
pub(crate) const SETTINGS: u64 = 0x4;
pub(crate) const PUSH_PROMISE: u64 = 0x5;
pub(crate) const GOAWAY: u64 = 0x7;
pub(crate) const MAX_PUSH_ID: u64 = 0xd;
/// Of a request, and of a push (RFC 9218 §7.2).
pub(crate) const PRIORITY_UPDATE: u64 = 0xf0700;
pub(crate) const PRIORITY_UPDATE_PUSH: u64 = 0xf0701;

/// Types of unidirectional streams (RFC 9114 §6.2, RFC 9204 §4.2).
pub(crate) mod stream {
    pub(crate) const CONTROL: u64 = 0x0;
    pub(crate) const PUSH: u64 = 0x1;
    pub(crate) const ENCODER: u64 = 0x2;
    pub(crate) const DECODER: u64 = 0x3;
}

/// Settings (RFC 9114 §7.2.4.1, RFC 9204 §5, RFC 9220 §5, RFC 9297 §2.1.1).
pub(crate) mod setting {
    pub(crate) const QPACK_MAX_TABLE_CAPACITY: u64 = 0x1;
    pub(crate) const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
    pub(crate) const ENABLE_CONNECT_PROTOCOL: u64 = 0x8;
    pub(crate) const H3_DATAGRAM: u64 = 0x33;

    /// Whether a setting is one of HTTP/2's that HTTP/3 does not have.
    pub(crate) fn is_of_http2(id: u64) -> bool {
        matches!(id, 0x0 | 0x2..=0x5)
    }
}

/// Whether a frame type is one of HTTP/2's that HTTP/3 does not have (RFC 9114 §7.2.8).
pub(crate) fn is_of_http2(kind: u64) -> bool {
    matches!(kind, 0x2 | 0x6 | 0x8 | 0x9)
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u64,
    /// Length of the payload, in bytes.
    pub(crate) len: u64,
}

impl Header {
    /// Logs the frame, in the `direction` in which it passes.
    #[inline]
    pub(crate) fn log(self, direction: &'static str, stream_id: u64) {
        tracing::debug!(
            target: "hcrs_h3::frames",
            frame = self.kind_name(),
            stream = stream_id,
            len = self.len,
            "{direction}"
        );
    }

    fn kind_name(self) -> &'static str {
        match self.kind {
            DATA => "Data",
            HEADERS => "Headers",
            CANCEL_PUSH => "CancelPush",
            SETTINGS => "Settings",
            PUSH_PROMISE => "PushPromise",
            GOAWAY => "GoAway",
            MAX_PUSH_ID => "MaxPushId",
            PRIORITY_UPDATE | PRIORITY_UPDATE_PUSH => "PriorityUpdate",
            _ => "Unknown",
        }
    }
}

/// Appends a frame's header, and logs it.
#[inline]
pub(crate) fn put_header(out: &mut Vec<u8>, stream_id: u64, kind: u64, len: usize) {
    let header = Header { kind, len: len as u64 };
    header.log("send", stream_id);
    varint::put(out, kind);
    varint::put(out, header.len);
}

/// Appends a whole frame.
pub(crate) fn put(out: &mut Vec<u8>, stream_id: u64, kind: u64, payload: &[u8]) {
    put_header(out, stream_id, kind, payload.len());
    out.extend_from_slice(payload);
}

/// The way in which the payload of a frame is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// It is needed as a whole.
    Whole,
    /// It is taken as it comes.
    Parts,
    /// It is dropped.
    Dropped,
}

/// A piece of what a stream carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A frame with all of its payload.
    Whole(u64, &'a [u8]),
    /// A part of a payload.
    Part(&'a [u8]),
}

/// A reader of the frames of one stream, in pieces as they arrive.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    state: State,
    /// The beginning of a header, or of a payload that is needed as a whole.
    partial: Vec<u8>,
    /// The last piece was `partial`, which is empty now.
    is_taken: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Header,
    Payload(u64, usize),
    Parts(u64),
    Dropped(u64),
}

impl FrameReader {
    /// Whether a frame has begun and not ended.
    pub(crate) fn is_midway(&self) -> bool {
        self.state != State::Header || self.waiting() > 0
    }

    /// Returns the number of bytes that wait for the rest of their frame.
    pub(crate) fn waiting(&self) -> usize {
        if self.is_taken { 0 } else { self.partial.len() }
    }

    /// Takes the next piece from `bytes`; `None` if it needs more of them. `begin` is called with each header
    /// and decides about the payload.
    pub(crate) fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &mut &'b [u8],
        mut begin: impl FnMut(Header) -> Result<Payload, ErrorCode>,
    ) -> Result<Option<Piece<'a>>, ErrorCode> {
        if std::mem::take(&mut self.is_taken) {
            self.partial = Vec::new();
        }
        loop {
            match &mut self.state {
                State::Header => {
                    let Some(header) = self.take_header(bytes) else { return Ok(None) };
                    self.state = match begin(header)? {
                        Payload::Whole => State::Payload(header.kind, header.len as usize),
                        Payload::Parts => State::Parts(header.len),
                        Payload::Dropped => State::Dropped(header.len),
                    };
                }
                State::Payload(kind, len) => {
                    let (kind, len) = (*kind, *len);
                    let missing = len - self.partial.len();
                    let Some((taken, after)) = bytes.split_at_checked(missing) else {
                        self.partial.extend_from_slice(std::mem::take(bytes));
                        return Ok(None);
                    };
                    *bytes = after;
                    self.state = State::Header;
                    if self.partial.is_empty() {
                        return Ok(Some(Piece::Whole(kind, taken)));
                    }
                    self.partial.extend_from_slice(taken);
                    self.is_taken = true;
                    return Ok(Some(Piece::Whole(kind, &self.partial)));
                }
                State::Parts(left) | State::Dropped(left) if *left == 0 => self.state = State::Header,
                State::Parts(left) => {
                    let part = take_up_to(bytes, left);
                    return Ok(Some(Piece::Part(part)).filter(|_| !part.is_empty()));
                }
                State::Dropped(left) => {
                    if take_up_to(bytes, left).is_empty() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Takes a header, which may have begun in `partial`.
    fn take_header(&mut self, bytes: &mut &[u8]) -> Option<Header> {
        if self.partial.is_empty() {
            let mut rest = *bytes;
            if let Some(header) = read_header(&mut rest) {
                *bytes = rest;
                return Some(header);
            }
            self.partial.extend_from_slice(std::mem::take(bytes));
            return None;
        }
        while let Some((&byte, after)) = bytes.split_first() {
            self.partial.push(byte);
            *bytes = after;
            if let Some(header) = read_header(&mut &self.partial[..]) {
                self.partial.clear();
                return Some(header);
            }
        }
        None
    }
}

fn read_header(rest: &mut &[u8]) -> Option<Header> {
    let kind = varint::take(rest)?;
    let len = varint::take(rest)?;
    Some(Header { kind, len })
}

fn take_up_to<'a>(bytes: &mut &'a [u8], left: &mut u64) -> &'a [u8] {
    let len = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    let (taken, after) = bytes.split_at(len);
    *bytes = after;
    *left -= len as u64;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a stream in pieces of these lengths: frames of the type 1 as a whole, of the type 0 in parts.
    fn read(mut bytes: &[u8], mut lens: impl Iterator<Item = usize>) -> (Vec<(u64, Vec<u8>)>, bool) {
        let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
        while !bytes.is_empty() {
            let (mut piece, after) = bytes.split_at(lens.next().unwrap_or(1).clamp(1, bytes.len()));
            bytes = after;
            loop {
                let mut begun = Vec::new();
                let next = reader.next(&mut piece, |header| {
                    begun.push(header.kind);
                    Ok(match header.kind {
                        0 => Payload::Parts,
                        1 => Payload::Whole,
                        _ => Payload::Dropped,
                    })
                });
                frames.extend(begun.into_iter().filter(|kind| *kind != 1).map(|kind| (kind, Vec::new())));
                match next.unwrap() {
                    Some(Piece::Whole(kind, payload)) => frames.push((kind, payload.to_vec())),
                    Some(Piece::Part(part)) => frames.last_mut().unwrap().1.extend_from_slice(part),
                    None => break,
                }
            }
            assert!(piece.is_empty());
        }
        (frames, reader.is_midway())
    }

    proptest! {
        #[test]
        fn frames_are_read_alike_wherever_they_are_cut(
            frames in proptest::collection::vec(
                (0u64..3, proptest::collection::vec(any::<u8>(), 0..100)), 1..6),
            lens in proptest::collection::vec(1usize..40, 1..20),
        ) {
            let mut bytes = Vec::new();
            for (kind, payload) in &frames {
                put(&mut bytes, 0, *kind, payload);
            }
            let expected: Vec<_> = frames
                .into_iter()
                .map(|(kind, payload)| (kind, if kind == 2 { Vec::new() } else { payload }))
                .collect();
            let whole = read(&bytes, [bytes.len()].into_iter());
            prop_assert_eq!(&whole.0, &expected);
            prop_assert_eq!(&read(&bytes, lens.into_iter().cycle()).0, &expected);
            prop_assert_eq!(&read(&bytes, [1].into_iter().cycle()).0, &expected);
        }
    }

    #[test]
    fn a_frame_that_is_cut_is_midway() {
        let mut bytes = Vec::new();
        put(&mut bytes, 0, 1, b"abc");
        for cut in 1..bytes.len() {
            assert!(read(&bytes[..cut], [100].into_iter()).1, "cut at {cut}");
            assert!(read(&bytes[..cut], [1].into_iter().cycle()).1, "cut at {cut}");
        }
        assert!(!read(&bytes, [1].into_iter().cycle()).1);
    }
}

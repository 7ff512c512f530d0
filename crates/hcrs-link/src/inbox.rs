//! The bytes that arrived from the other end, and the frames in them.

use crate::frame::{FrameHeader, HEADER_LEN, LinkError};

/// A buffer that a socket is read into, and that is split into frames without a copy.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The buffer's size while no frame is longer.
    size: usize,
}

impl Inbox {
    /// Creates an inbox that takes up to `size` bytes in one read, or all of an unfinished frame.
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0; size], start: 0, end: 0, size }
    }

    /// Returns the part of the buffer to read into; it is not empty once [`Inbox::next_frame`] has returned
    /// all frames.
    pub fn room(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.bytes[self.end..]
    }

    /// Notes that `len` bytes were read into [`Inbox::room`].
    pub fn filled(&mut self, len: usize) {
        self.end = self.bytes.len().min(self.end + len);
    }

    /// Returns the next complete frame.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<(FrameHeader, &[u8])>, LinkError> {
        let Some(header) = FrameHeader::parse(&self.bytes[self.start..self.end])? else { return Ok(None) };
        let payload = self.start + HEADER_LEN..self.start + HEADER_LEN + header.len;
        if payload.end > self.end {
            return Ok(None);
        }
        self.start = payload.end;
        Ok(Some((header, &self.bytes[payload])))
    }

    /// Moves an unfinished frame to the front, and makes the buffer long enough for it.
    fn make_room(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let frame = match FrameHeader::parse(&self.bytes[..self.end]) {
            Ok(Some(header)) => HEADER_LEN + header.len,
            Ok(None) | Err(_) => 0,
        };
        let len = self.size.max(frame);
        if self.bytes.len() != len {
            self.bytes.resize(len.max(self.end), 0);
            self.bytes.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PAYLOAD_MAX;
    use crate::{FromEdge, StreamId};

    #[test]
    fn frames_longer_than_the_buffer_arrive_whole() {
        let payload: Vec<u8> = (0..PAYLOAD_MAX).map(|n| (n % 251) as u8).collect();
        let data =
            |number, bytes| FromEdge::Data { stream: StreamId::new(number).unwrap(), bytes, end: false };
        let mut wire = Vec::new();
        for frame in [data(1, b"small"), data(2, &payload), data(3, b"after")] {
            frame.write(&mut wire);
        }
        let (mut inbox, mut seen, mut rest) = (Inbox::new(64 << 10), Vec::new(), &wire[..]);
        while !rest.is_empty() {
            let room = inbox.room();
            let len = room.len().min(rest.len()).min(50_000);
            room[..len].copy_from_slice(&rest[..len]);
            inbox.filled(len);
            rest = &rest[len..];
            while let Some((header, payload)) = inbox.next_frame().unwrap() {
                seen.push((header.stream.unwrap().get(), payload.to_vec()));
            }
        }
        assert_eq!(seen, [(1, b"small".to_vec()), (2, payload.clone()), (3, b"after".to_vec())]);
        assert_eq!(inbox.room().len(), 64 << 10, "a long frame does not make the buffer long for good");
    }
}

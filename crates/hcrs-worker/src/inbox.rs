//! The bytes that came from the edge and the frames in them.

use std::io;
use std::os::fd::AsFd;

use hcrs_link::{FrameHeader, HEADER_LEN, LinkError};
use rustix::net::{RecvFlags, recv};

/// Bytes that are read in one turn of the loop: other callbacks get their turn after so much.
pub(crate) const TURN: usize = 256 << 10;

/// A buffer that is read into, and split into frames without a copy.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes, and whether the socket may hold more.
    Some {
        /// The buffer was filled.
        more: bool,
    },
    /// Nothing is there now.
    Nothing,
    /// The edge is gone.
    Eof,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { bytes: vec![0; TURN], start: 0, end: 0 }
    }
}

impl Inbox {
    /// Reads once, at most as much as a turn may take or an unfinished frame needs.
    pub(crate) fn receive(&mut self, socket: impl AsFd, flags: RecvFlags) -> io::Result<Received> {
        self.make_room();
        let room = &mut self.bytes[self.end..];
        let len = room.len();
        loop {
            return match recv(&socket, &mut *room, flags) {
                Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => Ok(Received::Eof),
                Ok((_, n)) => {
                    self.end += n;
                    Ok(Received::Some { more: n == len })
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => Ok(Received::Nothing),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// The next whole frame.
    #[inline]
    pub(crate) fn next_frame(&mut self) -> Result<Option<(FrameHeader, &[u8])>, LinkError> {
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
        let len = TURN.max(frame);
        if self.bytes.len() != len {
            self.bytes.resize(len.max(self.end), 0);
            self.bytes.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use hcrs_link::{Kind, PAYLOAD_MAX, push_frame};

    use super::*;

    #[test]
    fn frames_longer_than_the_buffer_arrive_whole() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let payload: Vec<u8> = (0..PAYLOAD_MAX).map(|n| (n % 251) as u8).collect();
        let header = |stream| FrameHeader { len: 0, kind: Kind::Data, flags: 0, slot: 0, stream };
        let mut wire = Vec::new();
        push_frame(&mut wire, header(1), b"small");
        push_frame(&mut wire, header(2), &payload);
        push_frame(&mut wire, header(3), b"after");
        let writer = std::thread::spawn(move || far.write_all(&wire).unwrap());
        let (mut inbox, mut seen) = (Inbox::default(), Vec::new());
        while inbox.receive(&near, RecvFlags::empty()).unwrap() != Received::Eof {
            while let Some((header, payload)) = inbox.next_frame().unwrap() {
                seen.push((header.stream, payload.to_vec()));
            }
        }
        writer.join().unwrap();
        assert_eq!(seen, [(1, b"small".to_vec()), (2, payload), (3, b"after".to_vec())]);
    }

    #[test]
    fn an_empty_socket_gives_nothing() {
        let (near, _far) = UnixStream::pair().unwrap();
        assert_eq!(Inbox::default().receive(&near, RecvFlags::DONTWAIT).unwrap(), Received::Nothing);
    }
}

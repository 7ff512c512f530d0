//! The bytes that wait to be written to the edge: filled during a turn of the loop, written once at its end.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use hcrs_exchange::ResponseHeadWriter;
use hcrs_link::{
    BLOCK_MIN, BlockArea, END, FilePart, FrameHeader, HEADER_LEN, Kind, begin_frame, finish_frame, push_frame,
};
use rustix::net::{SendFlags, send};

/// Bytes above which no further response body is put into an outbox: `send` waits.
pub(crate) const OUTBOX_MAX: usize = 1 << 20;

/// A larger buffer than this is given back once it is empty.
const KEPT_CAPACITY: usize = 256 << 10;

/// The frames of one link that were not written yet.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    /// Counts the writes, so that a [`HeadMark`] of an earlier one is known to be stale.
    epoch: u64,
    closed: bool,
    /// Where large pieces of body go instead of through the socket.
    blocks: Option<BlockArea>,
    /// Files that the edge has been told of and has not opened yet.
    files: HashMap<u32, OwnedFd>,
}

/// A part of a file, of at least one byte, on its way into a response.
#[derive(Debug)]
pub struct FileOut {
    /// The file.
    pub descriptor: OwnedFd,
    /// Where the part begins.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

/// Where a response's head lies in the outbox, as long as nothing was written or appended since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadMark {
    epoch: u64,
    start: usize,
    end: usize,
}

impl Outbox {
    /// An outbox of a link whose memory has these blocks.
    pub fn new(blocks: Option<BlockArea>) -> Self {
        Self { blocks, ..Self::default() }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether bodies have to wait.
    pub fn is_full(&self) -> bool {
        self.len() >= OUTBOX_MAX
    }

    /// Drops what waits and takes nothing any more: the edge is gone.
    pub fn close(&mut self) {
        self.closed = true;
        self.bytes = Vec::new();
        self.written = 0;
        self.epoch += 1;
    }

    /// Appends a frame of `stream`.
    pub fn push(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        if !self.closed {
            push_frame(&mut self.bytes, header(kind, flags, stream), payload);
        }
    }

    /// Appends bytes of a body, at most `DATA_MAX`; large ones by way of a block, if one is free.
    pub fn push_body(&mut self, end: bool, stream: u32, bytes: &[u8]) {
        let flags = if end { END } else { 0 };
        let block = match &self.blocks {
            Some(blocks) if bytes.len() >= BLOCK_MIN && !self.closed => blocks.put(bytes),
            _ => None,
        };
        let Some(block) = block else { return self.push(Kind::Data, flags, stream, bytes) };
        let [block, len] = [block, bytes.len()].map(|number| (number as u32).to_le_bytes());
        self.push(Kind::Block, flags, stream, &[block, len].concat());
    }

    /// Appends a part of a file, which stays open until the edge has opened it too.
    pub fn push_file(&mut self, end: bool, stream: u32, file: FileOut) {
        if self.closed {
            return;
        }
        let descriptor = file.descriptor.as_raw_fd().cast_unsigned();
        let process = std::process::id();
        let part = FilePart { offset: file.offset, len: file.len, process, descriptor };
        self.push(Kind::File, if end { END } else { 0 }, stream, &part.to_bytes());
        self.files.insert(descriptor, file.descriptor);
    }

    /// The edge needs this descriptor no more.
    pub fn close_file(&mut self, descriptor: u32) {
        self.files.remove(&descriptor);
    }

    /// Appends a response's head, whose fields `fill` writes; when that fails nothing is appended.
    pub fn push_head<E>(
        &mut self,
        stream: u32,
        status: u16,
        fill: impl FnOnce(&mut ResponseHeadWriter, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<HeadMark, E> {
        let start = begin_frame(&mut self.bytes, header(Kind::Response, 0, stream));
        let mut head = ResponseHeadWriter::begin(&mut self.bytes, status);
        if let Err(error) = fill(&mut head, &mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        head.finish(&mut self.bytes);
        finish_frame(&mut self.bytes, start);
        let mark = HeadMark { epoch: self.epoch, start, end: self.bytes.len() };
        if self.closed {
            self.bytes.clear();
        }
        Ok(mark)
    }

    /// Says that the head is the whole response. False if it is too late for that.
    #[must_use]
    pub fn end_at_head(&mut self, mark: HeadMark) -> bool {
        let fresh = self.is_last(mark);
        if fresh {
            self.bytes[mark.start + FLAGS_AT] |= END;
        }
        fresh
    }

    /// Takes a head back that has not left yet, so that the edge can still answer for a failed app.
    pub fn take_back(&mut self, mark: HeadMark) {
        if self.is_last(mark) {
            self.bytes.truncate(mark.start);
        }
    }

    fn is_last(&self, mark: HeadMark) -> bool {
        self.epoch == mark.epoch && self.bytes.len() == mark.end && mark.start + HEADER_LEN <= mark.end
    }

    /// Writes what the socket takes. `WouldBlock` means that something still waits.
    pub fn write_to(&mut self, socket: impl AsFd) -> io::Result<()> {
        self.epoch += 1;
        while self.written < self.bytes.len() {
            match send(&socket, &self.bytes[self.written..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => self.written += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    self.drop_written();
                    return Err(error.into());
                }
            }
        }
        self.written = 0;
        if self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
        Ok(())
    }

    /// Moves what waits to the front once that is cheap, so that the buffer does not grow by what has left.
    fn drop_written(&mut self) {
        if self.written >= self.len() {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

/// Where the flags lie in a frame's header.
const FLAGS_AT: usize = 5;

fn header(kind: Kind, flags: u8, stream: u32) -> FrameHeader {
    FrameHeader { len: 0, kind, flags, slot: 0, stream }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn frames(mut bytes: &[u8]) -> Vec<(Kind, u8, u32)> {
        let mut seen = Vec::new();
        while let Some((header, payload)) = FrameHeader::split(bytes).unwrap() {
            seen.push((header.kind, header.flags, header.stream));
            bytes = &bytes[HEADER_LEN + payload.len()..];
        }
        seen
    }

    fn head(out: &mut Outbox, stream: u32) -> HeadMark {
        out.push_head::<()>(stream, 200, |head, bytes| {
            head.field(bytes, b"a", b"b");
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn a_head_can_become_the_whole_response_while_it_is_last() {
        let mut out = Outbox::default();
        let mark = head(&mut out, 3);
        assert!(out.end_at_head(mark));
        assert_eq!(frames(&out.bytes), [(Kind::Response, END, 3)]);
        let mark = head(&mut out, 5);
        out.push(Kind::Pong, 0, 0, b"");
        assert!(!out.end_at_head(mark));
    }

    #[test]
    fn a_head_is_taken_back_only_while_it_is_last_and_unwritten() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut out = Outbox::default();
        let mark = head(&mut out, 3);
        out.take_back(mark);
        assert!(out.is_empty());
        let mark = head(&mut out, 3);
        out.write_to(&near).unwrap();
        let again = head(&mut out, 5);
        assert_ne!(mark, again);
        out.take_back(mark);
        assert_eq!(frames(&out.bytes), [(Kind::Response, 0, 5)]);
        let mut seen = [0; HEADER_LEN];
        far.read_exact(&mut seen).unwrap();
    }

    #[test]
    fn a_head_that_fails_leaves_nothing_behind() {
        let mut out = Outbox::default();
        out.push(Kind::Pong, 0, 0, b"");
        let failed = out.push_head(3, 200, |head, bytes| {
            head.field(bytes, b"a", b"b");
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        assert_eq!(frames(&out.bytes), [(Kind::Pong, 0, 0)]);
    }

    #[test]
    fn what_the_socket_does_not_take_waits_and_leaves_in_order() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut out = Outbox::default();
        let body: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
        for stream in 0..40 {
            out.push(Kind::Data, 0, stream, &body);
        }
        let total = out.len();
        let mut seen = Vec::new();
        while out.write_to(&near).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let mut piece = vec![0; 100_000];
            let n = far.read(&mut piece).unwrap();
            seen.extend_from_slice(&piece[..n]);
        }
        drop(near);
        far.read_to_end(&mut seen).unwrap();
        assert_eq!(seen.len(), total);
        assert_eq!(frames(&seen), (0..40).map(|stream| (Kind::Data, 0, stream)).collect::<Vec<_>>());
    }

    #[test]
    fn a_closed_outbox_takes_nothing() {
        let mut out = Outbox::default();
        out.push(Kind::Pong, 0, 0, b"");
        out.close();
        out.push(Kind::Pong, 0, 0, b"");
        let _mark = head(&mut out, 1);
        assert!(out.is_empty());
    }
}

//! The frames of a worker that wait to be written to the edge. They are gathered during a turn and written at
//! its end.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use hcrs_http::ResponseHeadWriter;

use crate::block::{BLOCK_MIN, BlockArea};
use crate::frame::{END, FLAGS_AT, HEAD_MAX, HEADER_LEN};
use crate::from_worker::{FromWorker, HeadKind, begin_head, finish_head};
use crate::{FilePart, StreamId};

/// Number of bytes from which on an outbox takes no further response body: the app's `send` waits.
pub(crate) const OUTBOX_MAX: usize = 1 << 20;

/// Capacity above which a buffer is freed once it is empty, in bytes.
const KEPT_CAPACITY: usize = 256 << 10;

/// The frames of one link that have not been written.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    /// Number of writes, by which a [`HeadMark`] from before a write is known to be stale.
    epoch: u64,
    closed: bool,
    /// The blocks that large pieces of a body take instead of the socket.
    blocks: Option<BlockArea>,
    /// Descriptors in order, each with the place in `bytes` where its frame begins.
    files: VecDeque<(usize, OwnedFd)>,
}

/// A part of a file, of at least one byte, that is to be sent in a response.
#[derive(Debug)]
pub struct FileOut {
    /// The file.
    pub descriptor: OwnedFd,
    /// Start of the part, in bytes.
    pub offset: u64,
    /// Length of the part, in bytes.
    pub len: u64,
}

/// The place of a response's head in the outbox. It is valid until anything is written or appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadMark {
    epoch: u64,
    start: usize,
    end: usize,
}

/// The bytes that are to be written next.
#[derive(Debug)]
pub struct Pending<'a> {
    /// The bytes; empty if none wait.
    pub bytes: &'a [u8],
    /// The descriptor that passes with the first byte.
    pub descriptor: Option<BorrowedFd<'a>>,
}

/// The error for a response's head that is longer than [`HEAD_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response's head is longer than {HEAD_MAX} bytes")]
pub struct HeadTooLongError;

impl Outbox {
    /// Creates an outbox of a link whose memory has these blocks.
    pub fn new(blocks: Option<BlockArea>) -> Self {
        Self { blocks, ..Self::default() }
    }

    /// Returns the number of bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether no bytes wait.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether bodies have to wait.
    pub fn is_full(&self) -> bool {
        self.len() >= OUTBOX_MAX
    }

    /// Drops all frames, and those that are appended later, because the edge is gone.
    pub fn close(&mut self) {
        self.closed = true;
        self.bytes = Vec::new();
        self.files.clear();
        self.written = 0;
        self.epoch += 1;
    }

    /// Appends a frame.
    #[inline]
    pub fn push(&mut self, frame: &FromWorker<'_>) {
        if !self.closed {
            frame.write(&mut self.bytes);
        }
    }

    /// Appends at most [`DATA_MAX`](crate::DATA_MAX) bytes of a body. Large pieces go through a block if one
    /// is free.
    #[inline]
    pub fn push_body(&mut self, end: bool, stream: StreamId, bytes: &[u8]) {
        let block = match &self.blocks {
            Some(blocks) if bytes.len() >= BLOCK_MIN && !self.closed => blocks.put(bytes),
            _ => None,
        };
        match block {
            Some(block) => {
                self.push(&FromWorker::Block { stream, block: block as u16, len: bytes.len(), end });
            }
            None => self.push(&FromWorker::Data { stream, bytes, end }),
        }
    }

    /// Appends a part of a file, whose descriptor passes with the frame.
    pub fn push_file(&mut self, end: bool, stream: StreamId, file: FileOut) {
        if self.closed {
            return;
        }
        let part = FilePart { offset: file.offset, len: file.len };
        self.files.push_back((self.bytes.len(), file.descriptor));
        self.push(&FromWorker::File { stream, part, end });
    }

    /// Appends a response's head, whose fields `fill` writes. If that fails, nothing is appended.
    pub fn push_head<E: From<HeadTooLongError>>(
        &mut self,
        kind: HeadKind,
        stream: StreamId,
        status: u16,
        fill: impl FnOnce(&mut ResponseHeadWriter, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<HeadMark, E> {
        let start = begin_head(&mut self.bytes, kind, stream);
        let mut head = ResponseHeadWriter::begin(&mut self.bytes, status);
        let filled = fill(&mut head, &mut self.bytes);
        head.finish(&mut self.bytes);
        let is_too_long = self.bytes.len() - start - HEADER_LEN > HEAD_MAX;
        if let Some(error) = filled.err().or_else(|| is_too_long.then(|| HeadTooLongError.into())) {
            self.bytes.truncate(start);
            return Err(error);
        }
        finish_head(&mut self.bytes, start);
        let mark = HeadMark { epoch: self.epoch, start, end: self.bytes.len() };
        if self.closed {
            self.bytes.clear();
        }
        Ok(mark)
    }

    /// Marks the head as the whole response. Returns false if the mark is stale.
    #[must_use]
    pub fn end_at_head(&mut self, mark: HeadMark) -> bool {
        let fresh = self.is_last(mark);
        if fresh {
            self.bytes[mark.start + FLAGS_AT] |= END;
        }
        fresh
    }

    /// Removes a head, if its mark is not stale, so that the edge can answer for an app that failed.
    pub fn take_back(&mut self, mark: HeadMark) {
        if self.is_last(mark) {
            self.bytes.truncate(mark.start);
        }
    }

    fn is_last(&self, mark: HeadMark) -> bool {
        self.epoch == mark.epoch && self.bytes.len() == mark.end && mark.start + HEADER_LEN <= mark.end
    }

    /// Returns the bytes that are to be written next: all that wait, or those up to a second descriptor.
    /// Marks of heads become stale.
    pub fn pending(&mut self) -> Pending<'_> {
        self.epoch += 1;
        let is_here = |(at, _): &&(usize, OwnedFd)| *at == self.written;
        let descriptor = self.files.front().filter(is_here).map(|(_, file)| file.as_fd());
        let next = self.files.get(usize::from(descriptor.is_some()));
        let end = next.map_or(self.bytes.len(), |(at, _)| *at);
        Pending { bytes: &self.bytes[self.written..end], descriptor }
    }

    /// Notes that `len` bytes of [`Outbox::pending`] were written, with the descriptor if there was one.
    pub fn wrote(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        if self.files.front().is_some_and(|(at, _)| *at == self.written) {
            self.files.pop_front();
        }
        self.written += len;
        if self.written < self.bytes.len() {
            return;
        }
        self.written = 0;
        if self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }

    /// Moves waiting bytes to the front of the buffer once that is cheap, so that the buffer does not keep
    /// bytes that have left. To be called when the socket is full.
    pub fn compact(&mut self) {
        if self.written >= self.len() {
            self.bytes.drain(..self.written);
            for (at, _) in &mut self.files {
                *at -= self.written;
            }
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrameHeader;

    impl Outbox {
        /// Takes all bytes that wait. Returns them and the number of descriptors.
        pub(crate) fn take_all(&mut self) -> (Vec<u8>, usize) {
            let (mut bytes, mut files) = (Vec::new(), 0);
            while !self.is_empty() {
                let pending = self.pending();
                bytes.extend_from_slice(pending.bytes);
                files += usize::from(pending.descriptor.is_some());
                let len = pending.bytes.len();
                self.wrote(len);
            }
            (bytes, files)
        }
    }

    fn stream(number: u64) -> StreamId {
        StreamId::new(number).unwrap()
    }

    fn frames(mut bytes: &[u8]) -> Vec<(&'static str, bool, Option<u64>)> {
        let mut seen = Vec::new();
        while let Some((header, payload)) = FrameHeader::split(bytes).unwrap() {
            let name = FromWorker::parse(&header, payload).unwrap().name();
            seen.push((name, header.is_end(), header.stream.map(StreamId::get)));
            bytes = &bytes[HEADER_LEN + payload.len()..];
        }
        seen
    }

    fn head(out: &mut Outbox, number: u64) -> HeadMark {
        out.push_head::<HeadTooLongError>(HeadKind::Response, stream(number), 200, |head, bytes| {
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
        assert_eq!(frames(&out.bytes), [("Response", true, Some(3))]);
        let mark = head(&mut out, 5);
        out.push(&FromWorker::Begun);
        assert!(!out.end_at_head(mark));
    }

    #[test]
    fn a_head_is_taken_back_only_while_it_is_last_and_unwritten() {
        let mut out = Outbox::default();
        let mark = head(&mut out, 3);
        out.take_back(mark);
        assert!(out.is_empty());
        let mark = head(&mut out, 3);
        out.take_all();
        let again = head(&mut out, 5);
        assert_ne!(mark, again);
        out.take_back(mark);
        assert_eq!(frames(&out.bytes), [("Response", false, Some(5))]);
    }

    #[test]
    fn a_head_that_fails_or_is_too_long_leaves_nothing_behind() {
        #[derive(Debug, PartialEq)]
        enum Error {
            No,
            TooLong,
        }
        impl From<HeadTooLongError> for Error {
            fn from(HeadTooLongError: HeadTooLongError) -> Self {
                Self::TooLong
            }
        }
        let mut out = Outbox::default();
        out.push(&FromWorker::Begun);
        let failed = out.push_head(HeadKind::Response, stream(3), 200, |head, bytes| {
            head.field(bytes, b"a", b"b");
            Err(Error::No)
        });
        assert_eq!(failed, Err(Error::No));
        let long = vec![b'x'; HEAD_MAX];
        let failed = out.push_head(HeadKind::Response, stream(3), 200, |head, bytes| {
            head.field(bytes, b"a", &long);
            Ok(())
        });
        assert_eq!(failed, Err(Error::TooLong));
        assert_eq!(frames(&out.bytes), [("Begun", false, None)]);
    }

    #[test]
    fn what_is_not_written_at_once_leaves_in_order() {
        let mut out = Outbox::default();
        let body: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
        for number in 1..40 {
            out.push(&FromWorker::Data { stream: stream(number), bytes: &body, end: false });
        }
        let (total, mut seen) = (out.len(), Vec::new());
        while !out.is_empty() {
            let pending = out.pending().bytes;
            let len = pending.len().min(100_000);
            seen.extend_from_slice(&pending[..len]);
            out.wrote(len);
            out.compact();
        }
        assert_eq!(seen.len(), total);
        assert_eq!(frames(&seen), (1..40).map(|number| ("Data", false, Some(number))).collect::<Vec<_>>());
    }

    #[test]
    fn a_descriptor_passes_with_the_first_byte_of_its_frame_and_with_no_other() {
        let mut out = Outbox::default();
        let file = || {
            let descriptor = std::fs::File::open("/dev/null").unwrap().into();
            FileOut { descriptor, offset: 0, len: 1 }
        };
        out.push(&FromWorker::Begun);
        out.push_file(true, stream(1), file());
        out.push_file(true, stream(2), file());
        out.push(&FromWorker::Begun);
        let mut passed = Vec::new();
        while !out.is_empty() {
            let pending = out.pending();
            let (len, with) = (pending.bytes.len().min(5), pending.descriptor.is_some());
            passed.push(with);
            out.wrote(len);
            out.compact();
        }
        let frame = HEADER_LEN + 16;
        let starts = [HEADER_LEN, HEADER_LEN + frame];
        let mut at = 0;
        for with in &passed {
            assert_eq!(*with, starts.contains(&at), "at {at}");
            let end = [starts[0], starts[1], HEADER_LEN + 2 * frame + HEADER_LEN];
            at = end.into_iter().find(|&end| end > at).unwrap().min(at + 5);
        }
        assert_eq!(passed.iter().filter(|&&with| with).count(), 2);
    }

    #[test]
    fn a_closed_outbox_takes_nothing() {
        let mut out = Outbox::default();
        out.push(&FromWorker::Begun);
        out.close();
        out.push(&FromWorker::Begun);
        let _mark = head(&mut out, 1);
        assert!(out.is_empty());
    }
}

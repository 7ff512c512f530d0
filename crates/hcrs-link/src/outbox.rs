//! The frames of a worker that wait to be written to the edge: filled during a turn, written once at its end.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use hcrs_http::ResponseHeadWriter;

use crate::block::{BLOCK_MIN, BlockArea};
use crate::frame::{END, FLAGS_AT, HEAD_MAX, HEADER_LEN};
use crate::from_worker::{FromWorker, HeadKind, begin_head, finish_head};
use crate::{FilePart, StreamId};

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
    /// Descriptors that pass with the frame that begins at the place in `bytes`, in order.
    files: VecDeque<(usize, OwnedFd)>,
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

/// What is to be written next.
#[derive(Debug)]
pub struct Pending<'a> {
    /// The bytes; empty if nothing waits.
    pub bytes: &'a [u8],
    /// A descriptor that passes with the first of them.
    pub descriptor: Option<BorrowedFd<'a>>,
}

/// A response's head is longer than [`HEAD_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response's head is longer than {HEAD_MAX} bytes")]
pub struct HeadTooLongError;

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

    /// Appends bytes of a body, at most [`DATA_MAX`](crate::DATA_MAX); large ones by way of a block, if one is free.
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

    /// Appends a response's head, whose fields `fill` writes; when that fails nothing is appended.
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

    /// What is to be written next: all that waits, or what can be written with at most one descriptor. Heads that
    /// are in the outbox can no longer be changed after that.
    pub fn pending(&mut self) -> Pending<'_> {
        self.epoch += 1;
        let is_here = |(at, _): &&(usize, OwnedFd)| *at == self.written;
        let descriptor = self.files.front().filter(is_here).map(|(_, file)| file.as_fd());
        let next = self.files.get(usize::from(descriptor.is_some()));
        let end = next.map_or(self.bytes.len(), |(at, _)| *at);
        Pending { bytes: &self.bytes[self.written..end], descriptor }
    }

    /// So many bytes of what [`Outbox::pending`] gave were written, with the descriptor if there was one.
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

    /// Moves what waits to the front once that is cheap, so that the buffer does not grow by what has left. To be called
    /// when the socket takes no more.
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
        /// Takes all that waits.
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

//! The bytes that wait to be written: frames in one buffer, and large bodies between them without a copy.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use hcrs_http::PIECE;

use crate::frame::{DATA, END_STREAM, ErrorCode, GOAWAY, HEADER_LEN, Header, RST_STREAM, WINDOW_UPDATE};

/// Length from which on a body is not copied, in bytes.
const SHARED: usize = 4 << 10;

/// Number of written bytes at the front of the buffer from which on they are removed.
const COMPACT: usize = 64 << 10;

/// Most bytes of a buffer that is kept between two uses.
const KEPT: usize = 256 << 10;

/// Most slices of one write.
pub(crate) const SLICES: usize = 64;

thread_local! {
    /// A buffer that is kept between drains, so that idle connections hold none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The output of a connection.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    /// Number of bytes of `bytes` that were written.
    written: usize,
    /// Bodies that were not copied, each with its place in `bytes`.
    shared: VecDeque<Shared>,
    /// Number of bytes in `shared`.
    shared_len: usize,
}

#[derive(Debug)]
struct Shared {
    at: usize,
    data: Bytes,
}

impl Output {
    /// Returns the number of bytes that wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.frames_len() + self.shared_len
    }

    /// Returns the number of bytes that wait and were made or copied for it.
    #[inline]
    pub(crate) fn frames_len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the buffer, to append whole frames.
    #[inline]
    pub(crate) fn frames(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        &mut self.bytes
    }

    /// Appends a frame.
    #[inline]
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream_id: u32, payload: &[u8]) {
        let header = Header { len: payload.len(), kind, flags, stream_id };
        header.log("send");
        let out = self.frames();
        out.reserve(HEADER_LEN + payload.len());
        out.extend_from_slice(&header.bytes());
        out.extend_from_slice(payload);
    }

    /// Appends a DATA frame.
    #[inline]
    pub(crate) fn data(&mut self, stream_id: u32, data: Bytes, end: bool) {
        let flags = if end { END_STREAM } else { 0 };
        if data.len() < SHARED {
            return self.frame(DATA, flags, stream_id, &data);
        }
        let header = Header { len: data.len(), kind: DATA, flags, stream_id };
        header.log("send");
        self.frames().extend_from_slice(&header.bytes());
        self.shared_len += data.len();
        self.shared.push_back(Shared { at: self.bytes.len(), data });
    }

    /// Appends `RST_STREAM`.
    pub(crate) fn reset(&mut self, stream_id: u32, code: ErrorCode) {
        self.frame(RST_STREAM, 0, stream_id, &code.0.to_be_bytes());
    }

    /// Appends `WINDOW_UPDATE`.
    pub(crate) fn window_update(&mut self, stream_id: u32, increment: u32) {
        self.frame(WINDOW_UPDATE, 0, stream_id, &increment.to_be_bytes());
    }

    /// Appends GOAWAY.
    pub(crate) fn goaway(&mut self, last_id: u32, code: ErrorCode) {
        self.frame(GOAWAY, 0, 0, &[last_id.to_be_bytes(), code.0.to_be_bytes()].concat());
    }

    /// Returns the bytes at the front that lie together; empty if nothing waits.
    pub(crate) fn front(&self) -> &[u8] {
        match self.shared.front() {
            Some(shared) if shared.at == self.written => &shared.data,
            Some(shared) => &self.bytes[self.written..shared.at],
            None => &self.bytes[self.written..],
        }
    }

    /// Fills `slices` with what waits, in pieces of at most [`PIECE`] bytes, because TLS copies slice by slice
    /// (see [`hcrs_http::append`]). Returns the number of slices.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut used = 0;
        let mut fill = |bytes: &'a [u8]| {
            for piece in bytes.chunks(PIECE) {
                if used == SLICES {
                    return;
                }
                slices[used] = IoSlice::new(piece);
                used += 1;
            }
        };
        let mut at = self.written;
        for shared in &self.shared {
            fill(&self.bytes[at..shared.at]);
            fill(&shared.data);
            at = shared.at;
        }
        fill(&self.bytes[at..]);
        used
    }

    /// Removes bytes that were written.
    pub(crate) fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let until = self.shared.front().map_or(self.bytes.len(), |shared| shared.at);
            let of_frames = (until - self.written).min(count);
            self.written += of_frames;
            count -= of_frames;
            if count == 0 {
                break;
            }
            let Some(shared) = self.shared.front_mut() else { break };
            let of_shared = shared.data.len().min(count);
            count -= of_shared;
            self.shared_len -= of_shared;
            if of_shared == shared.data.len() {
                self.shared.pop_front();
            } else {
                bytes::Buf::advance(&mut shared.data, of_shared);
            }
        }
        if self.is_empty() {
            self.clear();
        } else if self.written >= COMPACT {
            self.bytes.drain(..self.written);
            for shared in &mut self.shared {
                shared.at -= self.written;
            }
            self.written = 0;
        }
    }

    fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.written = 0;
        if bytes.capacity() <= KEPT {
            SPARE.set(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_appended_is_written_in_order(
            lens in proptest::collection::vec(0usize..3 * SHARED, 1..12),
            writes in proptest::collection::vec(1usize..9000, 1..8),
        ) {
            let (mut output, mut expected, mut written) = (Output::default(), Vec::new(), Vec::new());
            let mut writes = writes.iter().cycle();
            for (n, len) in lens.into_iter().enumerate() {
                let data = Bytes::from(vec![n as u8; len]);
                let header = Header { len, kind: DATA, flags: 0, stream_id: 3 };
                expected.extend(header.bytes());
                expected.extend(&data);
                output.data(3, data, false);
                prop_assert_eq!(output.len(), expected.len() - written.len());
                write(&mut output, &mut written, *writes.next().unwrap());
            }
            while !output.is_empty() {
                write(&mut output, &mut written, *writes.next().unwrap());
            }
            prop_assert_eq!(written, expected);
            prop_assert!(output.front().is_empty());
        }
    }

    fn write(output: &mut Output, written: &mut Vec<u8>, max: usize) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = output.slices(&mut slices);
        let all: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.iter().copied()).collect();
        assert!(all.starts_with(output.front()) || output.front().len() > all.len());
        let count = all.len().min(max);
        written.extend(&all[..count]);
        output.advance(count);
    }
}

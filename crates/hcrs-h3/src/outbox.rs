//! The bytes of one stream that wait for the transport: frames, and the body between them.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::frame::{self, DATA};
use crate::transport::{Transport, Write};

/// Length from which on a body is not copied, in bytes.
const SHARED: usize = 1 << 10;

/// Most chunks that are offered to the transport at a time.
const CHUNKS: usize = 8;

/// The bytes of one stream that wait for the transport.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Chunk>,
    /// The last chunk, as long as it has frames alone and was not offered.
    frames: Vec<u8>,
}

/// Bytes that lie together.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Bytes,
    /// Number of bytes at the front that are no body.
    framing: usize,
}

/// The progress of an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Number of body bytes that were taken.
    pub(crate) body: usize,
    pub(crate) state: State,
}

/// Whether a stream takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It does, or nothing waits.
    Open,
    /// It does once it was reported as writable.
    Blocked,
    /// It is over, so that nothing more can be sent.
    Closed,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.frames.is_empty()
    }

    /// Returns the number of bytes of frames that wait.
    pub(crate) fn framing(&self) -> usize {
        self.frames.len() + self.chunks.iter().map(|chunk| chunk.framing).sum::<usize>()
    }

    /// Returns the buffer, to append whole frames that are no body.
    pub(crate) fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.frames
    }

    /// Appends a DATA frame.
    pub(crate) fn data(&mut self, stream_id: u64, data: Bytes) {
        let len = data.len();
        frame::put_header(&mut self.frames, stream_id, DATA, len);
        let mut bytes = std::mem::take(&mut self.frames);
        let framing = bytes.len();
        if len < SHARED {
            bytes.extend_from_slice(&data);
            self.chunks.push_back(Chunk { bytes: bytes.into(), framing });
        } else {
            self.chunks.push_back(Chunk { bytes: bytes.into(), framing });
            self.chunks.push_back(Chunk { bytes: data, framing: 0 });
        }
    }

    /// Writes what the transport takes, about `limit` bytes at most.
    pub(crate) fn write(&mut self, io: &mut dyn Transport, id: u64, limit: usize) -> Progress {
        if !self.frames.is_empty() {
            let bytes = Bytes::from(std::mem::take(&mut self.frames));
            self.chunks.push_back(Chunk { framing: bytes.len(), bytes });
        }
        let mut progress = Progress { body: 0, state: State::Open };
        let mut left = limit;
        while left > 0 && !self.chunks.is_empty() {
            self.split_front(left);
            let used = self.chunks.len().min(CHUNKS);
            let mut offered = [const { Bytes::new() }; CHUNKS];
            let mut room = left;
            for (slot, chunk) in offered.iter_mut().zip(&mut self.chunks) {
                if chunk.bytes.len() > room {
                    break;
                }
                room -= chunk.bytes.len();
                *slot = std::mem::take(&mut chunk.bytes);
            }
            let lens = offered.each_ref().map(Bytes::len);
            let outcome = io.write(id, &mut offered[..used]);
            for (at, rest) in offered.into_iter().enumerate().take(used).filter(|(at, _)| lens[*at] > 0) {
                let taken = lens[at] - rest.len();
                let chunk = &mut self.chunks[at];
                let of_framing = taken.min(chunk.framing);
                chunk.framing -= of_framing;
                progress.body += taken - of_framing;
                left -= taken;
                chunk.bytes = rest;
            }
            while self.chunks.front().is_some_and(|chunk| chunk.bytes.is_empty()) {
                self.chunks.pop_front();
            }
            progress.state = match outcome {
                Write::Taken => continue,
                Write::Blocked => State::Blocked,
                Write::Closed => State::Closed,
            };
            break;
        }
        progress
    }

    /// Makes the first chunk no longer than `len` bytes.
    fn split_front(&mut self, len: usize) {
        if let Some(front) = self.chunks.front_mut().filter(|front| front.bytes.len() > len) {
            let bytes = front.bytes.split_off(len);
            let framing = front.framing.saturating_sub(len);
            front.framing -= framing;
            self.chunks.insert(1, Chunk { bytes, framing });
        }
    }
}

//! The edge's frames that wait to be written to a worker.

use hcrs_link::{FromEdge, HEADER_LEN, PAYLOAD_MAX, SLOTS};

/// The number of waiting bytes above which a link takes neither requests nor bodies.
pub(crate) const OUT_ROOM: usize = 1 << 20;

/// The most bytes of control frames (credit, resets, a Close) of one stream. They are bounded because credit
/// is only sent for what the worker has sent.
const CONTROL_MAX: usize = 1 << 10;

/// The capacity that an empty buffer keeps, in bytes.
const KEEP: usize = 256 << 10;

/// A buffer of frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    written: usize,
}

impl Out {
    /// Returns the number of bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether requests and bodies are taken.
    pub(super) fn has_room(&self) -> bool {
        self.len() < OUT_ROOM
    }

    /// Returns the most bytes that can wait for a worker with `streams` streams: the room, the frame that has
    /// filled it together with what precedes it (a request, and the TLS info of its connection), and the
    /// control frames.
    pub(super) fn limit(streams: usize) -> usize {
        OUT_ROOM + 2 * (HEADER_LEN + PAYLOAD_MAX) + (streams + SLOTS) * CONTROL_MAX
    }

    /// Appends a frame.
    #[inline]
    pub(super) fn push(&mut self, frame: &FromEdge<'_>) {
        frame.write(&mut self.bytes);
    }

    /// Returns the bytes to be written next.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Removes `len` bytes, which were written.
    pub(super) fn wrote(&mut self, len: usize) {
        self.written += len;
        if self.written == self.bytes.len() {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEEP);
        } else if self.written >= self.bytes.len() / 2 {
            // Moved only once that is cheap, so that written bytes do not make the buffer grow.
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// Drops all frames.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_left_makes_room_and_what_waits_keeps_its_order() {
        let mut out = Out::default();
        let facts = |number: u16| FromEdge::Tls { number, info: &[7; 100] };
        let (mut seen, mut expected) = (Vec::new(), Vec::new());
        for number in 0..20_000 {
            out.push(&facts(number));
            facts(number).write(&mut expected);
            let len = out.len().min(usize::from(number) % 300);
            seen.extend_from_slice(&out.pending()[..len]);
            out.wrote(len);
        }
        assert!(out.bytes.capacity() < 4 * out.len() + KEEP);
        seen.extend_from_slice(out.pending());
        assert!(seen == expected);
    }
}

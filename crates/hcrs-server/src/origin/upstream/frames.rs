//! The boundaries of a WebSocket's frames (RFC 6455 §5.2) among its bytes, between which another may be put. No clocks, no
//! sockets.

/// The opcode of a Close frame.
const CLOSE: u8 = 8;

/// The place in one direction of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The bytes of an unfinished header.
    header: [u8; 14],
    header_len: usize,
    /// The number of the payload's bytes that are to come.
    payload: u64,
    /// Whether the last frame was a Close frame.
    has_closed: bool,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.header_len == 0 && self.payload == 0
    }

    /// Whether a whole Close frame has passed.
    pub(super) fn has_closed(&self) -> bool {
        self.has_closed && self.is_between()
    }

    /// Passes all bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let len = self.pass_frame(bytes);
            bytes = &bytes[len..];
        }
    }

    /// Passes bytes up to the end of a frame. Returns their number; those of a frame that is not whole are all of them.
    pub(super) fn pass_frame(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while self.payload == 0 && at < bytes.len() {
            self.header[self.header_len] = bytes[at];
            self.header_len += 1;
            at += 1;
            if let Some(payload) = payload_of(&self.header[..self.header_len]) {
                self.has_closed = self.header[0] & 0x0f == CLOSE;
                self.header_len = 0;
                self.payload = payload;
                if payload == 0 {
                    return at;
                }
            }
        }
        let len = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len() - at);
        self.payload -= len as u64;
        at + len
    }
}

/// Returns the length of the payload once the header is whole.
fn payload_of(header: &[u8]) -> Option<u64> {
    let &[_, second, ..] = header else { return None };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (extended, length) = match second & 0x7f {
        126 => (2, header.get(2..4).map(|bytes| u64::from(u16::from_be_bytes([bytes[0], bytes[1]])))),
        127 => (8, header.get(2..10).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)))),
        length => (0, Some(u64::from(length))),
    };
    length.filter(|_| header.len() == 2 + extended + mask)
}

/// Returns a Close frame with a code; one to a server is masked, by zeros.
pub(super) fn close_frame(code: u16, is_masked: bool) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    if is_masked { vec![0x88, 0x82, 0, 0, 0, 0, high, low] } else { vec![0x88, 2, high, low] }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, len: usize, is_masked: bool) -> Vec<u8> {
        let mask = u8::from(is_masked) << 7;
        let mut frame = vec![0x80 | opcode];
        match len {
            0..=125 => frame.push(mask | len as u8),
            126..=65535 => {
                frame.push(mask + 126);
                frame.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask + 127);
                frame.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[7; 4][..if is_masked { 4 } else { 0 }]);
        frame.extend(std::iter::repeat_n(0x88, len));
        frame
    }

    proptest! {
        #[test]
        fn boundaries_are_found_however_the_bytes_are_cut(
            lens in prop::collection::vec(prop_oneof![0..130_usize, 60_000..70_000_usize], 1..5),
            cut in 1..3000_usize,
            is_masked: bool,
        ) {
            let mut wire = Vec::new();
            let mut boundaries = vec![0];
            for len in lens {
                wire.extend(frame(2, len, is_masked));
                boundaries.push(wire.len());
            }
            let (mut frames, mut at, mut found) = (Frames::default(), 0, vec![0]);
            while at < wire.len() {
                let end = wire.len().min((at / cut + 1) * cut);
                at += frames.pass_frame(&wire[at..end]);
                if frames.is_between() {
                    found.push(at);
                }
            }
            prop_assert_eq!(found, boundaries);
            prop_assert!(!frames.has_closed());
            frames.pass(&close_frame(1001, is_masked));
            prop_assert!(frames.has_closed());
        }
    }
}

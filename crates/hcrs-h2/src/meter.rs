//! Watches the frames that a client sends, before `h2` sees them: it counts what brings no progress and
//! notes which streams were reset. Only headers of frames are looked at (RFC 9113 §4.1).

const FRAME_HEADER: usize = 9;

/// Most reset streams that are noted between two looks; a client that sends more is over its budget anyway.
const NOTED_RESETS: usize = 1024;

/// What was seen since the last look.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    header: [u8; FRAME_HEADER],
    filled: usize,
    payload_left: usize,
    /// Streams that the client reset.
    pub(crate) resets: Vec<u32>,
    /// RST_STREAM frames, noted or not.
    pub(crate) reset_frames: u32,
    /// PING, SETTINGS, PRIORITY, PUSH_PROMISE, GOAWAY, unknown frames, and DATA frames without a byte.
    pub(crate) idle_frames: u32,
    /// WINDOW_UPDATE frames: the driver weighs them against the DATA that it sent.
    pub(crate) window_updates: u32,
    /// Whether a header block has begun and not ended.
    pub(crate) in_header_block: bool,
    /// The first SETTINGS frame has come.
    pub(crate) has_settings: bool,
    preface_left: usize,
}

impl Meter {
    /// A meter for a connection whose preface has not been read.
    pub(crate) fn new() -> Self {
        Self { preface_left: crate::PREFACE.len(), ..Self::default() }
    }

    /// Looks at the bytes that were read.
    pub(crate) fn inspect(&mut self, mut bytes: &[u8]) {
        let preface = self.preface_left.min(bytes.len());
        self.preface_left -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skip = self.payload_left.min(bytes.len());
                self.payload_left -= skip;
                bytes = &bytes[skip..];
                continue;
            }
            let take = (FRAME_HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + take].copy_from_slice(&bytes[..take]);
            self.filled += take;
            bytes = &bytes[take..];
            if self.filled == FRAME_HEADER {
                self.filled = 0;
                self.count();
            }
        }
    }

    fn count(&mut self) {
        const DATA: u8 = 0x0;
        const HEADERS: u8 = 0x1;
        const RST_STREAM: u8 = 0x3;
        const SETTINGS: u8 = 0x4;
        const WINDOW_UPDATE: u8 = 0x8;
        const CONTINUATION: u8 = 0x9;
        const END_STREAM: u8 = 0x1;
        const END_HEADERS: u8 = 0x4;

        let [a, b, c, kind, flags, id @ ..] = self.header;
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            DATA if self.payload_left == 0 && flags & END_STREAM == 0 => self.idle_frames += 1,
            DATA => {}
            HEADERS | CONTINUATION => self.in_header_block = flags & END_HEADERS == 0,
            RST_STREAM => {
                self.reset_frames += 1;
                if self.resets.len() < NOTED_RESETS {
                    self.resets.push(u32::from_be_bytes(id) & 0x7fff_ffff);
                }
            }
            WINDOW_UPDATE => self.window_updates += 1,
            SETTINGS if !self.has_settings => self.has_settings = true,
            _ => self.idle_frames += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u32).to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    fn session() -> Vec<u8> {
        let mut bytes = crate::PREFACE.to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend(frame(1, 4, 1, b"head"));
        bytes.extend(frame(0, 0, 1, &[]));
        bytes.extend(frame(0, 0, 1, &[3; 700]));
        bytes.extend(frame(6, 0, 0, &[0; 8]));
        bytes.extend(frame(8, 0, 0, &[0; 4]));
        bytes.extend(frame(3, 0, 1, &[0; 4]));
        bytes.extend(frame(1, 0, 3, b"half"));
        bytes
    }

    proptest! {
        #[test]
        fn counts_the_same_however_the_bytes_are_cut(cuts in proptest::collection::vec(1usize..60, 1..60)) {
            let bytes = session();
            let (mut meter, mut rest, mut cuts) = (Meter::new(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                meter.inspect(piece);
                rest = after;
            }
            prop_assert_eq!(&meter.resets, &[1]);
            prop_assert_eq!((meter.reset_frames, meter.idle_frames, meter.window_updates), (1, 2, 1));
            prop_assert!(meter.in_header_block && meter.has_settings);
        }
    }

    #[test]
    fn notes_no_more_resets_than_its_limit() {
        let mut meter = Meter { preface_left: 0, ..Meter::default() };
        for _ in 0..NOTED_RESETS + 5 {
            meter.inspect(&frame(3, 0, 1, &[0; 4]));
        }
        assert_eq!(meter.resets.len(), NOTED_RESETS);
        assert_eq!(meter.reset_frames as usize, NOTED_RESETS + 5);
    }
}

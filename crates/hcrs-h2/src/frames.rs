//! Finds the frames in a stream of bytes, however it is split: their beginnings, ends and headers (RFC 9113
//! §4.1). Frames are not checked: `h2` does that.

/// Frame types (RFC 9113 §6).
pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

/// Frame flags (RFC 9113 §6).
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// Length of a frame's header, in bytes.
const HEADER: usize = 9;

/// Length of a header with the error code that is the payload of `RST_STREAM`, or the stream with which the
/// payload of `PUSH_PROMISE` begins, in bytes.
const HEADER_AND_CODE: usize = HEADER + 4;

/// Identifier of `SETTINGS_ENABLE_PUSH`.
const ENABLE_PUSH: u16 = 0x2;

/// Length of one setting, in bytes.
const SETTING: usize = 6;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Length of the payload, in bytes.
    pub(crate) len: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream_id: u32,
    /// The error code of an `RST_STREAM`, or the promised stream of a `PUSH_PROMISE`.
    pub(crate) code: Option<u32>,
}

/// A place that the walker has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A frame's header is complete.
    Begun(Frame),
    /// The frame is complete.
    Ended(Frame),
}

/// A walker over a stream of frames. It keeps its place between two pieces of the stream.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    header: [u8; HEADER_AND_CODE],
    filled: usize,
    frame: Option<Frame>,
    payload_left: usize,
    setting: [u8; SETTING],
    setting_filled: usize,
    /// The last value of `SETTINGS_ENABLE_PUSH`, if there was one (RFC 9113 §6.5.2).
    pub(crate) enable_push: Option<u32>,
}

impl Walker {
    /// Takes bytes from the front of `bytes` up to the next step and returns it; `None` once all bytes are
    /// taken.
    pub(crate) fn step(&mut self, bytes: &mut &[u8]) -> Option<Step> {
        let Some(frame) = self.frame else { return self.fill(bytes) };
        let skip = self.payload_left.min(bytes.len());
        self.payload_left -= skip;
        if frame.kind == SETTINGS {
            self.read_settings(&bytes[..skip]);
        }
        *bytes = &bytes[skip..];
        if self.payload_left > 0 {
            return None;
        }
        self.frame = None;
        self.setting_filled = 0;
        Some(Step::Ended(frame))
    }

    /// Returns the kind of the frame that has begun and not ended; a number that is no kind if its header is
    /// incomplete.
    pub(crate) fn kind_midway(&self) -> Option<u8> {
        const UNKNOWN: u8 = 0xff;
        match self.frame {
            Some(frame) => Some(frame.kind),
            None if self.filled > 0 => Some(UNKNOWN),
            None => None,
        }
    }

    fn fill(&mut self, bytes: &mut &[u8]) -> Option<Step> {
        let mut wanted = HEADER;
        loop {
            let take = wanted.saturating_sub(self.filled).min(bytes.len());
            self.header[self.filled..self.filled + take].copy_from_slice(&bytes[..take]);
            self.filled += take;
            *bytes = &bytes[take..];
            if self.filled < wanted {
                return None;
            }
            let has_code = match self.header[3] {
                RST_STREAM => self.len() == HEADER_AND_CODE - HEADER,
                PUSH_PROMISE => self.len() >= HEADER_AND_CODE - HEADER && self.header[4] & PADDED == 0,
                _ => false,
            };
            if !has_code || self.filled == HEADER_AND_CODE {
                break;
            }
            wanted = HEADER_AND_CODE;
        }
        let [_, _, _, kind, flags, ids @ ..] = self.header;
        let [a, b, c, d, code @ ..] = ids;
        let in_header = self.filled - HEADER;
        let frame = Frame {
            len: self.len(),
            kind,
            flags,
            stream_id: u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff,
            code: (in_header > 0).then_some(u32::from_be_bytes(code)),
        };
        self.filled = 0;
        self.payload_left = frame.len - in_header;
        self.frame = Some(frame);
        Some(Step::Begun(frame))
    }

    fn read_settings(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.setting[self.setting_filled] = byte;
            self.setting_filled += 1;
            if self.setting_filled == SETTING {
                self.setting_filled = 0;
                let [a, b, value @ ..] = self.setting;
                if u16::from_be_bytes([a, b]) == ENABLE_PUSH {
                    self.enable_push = Some(u32::from_be_bytes(value));
                }
            }
        }
    }

    fn len(&self) -> usize {
        usize::from(self.header[0]) << 16 | usize::from(self.header[1]) << 8 | usize::from(self.header[2])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let [_, len @ ..] = (payload.len() as u32).to_be_bytes();
        [&len[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn the_last_setting_about_pushes_counts_however_it_is_split() {
        let settings = |values: &[(u16, u32)]| {
            let entries =
                values.iter().map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
            frame(SETTINGS, 0, 0, &entries.collect::<Vec<_>>().concat())
        };
        let bytes = [settings(&[(1, 0), (2, 0), (3, 9)]), frame(0, 0, 1, &[0, 2, 0, 0, 0, 7]), settings(&[])];
        for cut in 1..20 {
            let mut walker = Walker::default();
            let mut walk = |bytes: &[u8]| {
                for mut piece in bytes.chunks(cut) {
                    while walker.step(&mut piece).is_some() {}
                }
                walker.enable_push
            };
            assert_eq!(walk(&frame(SETTINGS, 0, 0, &[])), None);
            assert_eq!(walk(&bytes.concat()), Some(0));
            assert_eq!(walk(&settings(&[(2, 0), (2, 1)])), Some(1));
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_steps(
            frames in proptest::collection::vec((0u8..6, any::<u8>(), 0u32..9, 0usize..40), 1..9),
            cuts in proptest::collection::vec(1usize..20, 1..20),
        ) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (kind, flags, stream_id, len) in frames {
                let is_promise = kind == PUSH_PROMISE && len >= 4 && flags & PADDED == 0;
                let code = (kind == RST_STREAM && len == 4 || is_promise).then_some(0x0707_0707);
                let header = Frame { len, kind, flags, stream_id, code };
                bytes.extend(frame(kind, flags, stream_id, &vec![7; len]));
                expected.extend([Step::Begun(header), Step::Ended(header)]);
            }
            let (mut walker, mut steps, mut rest, mut cuts) =
                (Walker::default(), Vec::new(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (mut piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                while let Some(step) = walker.step(&mut piece) {
                    steps.push(step);
                }
                prop_assert!(piece.is_empty());
                rest = after;
            }
            prop_assert_eq!(steps, expected);
            prop_assert_eq!(walker.kind_midway(), None);
        }
    }
}

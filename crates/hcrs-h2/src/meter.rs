//! Watches the frames of both directions: counts those without progress, notes the streams that were reset,
//! and detects a client that stops in the middle of a head. Payloads are skipped (RFC 9113 §4.1).

use h2::Reason;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PUSH_PROMISE, RST_STREAM, SETTINGS, Step,
    WINDOW_UPDATE, Walker,
};

/// Most reset streams that are noted between two polls; a client that causes more exceeds its budget anyway.
const NOTED_RESETS: usize = 1024;

/// A frame of a pushed stream that has left for the client, with the stream's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushStep {
    /// The promise.
    Promised(u32),
    /// The response's head.
    Opened(u32),
    /// The response's end, or a reset.
    Over(u32),
}

/// The counts since the connection last took them.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    incoming: Walker,
    outgoing: Walker,
    preface_left: usize,
    /// Streams that the client reset, or made `h2` reset.
    pub(crate) resets: Vec<u32>,
    /// Number of such resets, noted or not.
    pub(crate) reset_frames: u32,
    /// Number of PING, SETTINGS, PRIORITY, `PUSH_PROMISE`, GOAWAY and unknown frames, and of DATA frames
    /// without a byte.
    pub(crate) idle_frames: u32,
    /// Number of `WINDOW_UPDATE` frames. The connection compares them with the DATA frames that it sent.
    pub(crate) window_updates: u32,
    /// Number of resets in the connection's life that `h2` has most likely sent by its own decision.
    pub(crate) own_resets: usize,
    /// Steps of pushed streams, in order. Few streams are pushed at a time.
    pub(crate) push_steps: Vec<PushStep>,
    has_settings: bool,
    /// A header block has begun, and its last frame has not ended.
    in_header_block: bool,
    /// A header block, or another frame, has ended in this turn.
    went_on: bool,
}

impl Meter {
    /// Creates a meter for a connection whose preface has not been read.
    pub(crate) fn new() -> Self {
        Self { preface_left: crate::PREFACE.len(), ..Self::default() }
    }

    /// Begins a turn of the connection.
    pub(crate) fn begin_turn(&mut self) {
        self.went_on = false;
    }

    /// Whether the client has begun a header block or a frame that is no body, and has not gone on with it
    /// for a turn.
    pub(crate) fn awaits_head(&self) -> bool {
        let is_midway = self.in_header_block || self.incoming.kind_midway().is_some_and(|kind| kind != DATA);
        !self.has_settings || is_midway && !self.went_on
    }

    /// Whether the client accepts pushes: it has sent its settings, and they do not decline.
    pub(crate) fn takes_pushes(&self) -> bool {
        self.has_settings && self.incoming.enable_push != Some(0)
    }

    /// Inspects bytes that were read.
    pub(crate) fn inspect_incoming(&mut self, mut bytes: &[u8]) {
        let preface = self.preface_left.min(bytes.len());
        self.preface_left -= preface;
        bytes = &bytes[preface..];
        while let Some(step) = self.incoming.step(&mut bytes) {
            match step {
                Step::Begun(frame) => self.count(frame),
                Step::Ended(frame) => {
                    if matches!(frame.kind, HEADERS | CONTINUATION) {
                        self.in_header_block = frame.flags & END_HEADERS == 0;
                    }
                    self.went_on |= !self.in_header_block;
                }
            }
        }
    }

    /// Inspects bytes that are about to be written.
    pub(crate) fn inspect_outgoing(&mut self, mut bytes: &[u8]) {
        while let Some(step) = self.outgoing.step(&mut bytes) {
            let Step::Begun(frame) = step else { continue };
            if frame.kind == RST_STREAM
                && let Some(reason) = frame.code.map(Reason::from)
            {
                let is_caused_by_client = is_caused_by_client(reason);
                if is_caused_by_client {
                    self.note_reset(frame.stream_id);
                }
                self.own_resets += usize::from(is_caused_by_client || reason == Reason::STREAM_CLOSED);
            }
            if frame.kind == PUSH_PROMISE {
                self.push_steps.extend(frame.code.map(PushStep::Promised));
            } else if is_servers(frame.stream_id) {
                self.note_pushed(frame);
            }
        }
    }

    fn count(&mut self, frame: Frame) {
        match frame.kind {
            DATA if frame.len == 0 && frame.flags & END_STREAM == 0 => self.idle_frames += 1,
            DATA => {}
            HEADERS | CONTINUATION => self.in_header_block = true,
            RST_STREAM => self.note_reset(frame.stream_id),
            WINDOW_UPDATE => self.window_updates += 1,
            SETTINGS if !self.has_settings => self.has_settings = true,
            _ => self.idle_frames += 1,
        }
    }

    fn note_pushed(&mut self, frame: Frame) {
        let id = frame.stream_id;
        if frame.kind == HEADERS {
            self.push_steps.push(PushStep::Opened(id));
        }
        let ends = matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
        if ends || frame.kind == RST_STREAM {
            self.push_steps.push(PushStep::Over(id));
        }
    }

    fn note_reset(&mut self, stream_id: u32) {
        self.reset_frames += 1;
        if self.resets.len() < NOTED_RESETS {
            self.resets.push(stream_id);
        }
    }
}

/// Whether a stream was begun by the server (RFC 9113 §5.1.1).
fn is_servers(stream_id: u32) -> bool {
    stream_id != 0 && stream_id.is_multiple_of(2)
}

/// Whether a frame of the client causes the server to reset a stream for this reason (CVE-2025-8671).
///
/// `STREAM_CLOSED` is not among them: it answers a frame that was in flight when the server itself ended the
/// stream.
fn is_caused_by_client(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PROTOCOL_ERROR
            | Reason::FLOW_CONTROL_ERROR
            | Reason::FRAME_SIZE_ERROR
            | Reason::REFUSED_STREAM
            | Reason::COMPRESSION_ERROR
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::tests::frame;
    use proptest::prelude::*;

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
                meter.inspect_incoming(piece);
                rest = after;
            }
            prop_assert_eq!(&meter.resets, &[1]);
            prop_assert_eq!((meter.reset_frames, meter.idle_frames, meter.window_updates), (1, 2, 1));
            meter.begin_turn();
            prop_assert!(meter.has_settings && meter.awaits_head());
        }
    }

    #[test]
    fn notes_no_more_resets_than_its_limit() {
        let mut meter = Meter::default();
        for _ in 0..NOTED_RESETS + 5 {
            meter.inspect_incoming(&frame(3, 0, 1, &[0; 4]));
        }
        assert_eq!(meter.resets.len(), NOTED_RESETS);
        assert_eq!(meter.reset_frames as usize, NOTED_RESETS + 5);
    }

    #[test]
    fn of_the_servers_own_resets_only_those_that_the_client_caused_count() {
        let mut meter = Meter::default();
        for code in 0..14u32 {
            meter.inspect_outgoing(&frame(3, 0, code, &code.to_be_bytes()));
        }
        assert_eq!(meter.resets, [1, 3, 6, 7, 9]);
        assert_eq!(meter.own_resets, 6, "the five, and the one for a stream that is closed");
    }
}

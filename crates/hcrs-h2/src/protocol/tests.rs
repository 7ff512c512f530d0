//! Whatever a client sends and an app does: nothing panics, limits hold, and what leaves is legal.

mod acts;
mod input;
mod model;

use std::io::IoSlice;

use super::*;
use crate::frame::{Header, PRIORITY_UPDATE};
use crate::output::SLICES;

const MAX_STREAMS: u32 = 4;

fn settings() -> Settings {
    Settings {
        max_concurrent_streams: MAX_STREAMS,
        stream_window: 70_000,
        reset_burst: 20,
        reset_refill: 1,
        frame_burst: 60,
        frame_refill: 1,
        ..Settings::default()
    }
}

fn protocol(room: &Rc<BodyRoom>) -> Protocol {
    Protocol::new(&settings(), Scheme::Http, Rc::new(Endpoints::default()), room)
}

fn frame(kind: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { len: payload.len(), kind, flags, stream_id };
    [&header.bytes()[..], payload].concat()
}

fn priority_update(id: u32, value: &[u8]) -> Vec<u8> {
    frame(PRIORITY_UPDATE, 0, 0, &[&id.to_be_bytes()[..], value].concat())
}

/// Returns all output, which is then written.
fn written(protocol: &mut Protocol) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !protocol.output.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = protocol.output.slices(&mut slices);
        let piece: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.iter().copied()).collect();
        protocol.output.advance(piece.len());
        bytes.extend(piece);
    }
    bytes
}

fn frames(mut bytes: &[u8]) -> Vec<(Header, &[u8])> {
    let mut frames = Vec::new();
    while let Some((&header, after)) = bytes.split_first_chunk::<9>() {
        let header = Header::read(header);
        let (payload, after) = after.split_at(header.len);
        frames.push((header, payload));
        bytes = after;
    }
    assert!(bytes.is_empty(), "frames are whole");
    frames
}

/// Returns one of the last streams before `next`; `None` before the first.
fn begun(next: u32, stream: u32) -> Option<u32> {
    let count = (next - 1) / 2;
    (count > 0).then(|| next - 2 - 2 * (stream / 2 % count.min(5)))
}

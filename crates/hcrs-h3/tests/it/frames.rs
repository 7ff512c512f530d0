//! Frames and field sections as a client packs and reads them.

use hcrs_mux::literal::{put_integer, put_text, take_integer, take_text};

pub(crate) const DATA: u64 = 0x0;
pub(crate) const HEADERS: u64 = 0x1;
pub(crate) const CANCEL_PUSH: u64 = 0x3;
pub(crate) const SETTINGS: u64 = 0x4;
pub(crate) const PUSH_PROMISE: u64 = 0x5;
pub(crate) const GOAWAY: u64 = 0x7;
pub(crate) const MAX_PUSH_ID: u64 = 0xd;
pub(crate) const PRIORITY_UPDATE: u64 = 0xf0700;
pub(crate) const PRIORITY_UPDATE_PUSH: u64 = 0xf0701;
/// A type that is reserved so that it is ignored (RFC 9114 §7.2.8).
pub(crate) const GREASE: u64 = 0x21 + 0x1f * 7;

/// Fields, in order.
pub(crate) type Fields = Vec<(String, String)>;

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Headers(Fields),
    Data(Vec<u8>),
    Settings(Vec<(u64, u64)>),
    GoAway(u64),
}

/// Returns an integer of variable length (RFC 9000 §16).
pub(crate) fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

pub(crate) fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let len = 1 << (rest.first()? >> 6);
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes[1..].iter().fold(u64::from(bytes[0] & 0x3f), |value, &byte| value << 8 | u64::from(byte)))
}

/// Returns a frame's bytes.
pub(crate) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [varint(kind), varint(payload.len() as u64), payload.to_vec()].concat()
}

/// Returns a field section of literals.
pub(crate) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in fields {
        put_text(&mut out, 0x20, 3, name.as_bytes(), false);
        put_text(&mut out, 0, 7, value.as_bytes(), true);
    }
    out
}

pub(crate) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, &section(fields))
}

/// Returns the HEADERS frame of a request.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let line = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)];
    headers(&[&line, fields].concat())
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[])
}

pub(crate) fn data(bytes: &[u8]) -> Vec<u8> {
    frame(DATA, bytes)
}

/// Returns the settings as a client sends them, on a new control stream.
pub(crate) fn control(entries: &[(u64, u64)]) -> Vec<u8> {
    [varint(0), settings(entries)].concat()
}

pub(crate) fn settings(entries: &[(u64, u64)]) -> Vec<u8> {
    let payload: Vec<u8> =
        entries.iter().flat_map(|&(id, value)| [varint(id), varint(value)].concat()).collect();
    frame(SETTINGS, &payload)
}

/// Returns the entries of QPACK's static table.
fn static_table() -> Vec<(&'static str, &'static str)> {
    let entry = |line: &'static str| line.split_once('|')?.1.split_once('|');
    include_str!("../static_table.txt").lines().filter_map(entry).collect()
}

/// Reads a field section, which may refer to the static table alone.
pub(crate) fn read_section(bytes: &[u8]) -> Fields {
    let table = static_table();
    let mut rest = bytes.strip_prefix(&[0, 0]).expect("no insertions are needed");
    let mut fields = Vec::new();
    let text = |rest: &mut &[u8], prefix| {
        let mut decoded = Vec::new();
        let text =
            take_text(rest, prefix).expect("a string").decode(&mut decoded).expect("Huffman's code").to_vec();
        String::from_utf8(text).expect("ASCII")
    };
    while let Some(&first) = rest.first() {
        let (name, value) = match first {
            0xc0.. => {
                let entry = table[take_integer(&mut rest, 6).expect("an index")];
                (entry.0.to_owned(), entry.1.to_owned())
            }
            0x50..0x80 if first & 0x10 != 0 => {
                let entry = table[take_integer(&mut rest, 4).expect("an index")];
                (entry.0.to_owned(), text(&mut rest, 7))
            }
            0x20..0x40 => (text(&mut rest, 3), text(&mut rest, 7)),
            _ => panic!("{first:#x} refers to a dynamic table"),
        };
        fields.push((name, value));
    }
    fields
}

/// Reads whole frames, and panics at one that a server must not send on such a stream. Returns what is left.
pub(crate) fn read_frames(bytes: &[u8]) -> (Vec<Frame>, Vec<u8>) {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    loop {
        let mut after = rest;
        let header = take_varint(&mut after).and_then(|kind| Some((kind, take_varint(&mut after)?)));
        let Some((kind, len)) = header else { break };
        let Some((mut payload, after)) = after.split_at_checked(len as usize) else { break };
        rest = after;
        frames.push(match kind {
            DATA => Frame::Data(payload.to_vec()),
            HEADERS => Frame::Headers(read_section(payload)),
            SETTINGS => {
                let mut entries = Vec::new();
                while let Some(id) = take_varint(&mut payload) {
                    entries.push((id, take_varint(&mut payload).expect("a value")));
                }
                Frame::Settings(entries)
            }
            GOAWAY => Frame::GoAway(take_varint(&mut payload).expect("a number")),
            _ => panic!("a frame of the type {kind:#x}"),
        });
    }
    (frames, rest.to_vec())
}

/// Returns an integer with a prefix, as QPACK has them.
pub(crate) fn prefixed(pattern: u8, prefix: u32, value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    put_integer(&mut out, pattern, prefix, value);
    out
}

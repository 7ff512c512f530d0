//! Acts of a client and of its app, drawn at random.

use proptest::prelude::*;

/// An act of a client.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Request {
        body: bool,
        block: usize,
    },
    Data {
        stream: u32,
        len: usize,
        end: bool,
    },
    Trailers {
        stream: u32,
    },
    Reset {
        stream: u32,
    },
    Update {
        stream: u32,
        by: u32,
    },
    /// An update of the priority of a stream, which may not have begun.
    Prioritize {
        stream: u32,
        priority: usize,
    },
    Window(u32),
    Push(bool),
    TableSize(u32),
    Ping,
    AckSettings,
    /// Any frame at all.
    Any {
        kind: u8,
        flags: u8,
        stream: u32,
        payload: Vec<u8>,
    },
    /// The app does this to its oldest, or some other, stream.
    App {
        which: usize,
        does: Does,
    },
    Wait(u64),
}

/// An act of an app.
#[derive(Debug, Clone)]
pub(super) enum Does {
    Head { end: bool },
    Data { len: usize, end: bool },
    Trailers,
    Interim,
    Fail,
    Release(usize),
    Push,
}

pub(super) const PRIORITIES: [&[u8]; 4] = [b"u=0", b"u=3, i", b"u=7", b"u"];

/// Header blocks: good requests, one that is refused, one that is malformed, one that ends the connection.
pub(super) const BLOCKS: [&[u8]; 7] = [
    b"\x82\x86\x84\x41\x01a",
    b"\x82\x86\x84\x41\x01a\x40\x08priority\x06u=5, i",
    b"\x82\x86\x84\xbe",
    b"\x83\x86\x84\x01\x01a\x0f\x0d\x0550000",
    b"\x82\x86\x84",
    b"\x82\x86",
    b"\x82\x86\x84\x41\x01a\x00\x01A\x00",
];

pub(super) fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        3 => any::<bool>().prop_map(|end| Does::Head { end }),
        5 => (0usize..100_000, any::<bool>()).prop_map(|(len, end)| Does::Data { len, end }),
        1 => Just(Does::Trailers),
        1 => Just(Does::Interim),
        1 => Just(Does::Fail),
        2 => (0usize..40_000).prop_map(Does::Release),
        1 => Just(Does::Push),
    ]
}

pub(super) fn honest() -> impl Strategy<Value = Act> {
    let stream = || (0u32..12).prop_map(|n| 2 * n + 1);
    prop_oneof![
        6 => (any::<bool>(), 0usize..4).prop_map(|(body, block)| Act::Request { body, block }),
        4 => (stream(), 0usize..16_000, any::<bool>()).prop_map(|(stream, len, end)| Act::Data { stream, len, end }),
        1 => stream().prop_map(|stream| Act::Trailers { stream }),
        1 => stream().prop_map(|stream| Act::Reset { stream }),
        3 => (stream(), 1u32..200_000).prop_map(|(stream, by)| Act::Update { stream, by }),
        3 => (1u32..200_000).prop_map(|by| Act::Update { stream: 0, by }),
        2 => ((0u32..14).prop_map(|n| 2 * n + 1), 0usize..PRIORITIES.len())
            .prop_map(|(stream, priority)| Act::Prioritize { stream, priority }),
        1 => (0u32..200_000).prop_map(Act::Window),
        1 => any::<bool>().prop_map(Act::Push),
        1 => (0u32..5000).prop_map(Act::TableSize),
        1 => Just(Act::Ping),
        1 => Just(Act::AckSettings),
        12 => (0usize..6, does()).prop_map(|(which, does)| Act::App { which, does }),
        2 => (0u64..3000).prop_map(Act::Wait),
    ]
}

pub(super) fn any_act() -> impl Strategy<Value = Act> {
    let any_frame = (0u8..18, any::<u8>(), 0u32..14, proptest::collection::vec(any::<u8>(), 0..30))
        .prop_map(|(kind, flags, stream, payload)| Act::Any { kind, flags, stream, payload });
    let bad_request =
        (any::<bool>(), 0usize..BLOCKS.len()).prop_map(|(body, block)| Act::Request { body, block });
    prop_oneof![8 => honest(), 1 => any_frame, 1 => bad_request]
}

//! Properties that hold for every input, however it is split.

use hcrs_h1::Settings;
use proptest::prelude::*;

use crate::driver::{Seen, see_all};

/// Limits that are small enough to be reached.
const TIGHT: Settings =
    Settings { max_head_bytes: 120, max_fields: 4, max_chunk_extension_bytes: 12, max_trailer_bytes: 24 };

/// Returns a field as a client might send it, in rare cases one that is refused.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z][a-zA-Z-]{0,8}: ?[ -~]{0,12}\r\n",
        1 => Just("connection: close\r\n".to_owned()),
        1 => "[ -~\r\n]{0,10}\r\n",
    ]
}

fn chunk() -> impl Strategy<Value = String> {
    (
        "[a-z]{1,40}",
        prop_oneof![
            4 => Just(String::new()),
            1 => "(;[a-z]{1,2}(=([a-z]|\"[ a-z]{0,3}\"))?){1,2}",
            1 => "(;[ -~]{0,6}){0,2}",
        ],
    )
        .prop_map(|(data, extension)| format!("{:x}{extension}\r\n{data}\r\n", data.len()))
}

fn request() -> impl Strategy<Value = String> {
    let head = (
        prop_oneof![Just("GET /"), Just("POST /a?b"), Just("PUT http://x/"), Just("\r\nHEAD /")],
        prop_oneof![8 => Just("1.1"), 1 => Just("1.0"), 1 => Just("1.9")],
        proptest::collection::vec(field(), 0..3),
    );
    let body = prop_oneof![
        Just(String::from("\r\n")),
        "[a-z]{0,30}".prop_map(|data| format!("content-length: {}\r\n\r\n{data}", data.len())),
        (proptest::collection::vec(chunk(), 0..5), proptest::collection::vec(field(), 0..3)).prop_map(
            |(chunks, trailers)| {
                format!("transfer-encoding: chunked\r\n\r\n{}0\r\n{}\r\n", chunks.concat(), trailers.concat())
            }
        ),
    ];
    (head, body).prop_map(|((line, version, fields), body)| {
        format!("{line} HTTP/{version}\r\nhost: a\r\n{}{body}", fields.concat())
    })
}

/// Splits `wire` into pieces of the lengths given, again and again.
fn cut<'a>(wire: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = wire;
    for &length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Returns the events without the data that a fault in the same read swallowed.
fn comparable(mut seen: Vec<Seen>) -> Vec<Seen> {
    if let [.., Seen::Data(_), fault @ Seen::Fault(_)] = &seen[..] {
        let fault = fault.clone();
        seen.truncate(seen.len() - 2);
        seen.push(fault);
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_split_of_the_input_gives_the_same_events(
        requests in proptest::collection::vec(request(), 1..4),
        lengths in proptest::collection::vec(1usize..50, 1..6),
        tight: bool,
    ) {
        let wire = requests.concat();
        let settings = if tight { TIGHT } else { Settings::default() };
        let whole = comparable(see_all(settings, [wire.as_bytes()]));
        prop_assert_eq!(&whole, &comparable(see_all(settings, cut(wire.as_bytes(), &lengths))));
        prop_assert_eq!(&whole, &comparable(see_all(settings, wire.as_bytes().chunks(1))));
    }

    #[test]
    fn no_input_makes_it_panic(
        start in prop_oneof![
            Just(""), Just("GET / HTTP/1.1\r\n"),
            Just("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"),
            Just("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551615\r\n\r\n"),
        ],
        noise in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "[0-9a-f;:\r\n A-Z/]{0,300}".prop_map(String::into_bytes),
        ],
        length in 1usize..300,
    ) {
        let wire = [start.as_bytes(), &noise].concat();
        see_all(TIGHT, wire.chunks(length));
        see_all(Settings::default(), wire.chunks(length));
    }
}

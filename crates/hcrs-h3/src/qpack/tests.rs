//! QPACK by the examples of RFC 9204, by sections of another encoder, and of both ends beside each other.

use hcrs_mux::FieldEncoder as _;
use hcrs_mux::literal::{put_integer, put_text};
use proptest::prelude::*;

use super::*;
use crate::error::ErrorCode;

type Fields = Vec<(String, String)>;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.bytes().filter_map(|digit| char::from(digit).to_digit(16).map(|d| d as u8)).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn decode(decoder: &mut Decoder, id: u64, section: &[u8]) -> Result<Fields, ErrorCode> {
    let (mut fields, text) = (Vec::new(), |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned());
    decoder.decode(id, section, |field| fields.push((text(field.name), text(field.value))))?;
    Ok(fields)
}

#[test]
fn the_static_table_is_that_of_the_rfc() {
    let lines: Vec<_> = include_str!("../../tests/static_table.txt").lines().collect();
    assert_eq!(lines.len(), 99);
    for (index, line) in lines.into_iter().enumerate() {
        let [number, name, value] = line.splitn(3, '|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(number, index.to_string());
        let entry = static_table::get(index).unwrap();
        assert_eq!((entry.name, entry.value), (name.as_bytes(), value.as_bytes()), "{index}");
        let found = static_table::index_of(entry.name);
        assert!(found == 0 || static_table::get(found).unwrap().name == entry.name, "{name}");
    }
    assert!(static_table::get(99).is_none());
}

#[test]
fn sections_of_the_rfc_are_decoded() {
    // RFC 9204 B.1 to B.5, with a table of 220 bytes.
    let (mut decoder, mut stream) = (Decoder::default(), EncoderStream::default());
    let section = bytes("0000 510b 2f69 6e64 6578 2e68 746d 6c");
    assert_eq!(decode(&mut decoder, 0, &section), Ok(fields(&[(":path", "/index.html")])));
    assert_eq!(decoder.take_instructions(), []);
    let inserts =
        bytes("3fbd01 c00f 7777 772e 6578 616d 706c 652e 636f 6d c10c 2f73 616d 706c 652f 7061 7468");
    assert_eq!(decoder.receive(&mut stream, &inserts), Ok(3));
    assert_eq!(decoder.table_size(), 106);
    let expected = fields(&[(":authority", "www.example.com"), (":path", "/sample/path")]);
    assert_eq!(decode(&mut decoder, 4, &bytes("0381 1011")), Ok(expected));
    assert_eq!(decoder.take_instructions(), [0x84]);
    let insert = bytes("4a63 7573 746f 6d2d 6b65 790c 6375 7374 6f6d 2d76 616c 7565");
    assert_eq!(decoder.receive(&mut stream, &insert), Ok(1));
    assert_eq!((decoder.table_size(), decoder.take_instructions()), (160, vec![0x01]));
    assert_eq!(decoder.receive(&mut stream, &[0x02]), Ok(1));
    assert_eq!(decoder.table_size(), 217);
    let expected =
        fields(&[(":authority", "www.example.com"), (":path", "/"), ("custom-key", "custom-value")]);
    assert_eq!(decode(&mut decoder, 8, &bytes("0500 80c1 81")), Ok(expected));
    decoder.cancel(8);
    assert_eq!(decoder.take_instructions(), [0x88, 0x48]);
    let insert = bytes("810d 6375 7374 6f6d 2d76 616c 7565 32");
    assert_eq!(decoder.receive(&mut stream, &insert), Ok(1));
    assert_eq!(decoder.table_size(), 215);
    // The first entry is no longer there, and the fifth may be named before it was acknowledged.
    assert_eq!(decode(&mut decoder, 12, &bytes("0600 84")), Err(ErrorCode::QPACK_DECOMPRESSION_FAILED));
    assert_eq!(decode(&mut decoder, 12, &bytes("0600 80")), Ok(fields(&[("custom-key", "custom-value2")])));
}

/// What ls-qpack sends on its encoder stream, and in the section of one request after another, with a table of
/// 4096 bytes and no stream that may wait. Insertions are acknowledged at once.
const OF_LS_QPACK: [(&str, &str); 5] = [
    (
        "3fe11f",
        "0000d1d750882f91d35d055c87a7518562b07f9da05f50ced07f66a281b0dae053fafc087ed4ce6aadf2a7979c89c6bfb521\
         aeba0bc8b1e632586d975765c53facd8f7e8cff4a506ea5531149d4ffda97a7b0f49580b2fae05c0b814dc394761986d9757\
         65cfdd559a4150831ea8001132d36e3af3e38c92165fb51339692c120ecebf2f00f2b585ed69509f0130",
    ),
    (
        "c0882f91d35d055c87a7ff20ced07f66a281b0dae053fafc087ed4ce6aadf2a7979c89c6bfb521aeba0bc8b1e632586d9757\
         65c53facd8f7e8cff4a506ea5531149d4ffda97a7b0f49580b2fae05c0b814dc394761986d975765cfc59a4150831ea80011\
         32d36e3af3e38c92165fb51339692c120ecebf67f2b585ed69509f00",
        "0000d1d750882f91d35d055c87a7518862b0ff9da0f3e7cf5f50ced07f66a281b0dae053fafc087ed4ce6aadf2a7979c89c6\
         bfb521aeba0bc8b1e632586d975765c53facd8f7e8cff4a506ea5531149d4ffda97a7b0f49580b2fae05c0b814dc39476198\
         6d975765cfdd559a4150831ea8001132d36e3af3e38c92165fb51339692c120ecebf2f00f2b585ed69509f0131",
    ),
    ("", "0500d1d783518b62b17f9da0f3e7cf9f3e7f82dd81400130"),
    ("", "0500d1d783518d62b07f9da0f3e7cf9f3e7cf9f382dd81400131"),
    ("", "0500d1d783519062b0ff9da0f3e7cf9f3e7cf9f3e7cf9f82dd81400130"),
];

#[test]
fn sections_of_another_encoder_are_decoded_wherever_its_stream_is_cut() {
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36";
    for piece in [1, 2, 3, 7, 1000] {
        let (mut decoder, mut stream) = (Decoder::default(), EncoderStream::default());
        for (at, (instructions, section)) in OF_LS_QPACK.into_iter().enumerate() {
            for piece in bytes(instructions).chunks(piece) {
                decoder.receive(&mut stream, piece).unwrap();
            }
            let (path, last) = (format!("/p{}?q={}", at % 3, "x".repeat(3 * at)), (at % 2).to_string());
            let expected = fields(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "example.com"),
                (":path", &path),
                ("user-agent", agent),
                ("accept", "*/*"),
                ("cookie", "session=0123456789abcdef; theme=dark"),
                ("x-request", &last),
            ]);
            assert_eq!(decode(&mut decoder, 4 * at as u64, &bytes(section)), Ok(expected), "{at}");
        }
    }
}

#[test]
fn sections_name_what_is_here_and_nothing_else() {
    type Expected = Option<&'static [(&'static str, &'static str)]>;
    let (mut decoder, mut stream) = (Decoder::default(), EncoderStream::default());
    // Two entries: a: 1, b: 2.
    decoder.receive(&mut stream, &bytes("3fe11f 4161 0131 4162 0132")).unwrap();
    let table: [(&str, Expected); 14] = [
        ("0300 80 81", Some(&[("b", "2"), ("a", "1")])),
        ("0381 10 11", Some(&[("a", "1"), ("b", "2")])),
        ("0200 80", Some(&[("a", "1")])),
        ("0300 40 0133", Some(&[("b", "3")])),
        ("0381 01 0133", Some(&[("b", "3")])),
        // An entry behind what the section needs, and one before the first.
        ("0281 11", None),
        ("0200 81", None),
        ("0300 82", None),
        // More insertions than are here, a count that no encoder makes, a base before the first.
        ("0400 80", None),
        ("ff0300 80", None),
        ("0382 80", None),
        // References of a section that needs nothing.
        ("0000 80", None),
        ("0001 80", None),
        ("0000 10", None),
    ];
    for (section, expected) in table {
        let expected = expected.map(fields).ok_or(ErrorCode::QPACK_DECOMPRESSION_FAILED);
        assert_eq!(decode(&mut decoder, 0, &bytes(section)), expected, "{section}");
    }
}

#[test]
fn a_smaller_table_has_fewer_entries() {
    let (mut decoder, mut stream) = (Decoder::default(), EncoderStream::default());
    decoder.receive(&mut stream, &bytes("3fe11f 4161 0131 4162 0132")).unwrap();
    assert_eq!(decoder.table_size(), 68);
    decoder.receive(&mut stream, &bytes("3f03")).unwrap();
    assert_eq!(decoder.table_size(), 34);
    assert_eq!(decode(&mut decoder, 0, &bytes("0300 80")), Ok(fields(&[("b", "2")])));
    assert_eq!(decode(&mut decoder, 0, &bytes("0300 81")), Err(ErrorCode::QPACK_DECOMPRESSION_FAILED));
}

#[test]
fn instructions_that_cannot_be_end_the_connection() {
    let large = {
        let mut out = bytes("3fe11f 4161");
        put_integer(&mut out, 0, 7, 4096 - 32);
        [out, vec![b'v'; 4096 - 32]].concat()
    };
    let table = [
        bytes("3fe21f"),           // a table of 4097 bytes
        bytes("4161 0131"),        // an entry in a table without capacity
        large,                     // an entry that is larger than the table
        bytes("3fe11f 00"),        // a duplicate of nothing
        bytes("3fe11f 80 0131"),   // the name of nothing
        bytes("3fe11f ff24 0131"), // the name of no static entry
        bytes("3fe11f 4161 8100"), // padding of zeros
        bytes("ffffffffff0f"),     // an integer without an end in sight
        bytes("5fffffffff7f"),     // a name that is longer than any table
    ];
    for instructions in table {
        for piece in [1, instructions.len()] {
            let (mut decoder, mut stream) = (Decoder::default(), EncoderStream::default());
            let outcome = instructions
                .chunks(piece)
                .try_for_each(|piece| decoder.receive(&mut stream, piece).map(drop));
            assert_eq!(outcome, Err(ErrorCode::QPACK_ENCODER_STREAM_ERROR), "{instructions:x?}");
        }
    }
}

fn list() -> impl Strategy<Value = Fields> {
    let name = prop_oneof![
        Just(String::from("server")),
        Just(String::from("content-type")),
        Just(String::from("set-cookie")),
        Just(String::from("vary")),
        "x-[a-d]{1,2}",
    ];
    let value = prop_oneof![Just(String::from("origin")), Just(String::from("text/css")), "[ -~]{0,40}"];
    proptest::collection::vec((name, value), 0..8)
}

proptest! {
    #[test]
    fn sections_are_decoded_as_they_were_encoded(status in 200u16..=999, list in list()) {
        let mut section = Vec::new();
        Encoder.begin(&mut section);
        Encoder.status(status, &mut section);
        for (name, value) in &list {
            Encoder.field(name.as_bytes(), value.as_bytes(), &mut section);
        }
        let status = status.to_string();
        let expected: Fields = [(String::from(":status"), status)].into_iter().chain(list).collect();
        prop_assert_eq!(decode(&mut Decoder::default(), 0, &section), Ok(expected));
    }

    #[test]
    fn references_are_followed_however_many_entries_have_come(
        capacity in 64usize..=4096,
        values in proptest::collection::vec("[a-z]{0,20}", 1..400),
    ) {
        let (mut decoder, mut stream) = (Decoder::default(), EncoderStream::default());
        let mut capacity_set = Vec::new();
        put_integer(&mut capacity_set, 0x20, 5, capacity);
        decoder.receive(&mut stream, &capacity_set).unwrap();
        for (at, value) in values.iter().enumerate() {
            let mut insert = Vec::new();
            put_text(&mut insert, 0x40, 5, b"x-a", false);
            put_text(&mut insert, 0, 7, value.as_bytes(), true);
            prop_assert_eq!(decoder.receive(&mut stream, &insert), Ok(1));
            prop_assert!(decoder.table_size() <= capacity);
            // The newest entry, by an index before the base: RFC 9204 §4.5.1.1 with 128 entries.
            let mut section = Vec::new();
            put_integer(&mut section, 0, 8, (at + 1) % 256 + 1);
            section.extend([0, 0x80]);
            let expected = vec![(String::from("x-a"), value.clone())];
            prop_assert_eq!(decode(&mut decoder, 0, &section), Ok(expected));
        }
        prop_assert_eq!(decoder.take_instructions().len(), values.len(), "each section is acknowledged");
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_hold_more_than_its_table(
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..100)), 1..20),
    ) {
        let (mut decoder, mut stream) = (Decoder::default(), EncoderStream::default());
        let _set = decoder.receive(&mut stream, &bytes("3fe11f"));
        for (is_section, piece) in pieces {
            if is_section {
                let _malformed = decode(&mut decoder, 0, &piece);
            } else if decoder.receive(&mut stream, &piece).is_err() {
                break;
            }
            prop_assert!(decoder.table_size() <= 4096);
        }
    }
}

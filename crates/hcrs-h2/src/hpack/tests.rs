//! Both directions by the examples of RFC 7541, and of both ends beside each other.

use proptest::prelude::*;

use hcrs_mux::FieldEncoder as _;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.bytes().filter_map(|digit| char::from(digit).to_digit(16).map(|d| d as u8)).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, MalformedBlock> {
    let mut fields = Vec::new();
    decoder.decode(block, |field| fields.push((field.name.to_vec(), field.value.to_vec())))?;
    Ok(fields)
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[test]
fn literals_of_the_rfc_are_decoded() {
    // RFC 7541 C.2: with indexing, without, never, and an index of the static table.
    let table = [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key", "custom-header"),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path", "/sample/path"),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password", "secret"),
        ("82", ":method", "GET"),
    ];
    for (hex, name, value) in table {
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &bytes(hex)).unwrap(), fields(&[(name, value)]));
        assert_eq!(decoder.table_len(), usize::from(name == "custom-key"));
    }
}

#[test]
fn requests_of_the_rfc_are_decoded_with_and_without_huffmans_code() {
    // RFC 7541 C.3 and C.4.
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let line = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &bytes(blocks[0])).unwrap(), fields(&line));
        let more = [&line[..], &[("cache-control", "no-cache")]].concat();
        assert_eq!(decode(&mut decoder, &bytes(blocks[1])).unwrap(), fields(&more));
        let last = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(decode(&mut decoder, &bytes(blocks[2])).unwrap(), fields(&last));
        assert_eq!((decoder.table_len(), decoder.size()), (3, 164));
    }
}

#[test]
fn responses_of_the_rfc_evict_the_oldest_fields() {
    // RFC 7541 C.6, with a table of 256 bytes.
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b
         97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf
         cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let mut decoder = Decoder::new();
    assert_eq!(decode(&mut decoder, &[0x3f, 0xe1, 0x01]).unwrap(), []);
    let date = "Mon, 21 Oct 2013 20:13:21 GMT";
    let rest = [("cache-control", "private"), ("date", date), ("location", "https://www.example.com")];
    let first = [&[(":status", "302")], &rest[..]].concat();
    assert_eq!(decode(&mut decoder, &bytes(blocks[0])).unwrap(), fields(&first));
    assert_eq!(decoder.size(), 222);
    let second = [&[(":status", "307")], &rest[..]].concat();
    assert_eq!(decode(&mut decoder, &bytes(blocks[1])).unwrap(), fields(&second));
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ];
    assert_eq!(decode(&mut decoder, &bytes(blocks[2])).unwrap(), fields(&third));
    assert_eq!((decoder.table_len(), decoder.size()), (3, 215));
}

#[test]
fn what_is_no_block_is_malformed() {
    let table: [&[u8]; 12] = [
        &[0x80],                                     // index 0
        &[0xbe],                                     // an index of no entry
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],       // an integer without an end in sight
        &[0xff],                                     // an integer without an end
        &[0x40],                                     // a name is missing
        &[0x40, 0x01, b'a'],                         // a value is missing
        &[0x40, 0x05, b'a'],                         // a name is shorter than it says
        &[0x7e, 0x00],                               // the name of no entry
        &[0x3f, 0xe2, 0x1f],                         // a table of 4097 bytes
        &[0x82, 0x20],                               // a size behind a field
        &[0x00, 0x81, 0x00, 0x00],                   // padding of zeros
        &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00], // the end of a string in the string
    ];
    for block in table {
        assert_eq!(decode(&mut Decoder::new(), block), Err(MalformedBlock), "{block:x?}");
    }
}

#[test]
fn a_field_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new();
    decode(&mut decoder, &bytes("4001 6101 62")).unwrap();
    assert_eq!(decoder.table_len(), 1);
    let mut large = vec![0x40, 0x01, b'a', 0x7f, 0x80 | 0x01, 0x20];
    large.extend([b'x'; 127 + 1 + 0x20 * 128]);
    assert_eq!(decode(&mut decoder, &large).unwrap().len(), 1);
    assert_eq!((decoder.table_len(), decoder.size()), (0, 0));
}

fn encode(encoder: &mut Encoder, status: u16, list: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    encoder.status(status, &mut out);
    for (name, value) in list {
        encoder.field(name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

#[test]
fn repeated_fields_cost_a_byte() {
    let mut encoder = Encoder::new();
    let list = [("content-type", "text/html; charset=utf-8"), ("server", "hcrs"), ("x-a", "1")];
    let first = encode(&mut encoder, 200, &list);
    let second = encode(&mut encoder, 200, &list);
    let third = encode(&mut encoder, 200, &list);
    assert!(first.len() > second.len() && second.len() > third.len());
    assert_eq!(third.len(), 4, "{third:x?}");
    let mut decoder = Decoder::new();
    for block in [first, second, third] {
        let expected = [&[(":status", "200")], &list[..]].concat();
        assert_eq!(decode(&mut decoder, &block).unwrap(), fields(&expected));
    }
}

#[test]
fn secrets_are_never_indexed_and_lengths_not() {
    let mut encoder = Encoder::new();
    for _ in 0..3 {
        let block = encode(&mut encoder, 200, &[("set-cookie", "a=1")]);
        assert_eq!(block, [&[0x88, 0x1f, 55 - 15][..], b"\x03a=1"].concat());
        let block = encode(&mut encoder, 200, &[("content-length", "25")]);
        assert_eq!(block, [&[0x88, 0x0f, 28 - 15][..], b"\x0225"].concat());
    }
}

#[test]
fn the_peer_decides_how_large_the_table_may_be() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new();
    let list = [("server", "hcrs"), ("content-type", "text/plain")];
    let expected = fields(&[&[(":status", "200")], &list[..]].concat());
    for sizes in [&[][..], &[0], &[4096], &[100], &[0, 4096], &[1 << 20], &[0]] {
        for &size in sizes {
            encoder.resize(size);
        }
        for _ in 0..3 {
            let block = encode(&mut encoder, 200, &list);
            assert_eq!(decode(&mut decoder, &block).unwrap(), expected, "{sizes:?}");
        }
        let limit = sizes.last().map_or(4096, |&size| size.min(4096));
        assert!(decoder.size() <= limit && decoder.max_size() == limit, "{sizes:?}");
    }
}

/// Names and values as responses have them, few enough to be repeated.
fn list() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        Just(String::from("server")),
        Just(String::from("date")),
        Just(String::from("set-cookie")),
        Just(String::from("content-length")),
        "x-[a-d]{1,2}",
    ];
    let value = prop_oneof!["[a-b]{0,2}", "[ -~]{0,40}", "[x]{200,600}"];
    proptest::collection::vec((name, value), 0..8)
}

proptest! {
    #[test]
    fn blocks_are_decoded_as_they_were_encoded(
        lists in proptest::collection::vec((list(), proptest::option::of(0usize..5000)), 1..40),
    ) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for (list, resize) in lists {
            if let Some(size) = resize {
                encoder.resize(size);
            }
            let list: Vec<(&str, &str)> = list.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let block = encode(&mut encoder, 404, &list);
            let expected = fields(&[&[(":status", "404")], &list[..]].concat());
            prop_assert_eq!(decode(&mut decoder, &block).unwrap(), expected);
            prop_assert!(decoder.size() <= decoder.max_size());
        }
    }

    #[test]
    fn no_block_makes_the_decoder_panic_or_hold_more_than_its_table(
        blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20),
    ) {
        let mut decoder = Decoder::new();
        for block in blocks {
            let _malformed = decode(&mut decoder, &block);
            prop_assert!(decoder.size() <= TABLE_SIZE);
            prop_assert_eq!(decoder.size(), decoder.counted_size());
        }
    }
}

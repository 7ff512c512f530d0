//! The opening handshake (RFC 6455 §4.2, RFC 8441 §5).

use hcrs_ws::{Compression, Handshake, Opening, Refusal, SubprotocolNotOffered, asks_for_websocket};

type Field = (&'static str, &'static str);

const GOOD: &[Field] = &[
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

fn bytes(fields: &[Field]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

fn read(fields: &[Field]) -> Result<Handshake, Refusal> {
    Handshake::read(Opening::Upgrade, bytes(fields))
}

fn with(more: &[Field]) -> Vec<Field> {
    [GOOD, more].concat()
}

/// Returns the valid request with the value of one field changed.
fn changed(name: &str, value: &'static str) -> Vec<Field> {
    GOOD.iter().map(|field| if field.0 == name { (field.0, value) } else { *field }).collect()
}

fn without(name: &str) -> Vec<Field> {
    GOOD.iter().filter(|field| field.0 != name).copied().collect()
}

#[test]
fn an_upgrade_is_asked_for_by_method_and_two_fields() {
    assert!(asks_for_websocket(b"GET", bytes(GOOD)));
    for fields in [
        changed("Upgrade", "WebSocket"),
        changed("Upgrade", "h2c, websocket"),
        changed("Connection", "keep-alive, upgrade"),
        changed("Connection", "UPGRADE"),
        [changed("Connection", "keep-alive"), vec![("connection", "upgrade")]].concat(),
    ] {
        assert!(asks_for_websocket(b"GET", bytes(&fields)), "{fields:?}");
    }
    for fields in [
        without("Upgrade"),
        without("Connection"),
        changed("Upgrade", "h2c"),
        changed("Upgrade", "websocket2"),
        changed("Connection", "keep-alive"),
        vec![],
    ] {
        assert!(!asks_for_websocket(b"GET", bytes(&fields)), "{fields:?}");
    }
    for method in [&b"POST"[..], b"get", b"CONNECT", b""] {
        assert!(!asks_for_websocket(method, bytes(GOOD)));
    }
}

#[test]
fn the_example_of_rfc_6455_section_1_3_is_accepted() {
    let accepted = read(GOOD).unwrap().accept(None, None).unwrap();
    assert_eq!(accepted.status, 101);
    assert_eq!(
        accepted.fields,
        [
            ("upgrade", "websocket".to_owned()),
            ("connection", "upgrade".to_owned()),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()),
        ]
    );
    assert_eq!(accepted.deflate, None);
}

#[test]
fn an_extended_connect_needs_no_key() {
    let fields = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")];
    let handshake = Handshake::read(Opening::ExtendedConnect, bytes(&fields)).unwrap();
    let accepted = handshake.accept(Some("chat"), None).unwrap();
    assert_eq!(accepted.status, 200);
    assert_eq!(accepted.fields, [("sec-websocket-protocol", "chat".to_owned())]);
    // A key is ignored.
    let fields = [("sec-websocket-version", "13"), ("sec-websocket-key", "?")];
    assert!(Handshake::read(Opening::ExtendedConnect, bytes(&fields)).is_ok());
    assert_eq!(Handshake::read(Opening::ExtendedConnect, bytes(&[])), Err(Refusal::WrongVersion));
}

#[test]
fn another_version_is_told_which_one_to_use() {
    for fields in [
        changed("Sec-WebSocket-Version", "8"),
        changed("Sec-WebSocket-Version", "13, 8"),
        without("Sec-WebSocket-Version"),
    ] {
        assert_eq!(read(&fields), Err(Refusal::WrongVersion), "{fields:?}");
    }
    assert_eq!(Refusal::WrongVersion.status(), 426);
    assert!(Refusal::WrongVersion.fields(Opening::Upgrade).contains(&("sec-websocket-version", "13")));
    assert_eq!(Refusal::WrongVersion.fields(Opening::ExtendedConnect), [("sec-websocket-version", "13")]);
}

#[test]
fn malformed_fields_are_refused() {
    for fields in [
        without("Sec-WebSocket-Key"),
        changed("Sec-WebSocket-Key", "c2hvcnQ="),
        with(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]),
        with(&[("sec-websocket-version", "13")]),
        with(&[("sec-websocket-protocol", "a b")]),
        with(&[("sec-websocket-protocol", "\"a\"")]),
        with(&[("sec-websocket-extensions", "permessage-deflate;")]),
    ] {
        let refusal = read(&fields).expect_err("malformed");
        assert_eq!((refusal.status(), refusal.fields(Opening::Upgrade)), (400, &[][..]), "{fields:?}");
    }
}

#[test]
fn blanks_around_values_do_not_matter() {
    assert!(read(&changed("Sec-WebSocket-Version", " 13 ")).is_ok());
    assert!(read(&changed("Sec-WebSocket-Key", "\tdGhlIHNhbXBsZSBub25jZQ== ")).is_ok());
}

#[test]
fn the_app_chooses_among_the_subprotocols_that_were_offered() {
    let fields = with(&[
        ("Sec-WebSocket-Protocol", "graphql-ws, chat ,, superchat"),
        ("sec-websocket-protocol", "chat,v2.example.com"),
    ]);
    let handshake = read(&fields).unwrap();
    assert_eq!(handshake.subprotocols(), ["graphql-ws", "chat", "superchat", "v2.example.com"]);
    let accepted = handshake.accept(Some("superchat"), None).unwrap();
    assert!(accepted.fields.contains(&("sec-websocket-protocol", "superchat".to_owned())));
    for not_offered in ["Chat", "", "chat, superchat", "x\r\nset-cookie: a=b"] {
        assert_eq!(handshake.accept(Some(not_offered), None), Err(SubprotocolNotOffered));
    }
    let none = read(GOOD).unwrap();
    assert!(none.subprotocols().is_empty());
    assert_eq!(none.accept(Some("chat"), Some(&Compression::default())), Err(SubprotocolNotOffered));
}

#[test]
fn lists_without_end_are_bounded() {
    let many: String = (0..1000).flat_map(|n| [n.to_string(), ",".to_owned()]).collect();
    let field = (&b"sec-websocket-protocol"[..], many.as_bytes());
    assert!(matches!(
        Handshake::read(Opening::Upgrade, bytes(GOOD).chain([field])),
        Err(Refusal::Malformed("too many subprotocols"))
    ));
    let many = "permessage-deflate; server_max_window_bits=8, ".repeat(1000) + "permessage-deflate";
    let field = (&b"sec-websocket-extensions"[..], many.as_bytes());
    let handshake = Handshake::read(Opening::Upgrade, bytes(GOOD).chain([field])).unwrap();
    assert_eq!(handshake.accept(None, Some(&Compression::default())).unwrap().deflate, None);
}

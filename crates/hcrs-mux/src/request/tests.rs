//! Heads of requests that are accepted, and those that are refused.

use super::*;

/// The limits of these tests.
const MAX_FIELDS: usize = 8;
const MAX_LIST: usize = 128 << 10;

fn checks() -> Checks {
    Checks {
        version: Version::Http2,
        scheme: Scheme::Https,
        endpoints: Rc::new(Endpoints::default()),
        max_fields: MAX_FIELDS,
        max_list_size: MAX_LIST,
        extended_connect: true,
    }
}

type Fields<'a> = Vec<(&'a str, &'a [u8])>;

fn decode(fields: &[(&str, &[u8])], is_last: bool) -> Decoded {
    let checks = checks();
    let mut reader = RequestReader::new(&checks);
    for (name, value) in fields {
        reader.field(&Field::new(name.as_bytes(), value));
    }
    reader.finish(is_last)
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Fields(Vec<(String, String)>),
    Refused(Fault),
    Malformed,
    Broken,
    Excessive,
}

fn read(fields: &[(&str, &[u8])]) -> Outcome {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match decode(fields, true) {
        Decoded::Request(request) => {
            Outcome::Fields(request.head.view().fields().map(|(n, v)| (text(n), text(v))).collect())
        }
        Decoded::Refused(_, fault) => Outcome::Refused(fault),
        Decoded::Malformed => Outcome::Malformed,
        Decoded::Broken => Outcome::Broken,
        Decoded::Excessive => Outcome::Excessive,
    }
}

/// Returns a request with the pseudo-header fields of a GET, of which those in `changes` are replaced, or
/// left out if their value is empty, and behind them the other fields of `changes`.
fn get<'a>(changes: &[(&'a str, &'a str)]) -> Fields<'a> {
    let line = [(":method", "GET"), (":scheme", "https"), (":authority", "example.com"), (":path", "/a?b=c")];
    let change = |name: &str| changes.iter().find(|(changed, _)| *changed == name && name.starts_with(':'));
    let line = line.into_iter().map(|(name, value)| change(name).copied().unwrap_or((name, value)));
    let others = changes
        .iter()
        .copied()
        .filter(|(name, _)| !matches!(*name, ":method" | ":scheme" | ":authority" | ":path"));
    line.filter(|(_, value)| !value.is_empty())
        .chain(others)
        .map(|(name, value)| (name, value.as_bytes()))
        .collect()
}

fn pairs(fields: &[(&str, &str)]) -> Outcome {
    Outcome::Fields(fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
}

fn bad(text: &'static str) -> Outcome {
    Outcome::Refused(Fault::BadRequest(text))
}

#[test]
fn host_comes_first_and_is_the_authority() {
    let expected = pairs(&[("host", "example.com"), ("x-a", "1")]);
    assert_eq!(read(&get(&[("x-a", "1"), ("host", "EXAMPLE.com")])), expected);
    assert_eq!(read(&get(&[("x-a", "1")])), expected);
    assert_eq!(read(&get(&[(":authority", ""), ("x-a", "1"), ("host", "example.com")])), expected);
    assert_eq!(read(&get(&[(":authority", ""), ("host", "example.com"), ("x-a", "1")])), expected);
    assert_eq!(read(&get(&[(":authority", ""), ("host", "a")])), pairs(&[("host", "a")]));
}

#[test]
fn the_line_is_that_of_the_pseudo_fields() {
    let Decoded::Request(request) = decode(&get(&[(":method", "HEAD"), ("content-length", "0")]), true)
    else {
        panic!("a good request");
    };
    let view = request.head.view();
    assert_eq!((view.method, view.path, view.query), (&b"HEAD"[..], &b"/a"[..], &b"b=c"[..]));
    assert_eq!((request.is_head, request.length), (true, Some(0)));
}

#[test]
fn methods_and_heads_that_no_worker_could_be_given_are_refused() {
    let long = "M".repeat(METHOD_MAX + 1);
    assert_eq!(read(&get(&[(":method", &long[1..])])), pairs(&[("host", "example.com")]));
    assert_eq!(read(&get(&[(":method", &long)])), bad("method too long"));
    let Decoded::Refused(head, _) = decode(&get(&[(":method", &long)]), true) else { panic!("refused") };
    assert_eq!(head.view().method.len(), METHOD_MAX, "what a log shows of it");
    let large = "v".repeat(MAX_LIST);
    assert_eq!(read(&get(&[("x-a", &large)])), Outcome::Refused(Fault::HeadTooLarge));
    let far = "v".repeat(4 * MAX_LIST);
    assert_eq!(read(&get(&[("x-a", &far)])), Outcome::Excessive);
    let many = get(&[("x-a", "1"); MAX_FIELDS + 1]);
    assert_eq!(read(&many), Outcome::Refused(Fault::HeadTooLarge));
    let crumbs = get(&[("cookie", "1"); MAX_FIELDS + 1]);
    assert_eq!(read(&crumbs), Outcome::Refused(Fault::HeadTooLarge));
    assert!(matches!(read(&get(&[("x-a", "1"); MAX_FIELDS])), Outcome::Fields(_)));
}

#[test]
fn cookie_crumbs_become_one_field() {
    let crumbs = get(&[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "")]);
    let expected = pairs(&[("host", "example.com"), ("x-a", "1"), ("cookie", "a=1; b=2; ")]);
    assert_eq!(read(&crumbs), expected);
    assert_eq!(read(&get(&[("cookie", "a")])), pairs(&[("host", "example.com"), ("cookie", "a")]));
}

#[test]
fn names_with_an_underscore_never_reach_the_app() {
    assert_eq!(read(&get(&[("content_length", "5")])), pairs(&[("host", "example.com")]));
}

#[test]
fn requests_that_are_not_served_are_answered() {
    let table: [(&[(&str, &str)], &'static str); 14] = [
        (&[("host", "other.com")], "host differs from :authority"),
        (&[("host", "example.com"), ("host", "example.com")], "more than one host"),
        (&[(":authority", "")], "no host"),
        (&[(":authority", "user@example.com")], "malformed host"),
        (&[(":path", "*")], "path does not begin with a slash"),
        (&[(":path", "?x")], "path does not begin with a slash"),
        (&[(":path", "/\u{e9}")], "path with bytes beyond ASCII"),
        (&[(":path", "/?\u{e9}")], "path with bytes beyond ASCII"),
        (&[(":path", "/a#b")], "path with a fragment"),
        (&[("x-a", " 1")], "field value begins or ends with white space"),
        (&[("x-a", "1\t")], "field value begins or ends with white space"),
        (&[("content-length", "0"), ("content-length", "0")], "more than one content-length"),
        (&[("content-length", "00")], "malformed content-length"),
        (&[("content-length", "+0")], "malformed content-length"),
    ];
    for (changes, why) in table {
        assert_eq!(read(&get(changes)), bad(why), "{changes:?}");
    }
    assert_eq!(
        read(&[(":method", b"CONNECT"), (":authority", b"a:443")]),
        Outcome::Refused(Fault::MethodNotAllowed)
    );
}

#[test]
fn malformed_requests_are_no_requests() {
    let malformed: [Fields<'_>; 23] = [
        vec![],
        get(&[(":method", "")]),
        get(&[(":scheme", "")]),
        get(&[(":path", "")]),
        get(&[(":path", "x")]),
        get(&[(":path", "/<")]),
        get(&[(":scheme", "1s")]),
        get(&[(":method", "GE T")]),
        get(&[(":status", "200")]),
        get(&[(":protocol", "websocket")]),
        get(&[("x-a", "1"), (":protocol", "websocket")]),
        get(&[("connection", "close")]),
        get(&[("te", "gzip")]),
        get(&[("te", "trailers, gzip")]),
        get(&[("transfer-encoding", "chunked")]),
        get(&[("upgrade", "h2c")]),
        get(&[("content-length", "1")]),
        [get(&[]), vec![(":path", &b"/again"[..])]].concat(),
        [get(&[("x-a", "1")]), vec![(":authority", &b"a"[..])]].concat(),
        vec![(":method", b"GET"), (":scheme", b"https"), (":path", b"/\0"), (":authority", b"a")],
        vec![(":method", b"CONNECT"), (":scheme", b"https"), (":authority", b"a:443")],
        vec![(":method", b"CONNECT"), (":path", b"/"), (":authority", b"a:443")],
        vec![(":method", b"CONNECT"), (":protocol", b"websocket"), (":authority", b"a:443")],
    ];
    for fields in malformed {
        assert_eq!(read(&fields), Outcome::Malformed, "{fields:?}");
    }
    assert!(matches!(read(&get(&[("te", "trailers")])), Outcome::Fields(_)));
    assert!(matches!(decode(&get(&[("content-length", "1")]), false), Decoded::Request(_)));
}

#[test]
fn bytes_that_no_field_has_break_the_connection() {
    for field in [("X-A", "1"), ("x a", "1"), ("", "1"), (":odd", "1"), ("x-a", "1\r\nx-b: 2"), ("x-a", "\0")]
    {
        assert_eq!(read(&get(&[field])), Outcome::Broken, "{field:?}");
    }
}

#[test]
fn what_the_app_is_told_as_host_is_a_host_and_perhaps_a_port() {
    for good in ["a", "a_b.example:8443", "[::1]:80", "127.0.0.1", "a:"] {
        assert_eq!(read(&get(&[(":authority", ""), ("host", good)])), pairs(&[("host", good)]));
        assert_eq!(read(&get(&[(":authority", good)])), pairs(&[("host", good)]));
    }
    for name in ["a b", "\"><script>", "a\\b?c#d", "\u{e9}", "a:abc", "a:99999", "u@a", "a,b"] {
        assert_eq!(read(&get(&[(":authority", ""), ("host", name)])), bad("malformed host"), "{name}");
        assert_eq!(read(&get(&[(":authority", name)])), bad("malformed host"), "{name}");
    }
}

#[test]
fn options_may_ask_about_the_whole_server() {
    assert_eq!(read(&get(&[(":method", "OPTIONS"), (":path", "*")])), pairs(&[("host", "example.com")]));
}

#[test]
fn a_connect_is_served_where_it_asks_for_a_websocket() {
    let connect = |protocol: &'static str| {
        let fields = get(&[
            (":method", "CONNECT"),
            (":path", "/chat?a=b"),
            (":protocol", protocol),
            ("sec-websocket-key", "of the client"),
        ]);
        decode(&fields, false)
    };
    let served = || match connect("websocket") {
        Decoded::Request(request) => request.head,
        other => panic!("{other:?}"),
    };
    let head = served();
    assert!(head.is_websocket());
    let view = head.view();
    assert_eq!((view.method, view.path, view.query), (&b"GET"[..], &b"/chat"[..], &b"a=b"[..]));
    let fields: Vec<_> = view.fields().collect();
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [&b"host"[..], b"upgrade", b"connection", b"sec-websocket-key"]);
    assert_eq!((fields[1].1, fields[2].1), (&b"websocket"[..], &b"upgrade"[..]));
    let key = |head: &RequestHead| head.view().fields().first(b"sec-websocket-key").unwrap().to_vec();
    let keys = [key(&head), key(&served()), key(&served())];
    for (at, key) in keys.iter().enumerate() {
        assert_eq!((key.len(), &key[22..]), (24, &b"=="[..]));
        assert!(!keys[..at].contains(key));
    }
    assert!(matches!(connect("other"), Decoded::Refused(_, Fault::MethodNotAllowed)));
}

#[test]
fn trailers_are_fields_of_a_message_and_few() {
    let read = |fields: &[(&str, &str)]| {
        let checks = checks();
        let mut reader = TrailersReader::new(&checks);
        for (name, value) in fields {
            reader.field(&Field::new(name.as_bytes(), value.as_bytes()));
        }
        reader.finish()
    };
    let passed = |fields: &[(&str, &str)]| {
        let trailers = read(fields).unwrap();
        let pairs = trailers.fields().map(|(name, value)| (name.to_vec(), value.to_vec()));
        pairs.collect::<Vec<_>>()
    };
    let checksum = (b"checksum".to_vec(), b"1".to_vec());
    assert_eq!(passed(&[("checksum", "1"), ("grpc-status", "0")]).len(), 2);
    let forbidden = ["content-length", "host", "authorization", "trailer", "x_y"];
    for name in forbidden {
        assert_eq!(passed(&[(name, "1"), ("checksum", " 1")]), std::slice::from_ref(&checksum), "{name}");
    }
    for bad in [(":path", "/"), ("connection", "close")] {
        assert!(matches!(read(&[bad]), Err(Decoded::Malformed)), "{bad:?}");
    }
    assert!(matches!(read(&[("X-A", "1")]), Err(Decoded::Broken)));
    assert!(matches!(read(&[("x-a", "1"); MAX_FIELDS + 1]), Err(Decoded::Malformed)));
    let (long, checks) = ("x".repeat(70_000), Checks { max_list_size: 1 << 20, ..checks() });
    let mut reader = TrailersReader::new(&checks);
    reader.field(&Field::new(long.as_bytes(), b""));
    assert!(matches!(reader.finish(), Err(Decoded::Malformed)), "its length would not fit");
}

#[test]
fn a_request_has_the_priority_of_its_field() {
    let priority = |fields: &[(&str, &str)]| match decode(&get(fields), true) {
        Decoded::Request(request) => request.priority,
        other => panic!("{other:?}"),
    };
    assert_eq!(priority(&[]), None);
    assert_eq!(priority(&[("priority", "u=1, i")]), Some(Priority::parse(b"u=1, i")));
    assert_eq!(priority(&[("priority", "u=1"), ("priority", "i")]), Some(Priority::parse(b"u=1, i")));
    assert_eq!(priority(&[("priority", "u=1,")]), Some(Priority::default()), "malformed");
}

//! Request heads, written and read back.

use super::*;
use proptest::prelude::*;

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..max)
}

#[test]
fn trailers_are_accepted_by_clients_that_announce_it() {
    let line = RequestLine {
        version: Version::Http11,
        scheme: Scheme::Http,
        method: b"GET",
        path: b"/",
        query: b"",
    };
    let accepts = |values: &[&[u8]]| {
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::new(None, None));
        for value in values {
            head.push_field(b"te", value);
        }
        head.view().accepts_trailers()
    };
    assert!(
        accepts(&[b"trailers"]) && accepts(&[b"gzip;q=0.5, Trailers"]) && accepts(&[b"gzip", b"trailers"])
    );
    assert!(!accepts(&[]) && !accepts(&[b"gzip"]) && !accepts(&[b"trailers;q=1"]));
}

#[test]
fn what_a_head_cannot_carry_is_left_out_and_makes_it_incomplete() {
    let line = |method, path| RequestLine {
        version: Version::Http2,
        scheme: Scheme::Http,
        method,
        path,
        query: b"q",
    };
    let endpoints = Endpoints::new(Some(Address { host: "::1", port: 1 }), None);
    let long = vec![b'a'; REQUEST_HEAD_MAX];
    for (method, path) in [(&long[..=METHOD_MAX], &b"/"[..]), (b"GET", &long)] {
        let mut head = RequestHead::new(Vec::new(), line(method, path), &endpoints);
        head.push_field(b"a", b"b");
        assert_eq!(head.view().fields().count(), 1);
        assert_eq!(head.whole().unwrap_err(), Fault::HeadTooLarge);
    }
    for (name, value) in [(&long[..=FIELD_NAME_MAX], &b""[..]), (b"a", &long)] {
        let mut head = RequestHead::new(Vec::new(), line(b"GET", b"/"), &endpoints);
        head.push_field(name, value);
        assert_eq!(head.view().fields().count(), 0);
        let changed = head.changed(Scheme::Https, &endpoints, RequestHead::push_field);
        assert_eq!(changed.whole().unwrap_err(), Fault::HeadTooLarge);
        assert_eq!(head.whole().unwrap_err(), Fault::HeadTooLarge);
    }
    let mut head = RequestHead::new(Vec::new(), line(b"GET", b"/"), &endpoints);
    for _ in 0..=u16::MAX {
        head.push_field(b"", b"");
    }
    assert_eq!(head.view().field_count, usize::from(u16::MAX));
    assert_eq!(head.whole().unwrap_err(), Fault::HeadTooLarge);
}

#[test]
fn the_largest_head_is_whole() {
    let path = vec![b'/'; REQUEST_HEAD_MAX - BESIDE_THE_TARGET];
    let line = RequestLine {
        version: Version::Http11,
        scheme: Scheme::Http,
        method: &[b'M'; METHOD_MAX],
        path: &path,
        query: b"",
    };
    let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
    let room = REQUEST_HEAD_MAX - head.as_bytes().len() - fields::PREFIX - 1;
    head.push_field(b"a", &vec![b'b'; room]);
    assert_eq!(head.view().path, path);
    assert_eq!(head.whole().unwrap().as_bytes().len(), REQUEST_HEAD_MAX);
}

#[test]
fn a_promised_request_has_the_connection_of_its_parent() {
    let endpoints = Endpoints::new(Some(Address { host: "::1", port: 1 }), None)
        .with_prefix(b"/app")
        .with_tls(NonZeroU8::new(7).unwrap());
    let line = RequestLine {
        version: Version::Http2,
        scheme: Scheme::Https,
        method: b"POST",
        path: b"/page",
        query: b"x",
    };
    let mut head = RequestHead::new(Vec::new(), line, &endpoints);
    head.push_field(b"host", b"a.test");
    head.push_field(b"cookie", b"c");
    head.set_has_body();
    head.set_takes_pushes();
    assert!(head.view().takes_pushes);
    let promised = head.promised(b"/style.css?v=1?2", [(&b"Accept"[..], &b"text/css"[..])].into_iter());
    let view = promised.view();
    assert_eq!((view.method, view.path, view.query), (&b"GET"[..], &b"/style.css"[..], &b"v=1?2"[..]));
    assert_eq!((view.version, view.scheme, view.tls), (Version::Http2, Scheme::Https, head.view().tls));
    assert_eq!((view.client(), view.server()), (head.view().client(), head.view().server()));
    assert_eq!((view.prefix, view.has_body, view.takes_pushes), (&b"/app"[..], false, false));
    let fields: Vec<_> = view.fields().collect();
    assert_eq!(fields, [(&b"host"[..], &b"a.test"[..]), (b"accept", b"text/css")]);
}

proptest! {
    #[test]
    fn a_head_is_read_back_as_it_was_written(
        method in bytes(12), path in bytes(80), query in bytes(40),
        fields in proptest::collection::vec((bytes(20), bytes(60)), 0..12),
        body: bool, websocket: bool, files: bool,
        tls: u8,
    ) {
        let endpoints = Endpoints::new(Some(Address { host: "::1", port: 54106 }), None);
        let tls = NonZeroU8::new(tls);
        let endpoints = tls.map_or(endpoints.clone(), |number| endpoints.with_tls(number));
        let line = RequestLine {
            version: Version::Http2, scheme: Scheme::Https, method: &method, path: &path, query: &query,
        };
        let mut head = RequestHead::new(vec![7; 9], line, &endpoints);
        for (name, value) in &fields {
            head.push_field(name, value);
        }
        if body {
            head.set_has_body();
        }
        if websocket {
            head.set_websocket();
        }
        if files {
            head.set_offers_files();
        }
        let view = head.view();
        prop_assert_eq!((view.method, view.path, view.query), (&method[..], &path[..], &query[..]));
        prop_assert_eq!((view.has_body, view.websocket, view.tls), (body, websocket, tls));
        prop_assert_eq!(view.offers_files, files);
        prop_assert_eq!(view.client(), Some(Address { host: "::1", port: 54106 }));
        prop_assert_eq!(view.server(), None);
        let read: Vec<_> = view.fields().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        prop_assert_eq!(read, fields);
    }

    #[test]
    fn no_block_of_bytes_makes_the_reader_panic(block in bytes(200)) {
        if let Ok(view) = RequestView::parse(&block) {
            prop_assert_eq!(view.fields().count(), view.field_count);
        }
    }
}

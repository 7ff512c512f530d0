//! Heads that are accepted, and those that are refused.

use hcrs_http::{Endpoints, Fault, ResponseHead, ResponseHeadWriter, Scheme};
use http::Request;

use super::*;

fn read(builder: request::Builder) -> Result<Vec<(String, String)>, Fault> {
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    let head = request(&parts, Scheme::Https, &Endpoints::default(), 8, Vec::new())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(head.view().fields().map(|(n, v)| (text(n), text(v))).collect())
}

fn get() -> request::Builder {
    Request::get("https://example.com/a?b=c")
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn host_comes_first_and_is_the_authority() {
    let read = read(get().header("x-a", "1").header("host", "EXAMPLE.com")).unwrap();
    assert_eq!(read, pairs(&[("host", "example.com"), ("x-a", "1")]));
}

#[test]
fn methods_and_heads_that_no_worker_could_be_given_are_refused() {
    let long = "M".repeat(METHOD_MAX + 1);
    assert_eq!(read(get().method(&long[1..])), Ok(pairs(&[("host", "example.com")])));
    for method in [long, "M".repeat(70_000)] {
        assert_eq!(read(get().method(method.as_str())), Err(Fault::BadRequest("method too long")));
    }
    let large = HeaderValue::from_bytes(&vec![b'v'; hcrs_http::REQUEST_HEAD_MAX]).unwrap();
    assert_eq!(read(get().header("x-a", &large)), Err(Fault::HeadTooLarge));
    let (parts, ()) =
        get().method("M".repeat(70_000).as_str()).header("x-a", &large).body(()).unwrap().into_parts();
    assert_eq!(refused(&parts, Scheme::Http, &Endpoints::default(), 8).view().field_count, 0);
}

#[test]
fn a_method_that_is_not_served_gets_an_allow_that_names_none() {
    let of = |reason| fault(reason, None, &ServerFields::default()).headers().get(header::ALLOW).cloned();
    assert_eq!(of(Fault::MethodNotAllowed).as_ref().map(HeaderValue::as_bytes), Some(&b""[..]));
    assert_eq!(of(Fault::HeadTooLarge), None);
}

#[test]
fn cookie_crumbs_become_one_field() {
    let read = read(get().header("cookie", "a=1").header("x-a", "1").header("cookie", "b=2")).unwrap();
    assert_eq!(read, pairs(&[("host", "example.com"), ("x-a", "1"), ("cookie", "a=1; b=2")]));
}

#[test]
fn names_with_an_underscore_never_reach_the_app() {
    assert_eq!(read(get().header("content_length", "5")).unwrap(), pairs(&[("host", "example.com")]));
}

#[test]
fn refuses_what_h2_lets_through() {
    let many = (0..9).fold(get(), |request, n| request.header("x-a", n));
    let table = [
        (get().header("host", "other.com"), "host differs from :authority"),
        (get().header("host", "example.com").header("host", "example.com"), "more than one host"),
        (Request::get("/a"), "no host"),
        (Request::get("https://user@example.com/a"), "malformed host"),
        (Request::get("*").header("host", "a"), "path does not begin with a slash"),
        (Request::get("https://example.com/\u{e9}"), "path with bytes beyond ASCII"),
        (Request::get("https://example.com/?\u{e9}"), "path with bytes beyond ASCII"),
        (get().header("x-a", " 1"), "field value begins or ends with white space"),
        (get().header("x-a", "1\t"), "field value begins or ends with white space"),
        (get().header("content-length", "1").header("content-length", "1"), "more than one content-length"),
        (get().header("content-length", "005"), "malformed content-length"),
    ];
    for (request, why) in table {
        assert_eq!(read(request).unwrap_err(), Fault::BadRequest(why));
    }
    assert_eq!(read(Request::connect("example.com:443")).unwrap_err(), Fault::MethodNotAllowed);
    assert_eq!(read(many).unwrap_err(), Fault::HeadTooLarge);
}

#[test]
fn what_the_app_is_told_as_host_is_a_host_and_perhaps_a_port() {
    for good in ["a", "a_b.example:8443", "[::1]:80", "127.0.0.1", "a:"] {
        let read = read(Request::get("/a").header("host", good)).unwrap();
        assert_eq!(read, pairs(&[("host", good)]));
    }
    let bad: [&[u8]; 9] =
        [b"a b", b"\"><script>", b"a\\b?c#d", b"\xff\xfe", b"a:abc", b"a:99999", b"", b"u@a", b"a,b"];
    for bad in bad {
        let refused = read(Request::get("/a").header("host", bad)).unwrap_err();
        assert_eq!(refused, Fault::BadRequest("malformed host"), "{}", bad.escape_ascii());
    }
    for bad in ["https://a:abc/", "https://a:99999/", "https://u@a/"] {
        let refused = http::Uri::try_from(bad).map(|uri| read(Request::get(uri)).unwrap_err());
        assert!(matches!(refused, Err(_) | Ok(Fault::BadRequest("malformed host"))), "{bad}: {refused:?}");
    }
}

#[test]
fn methods_are_as_long_as_over_http_1() {
    let read = |len: usize| read(Request::builder().method("M".repeat(len).as_str()).uri("https://a/"));
    assert!(read(64).is_ok());
    assert_eq!(read(65).unwrap_err(), Fault::BadRequest("method too long"));
    let (parts, ()) = Request::builder().method("M".repeat(70_000).as_str()).body(()).unwrap().into_parts();
    let head = refused(&parts, Scheme::Https, &Endpoints::default(), 8);
    assert_eq!(head.view().method.len(), METHOD_MAX, "what a log shows of it");
}

#[test]
fn options_may_ask_about_the_whole_server() {
    assert!(read(Request::options("*").header("host", "example.com")).is_ok());
}

fn send(status: u16, fields: &[(&[u8], &[u8])]) -> Result<(Response<()>, Option<u64>), Fault> {
    let mut out = Vec::new();
    let mut writer = ResponseHeadWriter::begin(&mut out, status);
    for (name, value) in fields {
        writer.field(&mut out, name, value);
    }
    writer.finish(&mut out);
    let alt_svc = Some(["h2=\":1\"", "h3=\":2\""].map(HeaderValue::from_static).into());
    let server_fields = ServerFields { date: None, server: Some(HeaderValue::from_static("hcrs")), alt_svc };
    response(&ResponseHead::parse(out.into()).unwrap(), &server_fields)
        .map(|head| (head.response, head.length))
}

#[test]
fn a_response_keeps_its_order_and_repeats() {
    let (response, length) = send(200, &[(b"X-A", b"1"), (b"content-length", b"5"), (b"x-a", b"2")]).unwrap();
    let values: Vec<_> = response.headers().get_all("x-a").iter().collect();
    assert_eq!(values, ["1", "2"]);
    assert_eq!(length, Some(5));
    assert_eq!(response.headers()["server"], "hcrs");
}

#[test]
fn blanks_around_an_apps_length_are_no_part_of_it() {
    let (response, length) = send(200, &[(b"content-length", b" 5\t")]).unwrap();
    assert_eq!((&response.headers()["content-length"], length), (&HeaderValue::from_static("5"), Some(5)));
}

#[test]
fn alternative_services_are_added_to_those_that_the_app_names() {
    let (response, _) = send(200, &[(b"alt-svc", b"clear")]).unwrap();
    let values: Vec<_> = response.headers().get_all("alt-svc").iter().collect();
    assert_eq!(values, ["clear", "h2=\":1\"", "h3=\":2\""]);
}

#[test]
fn the_server_adds_no_second_server_field_and_no_connection_fields() {
    let (response, _) = send(200, &[(b"server", b"mine"), (b"connection", b"close")]).unwrap();
    assert_eq!(response.headers().get_all("server").iter().count(), 1);
    assert!(!response.headers().contains_key("connection"));
}

#[test]
fn nonsense_from_an_app_is_its_fault() {
    type Fields = &'static [(&'static [u8], &'static [u8])];
    let table: [(u16, Fields); 8] = [
        (0, &[]),
        (99, &[]),
        (1000, &[]),
        (101, &[]),
        (200, &[(b"a b", b"1")]),
        (200, &[(b"a", b"1\r\nb: 2")]),
        (200, &[(b"content-length", b"+5")]),
        (200, &[(b"content-length", b"5"), (b"content-length", b"6")]),
    ];
    for (status, fields) in table {
        assert_eq!(send(status, fields).unwrap_err(), Fault::AppFailed, "{status} {fields:?}");
    }
}

#[test]
fn a_connect_is_served_where_it_asks_for_a_websocket() {
    let connect = |protocol: Option<&'static str>| {
        let builder = Request::builder().method(Method::CONNECT).uri("https://example.com/chat?a=b");
        let builder = builder.header("sec-websocket-key", "of the client");
        let builder = match protocol {
            Some(protocol) => builder.extension(Protocol::from_static(protocol)),
            None => builder,
        };
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        request(&parts, Scheme::Https, &Endpoints::default(), 8, Vec::new())
    };
    let head = connect(Some("websocket")).unwrap();
    assert!(head.is_websocket());
    assert_eq!(
        (head.view().method, head.view().path, head.view().query),
        (&b"GET"[..], &b"/chat"[..], &b"a=b"[..])
    );
    let fields: Vec<_> = head.view().fields().collect();
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [&b"host"[..], b"upgrade", b"connection", b"sec-websocket-key"]);
    assert_eq!((fields[1].1, fields[2].1), (&b"websocket"[..], &b"upgrade"[..]));
    let keys: Vec<_> = std::iter::repeat_with(|| connect(Some("websocket")).unwrap())
        .map(|head| head.view().fields().first(b"sec-websocket-key").unwrap().to_vec())
        .take(3)
        .chain([fields[3].1.to_vec()])
        .collect();
    for (at, key) in keys.iter().enumerate() {
        assert_eq!((key.len(), &key[22..]), (24, &b"=="[..]));
        assert!(!keys[..at].contains(key));
    }
    assert_eq!(connect(Some("other")).unwrap_err(), Fault::MethodNotAllowed);
    assert_eq!(connect(None).unwrap_err(), Fault::MethodNotAllowed);
}

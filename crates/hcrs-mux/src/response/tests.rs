//! Heads of responses that may be sent, and those that may not.

use hcrs_http::ResponseHeadWriter;

use super::*;

/// An encoder that notes the fields.
#[derive(Default)]
struct Noted(Vec<(String, String)>);

impl FieldEncoder for Noted {
    fn index_of(name: &[u8]) -> usize {
        usize::from(name == b"date")
    }

    fn begin(&mut self, _: &mut Vec<u8>) {
        assert!(self.0.is_empty());
    }

    fn status(&mut self, status: u16, _: &mut Vec<u8>) {
        self.0.push((":status".to_owned(), status.to_string()));
    }

    fn field_with(&mut self, name: &[u8], value: &[u8], _: usize, _: &mut Vec<u8>) {
        assert!(!name.iter().any(u8::is_ascii_uppercase));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(name), text(value)));
    }
}

fn response_of(status: u16, fields: &[(&[u8], &[u8])]) -> ResponseHead {
    let mut out = Vec::new();
    let mut writer = ResponseHeadWriter::begin(&mut out, status);
    for (name, value) in fields {
        writer.field(&mut out, name, value);
    }
    writer.finish(&mut out);
    ResponseHead::parse(out.into()).unwrap()
}

type Sent = (Vec<(String, String)>, Option<u64>);

fn send(status: u16, fields: &[(&[u8], &[u8])]) -> Result<Sent, Fault> {
    let head = response_of(status, fields);
    let alt_svc = Some(["h2=\":1\"", "h3=\":2\""].map(HeaderValue::from_static).into());
    let server_fields = ServerFields { date: None, server: Some(HeaderValue::from_static("hcrs")), alt_svc };
    let checked = check_response::<Noted>(&head)?;
    let mut noted = Noted::default();
    checked.write(&head, &server_fields, &mut noted, &mut Vec::new());
    Ok((noted.0, checked.length))
}

fn values<'a>(sent: &'a Sent, name: &str) -> Vec<&'a str> {
    sent.0.iter().filter(|(there, _)| there == name).map(|(_, value)| &value[..]).collect()
}

#[test]
fn a_response_keeps_its_order_and_repeats() {
    let sent = send(200, &[(b"X-A", b"1"), (b"content-length", b"5"), (b"x-a", b"2")]).unwrap();
    assert_eq!((values(&sent, "x-a"), sent.1), (vec!["1", "2"], Some(5)));
    assert_eq!((values(&sent, ":status"), values(&sent, "server")), (vec!["200"], vec!["hcrs"]));
    assert_eq!(sent.0[0].0, ":status");
}

#[test]
fn blanks_around_an_apps_length_are_no_part_of_it_and_204_has_none() {
    let sent = send(200, &[(b"content-length", b" 5\t"), (b"Content-Length", b"5")]).unwrap();
    assert_eq!((values(&sent, "content-length"), sent.1), (vec!["5"], Some(5)));
    let sent = send(204, &[(b"content-length", b"5")]).unwrap();
    assert_eq!((values(&sent, "content-length"), sent.1), (vec![], Some(5)));
}

#[test]
fn alternative_services_are_added_to_those_that_the_app_names() {
    let sent = send(200, &[(b"alt-svc", b"clear")]).unwrap();
    assert_eq!(values(&sent, "alt-svc"), ["clear", "h2=\":1\"", "h3=\":2\""]);
}

#[test]
fn the_server_adds_no_second_server_field_and_no_connection_fields() {
    let sent = send(200, &[(b"Server", b"mine"), (b"connection", b"close"), (b"TE", b"x")]).unwrap();
    assert_eq!(values(&sent, "server"), ["mine"]);
    assert_eq!((values(&sent, "connection"), values(&sent, "te")), (vec![], vec![]));
}

#[test]
fn nonsense_from_an_app_is_its_fault() {
    type List = &'static [(&'static [u8], &'static [u8])];
    let table: [(u16, List); 9] = [
        (0, &[]),
        (99, &[]),
        (1000, &[]),
        (101, &[]),
        (200, &[(b"a b", b"1")]),
        (200, &[(b":status", b"1")]),
        (200, &[(b"a", b"1\r\nb: 2")]),
        (200, &[(b"content-length", b"+5")]),
        (200, &[(b"content-length", b"5"), (b"content-length", b"6")]),
    ];
    for (status, fields) in table {
        assert_eq!(send(status, fields).unwrap_err(), Fault::AppFailed, "{status} {fields:?}");
    }
    assert_eq!(check_trailers::<Noted>(&response_of(0, &[(b"content-length", b"1")])), Err(Fault::AppFailed));
    assert_eq!(check_interim::<Noted>(&response_of(102, &[])), Err(Fault::AppFailed));
    assert_eq!(check_interim::<Noted>(&response_of(103, &[(b"connection", b"1")])), Err(Fault::AppFailed));
    assert_eq!(check_interim::<Noted>(&response_of(103, &[(b"link", b"</a>")])), Ok(()));
}

#[test]
fn the_answer_to_a_fault_has_its_fields() {
    let of = |reason| {
        let mut noted = Noted::default();
        write_fault(reason, None, &ServerFields::default(), &mut noted, &mut Vec::new());
        noted.0
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [pair(":status", "405"), pair("content-length", "0"), pair("allow", "")];
    assert_eq!(of(Fault::MethodNotAllowed), expected);
    let expected = [pair(":status", "503"), pair("content-length", "0"), pair("retry-after", "1")];
    assert_eq!(of(Fault::QueueFull), expected);
}

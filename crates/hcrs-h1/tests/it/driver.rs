//! Drives a connection as the server does, and makes its events easy to compare.

use std::rc::Rc;

use bytes::{BufMut as _, Bytes, BytesMut};
use hcrs_h1::{Connection, Event, ServerFields, Settings};
use hcrs_http::{Endpoints, Fault, RequestHead, ResponseHead, ResponseHeadWriter, Scheme};

/// The delimitation of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    None,
    Known(u64),
    Chunked,
}

/// An [`Event`] that can be compared; adjacent pieces of a body are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Head(String, BodyLength),
    Data(Vec<u8>),
    Trailers(String),
    End,
    Fault(Fault),
}

pub(crate) fn connection() -> Connection {
    connection_with(Settings::default())
}

pub(crate) fn connection_with(settings: Settings) -> Connection {
    Connection::new(&settings, Scheme::Http, Rc::new(Endpoints::default()), BytesMut::new())
}

/// Appends bytes of the client.
pub(crate) fn feed(connection: &mut Connection, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    connection.input_mut(bytes.len()).put_slice(bytes);
}

/// Returns `METHOD path?query version`, then each field on a line.
pub(crate) fn describe(head: &RequestHead) -> String {
    let view = head.view();
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let mut described = format!("{} {}?{} ", text(view.method), text(view.path), text(view.query));
    described.push_str(view.version.as_str());
    for (name, value) in view.fields() {
        described.extend(["\n", &text(name), ": ", &text(value)]);
    }
    described
}

/// Polls until there is no further event.
pub(crate) fn drain(connection: &mut Connection, seen: &mut Vec<Seen>) {
    loop {
        match connection.poll_event() {
            Ok(None) => return,
            Ok(Some(Event::Request(request))) => {
                let body = match (request.head.view().has_body, connection.body_left()) {
                    (false, _) => BodyLength::None,
                    (true, 0) => BodyLength::Chunked,
                    (true, left) => BodyLength::Known(left),
                };
                assert_eq!(connection.request_ended(), body == BodyLength::None);
                seen.push(Seen::Head(describe(&request.head), body));
            }
            Ok(Some(Event::Data(piece))) => {
                assert!(!piece.is_empty());
                if let Some(Seen::Data(data)) = seen.last_mut() {
                    data.extend_from_slice(&piece);
                } else {
                    seen.push(Seen::Data(piece.to_vec()));
                }
            }
            Ok(Some(Event::Trailers(trailers))) => {
                let fields = trailers.fields().map(|(name, value)| [name, b"=", value].concat());
                let fields: Vec<_> = fields.map(|field| field.escape_ascii().to_string()).collect();
                seen.push(Seen::Trailers(fields.join(" ")));
            }
            Ok(Some(Event::End)) => seen.push(Seen::End),
            Err(fault) => seen.push(Seen::Fault(fault)),
        }
    }
}

/// Returns the events of a connection that reads `pieces` and answers each request once it is complete.
pub(crate) fn see_all<'a>(settings: Settings, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut connection = connection_with(settings);
    let mut seen = Vec::new();
    for piece in pieces {
        feed(&mut connection, piece);
        loop {
            drain(&mut connection, &mut seen);
            if !connection.request_ended() {
                break;
            }
            answer(&mut connection);
            if !connection.can_keep_alive() {
                return seen;
            }
            connection.next_exchange();
        }
    }
    seen
}

/// Returns the events of one read.
pub(crate) fn see(wire: &[u8]) -> Vec<Seen> {
    see_all(Settings::default(), [wire])
}

/// Polls `wire` on a new connection up to the request's end.
pub(crate) fn after(wire: &str) -> Connection {
    let mut connection = connection();
    let mut seen = Vec::new();
    feed(&mut connection, wire);
    drain(&mut connection, &mut seen);
    assert!(matches!(seen.first(), Some(Seen::Head(..))), "{seen:?}");
    connection
}

pub(crate) fn response(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
    let mut block = Vec::new();
    let mut writer = ResponseHeadWriter::begin(&mut block, status);
    for (name, value) in fields {
        writer.field(&mut block, name.as_bytes(), value.as_bytes());
    }
    writer.finish(&mut block);
    ResponseHead::parse(Bytes::from(block)).expect("written by its own writer")
}

/// Answers with a small response and returns its bytes.
pub(crate) fn answer(connection: &mut Connection) -> String {
    let mut out = Vec::new();
    connection
        .write_head(&response(200, &[]), Some(2), false, &ServerFields::default(), &mut out)
        .expect("a good head");
    connection.write_data(b"ok", &mut out).expect("as long as announced");
    connection.write_end(&mut out).expect("complete");
    String::from_utf8(out).expect("text")
}

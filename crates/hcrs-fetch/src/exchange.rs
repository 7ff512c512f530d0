//! A request is written, and its response read.

use std::io::{self, Read, Write};

use bytes::BufMut as _;
use hcrs_h1::{
    BadResponse, ClientConnection, OutgoingRequest, RequestBody, RequestFields, ResponseEvent, Settings,
    Unsendable,
};

use crate::{Bounds, Request, Response};

/// The longest head of a response, and the longest trailers, in bytes.
const HEAD_MAX: usize = 32 << 10;
/// The most fields of a head.
const FIELDS_MAX: usize = 64;

/// Sends a request over a stream that has carried none, and reads the response.
pub(crate) fn exchange(
    stream: &mut (impl Read + Write),
    request: Request<'_>,
    bounds: Bounds,
) -> io::Result<Response> {
    let limits = Settings {
        max_head_bytes: HEAD_MAX,
        max_fields: FIELDS_MAX,
        max_trailer_bytes: HEAD_MAX,
        ..Settings::default()
    };
    let mut connection = ClientConnection::new(&limits);
    let message = message(&mut connection, request)
        .map_err(|unsendable| io::Error::new(io::ErrorKind::InvalidInput, unsendable))?;
    stream.write_all(&message)?;
    stream.flush()?;
    let mut response = Response::default();
    let room = bounds.max_body_bytes.unwrap_or_default();
    loop {
        // One byte more than there is room for shows that a body is too large.
        while let Some(event) = connection.poll_event(room.saturating_add(1)).map_err(malformed)? {
            let is_whole = match event {
                ResponseEvent::Interim(_) => false,
                ResponseEvent::Head { head, is_whole } => {
                    response = Response::of(&head);
                    is_whole || bounds.max_body_bytes.is_none()
                }
                ResponseEvent::Data { data, end } => {
                    if response.body.len() + data.len() > room {
                        return Err(malformed(BadResponse("its body is too large")));
                    }
                    response.body.extend_from_slice(&data);
                    end
                }
                ResponseEvent::Switched(_) | ResponseEvent::Trailers(_) | ResponseEvent::End => true,
            };
            if is_whole {
                return Ok(response);
            }
        }
        read_more(stream, &mut connection)?;
    }
}

/// Returns the bytes of a request.
fn message(connection: &mut ClientConnection, request: Request<'_>) -> Result<Vec<u8>, Unsendable> {
    let outgoing = OutgoingRequest {
        method: request.method.as_bytes(),
        target: &[request.target.path().as_bytes()],
        body: request.body.map_or(RequestBody::None, |(_, body)| RequestBody::Known(body.len() as u64)),
        asks_for_websocket: false,
        accepts_trailers: false,
    };
    let fields = |fields: &mut RequestFields<'_>| {
        fields.push(b"host", &[request.target.authority.as_bytes()]);
        fields.push(b"user-agent", &[b"hcrs/", env!("CARGO_PKG_VERSION").as_bytes()]);
        fields.push(b"connection", &[b"close"]);
        if let Some((kind, _)) = request.body {
            fields.push(b"content-type", &[kind.as_bytes()]);
        }
    };
    let mut message = Vec::new();
    connection.write_request(&outgoing, fields, &mut message)?;
    if let Some((_, body)) = request.body {
        connection.write_data(body, &mut message)?;
        connection.write_end(&mut message)?;
    }
    Ok(message)
}

fn read_more(stream: &mut impl Read, connection: &mut ClientConnection) -> io::Result<()> {
    let mut piece = [0; 4096];
    let n = match stream.read(&mut piece) {
        Ok(n) => n,
        // Some servers close without TLS's notice; a body with a length shows whether all is there.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
        Err(error) => return Err(error),
    };
    connection.input_mut(n).put_slice(&piece[..n]);
    if n == 0 {
        connection.end_input();
    }
    Ok(())
}

fn malformed(bad: BadResponse) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, bad)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::Target;

    const BODY_MAX: usize = 1 << 20;

    /// Reads from one text, some bytes at a time, and ignores what is written.
    struct Answer<'a>(&'a [u8], usize);

    impl Read for Answer<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(n);
            buffer[..n].copy_from_slice(now);
            self.0 = later;
            Ok(n)
        }
    }

    impl Write for Answer<'_> {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn asked(text: &str, step: usize, max_body_bytes: Option<usize>) -> io::Result<Response> {
        let target = Target::cleartext("a.test", "127.0.0.1", 80, "/".into());
        let request = Request { method: "GET", target: &target, body: None };
        let bounds = Bounds { until: Instant::now(), max_body_bytes };
        exchange(&mut Answer(text.as_bytes(), step), request, bounds)
    }

    #[test]
    fn requests_say_what_they_ask_for() {
        let target = Target::parse("https://a.test:8443/x?y").unwrap();
        let mut connection = ClientConnection::new(&Settings::default());
        let request =
            Request { method: "POST", target: &target, body: Some(("application/jose+json", b"{}")) };
        let text = String::from_utf8(message(&mut connection, request).unwrap()).unwrap();
        assert!(text.starts_with("POST /x?y HTTP/1.1\r\nhost: a.test:8443\r\nuser-agent: hcrs/"), "{text}");
        assert!(text.contains("\r\ncontent-type: application/jose+json\r\ncontent-length: 2\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n{}") && connection.request_ended(), "{text}");
    }

    #[test]
    fn bodies_end_by_length_chunks_or_the_connection() {
        let body = |text: &str, step| asked(text, step, Some(BODY_MAX)).map(|response| response.body);
        for step in [1, 7, 4096] {
            let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellorest";
            assert_eq!(body(length, step).unwrap(), b"hello");
            let chunked =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";
            assert_eq!(body(chunked, step).unwrap(), b"hello");
            assert_eq!(body("HTTP/1.0 200 OK\r\n\r\nhello", step).unwrap(), b"hello");
            for wrong in [
                "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
                "HTTP/1.1 200",
                "SSH-2.0-x\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n",
            ] {
                assert_eq!(body(wrong, step).unwrap_err().kind(), io::ErrorKind::InvalidData, "{wrong}");
            }
        }
    }

    #[test]
    fn responses_are_bounded() {
        let endless = |head: &str| {
            let text = head.to_owned() + &"a".repeat(2 * BODY_MAX);
            asked(&text, 4096, Some(BODY_MAX)).unwrap_err().to_string()
        };
        assert_eq!(endless("HTTP/1.1 200 OK\r\nx: "), "its head is too large");
        assert_eq!(endless("HTTP/1.1 200 OK\r\n\r\n"), "its body is too large");
        let sized = |text| asked(text, 4096, Some(5)).map(|response| response.body.len());
        assert_eq!(sized("HTTP/1.1 200 OK\r\n\r\nhello").unwrap(), 5);
        assert!(sized("HTTP/1.1 200 OK\r\n\r\nhello!").is_err());
    }

    #[test]
    fn a_head_is_enough_where_no_body_is_asked_for() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody",
            "HTTP/1.0 200 OK\r\nserver: a\r\n\r\n",
        ] {
            let response = asked(text, 4096, None).unwrap();
            assert_eq!((response.status, response.body), (200, Vec::new()), "{text}");
        }
        assert_eq!(
            asked("HTTP/1.1 2", 4096, None).unwrap_err().to_string(),
            "the connection ended within a head"
        );
    }
}

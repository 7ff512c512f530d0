//! A client of HTTP/1.1 for an authority: one connection for each request, all of which has one deadline.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BufMut as _;
use hcrs_h1::{
    BadResponse, ClientConnection, OutgoingRequest, RequestBody, RequestFields, ResponseEvent, Settings,
    Unsendable,
};
use hcrs_http::ResponseHead;
use rustls::{ClientConfig, ClientConnection as TlsConnection, StreamOwned};
use rustls_pki_types::ServerName;

/// How long a request may take, its connection included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest head of a response, in bytes.
const HEAD_MAX: usize = 32 << 10;
/// The most fields of a response.
const FIELDS_MAX: usize = 64;
/// The longest body of a response, in bytes: chains of certificates have some 10 KiB.
const BODY_MAX: usize = 1 << 20;

/// A URL with `https`, or with `http` for a check of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_tls: bool,
    /// The host, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The host and the port as they are written.
    authority: String,
    path: String,
}

/// A URL cannot be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a URL that begins with https://")]
pub(crate) struct TargetError;

impl Target {
    /// Parses a URL with `https`.
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        let rest = url.strip_prefix("https://").ok_or(TargetError)?;
        if !url.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
            return Err(TargetError);
        }
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().map_err(|_| TargetError)?),
            None => (authority, 443),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['@', '[', ']']) {
            return Err(TargetError);
        }
        let (host, authority) = (host.to_owned(), authority.to_owned());
        Ok(Self { is_tls: true, host, port, authority, path })
    }

    /// Returns a path at a port of an address, without TLS, asked for as that of a host.
    pub(crate) fn cleartext(host: &str, address: &str, port: u16, path: String) -> Self {
        Self { is_tls: false, host: address.to_owned(), port, authority: host.to_owned(), path }
    }
}

/// A response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    fn of(head: &ResponseHead) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = head.fields().map(|(name, value)| (text(name), text(value)));
        Self { status: head.status(), fields: fields.collect(), body: Vec::new() }
    }

    /// Returns the first field with this name, which is in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the wait that `Retry-After` asks for, in seconds.
    pub(crate) fn retry_after(&self, now: u64) -> Option<u64> {
        let value = self.field("retry-after")?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(seconds);
        }
        let until = httpdate::parse_http_date(value).ok()?;
        Some(until.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs().saturating_sub(now))
    }
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a Target,
    /// The type of the body, and the body.
    pub(crate) body: Option<(&'a str, &'a str)>,
}

/// Sends a request, and waits for the response. Redirects are not followed.
pub(crate) fn send(request: Request<'_>, tls: &Arc<ClientConfig>) -> io::Result<Response> {
    send_until(request, tls, Instant::now() + REQUEST_TIMEOUT)
}

fn send_until(request: Request<'_>, tls: &Arc<ClientConfig>, until: Instant) -> io::Result<Response> {
    let Target { is_tls, host, port, .. } = request.target;
    let mut socket = Timed { socket: connect(host, *port, until)?, until };
    if !is_tls {
        return exchange(&mut socket, request);
    }
    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
    let tls = TlsConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
    exchange(&mut StreamOwned::new(tls, socket), request)
}

fn connect(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn exchange(stream: &mut (impl Read + Write), request: Request<'_>) -> io::Result<Response> {
    let limits = Settings {
        max_head_bytes: HEAD_MAX,
        max_fields: FIELDS_MAX,
        max_trailer_bytes: HEAD_MAX,
        ..Settings::default()
    };
    let mut connection = ClientConnection::new(&limits);
    stream.write_all(&message(&mut connection, request).map_err(io::Error::other)?)?;
    stream.flush()?;
    let mut response = Response::default();
    loop {
        while let Some(event) = connection.poll_event(BODY_MAX).map_err(malformed)? {
            let is_whole = match event {
                ResponseEvent::Interim(_) => false,
                ResponseEvent::Head { head, is_whole } => {
                    response = Response::of(&head);
                    is_whole
                }
                ResponseEvent::Data { data, end } => {
                    if response.body.len() + data.len() > BODY_MAX {
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
    let Target { authority, path, .. } = request.target;
    let outgoing = OutgoingRequest {
        method: request.method.as_bytes(),
        target: &[path.as_bytes()],
        body: request.body.map_or(RequestBody::None, |(_, body)| RequestBody::Known(body.len() as u64)),
        asks_for_websocket: false,
        accepts_trailers: false,
    };
    let fields = |fields: &mut RequestFields<'_>| {
        fields.push(b"host", &[authority.as_bytes()]);
        fields.push(b"user-agent", &[b"hcrs/", env!("CARGO_PKG_VERSION").as_bytes()]);
        fields.push(b"connection", &[b"close"]);
        if let Some((kind, _)) = request.body {
            fields.push(b"content-type", &[kind.as_bytes()]);
        }
    };
    let mut message = Vec::new();
    connection.write_request(&outgoing, fields, &mut message)?;
    if let Some((_, body)) = request.body {
        connection.write_data(body.as_bytes(), &mut message)?;
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

/// A socket all of whose operations end at one instant.
#[derive(Debug)]
struct Timed {
    socket: TcpStream,
    until: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.until)?))?;
        self.socket.read(buffer).map_err(late)
    }
}

impl Write for Timed {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.until)?))?;
        self.socket.write(data).map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the time until the deadline, which is not over.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late(io::ErrorKind::WouldBlock.into())) } else { Ok(left) }
}

/// Returns the error of a socket; a timeout, which the system reports in another way, by its name.
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn asked(text: &str, step: usize) -> io::Result<Response> {
        let target = Target::cleartext("a.test", "127.0.0.1", 80, "/".into());
        exchange(&mut Answer(text.as_bytes(), step), Request { method: "GET", target: &target, body: None })
    }

    #[test]
    fn requests_say_what_they_ask_for() {
        let target = Target::parse("https://a.test:8443/x?y").unwrap();
        let mut connection = ClientConnection::new(&Settings::default());
        let request =
            Request { method: "POST", target: &target, body: Some(("application/jose+json", "{}")) };
        let text = String::from_utf8(message(&mut connection, request).unwrap()).unwrap();
        assert!(text.starts_with("POST /x?y HTTP/1.1\r\nhost: a.test:8443\r\nuser-agent: hcrs/"), "{text}");
        assert!(text.contains("\r\ncontent-type: application/jose+json\r\ncontent-length: 2\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n{}") && connection.request_ended(), "{text}");
    }

    #[test]
    fn bodies_end_by_length_chunks_or_the_connection() {
        let body = |text: &str, step| asked(text, step).map(|response| response.body);
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
            asked(&text, 4096).unwrap_err().to_string()
        };
        assert_eq!(endless("HTTP/1.1 200 OK\r\nx: "), "its head is too large");
        assert_eq!(endless("HTTP/1.1 200 OK\r\n\r\n"), "its body is too large");
    }

    #[test]
    fn a_server_that_does_not_answer_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let tls = hcrs_tls::client_config(hcrs_tls::Authorities::Unverified, &[]).unwrap();
        let secured = Target::parse(&format!("https://127.0.0.1:{port}/")).unwrap();
        for target in [secured, Target::cleartext("a.test", "127.0.0.1", port, "/".into())] {
            let request = Request { method: "GET", target: &target, body: None };
            let error = send_until(request, &tls, Instant::now() + Duration::from_millis(50)).unwrap_err();
            assert_eq!(error.to_string(), "it does not answer in time");
        }
    }

    #[test]
    fn a_wait_is_in_seconds_or_until_a_date() {
        let response = |text: &str| {
            let text = format!("HTTP/1.1 503 No\r\ncontent-length: 0\r\nRetry-After: {text}\r\n\r\n");
            asked(&text, 4096).unwrap()
        };
        assert_eq!(response("120").retry_after(0), Some(120));
        assert_eq!(response("Thu, 01 Jan 1970 00:02:00 GMT").retry_after(50), Some(70));
        assert_eq!(response("Thu, 01 Jan 1970 00:02:00 GMT").retry_after(500), Some(0));
        assert_eq!(response("soon").retry_after(0), None);
    }

    #[test]
    fn urls_have_a_host_and_a_port() {
        let parsed = |url| Target::parse(url).map(|target| (target.host, target.port, target.path));
        let of = |host: &str, port, path: &str| Ok((host.to_owned(), port, path.to_owned()));
        assert_eq!(parsed("https://ca.test/dir?a#b"), of("ca.test", 443, "/dir?a"));
        assert_eq!(parsed("https://127.0.0.1:14000"), of("127.0.0.1", 14000, "/"));
        assert_eq!(parsed("https://[::1]:1/x"), of("::1", 1, "/x"));
        assert_eq!(parsed("https://[::1]?x"), of("::1", 443, "/?x"));
        for wrong in ["http://a/", "https:///x", "https://a:b/", "https://a\r\nb/", "https://u@a/"] {
            assert_eq!(parsed(wrong), Err(TargetError), "{wrong}");
        }
    }
}

//! A client that posts to a collector by HTTP/1.1, with one connection for each export. All of an export has
//! one deadline.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::Endpoint;

/// The longest head of an answer, in bytes.
const ANSWER_MAX: usize = 16 << 10;
/// The most fields of an answer.
const FIELDS_MAX: usize = 64;

/// The variable that names a file of authorities, as for OpenSSL.
const CERTIFICATES: &str = "SSL_CERT_FILE";
/// The files in which distributions have the authorities that they trust.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A client of one collector.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
}

impl Client {
    /// Returns a client; one that speaks TLS trusts the authorities that the system trusts.
    pub(crate) fn new(endpoint: Endpoint) -> io::Result<Self> {
        let tls = if endpoint.is_tls { Some(Arc::new(tls_config()?)) } else { None };
        Ok(Self { endpoint, tls })
    }

    /// Posts a body of JSON, and waits until `until` for an answer with success.
    pub(crate) fn post(&self, body: &[u8], until: Instant) -> io::Result<()> {
        let Endpoint { host, port, authority, path, .. } = &self.endpoint;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: hcrs/{}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let mut socket = Timed { socket: connect(host, *port, until)?, until };
        let status = match &self.tls {
            None => exchange(&mut socket, &request)?,
            Some(config) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                exchange(&mut StreamOwned::new(tls, socket), &request)?
            }
        };
        match status {
            200..=299 => Ok(()),
            _ => Err(io::Error::other(format!("it answers with the status {status}"))),
        }
    }
}

fn connect(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Sends the request. Returns the status of the answer.
fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<u16> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while answer.len() < ANSWER_MAX {
        let n = stream.read(&mut piece)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&piece[..n]);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        if head.parse(&answer).map_err(io::Error::other)?.is_complete() {
            return head.code.ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the head of its answer is too long"))
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

fn tls_config() -> io::Result<ClientConfig> {
    let named = std::env::var_os(CERTIFICATES);
    let files: Vec<_> = match &named {
        Some(file) => vec![file.as_os_str()],
        None => BUNDLES.iter().map(|file| (*file).as_ref()).collect(),
    };
    let mut roots = RootCertStore::empty();
    for certificates in files.into_iter().filter_map(|file| CertificateDer::pem_file_iter(file).ok()) {
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        if !roots.is_empty() {
            break;
        }
    }
    if roots.is_empty() {
        let message =
            format!("there are no certificates of authorities; {CERTIFICATES} can name a file of them");
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request. Returns its body.
    pub(crate) fn serve_one(listener: &TcpListener, answer: &[u8]) -> Vec<u8> {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        let body = loop {
            let n = socket.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..n]);
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut head = httparse::Request::new(&mut fields);
            if let httparse::Status::Complete(end) = head.parse(&request).unwrap() {
                let length = head.headers.iter().find(|field| field.name == "content-length").unwrap();
                let length: usize = std::str::from_utf8(length.value).unwrap().parse().unwrap();
                if request.len() == end + length {
                    break request[end..].to_vec();
                }
            }
        };
        socket.write_all(answer).unwrap();
        body
    }

    fn post(answer: &'static [u8], timeout: Duration) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let client = Client::new(endpoint).unwrap();
        let served = thread::spawn(move || {
            let body = serve_one(&listener, answer);
            (listener, body)
        });
        let posted = client.post(b"{\"a\":1}", Instant::now() + timeout);
        assert_eq!(served.join().unwrap().1, b"{\"a\":1}");
        posted
    }

    #[test]
    fn only_a_status_of_success_is_one() {
        let second = Duration::from_secs(20);
        assert!(post(b"HTTP/1.1 200 OK\r\n\r\n", second).is_ok());
        assert!(post(b"HTTP/1.0 202 Accepted\r\nserver: a\r\n\r\nbody", second).is_ok());
        let refused = post(b"HTTP/1.1 400 Bad\r\n\r\n", second).unwrap_err();
        assert_eq!(refused.to_string(), "it answers with the status 400");
        assert!(post(b"SSH-2.0-x\r\n", second).is_err());
        assert_eq!(post(b"HTTP/1.1 2", second).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_deadline_ends_an_export() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let client = Client::new(endpoint).unwrap();
        let error = client.post(b"{}", Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert_eq!(
            (error.kind(), &*error.to_string()),
            (io::ErrorKind::TimedOut, "it does not answer in time")
        );
    }

    #[test]
    fn a_collector_that_is_not_there_is_an_error() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Client::new(Endpoint::parse(&format!("http://127.0.0.1:{port}")).unwrap()).unwrap();
        assert!(client.post(b"{}", Instant::now() + Duration::from_secs(20)).is_err());
    }
}

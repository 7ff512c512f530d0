//! A client that posts to a collector. All of an export has one deadline.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use hcrs_fetch::{Bounds, Request, fetch};
use hcrs_tls::{Authorities, client_config};
use rustls::ClientConfig;

use crate::Endpoint;

/// A client of one collector.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
}

impl Client {
    /// Returns a client; one that speaks TLS trusts the authorities that the system trusts.
    pub(crate) fn new(endpoint: Endpoint) -> io::Result<Self> {
        let tls = if endpoint.target().is_tls() {
            Some(client_config(Authorities::System { setting: None }, &[]).map_err(io::Error::other)?)
        } else {
            None
        };
        Ok(Self { endpoint, tls })
    }

    /// Posts a body of JSON, and waits until `until` for an answer with success.
    pub(crate) fn post(&self, body: &[u8], until: Instant) -> io::Result<()> {
        let body = Some(("application/json", body));
        let request = Request { method: "POST", target: self.endpoint.target(), body };
        let bounds = Bounds { until, max_body_bytes: None };
        match fetch(request, self.tls.as_ref(), bounds)?.status {
            200..=299 => Ok(()),
            status => Err(io::Error::other(format!("it answers with the status {status}"))),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Answers one request. Returns its body.
    pub(crate) fn serve_one(listener: &TcpListener, answer: &[u8]) -> Vec<u8> {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = BufReader::new(&socket);
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            request.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some(("content-length", length)) => body = vec![0; length.parse().unwrap()],
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        request.read_exact(&mut body).unwrap();
        socket.write_all(answer).unwrap();
        body
    }

    fn post(answer: &'static [u8]) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let client = Client::new(endpoint).unwrap();
        let served = thread::spawn(move || {
            let body = serve_one(&listener, answer);
            (listener, body)
        });
        let posted = client.post(b"{\"a\":1}", Instant::now() + Duration::from_secs(20));
        assert_eq!(served.join().unwrap().1, b"{\"a\":1}");
        posted
    }

    #[test]
    fn only_a_status_of_success_is_one() {
        assert!(post(b"HTTP/1.1 200 OK\r\n\r\n").is_ok());
        assert!(post(b"HTTP/1.0 202 Accepted\r\nserver: a\r\n\r\nbody").is_ok());
        let refused = post(b"HTTP/1.1 400 Bad\r\n\r\n").unwrap_err();
        assert_eq!(refused.to_string(), "it answers with the status 400");
        assert!(post(b"SSH-2.0-x\r\n").is_err());
        assert!(post(b"HTTP/1.1 2").is_err());
    }

    #[test]
    fn a_deadline_ends_an_export() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let client = Client::new(endpoint).unwrap();
        let error = client.post(b"{}", Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

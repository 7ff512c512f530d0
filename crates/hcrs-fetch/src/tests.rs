//! Requests over real sockets.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use super::*;

fn get(target: &Target, timeout: Duration) -> io::Result<Response> {
    let tls = hcrs_tls::client_config(hcrs_tls::Authorities::Unverified, &[]).unwrap();
    let bounds = Bounds { until: Instant::now() + timeout, max_body_bytes: Some(1024) };
    fetch(Request { method: "GET", target, body: None }, Some(&tls), bounds)
}

/// Answers a request that has no body. Returns the request.
fn answer(mut socket: impl Read + Write, answer: &[u8]) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        request.extend_from_slice(&byte);
    }
    socket.write_all(answer).unwrap();
    String::from_utf8(request).unwrap()
}

#[test]
fn a_request_is_answered_over_tcp_and_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let port = tcp.local_addr().unwrap().port();
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let served = thread::spawn(move || {
        [answer(tcp.accept().unwrap().0, response), answer(unix.accept().unwrap().0, response)]
    });
    let targets = [
        Target::parse(&format!("http://127.0.0.1:{port}/a")).unwrap(),
        Target::unix("localhost", &path, "/a".into()),
    ];
    for target in &targets {
        let response = get(target, Duration::from_secs(20)).unwrap();
        assert_eq!((response.status, &*response.body), (200, &b"hello"[..]));
    }
    for request in served.join().unwrap() {
        assert!(request.starts_with("GET /a HTTP/1.1\r\nhost: "), "{request}");
    }
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _unix = UnixListener::bind(&path).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for target in [
        Target::parse(&format!("https://127.0.0.1:{port}/")).unwrap(),
        Target::cleartext("a.test", "127.0.0.1", port, "/".into()),
        Target::unix("a.test", &path, "/".into()),
    ] {
        let error = get(&target, Duration::from_millis(50)).unwrap_err();
        assert_eq!(
            (error.kind(), &*error.to_string()),
            (io::ErrorKind::TimedOut, "it does not answer in time")
        );
    }
}

#[test]
fn a_unix_socket_whose_backlog_is_full_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let address = socket2::SockAddr::unix(&path).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let first = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    first.connect(&address).unwrap();
    let target = Target::unix("a.test", &path, "/".into());
    let error = get(&target, Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = Target::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let error = get(&target, Duration::from_secs(20)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_target_with_tls_is_never_asked_without() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
    let bounds = Bounds { until: Instant::now() + Duration::from_secs(20), max_body_bytes: None };
    let request = Request { method: "GET", target: &target, body: None };
    assert_eq!(fetch(request, None, bounds).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use hcrs_metrics::{Format, ServerFacts, exposition};

use super::*;
use crate::bind::{self, BoundSocket};
use crate::{Bind, Listener};

/// How long the thread may take to do what is awaited.
const PATIENCE: Duration = Duration::from_secs(20);

/// A thread without an app, whose connections are at most two, and its port.
fn started() -> (EdgeThread, u16, mpsc::Receiver<Report>) {
    let bind = Bind::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    let mut settings = Settings {
        listeners: vec![Listener { bind, tls: false, proxy_protocol: false }],
        ..Settings::default()
    };
    settings.connection.max_connections = 2;
    let listeners = bind::bind(&settings, 1, |_| Vec::new()).unwrap().remove(0);
    let BoundSocket::Tcp(socket) = &listeners[0].socket else { panic!("a unix socket") };
    let port = socket.local_addr().unwrap().port();
    let (reports, reported) = mpsc::channel(8);
    let setup = ThreadSetup {
        index: 3,
        settings: Arc::new(settings),
        tls: None,
        listeners,
        quic: Vec::new(),
        quic_port: None,
        reports,
        records: Records::default(),
        rules: Arc::default(),
        readiness: Arc::default(),
        admin: None,
    };
    let thread = start(setup).unwrap();
    thread.control.blocking_send(Control::Accept).unwrap();
    (thread, port, reported)
}

/// Returns a connection, once the thread listens.
fn connected(port: u16) -> TcpStream {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        std::thread::yield_now();
    }
}

fn snapshot(thread: &EdgeThread) -> ThreadSnapshot {
    let (reply, answered) = oneshot::channel();
    thread.control.blocking_send(Control::Snapshot(reply)).unwrap();
    answered.blocking_recv().unwrap()
}

/// Waits until the thread's metrics have these lines.
fn await_lines(thread: &EdgeThread, lines: &[&str]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = exposition(Format::Text, &snapshot(thread), &ServerFacts::default());
        let missing = lines.iter().find(|line| !text.lines().any(|other| other == **line));
        let Some(missing) = missing else { return };
        assert!(Instant::now() < until, "{missing} is missing in\n{text}");
    }
}

#[test]
fn a_thread_sends_its_metrics_while_it_serves_and_while_it_drains() {
    let (thread, port, mut reports) = started();
    let (mut used, silent) = (connected(port), connected(port));
    used.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    let len = used.read(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    let mut third = connected(port);
    assert_eq!(third.read(&mut answer).unwrap(), 0, "there are two already");
    let lines = [
        "hcrs_connections_accepted_total 2",
        "hcrs_connections_refused_total 1",
        "hcrs_connections_open{protocol=\"http/1\"} 1",
        "hcrs_connections_open{protocol=\"unknown\"} 1",
        "hcrs_connections_negotiated_total{protocol=\"http/1\"} 1",
        "hcrs_requests_total{protocol=\"http/1.1\",status=\"2xx\"} 1",
        "hcrs_request_duration_seconds_count{protocol=\"http/1.1\"} 1",
        "hcrs_request_queue_seconds_count 0",
        "hcrs_request_send_seconds_count 1",
        "hcrs_received_bytes_total 27",
        &format!("hcrs_sent_bytes_total {len}"),
    ];
    await_lines(&thread, &lines);
    let drain = Drain { until: Instant::now() + PATIENCE, signal: SIGTERM };
    thread.control.blocking_send(Control::Drain(drain)).unwrap();
    await_lines(&thread, &["hcrs_connections_open{protocol=\"http/1\"} 0"]);
    drop(silent);
    assert!(matches!(reports.blocking_recv(), Some(Report::Drained { cut: 0 })));
    await_lines(&thread, &["hcrs_connections_open{protocol=\"unknown\"} 0", lines[0]]);
    drop(thread.control);
    thread.handle.join().unwrap();
}

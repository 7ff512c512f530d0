//! Requests are counted once, where they belong, and listed while they are in flight.

use hcrs_metrics::{Format, Protocol, ServerFacts, Stage, ThreadSnapshot, WorkerName, exposition};

use super::*;

/// HEADERS with `END_STREAM`: GET http / of host `h`, on stream 1.
const GET: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01h";

fn snapshot(shared: &ThreadState) -> ThreadSnapshot {
    shared.snapshot(7, crate::clock::now())
}

/// Asserts that the metrics of the thread have these lines.
#[track_caller]
fn assert_lines(shared: &ThreadState, lines: &[&str]) {
    let text = exposition(Format::Text, &snapshot(shared), &ServerFacts::default());
    for line in lines {
        assert!(text.lines().any(|other| other == *line), "{line} is missing in\n{text}");
    }
}

/// Waits until no request is in flight.
async fn until_idle(shared: &ThreadState) {
    while snapshot(shared).in_flight() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_request_is_listed_in_each_stage_and_counted_when_it_is_over() {
    run(with_app(4096), h1, |mut io, shared| async move {
        let path = format!("/\\x{}", "y".repeat(300));
        io.write_all(format!("GET {path}?secret HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).await.unwrap();
        let stage = |stage, worker| {
            let snapshot = snapshot(&shared);
            let [request] = &snapshot.requests[..] else { panic!("{:?}", snapshot.requests) };
            assert_eq!((request.stage, request.worker), (stage, worker));
            assert_eq!((request.thread, request.connection, request.stream), (7, 1, None));
            assert_eq!((request.method.as_str(), request.protocol), ("GET", Protocol::Http11));
            assert_eq!(request.path, format!("/\\\\x{}", "y".repeat(196)));
            assert_eq!(snapshot.in_flight(), 1);
        };
        while snapshot(&shared).in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        stage(Stage::Queued, None);
        assert_lines(&shared, &["hcrs_queue_length 1"]);
        shared.metrics.add_slot(0);
        let worker = attach(&shared).await;
        shared.apps.get(AppIndex(0)).unwrap().dispatch.pump(crate::clock::now());
        let of_worker = Some(WorkerName { slot: 0, pid: 1 });
        stage(Stage::App, of_worker);
        let stream = claim(&shared, &worker).await;
        stage(Stage::App, of_worker);
        let in_worker = "hcrs_worker_requests_in_flight{worker=\"1\"} 1";
        assert_lines(&shared, &["hcrs_queue_length 0", "hcrs_queue_bytes 0", in_worker]);
        send_frames(&worker.0, &[FromWorker::Response { stream, head: &[200, 0, 0, 0], end: false }]);
        let mut answer = BytesMut::new();
        io.read_buf(&mut answer).await.unwrap();
        stage(Stage::Sending, of_worker);
        send_frames(&worker.0, &[FromWorker::Data { stream, bytes: b"x", end: true }]);
        until_idle(&shared).await;
        assert_lines(
            &shared,
            &[
                "hcrs_requests_in_flight{protocol=\"http/1.1\"} 0",
                "hcrs_requests_total{protocol=\"http/1.1\",status=\"2xx\"} 1",
                "hcrs_worker_requests_total{worker=\"1\",status=\"2xx\"} 1",
                "hcrs_worker_requests_in_flight{worker=\"1\"} 0",
                "hcrs_request_queue_seconds_count 1",
                "hcrs_request_app_seconds_count 1",
                "hcrs_request_send_seconds_count 1",
                "hcrs_request_duration_seconds_count{protocol=\"http/1.1\"} 1",
            ],
        );
        assert!(snapshot(&shared).requests.is_empty());
    });
}

#[test]
fn the_oldest_requests_are_listed_and_all_are_counted() {
    run(with_app(65_536), super::super::h2::drive, |mut io, shared| async move {
        tokio::time::pause();
        io.write_all(HELLO).await.unwrap();
        let of_stream = |id: u8| [&GET[..8], &[id], &GET[9..]].concat();
        for nth in 0..100 {
            io.write_all(&of_stream(1 + 2 * nth)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (near, mut other) = duplex(65_536);
        tokio::task::spawn_local(super::super::h2::drive(client(&shared), near));
        other.write_all(&[HELLO, GET].concat()).await.unwrap();
        while snapshot(&shared).in_flight() < 101 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let listed = snapshot(&shared).requests;
        let streams: Vec<_> = listed.iter().filter_map(|request| request.stream).collect();
        assert_eq!(streams, (0..100).map(|nth| 1 + 2 * nth).collect::<Vec<_>>(), "the youngest is left out");
        assert!(listed.is_sorted_by_key(|request| std::cmp::Reverse(request.age)));
        assert_lines(&shared, &["hcrs_requests_in_flight{protocol=\"h2\"} 101", "hcrs_queue_length 101"]);
        drop((io, other));
        until_idle(&shared).await;
        assert_lines(
            &shared,
            &[
                "hcrs_requests_total{protocol=\"h2\",status=\"none\"} 101",
                "hcrs_request_faults_total{fault=\"gone\",blame=\"client\"} 101",
                "hcrs_queue_length 0",
            ],
        );
    });
}

#[test]
fn a_response_that_the_clients_window_does_not_take_is_a_stall() {
    // SETTINGS with an initial window of 4 bytes (RFC 9113 §6.5.2).
    const NARROW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x04";
    run(with_app(65_536), super::super::h2::drive, |mut io, shared| async move {
        let worker = attach(&shared).await;
        io.write_all(&[NARROW, GET].concat()).await.unwrap();
        let stream = claim(&shared, &worker).await;
        let head = FromWorker::Response { stream, head: &[200, 0, 0, 0], end: false };
        send_frames(&worker.0, &[head, FromWorker::Data { stream, bytes: &vec![b'x'; 20_000], end: true }]);
        let mut seen = BytesMut::new();
        while !seen.windows(4).any(|bytes| bytes == b"xxxx") {
            assert!(io.read_buf(&mut seen).await.unwrap() > 0, "closed without an answer: {seen:?}");
        }
        assert_lines(&shared, &["hcrs_flow_control_stalls_total{at=\"client_window\"} 1"]);
        assert_eq!(snapshot(&shared).requests[0].stage, Stage::Sending, "its worker has ended it");
    });
}

#[test]
fn refused_requests_and_broken_connections_are_counted_by_their_fault() {
    run(with_app(4096), h1, |mut io, shared| async move {
        io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        until_closed(&mut io).await;
        assert_lines(
            &shared,
            &[
                "hcrs_request_faults_total{fault=\"bad_request\",blame=\"client\"} 1",
                "hcrs_requests_total{protocol=\"http/1.1\",status=\"4xx\"} 1",
                "hcrs_requests_in_flight{protocol=\"http/1.1\"} 0",
            ],
        );
    });
    let no_queue = |settings: &mut Settings| settings.apps[0].dispatch.queue_size = 0;
    run_with(with_app(4096), no_queue, h1, |mut io, shared| async move {
        io.write_all(b"GET / HTTP/1.0\r\nhost: h\r\n\r\n").await.unwrap();
        until_closed(&mut io).await;
        assert_lines(
            &shared,
            &[
                "hcrs_requests_shed_total{reason=\"queue_full\"} 1",
                "hcrs_requests_total{protocol=\"http/1.0\",status=\"5xx\"} 1",
            ],
        );
    });
    run(without_app(4096), super::super::h2::drive, |mut io, shared| async move {
        io.write_all(&HELLO[..10]).await.unwrap();
        until_closed(&mut io).await;
        assert_lines(
            &shared,
            &[
                "hcrs_connection_faults_total{fault=\"head_timeout\",blame=\"client\"} 1",
                "hcrs_connections_accepted_total 1",
                "hcrs_connections_open{protocol=\"unknown\"} 0",
            ],
        );
    });
}

#[test]
fn a_websocket_is_a_protocol_of_its_own_from_its_request_on() {
    run(with_app(4096), h1, |mut io, shared| async move {
        let worker = attach(&shared).await;
        let request = "GET /chat HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        io.write_all(request.as_bytes()).await.unwrap();
        let stream = claim(&shared, &worker).await;
        assert_lines(&shared, &["hcrs_requests_in_flight{protocol=\"websocket\"} 1"]);
        // The app declines with 403.
        send_frames(&worker.0, &[FromWorker::Response { stream, head: &[147, 1, 0, 0], end: true }]);
        until_idle(&shared).await;
        assert_lines(
            &shared,
            &[
                "hcrs_requests_total{protocol=\"websocket\",status=\"4xx\"} 1",
                "hcrs_request_send_seconds_count 0",
                "hcrs_requests_in_flight{protocol=\"websocket\"} 0",
            ],
        );
    });
}

use std::collections::BTreeSet;
use std::time::Duration;

use hcrs_http::Fault;

use super::*;
use crate::{
    ConnectionProtocol, Counters, EndedRequest, HandshakeFailure, NamedCertificateFacts, Protocol,
    RestartCause, SpanFacts, Stall, UpstreamFacts, WorkerFacts, WorkerState,
};

/// A thread that has served a WebSocket and a request that was shed.
fn thread() -> ThreadSnapshot {
    let counters = Counters::default();
    counters.add_slot(1);
    let websocket = EndedRequest {
        protocol: Protocol::WebSocket,
        status: Some(101),
        duration: Duration::from_secs(90),
        slot: Some(1),
        queue: Some(Duration::from_micros(100)),
        app: Some(Duration::from_micros(1_500)),
        send: Some(Duration::from_secs(89)),
    };
    counters.end_request(&websocket);
    counters.end_request(&EndedRequest {
        protocol: Protocol::Http2,
        status: Some(503),
        duration: Duration::from_nanos(1),
        slot: None,
        queue: None,
        app: None,
        send: Some(Duration::ZERO),
    });
    counters.fail_request(Fault::QueueFull);
    counters.fail_request(Fault::BadRequest("whatever"));
    counters.fail_connection(Fault::TooManyResets);
    counters.open_connection();
    counters.open_connection();
    counters.negotiate(ConnectionProtocol::Http2);
    counters.refuse_connection();
    counters.shake_hands();
    counters.fail_handshake(HandshakeFailure::Alert);
    counters.received_bytes.add(1 << 40);
    counters.stalls.of(Stall::ClientSocket).add(2);
    let mut snapshot =
        ThreadSnapshot { counters, queue_length: 7, queue_bytes: 4096, ..ThreadSnapshot::default() };
    snapshot.count_in_flight(Protocol::Http10);
    snapshot.set_streams([(1, 4)].into_iter());
    let facts = UpstreamFacts { requests: 3, failures: 1, connections: 2 };
    snapshot.add_upstream("http://127.0.0.1:9000", facts);
    snapshot
}

fn server() -> ServerFacts {
    let worker = |slot, state, resident_bytes| WorkerFacts { slot, state, resident_bytes };
    let workers = vec![
        worker(1, WorkerState::Ending, Some(1000)),
        worker(1, WorkerState::Ready, Some(24)),
        worker(0, WorkerState::Starting, None),
    ];
    let server = ServerFacts {
        version: "1.2.3",
        started: Duration::from_millis(1_700_000_000_250),
        workers,
        spans: SpanFacts { exported: 3, dropped: 2 },
        certificates: vec![
            NamedCertificateFacts {
                name: "a.test".into(),
                not_after: Some(1_800_000_000),
                next_try: 1_790_000_000,
                failures: 2,
            },
            NamedCertificateFacts { name: "b.test".into(), ..NamedCertificateFacts::default() },
        ],
        ..ServerFacts::default()
    };
    server.restarts.note(RestartCause::Hang);
    server
}

/// The lines about the metric with this name, its comments included.
fn lines_of(format: Format, name: &str) -> Vec<String> {
    let text = exposition(format, &thread(), &server());
    let lines = text.lines().skip_while(|line| !line.starts_with(&format!("# HELP {name} ")));
    let of_it = |line: &&str| !line.starts_with("# HELP") || line.starts_with(&format!("# HELP {name} "));
    lines.take_while(of_it).map(str::to_owned).collect()
}

#[test]
fn counters_have_the_suffix_in_their_samples_and_only_in_text_in_their_type() {
    let samples = [
        "hcrs_requests_shed_total{reason=\"queue_full\"} 1",
        "hcrs_requests_shed_total{reason=\"queue_timeout\"} 0",
    ];
    let help = "Requests that were refused because of overload.";
    assert_eq!(
        lines_of(Format::Text, "hcrs_requests_shed_total"),
        [
            &format!("# HELP hcrs_requests_shed_total {help}"),
            "# TYPE hcrs_requests_shed_total counter",
            samples[0],
            samples[1],
        ]
    );
    assert_eq!(
        lines_of(Format::OpenMetrics, "hcrs_requests_shed"),
        [
            &format!("# HELP hcrs_requests_shed {help}"),
            "# TYPE hcrs_requests_shed counter",
            samples[0],
            samples[1]
        ]
    );
}

#[test]
fn histograms_have_cumulative_buckets_whose_bounds_are_written_as_each_format_has_them() {
    let samples = |format, name| lines_of(format, name).into_iter().filter(|line| !line.starts_with('#'));
    let text: Vec<_> = samples(Format::Text, "hcrs_request_app_seconds").collect();
    assert_eq!(
        text,
        [
            "hcrs_request_app_seconds_bucket{le=\"0.0001\"} 0",
            "hcrs_request_app_seconds_bucket{le=\"0.00025\"} 0",
            "hcrs_request_app_seconds_bucket{le=\"0.0005\"} 0",
            "hcrs_request_app_seconds_bucket{le=\"0.001\"} 0",
            "hcrs_request_app_seconds_bucket{le=\"0.0025\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"0.005\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"0.01\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"0.025\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"0.05\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"0.1\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"0.25\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"0.5\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"1\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"2.5\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"5\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"10\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"30\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"60\"} 1",
            "hcrs_request_app_seconds_bucket{le=\"+Inf\"} 1",
            "hcrs_request_app_seconds_sum 0.0015",
            "hcrs_request_app_seconds_count 1",
        ]
    );
    let open_metrics: Vec<_> = samples(Format::OpenMetrics, "hcrs_request_app_seconds").collect();
    assert_eq!(open_metrics[12], "hcrs_request_app_seconds_bucket{le=\"1.0\"} 1");
    assert_eq!(open_metrics[4], text[4]);
    let duration: Vec<_> = samples(Format::Text, "hcrs_request_duration_seconds").collect();
    let of_websocket: Vec<_> = duration.iter().filter(|line| line.contains("websocket")).collect();
    assert_eq!(of_websocket[17], "hcrs_request_duration_seconds_bucket{protocol=\"websocket\",le=\"60\"} 0");
    assert_eq!(
        of_websocket[18],
        "hcrs_request_duration_seconds_bucket{protocol=\"websocket\",le=\"+Inf\"} 1"
    );
    let send: Vec<_> = samples(Format::Text, "hcrs_request_send_seconds").collect();
    assert_eq!(send.last().unwrap(), "hcrs_request_send_seconds_count 1", "a WebSocket is not sent");
}

#[test]
fn units_and_facts_are_declared_as_openmetrics_wants_them() {
    assert_eq!(
        lines_of(Format::OpenMetrics, "hcrs_received_bytes"),
        [
            "# HELP hcrs_received_bytes Bytes read from clients' sockets, with TLS and framing.",
            "# TYPE hcrs_received_bytes counter",
            "# UNIT hcrs_received_bytes bytes",
            "hcrs_received_bytes_total 1099511627776",
        ]
    );
    let version = "hcrs_build_info{version=\"1.2.3\"} 1";
    assert_eq!(lines_of(Format::OpenMetrics, "hcrs_build")[1..], ["# TYPE hcrs_build info", version]);
    assert_eq!(lines_of(Format::Text, "hcrs_build_info")[1..], ["# TYPE hcrs_build_info gauge", version]);
    assert_eq!(
        lines_of(Format::Text, "hcrs_start_time_seconds")[2..],
        ["hcrs_start_time_seconds 1700000000.25"]
    );
    assert!(exposition(Format::OpenMetrics, &thread(), &server()).ends_with("\n# EOF\n"));
    assert!(!exposition(Format::Text, &thread(), &server()).contains("# EOF"));
}

#[test]
fn workers_are_known_by_their_slots_from_1() {
    assert_eq!(
        lines_of(Format::Text, "hcrs_worker_resident_memory_bytes")[2..],
        ["hcrs_worker_resident_memory_bytes{worker=\"2\"} 1024"],
        "two processes have the slot while one replaces the other, and one does not report it"
    );
    assert_eq!(
        lines_of(Format::Text, "hcrs_worker_requests_in_flight")[2..],
        ["hcrs_worker_requests_in_flight{worker=\"1\"} 0", "hcrs_worker_requests_in_flight{worker=\"2\"} 4"]
    );
    let requests = lines_of(Format::Text, "hcrs_worker_requests_total");
    assert_eq!(requests.len(), 2 + 2 * 6);
    assert_eq!(requests[8], "hcrs_worker_requests_total{worker=\"2\",status=\"1xx\"} 1");
    assert_eq!(
        lines_of(Format::Text, "hcrs_workers")[2..],
        [
            "hcrs_workers{state=\"starting\"} 1",
            "hcrs_workers{state=\"ready\"} 1",
            "hcrs_workers{state=\"ending\"} 1",
        ]
    );
}

#[test]
fn events_are_counted_where_they_belong() {
    let text = exposition(Format::Text, &thread(), &server());
    for line in [
        "hcrs_requests_total{protocol=\"websocket\",status=\"1xx\"} 1",
        "hcrs_requests_total{protocol=\"h2\",status=\"5xx\"} 1",
        "hcrs_requests_in_flight{protocol=\"http/1.0\"} 1",
        "hcrs_request_faults_total{fault=\"queue_full\",blame=\"overload\"} 1",
        "hcrs_request_faults_total{fault=\"bad_request\",blame=\"client\"} 1",
        "hcrs_connection_faults_total{fault=\"too_many_resets\",blame=\"client\"} 1",
        "hcrs_connections_accepted_total 2",
        "hcrs_connections_refused_total 1",
        "hcrs_connections_open{protocol=\"unknown\"} 1",
        "hcrs_connections_open{protocol=\"h2\"} 1",
        "hcrs_connections_negotiated_total{protocol=\"h2\"} 1",
        "hcrs_tls_handshakes_total 1",
        "hcrs_tls_handshake_failures_total{reason=\"alert\"} 1",
        "hcrs_flow_control_stalls_total{at=\"client_socket\"} 2",
        "hcrs_queue_length 7",
        "hcrs_queue_bytes 4096",
        "hcrs_worker_restarts_total{cause=\"hang\"} 1",
        "hcrs_traced_requests_total{outcome=\"dropped\"} 2",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn each_metric_is_described_once_and_each_series_written_once() {
    for format in [Format::Text, Format::OpenMetrics] {
        let text = exposition(format, &thread(), &server());
        let mut series = BTreeSet::new();
        for family in FAMILIES {
            let described = text.lines().filter(|line| {
                let rest = line.strip_prefix("# TYPE ").unwrap_or_default();
                rest.split(' ')
                    .next()
                    .is_some_and(|name| name.trim_end_matches(family.kind.suffix()) == family.name)
            });
            assert_eq!(described.count(), 1, "{}", family.name);
            assert!(!family.help.contains(['"', '\\', '\n']), "{} needs escapes", family.name);
            assert!(family.name.starts_with("hcrs_"));
            let samples = text.lines().filter(|line| line.starts_with(&family.name.to_string()));
            assert!(samples.count() > 0, "{} has a sample from the start", family.name);
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(name.to_owned()), "{name} is written twice");
        }
    }
}

#[test]
fn the_number_of_series_depends_on_workers_and_upstreams_alone() {
    let count = |threads: &ThreadSnapshot, workers: usize| {
        let worker = |slot| WorkerFacts { slot, state: WorkerState::Ready, resident_bytes: Some(1) };
        let server = ServerFacts { workers: (0..workers).map(worker).collect(), ..ServerFacts::default() };
        exposition(Format::Text, threads, &server).lines().filter(|line| !line.starts_with('#')).count()
    };
    let quiet = ThreadSnapshot::default();
    let without = count(&quiet, 0);
    let busy = thread();
    assert_eq!(count(&busy, 2), without + 2 * 8 + 3, "8 series for each worker, 3 for an upstream");
    assert!(without < 320, "{without} series");
}

#[test]
fn openmetrics_is_for_clients_that_name_it() {
    let of = |accept: &str| Format::negotiate(Some(accept.as_bytes()));
    for accept in [
        // Prometheus 2 and 3.
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.4",
        "application/openmetrics-text; version=\"1.0.0\"",
        "Application/OpenMetrics-Text",
        "application/openmetrics-text;q=0.3, text/plain;q=0.3",
    ] {
        assert_eq!(of(accept), Format::OpenMetrics, "{accept}");
    }
    for accept in [
        "",
        "*/*",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=1.0.0;q=0",
        "application/openmetrics-text;q=nonsense",
        "application/openmetrics-text;q=0.2,text/plain",
        "application/json;;=;",
    ] {
        assert_eq!(of(accept), Format::Text, "{accept}");
    }
    assert_eq!(Format::negotiate(None), Format::Text);
    assert_eq!(Format::negotiate(Some(b"\xff\xfe")), Format::Text);
}

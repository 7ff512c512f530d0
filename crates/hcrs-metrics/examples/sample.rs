//! Prints the metrics of a server that has served a little, as a scrape gets them:
//! `cargo run -p hcrs-metrics --example sample [openmetrics] | promtool check metrics`

use std::io::{self, Write as _};
use std::time::Duration;

use hcrs_http::Fault;
use hcrs_metrics::{
    ConnectionProtocol, Counters, EndedRequest, Format, HandshakeFailure, Protocol, RestartCause,
    ServerFacts, Stall, ThreadSnapshot, WorkerFacts, WorkerState, exposition,
};

fn main() -> io::Result<()> {
    let is_open_metrics = std::env::args().nth(1).as_deref() == Some("openmetrics");
    let format = if is_open_metrics { Format::OpenMetrics } else { Format::Text };
    io::stdout().write_all(exposition(format, &threads(), &server()).as_bytes())
}

fn threads() -> ThreadSnapshot {
    let counters = Counters::default();
    counters.add_slot(1);
    for nth in 1..=50u32 {
        let app = Duration::from_micros(730) * nth;
        counters.end_request(&EndedRequest {
            protocol: Protocol::Http2,
            status: Some(if nth % 10 == 0 { 404 } else { 200 }),
            duration: app + Duration::from_micros(150),
            slot: Some(nth as usize % 2),
            queue: Some(Duration::from_micros(90)),
            app: Some(app),
            send: Some(Duration::from_micros(60)),
        });
    }
    counters.fail_request(Fault::QueueFull);
    counters.open_connection();
    counters.negotiate(ConnectionProtocol::Http2);
    counters.shake_hands();
    counters.fail_handshake(HandshakeFailure::NoHello);
    counters.received_bytes.add(12_345);
    counters.sent_bytes.add(67_890);
    counters.stalls.of(Stall::ClientWindow).increment();
    let mut snapshot = ThreadSnapshot::of(&counters);
    snapshot.queue_length = 3;
    snapshot.queue_bytes = 900;
    snapshot.count_in_flight(Protocol::Http2);
    snapshot.set_streams([(0, 1), (1, 0)].into_iter());
    snapshot
}

fn server() -> ServerFacts {
    let server = ServerFacts {
        version: env!("CARGO_PKG_VERSION"),
        started: Duration::from_secs(1_800_000_000),
        workers: (0..2)
            .map(|slot| WorkerFacts { slot, state: WorkerState::Ready, resident_bytes: Some(48 << 20) })
            .collect(),
        ..ServerFacts::default()
    };
    server.restarts.note(RestartCause::Reload);
    server
}

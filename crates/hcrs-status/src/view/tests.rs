use super::*;
use crate::status::{App, Certificate, Latency, Listener, NamedCertificate, Request, Requests, Server};

const PLAIN: Look = Look { width: 80, height: None, has_colors: false };

fn status() -> Status {
    Status {
        server: Server {
            version: "1.2.3".into(),
            pid: 4711,
            app: Some("shop.main:app".into()),
            state: State::Serving,
            uptime: 273_600.0,
            workers: 2,
            threads: 1,
            rss: Some(9_400_000),
        },
        listeners: vec![
            Listener { url: "https://0.0.0.0:8443".into(), admin: false },
            Listener { url: "http://unix:/run/hcrs/admin".into(), admin: true },
        ],
        workers: vec![
            Worker {
                app: "main".into(),
                slot: 1,
                pid: 4712,
                state: "ready".into(),
                uptime: 273_599.0,
                rss: Some(84_000_000),
                cpu: Some(27_360.0),
                in_flight: 5,
                requests: 1_204_311,
            },
            Worker { slot: 2, pid: 5801, state: "starting".into(), uptime: 0.4, ..Worker::default() },
        ],
        requests: Requests {
            in_flight: 12,
            total: 2_408_000,
            by_status: [("2xx".to_owned(), 2_400_000), ("5xx".to_owned(), 8000)].into(),
            latency: Latency { bounds: vec![0.003, 0.041, 1.0], counts: vec![2_300_000, 107_000, 1000, 0] },
            ..Requests::default()
        },
        in_flight: vec![Request {
            worker: Some(4712),
            protocol: "h2".into(),
            method: "GET".into(),
            path: "/reports/annual".into(),
            age: 1.24,
            stage: "app".into(),
            ..Request::default()
        }],
        certificates: vec![Certificate {
            names: vec!["example.com".into(), "www.example.com".into()],
            left: 5.0 * 86400.0,
            ..Certificate::default()
        }],
        acme: vec![NamedCertificate {
            name: "example.com".into(),
            state: NameState::Valid,
            wait: 7200.0,
            failures: 1,
            error: Some("the authority refuses with status 429: too many orders".into()),
            ..NamedCertificate::default()
        }],
        ..Status::default()
    }
}

#[test]
fn a_report_fits_into_eighty_columns() {
    let lines = View::default().draw(&status(), 0.0, PLAIN);
    assert_eq!(
        lines.join("\n"),
        "\
hcrs 1.2.3  shop.main:app  serving  up 3d 4h  pid 4711  9.4 MB
9 requests/s   p50 3 ms   p99 41 ms   5xx 0.3 %
in flight 12 (oldest 1.2 s)   queue 0   connections 0

WORKER  PID       STATE      UP        RSS      CPU    IN FLIGHT  REQUESTS
1       4712      ready      3d 3h     84 MB    10 %   5          1,204,311
2       5801      starting   0 s       -        -      0          0

AGE      STAGE    WORKER    PROTOCOL   REQUEST
1.2 s    app      4712      h2         GET /reports/annual
and 4 more

listens on https://0.0.0.0:8443
admin      http://unix:/run/hcrs/admin
certificate example.com, www.example.com  ends in 5d 0h
acme        example.com: valid; next try in 2h 0m
            failed once, the last time because the authority refuses with status
            429: too many orders"
    );
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
}

#[test]
fn rates_and_latencies_are_those_since_the_report_before() {
    let mut view = View::default();
    view.draw(&status(), 0.0, PLAIN);
    let mut next = status();
    for (requests, bucket) in [(500, 0), (1000, 2), (250, 1)] {
        next.requests.total += requests;
        next.requests.latency.counts[bucket] += requests;
        next.workers[0].cpu = next.workers[0].cpu.map(|cpu| cpu + 0.5);
        let lines = view.draw(&next, 2.0, PLAIN);
        let rate = number(requests as f64 / 2.0);
        assert!(lines[1].starts_with(&format!("{rate} requests/s   p50 ")), "{}", lines[1]);
        assert!(lines[5].contains("25 %"), "{}", lines[5]);
    }
    let lines = view.draw(&next, 2.0, PLAIN);
    assert!(lines[1].starts_with("0 requests/s   p50 -   p99 -"), "{}", lines[1]);
    assert!(lines[1].ends_with("p99 ▁█▁ "), "{:?}", lines[1]);
}

#[test]
fn colors_and_the_edges_of_the_terminal() {
    let colored = View::default().draw(&status(), 0.0, Look { has_colors: true, ..PLAIN });
    assert!(colored[0].contains("\x1b[32mserving\x1b[0m"));
    assert!(colored.iter().any(|line| line.contains("\x1b[33mends in 5d 0h\x1b[0m")));
    let small = View::default().draw(&status(), 0.0, Look { width: 20, height: Some(3), has_colors: false });
    assert_eq!(small, ["hcrs 1.2.3  shop.mai", "9 requests/s   p50 3", "in flight 12 (oldest"]);
}

#[test]
fn the_workers_of_several_apps_are_below_their_apps() {
    let app = |name: &str, ready| App {
        name: name.into(),
        path: format!("{name}:app"),
        workers: 1,
        ready,
        queue: 3,
    };
    let worker = |app: &str, pid| Worker { app: app.into(), slot: 1, pid, ..Worker::default() };
    let status = Status {
        server: Server { app: Some("main:app".into()), ..Server::default() },
        apps: vec![app("main", 1), app("blog", 0)],
        workers: vec![worker("main", 1), worker("blog", 2), worker("shop", 3)],
        ..Status::default()
    };
    let lines = View::default().draw(&status, 0.0, PLAIN);
    assert!(lines[0].contains("  main:app and 1 more  "), "{lines:?}");
    let shown: Vec<_> = lines[5..11].iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(shown, ["main", "1", "blog", "1", "shop", "1"]);
    assert_eq!(lines[7], "blog  blog:app  0 of 1 ready  queue 3");
    assert_eq!(lines[9], "shop  is leaving");
}

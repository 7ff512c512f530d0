//! The form of lines, and the time when they are written.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use hcrs_http::trace_context::TraceParent;
use hcrs_http::{Address, Endpoints, Fault, RequestHead, RequestLine, Scheme, Version};
use jiff::tz::TimeZone;

use super::*;

const NOW: u64 = 1_795_406_491;

fn log_in(folder: &tempfile::TempDir, format: AccessFormat) -> (LogWriter, AccessLog, PathBuf) {
    let path = folder.path().join("access.log");
    let access = Some(LogTarget::File(path.clone()));
    let settings = LogSettings { access, access_format: format, ..LogSettings::default() };
    let writer = open(&settings).unwrap().unwrap();
    let mut log = AccessLog::new(&writer, &settings);
    log.clock = LocalTime::in_zone(TimeZone::fixed(jiff::tz::offset(1)));
    log.pid = 17993;
    (writer, log, path)
}

fn entry<'a>() -> AccessEntry<'a> {
    AccessEntry {
        client: Some(Address { host: "127.0.0.1", port: 33772 }),
        scheme: Scheme::Https,
        protocol: "http/1.1",
        connection: 7,
        stream: None,
        method: b"GET",
        path: b"/x%20y",
        query: b"",
        version: b"1.1",
        fields: None,
        status: Some(200),
        content_length: Some(443),
        response_fields: &[],
        bytes_sent: 443,
        bytes_received: 0,
        duration: Duration::from_micros(2_001_530),
        queue_time: Some(Duration::from_micros(12)),
        head_time: Some(Duration::from_micros(900)),
        worker: Some(18001),
        request_id: None,
        trace: None,
        fault: None,
    }
}

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let line = RequestLine {
        version: Version::Http11,
        scheme: Scheme::Https,
        method: b"GET",
        path: b"/",
        query: b"",
    };
    let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
    for (name, value) in fields {
        head.push_field(name.as_bytes(), value.as_bytes());
    }
    head
}

fn line_in(format: AccessFormat, entry: &AccessEntry<'_>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (writer, mut log, path) = log_in(&folder, format);
    log.record_at(entry, UNIX_EPOCH + Duration::from_secs(NOW));
    drop(log);
    writer.close();
    std::fs::read_to_string(path).unwrap()
}

fn line_of(entry: &AccessEntry<'_>) -> String {
    line_in(AccessFormat::default(), entry)
}

/// Returns the line without its prefix.
fn atoms(format: &str, entry: &AccessEntry<'_>) -> String {
    let line = line_in(AccessFormat::parse(format).unwrap(), entry);
    let line = line.strip_prefix("[2026-11-23 05:01:31 +0100] [17993] [INFO] ").unwrap();
    line.strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn lines_are_hypercorns() {
    let line = "[2026-11-23 05:01:31 +0100] [17993] [INFO] 127.0.0.1:33772 - - [23/Nov/2026:05:01:31 +0100] \
                \"GET /x y 1.1\" 200 443 \"-\" \"-\"\n";
    assert_eq!(line_of(&entry()), line);
}

#[test]
fn what_is_missing_is_a_dash() {
    let line =
        line_of(&AccessEntry { client: None, status: None, content_length: None, version: b"2", ..entry() });
    assert!(line.contains("] None - - ["), "{line}");
    assert!(line.ends_with("\"GET /x y 2\" - - \"-\" \"-\"\n"), "{line}");
    let nothing = AccessEntry {
        method: b"",
        path: b"",
        version: b"",
        status: None,
        queue_time: None,
        head_time: None,
        worker: None,
        ..entry()
    };
    assert_eq!(atoms("%(r)s", &nothing), "- - -");
    assert_eq!(
        atoms(
            "%(st)s %(u)s %({x}i)s %({x}o)s %(q)s|%(queue_time)s %(head_time)s %(worker_pid)s %(stream_id)s",
            &nothing
        ),
        "- - - - |- - - -"
    );
    assert_eq!(atoms("%(request_id)s %(trace_id)s %(span_id)s", &nothing), "- - -");
    assert_eq!(atoms("%(fault)s %(p)s", &nothing), "- <17993>", "the edge answered by itself");
}

#[test]
fn each_atom_has_the_value_of_hypercorns_and_gunicorns() {
    let head = head(&[
        ("host", "a"),
        ("referer", "http://a/"),
        ("user-agent", "tests"),
        ("x-id", "first"),
        ("x-id", "last"),
        ("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ]);
    let kept = [Some(b"text/plain"[..].into()), None];
    let entry = AccessEntry {
        query: b"q=%20",
        fields: Some(head.view().fields()),
        response_fields: &kept,
        fault: Some(Fault::ClientGone),
        request_id: Some(b"id\n1"),
        trace: TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        stream: Some(5),
        bytes_received: 3,
        ..entry()
    };
    for (format, text) in [
        ("%(h)s %(l)s %(u)s", "127.0.0.1:33772 - Aladdin"),
        ("%(t)s", "[23/Nov/2026:05:01:31 +0100]"),
        ("%(r)s|%(R)s", "GET /x y 1.1|GET /x y?q=%20 1.1"),
        ("%(s)s %(st)s", "200 OK"),
        ("%(S)s %(m)s %(U)s|%(Uq)s|%(q)s|%(H)s", "https GET /x y|/x y?q=%20|q=%20|1.1"),
        ("%(b)s %(B)s", "443 443"),
        ("%(f)s %(a)s", "http://a/ tests"),
        ("%(T)s %(M)s %(D)s %(L)s", "2 2001 2001530 2.001530"),
        ("%(p)s", "<18001>"),
        ("%({X-ID}i)s %({Content-Type}o)s %({x-b}o)s", "last text/plain -"),
        ("%(bytes_sent)s %(bytes_received)s", "443 3"),
        ("%(queue_time)s %(head_time)s", "0.000012 0.000900"),
        ("%(worker_pid)s %(protocol)s %(connection_id)s %(stream_id)s", "18001 http/1.1 7 5"),
        ("%(request_id)s", "id\\x0a1"),
        ("%(trace_id)s %(span_id)s", "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7"),
        ("%(fault)s", "client went away"),
        ("100%% %(s)s", "100% 200"),
        ("%(m)-5s|%(m)5s|%(m)2s|%(s)d", "GET  |  GET|GET|200"),
    ] {
        assert_eq!(atoms(format, &entry), text, "{format}");
    }
    assert_eq!(atoms("%(st)s", &AccessEntry { status: Some(441), ..entry }), "<???441???>");
}

#[test]
fn clients_cannot_forge_lines_or_fields() {
    let head = head(&[("referer", "\" \"\x1b"), ("user-agent", "caf\u{e9}\u{9b}")]);
    let line =
        line_of(&AccessEntry { path: b"/%0a[x]%22%zz%", fields: Some(head.view().fields()), ..entry() });
    assert_eq!(line.lines().count(), 1);
    let tail = "\"GET /\\x0a[x]\\\"%zz% 1.1\" 200 443 \"\\\" \\\"\\x1b\" \"caf\u{e9}\\xc2\\x9b\"\n";
    assert!(line.ends_with(tail), "{line}");
}

#[test]
fn a_line_has_a_greatest_length() {
    let long = "a".repeat(1 << 20);
    let head = head(&[("user-agent", &long)]);
    let entry = AccessEntry { path: long.as_bytes(), fields: Some(head.view().fields()), ..entry() };
    let line = line_of(&entry);
    assert!(line.len() < 2 * line::TEXT_MAX + 200, "{}", line.len());
}

#[test]
fn json_lines_are_objects_with_all_fields() {
    let head = head(&[("host", "a.test"), ("user-agent", "\"x\"\n\u{1b}")]);
    let full = AccessEntry {
        query: b"q=\xff",
        fields: Some(head.view().fields()),
        stream: Some(5),
        request_id: Some(b"4242"),
        trace: TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        fault: Some(Fault::WorkerLost),
        ..entry()
    };
    let line = line_in(AccessFormat::json(), &full);
    assert_eq!(line.lines().count(), 1);
    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({
        "time": "2026-11-23T05:01:31+01:00", "client": "127.0.0.1:33772", "method": "GET", "scheme": "https",
        "host": "a.test", "path": "/x%20y", "query": "q=\\xff", "protocol": "http/1.1", "status": 200,
        "bytes_sent": 443, "bytes_received": 0, "duration": 2.00153, "queue_time": 0.000_012,
        "head_time": 0.0009, "user_agent": "\"x\"\n\u{1b}", "pid": 17993, "worker_pid": 18001,
        "connection_id": 7, "stream_id": 5, "request_id": "4242",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7", "fault": "worker died",
    });
    assert_eq!(read, expected);
    let bare = AccessEntry { client: None, status: None, worker: None, method: b"", ..entry() };
    let read: serde_json::Value = serde_json::from_str(&line_in(AccessFormat::json(), &bare)).unwrap();
    for absent in [
        "client",
        "method",
        "status",
        "worker_pid",
        "stream_id",
        "request_id",
        "trace_id",
        "fault",
        "referer",
    ] {
        assert!(read.get(absent).is_none(), "{absent}: {read}");
    }
}

#[test]
fn lines_for_a_terminal_are_short() {
    let plain = |entry: &AccessEntry<'_>| line_in(AccessFormat::terminal(false), entry);
    assert_eq!(plain(&entry()), "05:01:31 200 GET /x y 2001.5 ms http/1.1\n");
    let lost = AccessEntry {
        query: b"a=1",
        status: None,
        protocol: "h2",
        duration: Duration::from_micros(99),
        fault: Some(Fault::WorkerLost),
        ..entry()
    };
    assert_eq!(plain(&lost), "05:01:31 --- GET /x y?a=1 0.0 ms h2 (worker died)\n");
}

#[test]
fn lines_for_a_terminal_show_the_class_of_the_status_by_its_color() {
    let colored = |status| line_in(AccessFormat::terminal(true), &AccessEntry { status, ..entry() });
    assert_eq!(
        colored(Some(204)),
        "\x1b[2m05:01:31\x1b[0m \x1b[32m204\x1b[0m GET /x y \x1b[2m2001.5 ms http/1.1\x1b[0m\n"
    );
    for (status, color) in [(Some(101), 32), (Some(308), 36), (Some(404), 33), (Some(503), 31), (None, 31)] {
        assert!(colored(status).contains(&format!(" \x1b[{color}m")), "{status:?}");
    }
    let forged = AccessEntry { path: b"/\x1b[31m%1b%0a", query: b"\x1b", ..entry() };
    let line = line_in(AccessFormat::terminal(true), &forged);
    assert!(line.contains("GET /\\x1b[31m\\x1b\\x0a?\\x1b "), "{line}");
}

#[test]
fn full_batches_go_at_once_and_others_when_they_are_due() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, mut log, path) = log_in(&folder, AccessFormat::default());
    let start = Instant::now();
    assert!(!log.is_waiting());
    log.record(&entry());
    log.flush_due(start);
    assert!(log.is_waiting(), "young lines wait");
    log.flush_due(start + BATCH_AGE);
    assert!(!log.is_waiting(), "old lines go");
    while log.batch.len() < BATCH - 200 {
        log.record(&entry());
    }
    assert!(log.lines > 100);
    log.record(&AccessEntry { path: &[b'a'; 400], ..entry() });
    assert_eq!(log.lines, 0, "full batches go");
    drop(log);
    writer.close();
    assert!(std::fs::metadata(path).unwrap().len() > BATCH as u64);
}

#[test]
fn is_silent_above_info_and_without_a_target() {
    let target = Some(LogTarget::Standard);
    let quiet = LogSettings { access: target, level: LogLevel::Warning, ..LogSettings::default() };
    assert!(open(&quiet).unwrap().is_none());
    assert!(open(&LogSettings::default()).unwrap().is_none());
}

//! The tables of `docs/guide/metrics.md`, generated from the exposition. The test fails if they are stale; with
//! `HCRS_GENERATE` in the environment it writes them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use hcrs_http::Fault;

use crate::families::{FAMILIES, Kind};
use crate::histogram::BOUNDS;
use crate::{
    Counters, Format, NamedCertificateFacts, ServerFacts, ThreadSnapshot, UpstreamFacts, WorkerFacts,
    WorkerState, exposition,
};

const PAGE: &str = "docs/guide/metrics.md";
const BEGIN: &str = "<!-- Generated: make generate -->\n";
const END: &str = "<!-- End of the generated part -->\n";

/// The labels whose values are not a list.
const OPEN_LABELS: &[(&str, &str)] = &[
    ("version", "the version of hcrs"),
    ("upstream", "the URL of an upstream, or `others` for those beyond 256"),
    ("worker", "the slot of a worker, from 1 to the number of workers"),
    ("name", "the name that a certificate is for"),
    ("le", "the upper bound of a bucket, in seconds"),
];

/// The exposition of a server with one worker, which has every metric and every label.
fn text() -> String {
    let counters = Counters::default();
    counters.add_slot(0);
    let worker = WorkerFacts { slot: 0, state: WorkerState::Ready, resident_bytes: Some(1) };
    let certificate = NamedCertificateFacts {
        name: "example.com".into(),
        not_after: Some(1),
        ..NamedCertificateFacts::default()
    };
    let server = ServerFacts {
        version: "1.0.0",
        workers: vec![worker],
        certificates: vec![certificate],
        ..ServerFacts::default()
    };
    let mut threads = ThreadSnapshot::of(&counters);
    threads.add_upstream("http://127.0.0.1:9000", UpstreamFacts::default());
    exposition(Format::Text, &threads, &server)
}

/// The labels of a sample.
fn labels(line: &str) -> Vec<(String, String)> {
    let Some((_, labels)) = line.split_once('{') else { return Vec::new() };
    let labels = labels.rsplit_once('}').expect("a closing brace").0;
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').expect("a value");
        (name.to_owned(), value.trim_matches('"').to_owned())
    };
    labels.split(',').map(pair).collect()
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn tables() -> String {
    let text = text();
    let mut out = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    // The labels in order of their first use, with their values and the metrics that have them.
    let mut known: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
    for family in FAMILIES {
        let name = format!("{}{}", family.name, family.kind.suffix());
        let samples = text.lines().filter(|line| {
            let end = if family.kind == Kind::Histogram { "_bucket" } else { "" };
            line.strip_prefix(&format!("{name}{end}")).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let mut names = Vec::new();
        for (label, value) in samples.flat_map(labels) {
            push_new(&mut names, format!("`{label}`"));
            let values_of = |metrics: &[String]| metrics.contains(&name);
            match known.iter_mut().find(|(other, _, metrics)| *other == label && values_of(metrics)) {
                Some((_, values, _)) => push_new(values, value),
                None => known.push((label, vec![value], vec![name.clone()])),
            }
        }
        let kind = family.kind.as_str();
        let _infallible = writeln!(out, "| `{name}` | {kind} | {} | {} |", names.join(", "), family.help);
    }
    out.push_str("\n### Labels\n\n| label | of | values |\n|---|---|---|\n");
    let mut rows: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
    for (label, values, metrics) in known {
        let is_open = OPEN_LABELS.iter().any(|(open, _)| *open == label);
        match rows.iter_mut().find(|(other, listed, _)| *other == label && (is_open || *listed == values)) {
            Some((_, _, others)) => others.extend(metrics),
            None => rows.push((label, values, metrics)),
        }
    }
    for (label, values, metrics) in rows {
        let values = OPEN_LABELS.iter().find(|(open, _)| *open == label).map_or_else(
            || values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
            |(_, text)| (*text).to_owned(),
        );
        let metrics: Vec<_> = metrics.iter().map(|name| format!("`{name}`")).collect();
        let of = if label == "le" { "buckets".to_owned() } else { metrics.join(", ") };
        let values = if label == "fault" { "as below".to_owned() } else { values };
        let _infallible = writeln!(out, "| `{label}` | {of} | {values} |");
    }
    out.push_str("\n### Faults\n\n| fault | blame | meaning |\n|---|---|---|\n");
    for fault in Fault::ALL {
        let (name, blame) = (fault.counter(), fault.blame().as_str());
        let _infallible = writeln!(out, "| `{name}` | {blame} | {} |", fault.as_str());
    }
    let bounds: Vec<_> =
        BOUNDS.iter().map(|&nanos| Duration::from_nanos(nanos).as_secs_f64().to_string()).collect();
    let _infallible = writeln!(
        out,
        "\n### Buckets\n\nThe upper bounds of the buckets of all histograms, in seconds:\n\n```text\n{}\n```",
        bounds.join(" ")
    );
    out
}

#[test]
fn generated_tables_of_the_guide_are_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    let page = fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the beginning of the generated part");
    let (_, after) = rest.split_once(END).expect("the end of the generated part");
    let current = format!("{before}{BEGIN}\n{}\n{END}{after}", tables());
    if std::env::var_os("HCRS_GENERATE").is_some() {
        fs::write(&file, &current).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap();
    assert!(found == current, "{PAGE} is stale; renew it with: make generate");
}

#[test]
fn each_metric_has_its_labels_in_the_tables() {
    let tables = tables();
    for row in [
        "| `hcrs_requests_total` | counter | `protocol`, `status` |",
        "| `hcrs_request_duration_seconds` | histogram | `protocol`, `le` |",
        "| `hcrs_build_info` | info | `version` |",
        "| `hcrs_queue_length` | gauge |  |",
        "| `worker_lost` | worker |",
    ] {
        assert!(tables.contains(row), "{row}");
    }
}

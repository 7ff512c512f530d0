//! The cost of writing and reading a head.
#![allow(missing_docs, reason = "a benchmark has no readers of its interface")]

use divan::{Bencher, black_box};
use hcrs_http::{Address, Endpoints, RequestHead, RequestLine, RequestView, Scheme, Version};

fn main() {
    divan::main();
}

const FIELDS: [(&str, &str); 8] = [
    ("host", "localhost:8443"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cookie", "session=0123456789abcdef0123456789abcdef"),
    ("sec-fetch-mode", "navigate"),
    ("priority", "u=0, i"),
];

fn head(block: Vec<u8>) -> RequestHead {
    let endpoints = Endpoints::new(Some(Address { host: "127.0.0.1", port: 50000 }), None);
    let line = RequestLine {
        version: Version::Http2,
        scheme: Scheme::Https,
        method: b"GET",
        path: b"/items/42",
        query: b"q=x",
    };
    let mut head = RequestHead::new(block, line, &endpoints);
    for (name, value) in FIELDS {
        head.push_field(name.as_bytes(), value.as_bytes());
    }
    head
}

#[divan::bench]
fn write_request_head(bencher: Bencher<'_, '_>) {
    let mut block = Vec::new();
    bencher.bench_local(|| block = head(std::mem::take(&mut block)).into_block());
}

#[divan::bench]
fn read_request_head(bencher: Bencher<'_, '_>) {
    let head = head(Vec::new());
    bencher.bench_local(|| {
        let view = RequestView::parse(black_box(head.as_bytes())).expect("well-formed");
        view.fields().map(|(n, v)| n.len() + v.len()).sum::<usize>()
    });
}

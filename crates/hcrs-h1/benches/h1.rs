//! The cost of an exchange on an HTTP/1.1 connection.
#![allow(missing_docs, reason = "a benchmark has no readers of its interface")]

use std::rc::Rc;

use bytes::{BufMut as _, Bytes, BytesMut};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use hcrs_h1::{Connection, Event, ServerFields, Settings};
use hcrs_http::{Address, Endpoints, ResponseHead, ResponseHeadWriter, Scheme};

fn main() {
    divan::main();
}

const SMALL: &[u8] =
    b"GET /items/42?q=x HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: h2load nghttp2/1.52.0\r\n\
    Accept: */*\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n";

const BROWSER: &[u8] = b"GET /items/42?q=x HTTP/1.1\r\nHost: localhost:8000\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nPriority: u=0, i\r\n\r\n";

fn connection() -> Connection {
    let endpoints = Endpoints::new(
        Some(Address { host: "127.0.0.1", port: 50000 }),
        Some(Address { host: "127.0.0.1", port: 8000 }),
    );
    let input = BytesMut::with_capacity(64 * 1024);
    Connection::new(&Settings::default(), Scheme::Http, Rc::new(endpoints), input)
}

fn response() -> ResponseHead {
    let mut block = Vec::new();
    let mut writer = ResponseHeadWriter::begin(&mut block, 200);
    writer.field(&mut block, b"content-type", b"application/json");
    writer.field(&mut block, b"content-length", b"13");
    writer.finish(&mut block);
    ResponseHead::parse(Bytes::from(block)).expect("well-formed")
}

const EXTRA: ServerFields<'static> =
    ServerFields { date: Some(b"Sun, 06 Nov 1994 08:49:37 GMT"), server: Some(b"hcrs-h1"), alt_svc: b"" };

/// Reads the request in `wire` up to its end and returns its block.
fn read(connection: &mut Connection, wire: &[u8]) {
    connection.input_mut(wire.len()).put_slice(wire);
    while let Some(event) = connection.poll_event().expect("a good request") {
        if let Event::Request(request) = event {
            connection.set_spare_block(black_box(request.head).into_block());
        }
    }
}

fn answer(connection: &mut Connection, head: &ResponseHead, out: &mut Vec<u8>) {
    out.clear();
    connection.write_head(black_box(head), Some(13), false, &EXTRA, out).expect("a good head");
    connection.write_data(b"{\"ok\": true}\n", out).expect("as long as announced");
    connection.write_end(out).expect("complete");
    black_box(&out);
    connection.next_exchange();
}

/// Measures the whole cost of HTTP in a small exchange: read, answer, next.
#[divan::bench(args = [("small", SMALL), ("browser", BROWSER)].map(|(name, wire)| Case { name, wire }))]
fn exchange(bencher: Bencher<'_, '_>, case: Case) {
    let (mut connection, head) = (connection(), response());
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(case.wire.len())).bench_local(|| {
        read(&mut connection, black_box(case.wire));
        answer(&mut connection, &head, &mut out);
    });
}

/// Measures the cost of the response alone.
#[divan::bench]
fn response_small(bencher: Bencher<'_, '_>) {
    let (mut connection, head) = (connection(), response());
    let mut out = Vec::new();
    bencher.bench_local(|| {
        read(&mut connection, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        answer(&mut connection, &head, &mut out);
    });
}

/// Measures a head that comes byte by byte, as from a hostile client.
#[divan::bench]
fn head_dripped(bencher: Bencher<'_, '_>) {
    let (mut connection, head) = (connection(), response());
    let mut out = Vec::new();
    bencher.bench_local(|| {
        for byte in BROWSER {
            read(&mut connection, &[*byte]);
        }
        answer(&mut connection, &head, &mut out);
    });
}

/// Measures a body of 64 KiB in chunks of the given size.
#[divan::bench(args = [16, 1024, 65536])]
fn body_chunked(bencher: Bencher<'_, '_>, chunk: usize) {
    let mut wire = b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..65536 / chunk {
        wire.extend_from_slice(format!("{chunk:x}\r\n").as_bytes());
        wire.resize(wire.len() + chunk, b'x');
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    let (mut connection, head) = (connection(), response());
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(65536usize)).bench_local(|| {
        read(&mut connection, black_box(&wire));
        answer(&mut connection, &head, &mut out);
    });
}

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    wire: &'static [u8],
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

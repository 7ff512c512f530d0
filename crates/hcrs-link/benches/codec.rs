//! The cost of writing and reading a frame, and of a claim.
#![allow(missing_docs, reason = "a benchmark has no readers of its interface")]

use divan::{Bencher, black_box};
use hcrs_link::{ClaimTable, FrameHeader, FromWorker, HEADER_LEN, StreamId};

fn main() {
    divan::main();
}

fn data(bytes: &[u8]) -> FromWorker<'_> {
    FromWorker::Data { stream: stream(), bytes, end: true }
}

fn stream() -> StreamId {
    StreamId::new(7).expect("a number")
}

#[divan::bench(args = [0, 64, 1024, 16_384])]
fn write_32_frames(bencher: Bencher<'_, '_>, len: usize) {
    let (payload, mut out) = (vec![7; len], Vec::new());
    bencher.bench_local(|| {
        out.clear();
        for _ in 0..32 {
            black_box(data(&payload)).write(&mut out);
        }
        out.len()
    });
}

#[divan::bench(args = [0, 64, 1024, 16_384])]
fn read_32_frames(bencher: Bencher<'_, '_>, len: usize) {
    let (payload, mut wire) = (vec![7; len], Vec::new());
    for _ in 0..32 {
        data(&payload).write(&mut wire);
    }
    bencher.bench_local(|| {
        let (mut rest, mut sum) = (&wire[..], 0);
        while let Some((header, payload)) = FrameHeader::split(black_box(rest)).expect("well-formed") {
            if let Ok(FromWorker::Data { bytes, .. }) = FromWorker::parse(&header, payload) {
                sum += bytes.len();
            }
            rest = &rest[HEADER_LEN + header.len..];
        }
        sum
    });
}

#[divan::bench]
fn offer_and_claim(bencher: Bencher<'_, '_>) {
    let (edge, _fd) = ClaimTable::create().expect("memory");
    bencher.bench_local(|| {
        edge.offer(3, black_box(stream()));
        edge.claim(3, stream())
    });
}

//! What a frame costs to write and to read, and what a claim costs.
#![allow(missing_docs, reason = "a benchmark has no readers of its interface")]

use divan::{Bencher, black_box};
use hcrs_link::{ClaimTable, FrameHeader, HEADER_LEN, Kind, push_frame};

fn main() {
    divan::main();
}

const HEADER: FrameHeader = FrameHeader { len: 0, kind: Kind::Data, flags: 1, slot: 0, stream: 7 };

#[divan::bench(args = [0, 64, 1024, 16_384])]
fn write_32_frames(bencher: Bencher<'_, '_>, len: usize) {
    let (payload, mut out) = (vec![7; len], Vec::new());
    bencher.bench_local(|| {
        out.clear();
        for _ in 0..32 {
            push_frame(&mut out, black_box(HEADER), &payload);
        }
        out.len()
    });
}

#[divan::bench(args = [0, 64, 1024, 16_384])]
fn read_32_frames(bencher: Bencher<'_, '_>, len: usize) {
    let (payload, mut wire) = (vec![7; len], Vec::new());
    for _ in 0..32 {
        push_frame(&mut wire, HEADER, &payload);
    }
    bencher.bench_local(|| {
        let (mut rest, mut sum) = (&wire[..], 0);
        while let Some((header, payload)) = FrameHeader::split(black_box(rest)).expect("well-formed") {
            sum += payload.len();
            rest = &rest[HEADER_LEN + header.len..];
        }
        sum
    });
}

#[divan::bench]
fn offer_and_claim(bencher: Bencher<'_, '_>) {
    let (edge, _fd) = ClaimTable::create().expect("memory");
    bencher.bench_local(|| {
        edge.offer(3, black_box(9));
        edge.claim(3, 9)
    });
}

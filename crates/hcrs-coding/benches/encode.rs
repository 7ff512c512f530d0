//! The time for a whole body of 10 KiB, for a step of a stream and for an event of one.
//!
//! The bodies are JSON of a list's page, generated so that it becomes as short as such answers do.

use std::fmt::Write as _;
use std::hint::black_box;
use std::rc::Rc;

use divan::Bencher;
use hcrs_coding::{Coding, ConnectionEncoders, Encoders, STEP_MAX};

fn main() {
    divan::main();
}

const CODINGS: [Coding; 3] = Coding::ALL;

fn json(len: usize) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "lorem", "ipsum", "dolor", "amet", "tempor", "magna", "aliqua", "minim", "veniam", "nostrud",
        "commodo", "elit",
    ];
    let (mut out, mut state) = (String::from("{\"items\": ["), 1u64);
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    while out.len() < len {
        let word = |n: u64| WORDS[n as usize];
        let (first, second, third) = (word(random(12)), word(random(12)), word(random(12)));
        let (id, cents, token) = (random(1_000_000), random(100_000), random(1 << 31));
        let (month, day) = (random(12) + 1, random(28) + 1);
        write!(
            out,
            "{{\"id\": {id}, \"name\": \"{first} {second}\", \"email\": \"{third}.{first}@example.com\", \
             \"price\": {}.{:02}, \"created\": \"2026-{month:02}-{day:02}T12:00:00Z\", \"token\": \"{token:08x}\"}}, ",
            cents / 100,
            cents % 100
        )
        .expect("a string takes all text");
    }
    out.truncate(len);
    out.into_bytes()
}

#[divan::bench(args = CODINGS)]
fn whole_10_kib(bencher: Bencher<'_, '_>, coding: Coding) {
    let (encoders, body) = (Encoders::default(), json(10 << 10));
    bencher.bench_local(|| encoders.encode_whole(coding, black_box(&body)));
}

#[divan::bench(args = CODINGS)]
fn step_64_kib(bencher: Bencher<'_, '_>, coding: Coding) {
    let connection = Rc::new(ConnectionEncoders::new(Rc::default()));
    let (mut encoder, body) = (connection.begin(coding).expect("the first"), json(STEP_MAX));
    bencher.bench_local(|| encoder.step(&[black_box(&body)], false));
}

#[divan::bench(args = CODINGS)]
fn event_200_bytes(bencher: Bencher<'_, '_>, coding: Coding) {
    let connection = Rc::new(ConnectionEncoders::new(Rc::default()));
    let (mut encoder, body) = (connection.begin(coding).expect("the first"), json(200));
    bencher.bench_local(|| encoder.step(&[black_box(&body)], false));
}

#[divan::bench(args = CODINGS)]
fn begin_and_end(bencher: Bencher<'_, '_>, coding: Coding) {
    let connection = Rc::new(ConnectionEncoders::new(Rc::default()));
    bencher.bench_local(|| connection.begin(coding).map(|mut encoder| encoder.step(&[b"a"], true)));
}

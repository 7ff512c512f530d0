//! The cost of a message on a WebSocket.
#![allow(missing_docs, reason = "a benchmark has no readers of its interface")]

use std::rc::Rc;

use bytes::BytesMut;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use hcrs_ws::{
    Compression, Connection, DeflatePool, DeflateTerms, Event, MessageKind, MessageRoom, Settings,
};

fn main() {
    divan::main();
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Returns text of `len` bytes in the manner of an API's.
fn text(len: usize) -> Vec<u8> {
    let items =
        (0..).map(|n| format!("{{\"id\":{n},\"name\":\"item {}\",\"price\":{}}},", n * 7, n * 31 % 97));
    let mut text: Vec<u8> = items.flat_map(String::into_bytes).take(len).collect();
    text[len - 1] = b']';
    text
}

/// Returns a client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        len @ 0..=125 => wire.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            wire.push(0xfe);
            wire.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            wire.push(0xff);
            wire.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    wire.extend_from_slice(&KEY);
    wire.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    wire
}

fn settings() -> Settings {
    Settings {
        compression: Some(Compression { min_size: 0, ..Compression::default() }),
        ..Settings::default()
    }
}

fn connection(deflate: Option<DeflateTerms>) -> Connection {
    connection_in(&Rc::new(DeflatePool::new(&Compression::default())), deflate)
}

fn connection_in(pool: &Rc<DeflatePool>, deflate: Option<DeflateTerms>) -> Connection {
    let settings = settings();
    let room = MessageRoom::of_connection(&MessageRoom::of_thread(&settings), &settings);
    Connection::new(&settings, deflate, pool, &room)
}

fn terms(takeover: bool) -> DeflateTerms {
    DeflateTerms {
        server_max_window_bits: 15,
        client_max_window_bits: 15,
        server_context_takeover: takeover,
        client_context_takeover: takeover,
    }
}

/// Reads `wire` and sends each message back.
fn echo(connection: &mut Connection, input: &mut BytesMut, wire: &[u8], out: &mut Vec<u8>) {
    out.clear();
    input.reserve(wire.len());
    input.extend_from_slice(black_box(wire));
    while let Some(event) = connection.poll_event(input).expect("a good frame") {
        match event {
            Event::Text(data) => connection.write_message(MessageKind::Text, &data, out).expect("open"),
            Event::Binary(data) => connection.write_message(MessageKind::Binary, &data, out).expect("open"),
            _ => {
                connection.write_replies(out);
            }
        }
    }
    black_box(&out);
}

/// Measures a text message there and back: the whole cost of WebSocket.
#[divan::bench(args = [32, 4096])]
fn echo_text(bencher: Bencher<'_, '_>, len: usize) {
    let (mut connection, mut input, mut out) = (connection(None), BytesMut::with_capacity(65536), Vec::new());
    let wire = frame(0x81, &text(len));
    bencher.counter(BytesCount::new(len)).bench_local(|| echo(&mut connection, &mut input, &wire, &mut out));
}

/// Measures text messages there and back, many in one read.
#[divan::bench(args = [32, 4096])]
fn echo_text_64_at_once(bencher: Bencher<'_, '_>, len: usize) {
    let (mut connection, mut input, mut out) = (connection(None), BytesMut::with_capacity(65536), Vec::new());
    let wire = frame(0x81, &text(len)).repeat(64);
    bencher
        .counter(BytesCount::new(64 * len))
        .bench_local(|| echo(&mut connection, &mut input, &wire, &mut out));
}

/// Measures large binary messages, whose cost is that of unmasking.
#[divan::bench(args = [65536, 1 << 20])]
fn unmask(bencher: Bencher<'_, '_>, len: usize) {
    let (mut connection, mut input) = (connection(None), BytesMut::new());
    let wire = frame(0x82, &vec![7; len]);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        input.extend_from_slice(black_box(&wire));
        black_box(connection.poll_event(&mut input).expect("a good frame"))
    });
}

/// Measures compressing to the client.
#[divan::bench(args = [(false, 300), (true, 300), (false, 4096), (true, 4096)])]
fn deflate(bencher: Bencher<'_, '_>, (takeover, len): (bool, usize)) {
    let (mut connection, mut out) = (connection(Some(terms(takeover))), Vec::new());
    let message = text(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        out.clear();
        connection.write_message(MessageKind::Text, black_box(&message), &mut out).expect("open");
        black_box(&out);
    });
}

/// Measures inflating a message that the client has compressed.
#[divan::bench(args = [300, 4096, 65536])]
fn inflate(bencher: Bencher<'_, '_>, len: usize) {
    let pool = Rc::new(DeflatePool::new(&Compression::default()));
    let (mut connection, mut input) =
        (connection_in(&pool, Some(terms(false))), BytesMut::with_capacity(65536));
    let mut packed = Vec::new();
    connection.write_message(MessageKind::Text, &text(len), &mut packed).expect("open");
    let header = if packed[1] < 126 { 2 } else { 4 };
    let wire = frame(0xc1, &packed[header..]);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        input.extend_from_slice(black_box(&wire));
        pool.begin_turn();
        while black_box(connection.poll_event(&mut input).expect("a good frame")).is_some() {}
    });
}

//! The cost of HTTP/2 to the server: requests that the `h2` crate's client packed are read and answered.
//!
//! A round is two turns of the connection, as at the edge: the requests arrive; the app's answers do.
#![allow(missing_docs, reason = "a benchmark has no readers of its interface")]

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use hcrs_h2::{Connection, Event, PREFACE, ServerFields, Settings, StreamKey};
use hcrs_http::{Address, Endpoints, ResponseHead, ResponseHeadWriter, Scheme};
use http::{HeaderValue, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

fn main() {
    divan::main();
}

const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const ACK: u8 = 0x1;
const WINDOW_UPDATE: u8 = 0x8;

#[derive(Debug, Clone, Copy)]
struct Round {
    streams: u32,
    body: usize,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:2} streams, {:5} bytes each", self.streams, self.body)
    }
}

fn rounds() -> impl Iterator<Item = Round> {
    [1, 32].into_iter().flat_map(|streams| [0, 100, 1024, 16_384].map(|body| Round { streams, body }))
}

/// Requests without a body, all answered with the next turn.
#[divan::bench(args = rounds())]
fn requests_answered(bencher: Bencher<'_, '_>, round: Round) {
    let mut server = Server::new(vec![b'x'; round.body]);
    bencher.counter(ItemsCount::new(round.streams)).bench_local(|| {
        server.request(round.streams, round.body);
        server.turn();
        server.answer();
        server.turn();
    });
}

/// Measures one body of 64 KiB that the app takes as it comes.
#[divan::bench(args = [100, 1024, 16_384])]
fn upload_in_frames(bencher: Bencher<'_, '_>, frame_len: usize) {
    let mut server = Server::new(b"ok".to_vec());
    bencher.counter(BytesCount::new(64_usize << 10)).bench_local(|| {
        server.upload(64 << 10, frame_len);
        server.turn();
        server.turn();
        server.answer();
        server.turn();
    });
}

struct Server {
    connection: Connection<Wire>,
    wire: Wire,
    fields: ServerFields,
    now: Instant,
    /// The answer to each request.
    head: ResponseHead,
    body: Bytes,
    /// Streams that wait for their answer.
    begun: Vec<StreamKey>,
    /// Streams that are answered in the next turn.
    answered: Vec<StreamKey>,
    next_id: u32,
    /// Header blocks of the first request of a connection, and of each later one.
    blocks: [Vec<u8>; 2],
    /// The same for requests with a body.
    upload_blocks: [Vec<u8>; 2],
}

impl Server {
    fn new(body: Vec<u8>) -> Self {
        let wire = Wire::default();
        wire.push(PREFACE);
        let window = [&4u16.to_be_bytes()[..], &(1u32 << 30).to_be_bytes()].concat();
        wire.push(&frame(SETTINGS, 0, 0, &window));
        wire.push(&frame(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()));
        let endpoints = Endpoints::new(
            Some(Address { host: "127.0.0.1", port: 50000 }),
            Some(Address { host: "127.0.0.1", port: 8443 }),
        );
        // Time stands still here, and with it the refill of budgets.
        let settings = Settings { frame_burst: u32::MAX, ..Settings::default() };
        let room = hcrs_h2::BodyRoom::new(settings.thread_room);
        let handshake = hcrs_h2::handshake(wire.clone(), &settings, Scheme::Https, Rc::new(endpoints), &room);
        let Poll::Ready(Ok(connection)) = pin!(handshake).poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("the preface is there");
        };
        // From then on the streams' window is the server's.
        wire.push(&frame(SETTINGS, ACK, 0, &[]));
        let fields = ServerFields {
            date: Some(HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")),
            server: Some(HeaderValue::from_static("hcrs-h2")),
            alt_svc: None,
        };
        let get = || Request::get("https://localhost:8443/items/42?q=x");
        let post = || Request::post("https://localhost:8443/items");
        let mut server = Self {
            connection,
            wire,
            fields,
            now: Instant::now(),
            head: response(body.len()),
            body: body.into(),
            begun: Vec::new(),
            answered: Vec::new(),
            next_id: 1,
            blocks: client_blocks(get),
            upload_blocks: client_blocks(post),
        };
        server.turn();
        server
    }

    /// Polls the connection once.
    fn turn(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut turn = self.connection.begin_turn(&self.fields);
        for key in self.answered.drain(..) {
            turn.send_head(key, black_box(&self.head), false).expect("a good head");
            turn.send_data(self.now, key, self.body.clone(), true).expect("a good body");
        }
        while let Poll::Ready(event) = turn.poll_event(cx, self.now) {
            match event.expect("an honest client") {
                Event::Request { key, head, .. } => {
                    self.begun.push(key);
                    hcrs_h2::recycle(black_box(head).into_block());
                }
                Event::Data { key, data, .. } => turn.release(key, black_box(data).len()),
                Event::Pushed { .. }
                | Event::Trailers { .. }
                | Event::End { .. }
                | Event::Sent { .. }
                | Event::Reset { .. }
                | Event::Refused { .. } => {}
            }
        }
        assert!(turn.end(cx).is_ready());
    }

    /// Answers all streams that have begun, at the beginning of the next turn.
    fn answer(&mut self) {
        std::mem::swap(&mut self.answered, &mut self.begun);
    }

    /// Acts as the client: opens the window again and sends requests.
    fn request(&mut self, streams: u32, body: usize) {
        if body > 0 {
            let taken = (streams * body as u32).to_be_bytes();
            self.wire.push(&frame(WINDOW_UPDATE, 0, 0, &taken));
        }
        for _ in 0..streams {
            let (id, block) = self.next_stream(false);
            self.wire.push(&frame(HEADERS, 0x5, id, &block));
        }
    }

    fn upload(&mut self, len: usize, frame_len: usize) {
        let (id, block) = self.next_stream(true);
        self.wire.push(&frame(HEADERS, 0x4, id, &block));
        for at in (0..len).step_by(frame_len) {
            let end = at + frame_len >= len;
            self.wire.push(&frame(0, u8::from(end), id, &[7; 16_384][..frame_len.min(len - at)]));
        }
    }

    fn next_stream(&mut self, uploads: bool) -> (u32, Vec<u8>) {
        let id = self.next_id;
        self.next_id += 2;
        let blocks = if uploads { &self.upload_blocks } else { &self.blocks };
        (id, blocks[usize::from(id > 1)].clone())
    }
}

fn response(len: usize) -> ResponseHead {
    let mut block = Vec::new();
    let mut writer = ResponseHeadWriter::begin(&mut block, 200);
    writer.field(&mut block, b"content-type", b"application/json");
    writer.field(&mut block, b"content-length", len.to_string().as_bytes());
    writer.finish(&mut block);
    ResponseHead::parse(Bytes::from(block)).expect("well-formed")
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let [_, len @ ..] = (payload.len() as u32).to_be_bytes();
    [&len[..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

/// Returns two header blocks of the same request as the `h2` crate's client packs it: the second one from its
/// table.
fn client_blocks(request: impl Fn() -> http::request::Builder) -> [Vec<u8>; 2] {
    let cx = &mut Context::from_waker(Waker::noop());
    let wire = Wire::default();
    let Poll::Ready(Ok((mut sender, connection))) = pin!(h2::client::handshake(wire.clone())).poll(cx) else {
        panic!("a client does not wait");
    };
    let mut connection = pin!(connection);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let request = request()
            .header("user-agent", "h2load nghttp2/1.52.0")
            .header("accept", "*/*")
            .header("accept-encoding", "gzip, deflate, br, zstd");
        assert!(sender.poll_ready(cx).is_ready());
        streams.push(
            sender.send_request(request.body(()).expect("a request"), true).expect("an open connection"),
        );
        assert!(connection.as_mut().poll(cx).is_pending());
    }
    let sent = wire.0.borrow().written.clone();
    let (mut rest, mut blocks) = (&sent[PREFACE.len()..], Vec::new());
    while let Some((header, after)) = rest.split_first_chunk::<9>() {
        let len = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let (payload, after) = after.split_at(len);
        rest = after;
        if header[3] == HEADERS {
            blocks.push(payload.to_vec());
        }
    }
    blocks.try_into().expect("two requests")
}

/// A socket that has what was pushed, and takes everything.
#[derive(Debug, Clone, Default)]
struct Wire(Rc<RefCell<Lanes>>);

#[derive(Debug, Default)]
struct Lanes {
    incoming: Vec<u8>,
    read: usize,
    /// The first bytes that were written.
    written: Vec<u8>,
}

impl Wire {
    fn push(&self, bytes: &[u8]) {
        let lanes = &mut *self.0.borrow_mut();
        if lanes.read == lanes.incoming.len() {
            lanes.read = 0;
            lanes.incoming.clear();
        }
        lanes.incoming.extend_from_slice(bytes);
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let lanes = &mut *self.0.borrow_mut();
        let rest = &lanes.incoming[lanes.read..];
        if rest.is_empty() {
            return Poll::Pending;
        }
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        lanes.read += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        const KEPT: usize = 4096;
        let written = &mut self.0.borrow_mut().written;
        let room = KEPT.saturating_sub(written.len());
        written.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Poll::Ready(Ok(black_box(bytes).len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

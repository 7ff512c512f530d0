//! The cost of HTTP/3 to the server, without QUIC: requests in the transport's memory are read and answered.
//!
//! A round is two turns of the connection, as at the edge: the requests arrive; the app's answers do.
#![allow(missing_docs, reason = "a benchmark has no readers of its interface")]

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use divan::Bencher;
use divan::counter::ItemsCount;
use hcrs_h3::{
    BodyRoom, Connection, ErrorCode, Event, Read, ServerFields, Settings, StreamKey, Transport, Write,
};
use hcrs_http::{Address, Endpoints, ResponseHead};
use hcrs_mux::literal::{put_integer, put_text};
use http::HeaderValue;

fn main() {
    divan::main();
}

#[derive(Debug, Clone, Copy)]
struct Round {
    streams: u64,
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
        server.request(round.streams);
        server.turn();
        server.answer();
        server.turn();
    });
}

/// A transport that has the bytes of each request, and takes all that is sent.
struct Wire {
    request: Bytes,
    /// The streams whose request was not read, and whose end was not.
    unread: HashMap<u64, bool>,
    unis: u64,
}

impl Transport for Wire {
    fn read(&mut self, id: u64, _: usize) -> Read {
        match self.unread.get_mut(&id) {
            Some(is_read) if !*is_read => {
                *is_read = true;
                Read::Bytes(self.request.clone())
            }
            Some(_) => {
                self.unread.remove(&id);
                Read::Finished
            }
            None => Read::Blocked,
        }
    }

    fn write(&mut self, _: u64, chunks: &mut [Bytes]) -> Write {
        for chunk in chunks {
            chunk.advance(chunk.len());
        }
        Write::Taken
    }

    fn finish(&mut self, _: u64) {}

    fn reset(&mut self, _: u64, _: ErrorCode) {}

    fn stop_sending(&mut self, _: u64, _: ErrorCode) {}

    fn open_uni(&mut self) -> Option<u64> {
        self.unis += 4;
        Some(self.unis - 1)
    }

    fn set_priority(&mut self, _: u64, _: i32) {}

    fn close(&mut self, code: ErrorCode) {
        panic!("{code:?}");
    }

    fn rtt(&self) -> Duration {
        Duration::ZERO
    }
}

/// Returns the HEADERS frame of a request as browsers and libraries send them, without a dynamic table.
fn request() -> Bytes {
    let mut section = vec![0, 0];
    // :method GET, :scheme https
    section.extend([0xd1, 0xd7]);
    for (name, value) in
        [(0, "example.com"), (1, "/items/17?full=1"), (95, "Mozilla/5.0 (X11; Linux x86_64)"), (72, "en")]
    {
        put_integer(&mut section, 0x50, 4, name);
        put_text(&mut section, 0, 7, value.as_bytes(), true);
    }
    // accept */*, accept-encoding gzip, deflate, br
    section.extend([0xdd, 0xdf]);
    let mut frame = vec![0x1, 0x40, section.len() as u8];
    frame.extend(section);
    frame.into()
}

struct Server {
    connection: Connection,
    wire: Wire,
    fields: ServerFields,
    now: Instant,
    /// The answer to each request.
    head: ResponseHead,
    body: Bytes,
    /// Streams that wait for their answer.
    waiting: Vec<StreamKey>,
    next_id: u64,
}

impl Server {
    fn new(body: Vec<u8>) -> Self {
        let address = |port| Some(Address { host: "127.0.0.1", port });
        let settings = Settings::default();
        let room = BodyRoom::new(1 << 20);
        let endpoints = Rc::new(Endpoints::new(address(1), address(443)));
        let length = body.len().to_string();
        let fields: [(&[u8], &[u8]); 2] =
            [(b"content-type", b"application/json"), (b"content-length", length.as_bytes())];
        Self {
            connection: Connection::new(&settings, endpoints, &room),
            wire: Wire { request: request(), unread: HashMap::new(), unis: 4 },
            fields: ServerFields {
                date: Some(HeaderValue::from_static("Mon, 30 Nov 2026 16:00:00 GMT")),
                server: Some(HeaderValue::from_static("hcrs")),
                alt_svc: None,
            },
            now: Instant::now(),
            head: ResponseHead::new(200, fields),
            body: body.into(),
            waiting: Vec::new(),
            next_id: 0,
        }
    }

    fn request(&mut self, streams: u64) {
        for _ in 0..streams {
            self.wire.unread.insert(self.next_id, false);
            self.connection.opened(self.next_id);
            self.next_id += 4;
        }
    }

    fn turn(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut turn = self.connection.begin_turn(&mut self.wire, &self.fields);
        while let Poll::Ready(event) = turn.poll_event(cx, self.now) {
            if let Event::Request { key, head } = event.expect("a good client") {
                self.waiting.push(key);
                hcrs_h3::recycle(head.into_block());
            }
        }
        turn.end(cx, self.now);
    }

    fn answer(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut turn = self.connection.begin_turn(&mut self.wire, &self.fields);
        let sent: Vec<_> = self.waiting.drain(..).collect();
        assert!(!sent.is_empty(), "the requests are good ones");
        for key in &sent {
            turn.send_head(*key, &self.head, false).expect("a good head");
            turn.send_data(self.now, *key, self.body.clone(), true).expect("a good body");
        }
        turn.end(cx, self.now);
        for key in sent {
            self.connection.finished(key.id);
        }
    }
}

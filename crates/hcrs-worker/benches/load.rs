//! Drives a worker process over a link, without an edge, and prints the CPU time that a request costs it.
//!
//! `PYTHON=... cargo bench -p hcrs-worker`, with the package `hcrs` installed for that Python.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a benchmark prints, and ends where it fails")]

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use hcrs_http::{Address, Endpoints, RequestHead, RequestLine, Scheme, Version};
use hcrs_link::{ClaimTable, FrameHeader, FromEdge, FromWorker, HEADER_LEN, Request, StreamIds};

const BATCH: u32 = 32;
const BATCHES: u32 = 4_000;

/// The options that an edge passes to every worker, beside the links and the worker class.
const OPTIONS: [&str; 16] = [
    "--workers",
    "1",
    "--root-path",
    "",
    "--lifespan",
    "auto",
    "--startup-timeout",
    "60",
    "--shutdown-timeout",
    "60",
    "--wsgi-max-body-size",
    "16777216",
    "--loglevel",
    "info",
    "--errorlog",
    "-",
];

const APPS: [(&str, &str); 3] = [
    (
        "bare",
        "async def app(scope, receive, send):
    if scope['type'] != 'http': return
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/plain')]})
    await send({'type': 'http.response.body', 'body': b'Hello, world!'})
",
    ),
    (
        "flask",
        "from flask import Flask
app = Flask(__name__)
@app.get('/item')
def item(): return 'Hello, world!'
",
    ),
    (
        "fastapi",
        "from fastapi import FastAPI
app = FastAPI()
@app.get('/item')
async def item(q: int = 0): return {'q': q}
",
    ),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    for worker_class in ["asyncio", "uvloop"] {
        for (name, source) in APPS {
            if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
                measure(&python, worker_class, name, source);
            }
        }
    }
}

fn measure(python: &str, worker_class: &str, name: &str, source: &str) {
    let directory = std::env::temp_dir().join(format!("hcrs-load-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the app");
    std::fs::write(directory.join("load_app.py"), source).expect("the app's source");
    let mut edge = Edge::start(python, worker_class, &directory);
    let request = head();
    edge.run(&request, BATCHES / 8);
    let (mut cpu, mut wall) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        let (before, began) = (edge.cpu_seconds(), std::time::Instant::now());
        edge.run(&request, BATCHES);
        let requests = f64::from(BATCH * BATCHES);
        cpu = cpu.min((edge.cpu_seconds() - before) * 1e6 / requests);
        wall = wall.min(began.elapsed().as_secs_f64() * 1e6 / requests);
    }
    println!("{name:8} {worker_class:8} {cpu:6.2} µs CPU a request, {wall:6.2} µs between responses");
    edge.end();
    let _removed = std::fs::remove_dir_all(directory);
}

/// A request as a browser sends it.
fn head() -> Vec<u8> {
    let address = |port| Some(Address { host: "127.0.0.1", port });
    let endpoints = Endpoints::new(address(54106), address(8443));
    let line = RequestLine {
        version: Version::Http2,
        scheme: Scheme::Https,
        method: b"GET",
        path: b"/item",
        query: b"q=5",
    };
    let mut head = RequestHead::new(Vec::new(), line, &endpoints);
    for (name, value) in [
        ("host", "localhost:8443"),
        ("user-agent", "h2load nghttp2/1.52.0"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate, br"),
    ] {
        head.push_field(name.as_bytes(), value.as_bytes());
    }
    head.into_block()
}

struct Edge {
    socket: UnixStream,
    claims: ClaimTable,
    worker: Child,
    streams: StreamIds,
    buffer: Vec<u8>,
}

impl Edge {
    fn start(python: &str, worker_class: &str, directory: &std::path::Path) -> Self {
        let (socket, far) = UnixStream::pair().expect("a socket pair");
        let (claims, page) = ClaimTable::create().expect("a claim table");
        // Inherited by the worker: without the close-on-exec flag.
        for fd in [far.as_raw_fd(), page.as_raw_fd()] {
            keep_open(fd);
        }
        let worker = Command::new(python)
            .args(["-m", "hcrs.worker", "load_app:app", "--worker-class", worker_class])
            .args(["--links", &format!("{}:{}", far.as_raw_fd(), page.as_raw_fd())])
            .args(OPTIONS)
            .current_dir(directory)
            .spawn()
            .expect("a worker");
        let mut edge = Self { socket, claims, worker, streams: StreamIds::default(), buffer: Vec::new() };
        edge.read_until(|frame| *frame == FromWorker::Ready);
        edge
    }

    fn run(&mut self, request: &[u8], batches: u32) {
        let mut out = Vec::new();
        for _ in 0..batches {
            out.clear();
            for slot in 0..BATCH as u16 {
                let stream = self.streams.next().expect("a number");
                self.claims.offer(usize::from(slot), stream);
                FromEdge::Request(Request {
                    stream,
                    slot,
                    head: request,
                    has_body: false,
                    expects_continue: false,
                    takes_files: false,
                })
                .write(&mut out);
            }
            self.socket.write_all(&out).expect("the worker reads");
            let mut left = BATCH;
            self.read_until(|frame| {
                let is_end = matches!(
                    frame,
                    FromWorker::Response { end: true, .. } | FromWorker::Data { end: true, .. }
                );
                left -= u32::from(is_end);
                left == 0
            });
        }
    }

    fn read_until(&mut self, mut done: impl FnMut(&FromWorker<'_>) -> bool) {
        let mut piece = vec![0; 64 << 10];
        loop {
            let mut at = 0;
            while let Some((header, payload)) = FrameHeader::split(&self.buffer[at..]).expect("frames") {
                at += HEADER_LEN + payload.len();
                let frame = FromWorker::parse(&header, payload).expect("a frame of a worker");
                if let FromWorker::Failed { why } = frame {
                    panic!("{}", String::from_utf8_lossy(why));
                }
                if done(&frame) {
                    self.buffer.drain(..at);
                    return;
                }
            }
            self.buffer.drain(..at);
            let n = self.socket.read(&mut piece).expect("the worker writes");
            assert!(n > 0, "the worker has ended");
            self.buffer.extend_from_slice(&piece[..n]);
        }
    }

    /// Time that the worker has run, of all its threads, in user and in system mode.
    fn cpu_seconds(&self) -> f64 {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.worker.id())).expect("a process that runs");
        let nanoseconds: u64 = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
            .sum();
        std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
    }

    fn end(mut self) {
        drop(self.socket);
        let _status = self.worker.wait();
    }
}

fn keep_open(fd: i32) {
    #[expect(unsafe_code, reason = "a descriptor that is open in this function's caller")]
    // SAFETY: both descriptors are owned by the caller for longer than this borrow.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).expect("fcntl");
}

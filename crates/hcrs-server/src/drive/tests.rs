//! The deadlines of both drivers, with a clock that advances only when every task waits.

mod after_idling;
mod files;
mod metrics;
mod websockets;

use std::future::Future;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hcrs_http::{Endpoints, Scheme};
use hcrs_link::{ClaimTable, FrameHeader, FromEdge, FromWorker, StreamId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use crate::client::{Admitted, Client, ForwardedFields};
use crate::origin::app::WorkerEvent;
use crate::origin::app::link::{Link, LinkEvent, LinkParts};
use crate::settings::AppIndex;
use crate::state::{Records, ThreadState};
use crate::thread::run_link;
use crate::{AppSettings, Settings};

/// The first bytes of an HTTP/2 client: the preface and empty SETTINGS.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The HEADERS of a request on stream 1 without `END_STREAM`, in HPACK's static table: POST http / of host
/// `h`.
const POST: &[u8] = b"\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x41\x01h";

fn shared(app: bool, change: impl FnOnce(&mut Settings)) -> Rc<ThreadState> {
    let mut settings = Settings {
        apps: app.then(|| AppSettings::new("app".to_owned())).into_iter().collect(),
        io_threads: NonZeroUsize::new(1),
        ..Settings::default()
    };
    change(&mut settings);
    Rc::new(ThreadState::new(Arc::new(settings), Records::default()))
}

fn client(shared: &Rc<ThreadState>) -> Client {
    Client {
        admitted: Admitted::new(shared),
        serial: 1,
        forwarded: ForwardedFields::AsTheyAre,
        is_trusted: false,
        scheme: Scheme::Http,
        endpoints: Rc::new(Endpoints::default()),
        tls: None,
    }
}

/// The surroundings of a client.
#[derive(Debug, Clone, Copy)]
struct Setup {
    has_app: bool,
    /// The number of bytes that the client's socket holds in each direction.
    buffer: usize,
}

fn with_app(buffer: usize) -> Setup {
    Setup { has_app: true, buffer }
}

fn without_app(buffer: usize) -> Setup {
    Setup { has_app: false, buffer }
}

/// Runs a client against a driver.
fn run<D: Future<Output = ()> + 'static, C: Future<Output = ()>>(
    setup: Setup,
    drive: impl FnOnce(Client, DuplexStream) -> D,
    talk: impl FnOnce(DuplexStream, Rc<ThreadState>) -> C,
) {
    run_with(setup, |_| {}, drive, talk);
}

/// Like [`run`], with other settings.
fn run_with<D: Future<Output = ()> + 'static, C: Future<Output = ()>>(
    Setup { has_app, buffer }: Setup,
    change: impl FnOnce(&mut Settings),
    drive: impl FnOnce(Client, DuplexStream) -> D,
    talk: impl FnOnce(DuplexStream, Rc<ThreadState>) -> C,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Frames of a link arrive in real time; such a test stops the clock once they have arrived.
        .start_paused(!has_app)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let shared = shared(has_app, change);
        let (near, far) = duplex(buffer);
        tokio::task::spawn_local(drive(client(&shared), near));
        talk(far, shared).await;
    });
}

fn h1(client: Client, io: DuplexStream) -> impl Future<Output = ()> {
    super::h1::drive(client, io, BytesMut::new())
}

/// Reads until the other end closes. Returns the bytes and the time that it took.
async fn until_closed(io: &mut DuplexStream) -> (Vec<u8>, Duration) {
    let (began, mut seen) = (Instant::now(), Vec::new());
    io.read_to_end(&mut seen).await.unwrap();
    (seen, began.elapsed())
}

/// Attaches a worker that is ready and claims nothing. Returns its end of the link.
async fn attach(shared: &Rc<ThreadState>) -> (std::os::unix::net::UnixStream, ClaimTable) {
    attach_with(shared, |_| {}).await
}

/// Attaches a worker as [`attach`] does; `observe` gets the events of its link.
async fn attach_with(
    shared: &Rc<ThreadState>,
    mut observe: impl FnMut(&LinkEvent) + 'static,
) -> (std::os::unix::net::UnixStream, ClaimTable) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let (claims, fd) = ClaimTable::create().unwrap();
    let parts = LinkParts { worker: 1, pid: 1, slot: 0, claims, blocks: None, quota: None };
    let link = Link::new(parts, 8, crate::clock::now());
    let app = shared.apps.get(AppIndex(0)).expect("an app");
    app.dispatch.attach(Rc::clone(&link));
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let mut ready = Some(ready);
    let on_event = move |event| {
        observe(&event);
        if matches!(event, LinkEvent::Worker(WorkerEvent::Ready))
            && let Some(ready) = ready.take()
        {
            ready.send(()).unwrap();
        }
    };
    let shared = Rc::clone(shared);
    tokio::task::spawn_local(async move { run_link(&shared, &app, &link, ours, on_event).await });
    send_frames(&theirs, &[FromWorker::Ready]);
    is_ready.await.unwrap();
    (theirs, ClaimTable::open(fd).unwrap())
}

/// Sends frames as a worker does.
fn send_frames(mut worker: &std::os::unix::net::UnixStream, frames: &[FromWorker<'_>]) {
    let mut out = Vec::new();
    for frame in frames {
        frame.write(&mut out);
    }
    std::io::Write::write_all(&mut worker, &out).unwrap();
}

/// Waits for the request on the worker's end, claims it, and stops the clock. Returns its stream.
async fn claim(shared: &ThreadState, worker: &(std::os::unix::net::UnixStream, ClaimTable)) -> StreamId {
    worker.0.set_nonblocking(true).unwrap();
    let mut head = [0; 4096];
    let n = loop {
        match std::io::Read::read(&mut &worker.0, &mut head) {
            Ok(n) => break n,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let (header, payload) = FrameHeader::split(&head[..n]).unwrap().unwrap();
    let FromEdge::Request(request) = FromEdge::parse(&header, payload).unwrap() else {
        panic!("a request comes first")
    };
    assert!(worker.1.claim(usize::from(request.slot), request.stream));
    send_frames(&worker.0, &[FromWorker::Begun]);
    while shared.apps.has_work(crate::clock::now()) {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    request.stream
}

#[test]
fn an_h1_connection_keeps_no_list_of_the_answers_that_it_had() {
    run(with_app(4096), h1, |mut io, shared| async move {
        let worker = attach(&shared).await;
        io.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let stream = claim(&shared, &worker).await;
        send_frames(&worker.0, &[FromWorker::Response { stream, head: &[204, 0, 0, 0], end: true }]);
        let mut answer = [0; 16];
        io.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[..12], b"HTTP/1.1 204");
        assert!(shared.connections.borrow().iter().all(|(_, mailbox)| mailbox.is_empty()));
    });
}

#[test]
fn a_panic_in_a_links_task_ends_that_link_and_no_connection() {
    run(with_app(4096), h1, |mut io, shared| async move {
        let worker = attach_with(&shared, |event| {
            assert!(
                !matches!(event, LinkEvent::Worker(WorkerEvent::Failed(_))),
                "a panic that the test wants"
            );
        })
        .await;
        io.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        claim(&shared, &worker).await;
        send_frames(&worker.0, &[FromWorker::Failed { why: b"" }]);
        let mut answer = [0; 4096];
        let len = io.read(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 502 "), "{}", String::from_utf8_lossy(&answer[..len]));
        tokio::time::resume();
        let other = attach(&shared).await;
        io.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let stream = claim(&shared, &other).await;
        send_frames(&other.0, &[FromWorker::Response { stream, head: &[204, 0, 0, 0], end: true }]);
        let len = io.read(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 204 "), "{}", String::from_utf8_lossy(&answer[..len]));
    });
}

#[test]
fn a_silent_h1_connection_is_closed_after_the_keep_alive_timeout() {
    run(without_app(4096), h1, |mut io, _| async move {
        let (seen, took) = until_closed(&mut io).await;
        assert!(seen.is_empty());
        assert!((5..7).contains(&took.as_secs()), "{took:?}");
    });
}

#[test]
fn half_an_h1_head_is_answered_with_408_after_the_head_timeout_however_it_drips() {
    run(without_app(4096), h1, |mut io, _| async move {
        let began = Instant::now();
        for byte in b"GET / HTTP/1.1" {
            io.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let (seen, _) = until_closed(&mut io).await;
        assert!(seen.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&seen));
        assert!((10..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    });
}

#[test]
fn an_h1_client_that_reads_nothing_is_given_up_after_the_write_timeout() {
    run(without_app(16), h1, |mut io, shared| async move {
        let began = Instant::now();
        io.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        while !shared.connections.borrow().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!((60..64).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    });
}

#[test]
fn an_h1_body_that_stops_arriving_ends_with_408_after_the_body_timeout() {
    // The worker may have taken the two bytes and withheld their credit.
    for body in ["", "ab"] {
        run(with_app(4096), h1, |mut io, shared| async move {
            let worker = attach(&shared).await;
            let began = Instant::now();
            let head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n";
            io.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            claim(&shared, &worker).await;
            let (seen, _) = until_closed(&mut io).await;
            assert!(seen.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&seen));
            assert!((60..64).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        });
    }
}

#[test]
fn an_h2_connection_without_preface_is_closed_after_the_head_timeout() {
    run(without_app(4096), super::h2::drive, |mut io, _| async move {
        io.write_all(&HELLO[..10]).await.unwrap();
        let (_, took) = until_closed(&mut io).await;
        assert!((10..12).contains(&took.as_secs()), "{took:?}");
    });
}

#[test]
fn an_idle_h2_connection_gets_goaway_after_the_keep_alive_timeout() {
    run(without_app(4096), super::h2::drive, |mut io, _| async move {
        io.write_all(HELLO).await.unwrap();
        let (began, mut seen) = (Instant::now(), BytesMut::new());
        while !seen.windows(5).any(|bytes| bytes == b"\0\0\x08\x07\0") {
            assert!(io.read_buf(&mut seen).await.unwrap() > 0, "closed without GOAWAY: {seen:?}");
        }
        assert!((5..7).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    });
}

#[test]
fn an_h2_header_block_without_end_closes_the_connection_after_the_head_timeout() {
    run(without_app(4096), super::h2::drive, |mut io, _| async move {
        io.write_all(HELLO).await.unwrap();
        let began = Instant::now();
        io.write_all(b"\0\0\x01\x01\0\0\0\0\x01\x82").await.unwrap();
        let (_, _) = until_closed(&mut io).await;
        assert!((10..14).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    });
}

#[test]
fn an_h2_body_that_stops_arriving_ends_its_stream_after_the_body_timeout() {
    run(with_app(4096), super::h2::drive, |mut io, shared| async move {
        let worker = attach(&shared).await;
        io.write_all(HELLO).await.unwrap();
        let began = Instant::now();
        io.write_all(POST).await.unwrap();
        claim(&shared, &worker).await;
        let mut seen = BytesMut::new();
        // HEADERS of the 408 with END_STREAM, on stream 1.
        while !seen.windows(6).any(|bytes| bytes == b"\x01\x05\0\0\0\x01") {
            assert!(io.read_buf(&mut seen).await.unwrap() > 0, "closed without an answer: {seen:?}");
        }
        assert!((60..64).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    });
}

#[test]
fn a_request_that_no_worker_takes_gets_503_with_retry_after_when_the_queue_deadline_has_passed() {
    run(with_app(4096), h1, |mut io, shared| async move {
        tokio::time::pause();
        let began = Instant::now();
        let ticking = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                ticking.apps.tick(crate::clock::now());
            }
        });
        io.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
        let (seen, _) = until_closed(&mut io).await;
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.starts_with("HTTP/1.1 503 ") && seen.contains("retry-after: 1\r\n"), "{seen}");
        assert_eq!(began.elapsed().as_secs(), 10);
    });
}

#[test]
fn a_worker_that_pushes_what_it_may_not_loses_its_link() {
    const GET: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01h";
    let promise = |path: &[u8], field: Option<(&[u8], &[u8])>| {
        let mut payload = [&(path.len() as u16).to_le_bytes()[..], path].concat();
        let mut fields = hcrs_http::ResponseHeadWriter::begin(&mut payload, 0);
        if let Some((name, value)) = field {
            fields.field(&mut payload, name, value);
        }
        fields.finish(&mut payload);
        payload
    };
    let good = promise(b"/x", None);
    let too_many = usize::from(hcrs_link::PUSH_MAX) + 1;
    for (payload, times, is_h2) in [
        (good.clone(), 1, false),
        (good.clone(), too_many, true),
        (promise(b"x", None), 1, true),
        (promise(b"/\r\n", None), 1, true),
        (promise(b"/x", Some((b"host", b"other"))), 1, true),
        (promise(b"/x", Some((b":path", b"/y"))), 1, true),
        (promise(b"/x", Some((b"a", b"b\nc"))), 1, true),
        (promise(&b"/".repeat(17_000), None), 1, true),
        (good[..4].to_vec(), 1, true),
    ] {
        let drive = move |client, io| async move {
            if is_h2 { super::h2::drive(client, io).await } else { h1(client, io).await }
        };
        run(with_app(65_536), drive, move |mut io, shared| async move {
            let worker = attach(&shared).await;
            let request =
                if is_h2 { [HELLO, GET].concat() } else { b"GET / HTTP/1.1\r\nhost: h\r\n\r\n".into() };
            io.write_all(&request).await.unwrap();
            let stream = claim(&shared, &worker).await;
            send_frames(&worker.0, &vec![FromWorker::Push { stream, promise: &payload }; times]);
            while !matches!(std::io::Read::read(&mut &worker.0, &mut [0; 4096]), Ok(0)) {
                tokio::task::yield_now().await;
            }
            let mut seen = BytesMut::new();
            let answer: &[u8] = if is_h2 { b"502" } else { b"HTTP/1.1 502" };
            let huffman: &[u8] = b"\x48\x82\x6c\x02";
            while !seen.windows(answer.len()).any(|bytes| bytes == answer)
                && !seen.windows(huffman.len()).any(|bytes| bytes == huffman)
            {
                assert!(io.read_buf(&mut seen).await.unwrap() > 0, "closed without an answer: {seen:?}");
            }
        });
    }
}

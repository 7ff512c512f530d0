//! Files in HTTP/1.1 responses that are sent by `sendfile`, over sockets that count it.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as Link;
use std::pin::Pin;
use std::task::{Context, Poll};

use hcrs_link::{FILE_COST, FilePart, HEADER_LEN, HeadKind, HeadTooLongError, Outbox, RESPONSE_WINDOW};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;
use crate::connection::socket::Socket;
use crate::exchange::send_file::SendFile;
use crate::hangup::Hangup;

/// The counts of what was sent through a socket.
#[derive(Debug, Default)]
struct Counts {
    written: Cell<usize>,
    sent: Cell<usize>,
    most_in_a_turn: Cell<usize>,
    /// Whether files are discarded, however large.
    swallows: Cell<bool>,
}

/// A client's socket that counts.
struct Counting(Socket, Rc<Counts>);

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = polled {
            self.1.written.set(self.1.written.get() + n);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Hangup for Counting {
    fn has_hung_up(&self) -> bool {
        self.0.has_hung_up()
    }
}

impl SendFile for Counting {
    fn sends_files(&self) -> bool {
        true
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_room(cx)
    }

    fn try_send_file(&mut self, file: &File, offset: u64, len: usize) -> io::Result<usize> {
        let sent = if self.1.swallows.get() { Ok(len) } else { self.0.try_send_file(file, offset, len) };
        sent.inspect(|n| self.1.sent.set(self.1.sent.get() + n))
    }
}

/// A worker that answers with parts of files.
struct Worker {
    link: Link,
    claims: ClaimTable,
    input: Vec<u8>,
}

impl Worker {
    async fn attach(shared: &Rc<ThreadState>) -> Self {
        let (link, claims) = attach(shared).await;
        link.set_nonblocking(true).unwrap();
        Self { link, claims, input: Vec::new() }
    }

    /// Waits for a frame of which `wanted` returns something, ignoring all others.
    async fn frame<T>(&mut self, wanted: impl Fn(&FromEdge<'_>) -> Option<T>) -> T {
        loop {
            while let Some((header, payload)) = FrameHeader::split(&self.input).unwrap() {
                let found = wanted(&FromEdge::parse(&header, payload).unwrap());
                let len = HEADER_LEN + payload.len();
                self.input.drain(..len);
                if let Some(found) = found {
                    return found;
                }
            }
            let mut piece = [0; 4096];
            match (&self.link).read(&mut piece) {
                Ok(n) => self.input.extend_from_slice(&piece[..n]),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Waits for a request and begins it. Returns its stream.
    async fn request(&mut self) -> StreamId {
        let (slot, stream) = self
            .frame(|frame| match frame {
                FromEdge::Request(request) => Some((request.slot, request.stream)),
                _ => None,
            })
            .await;
        assert!(self.claims.claim(usize::from(slot), stream));
        stream
    }

    async fn credit(&mut self) -> usize {
        self.frame(|frame| match frame {
            FromEdge::Credit { amount, .. } => Some(*amount as usize),
            _ => None,
        })
        .await
    }

    /// Answers with parts of a file, of the announced length if there is one.
    fn answer(&self, stream: StreamId, length: Option<u64>, file: &File, parts: &[FilePart]) {
        self.head(stream, length);
        for (at, &part) in parts.iter().enumerate() {
            self.part(stream, file, part, at + 1 == parts.len());
        }
    }

    fn head(&self, stream: StreamId, length: Option<u64>) {
        let mut out = Outbox::default();
        out.push_head::<HeadTooLongError>(HeadKind::Response, stream, 200, |head, block| {
            if let Some(length) = length {
                head.field(block, b"content-length", length.to_string().as_bytes());
            }
            Ok(())
        })
        .unwrap();
        (&self.link).write_all(out.pending().bytes).unwrap();
    }

    fn part(&self, stream: StreamId, file: &File, part: FilePart, end: bool) {
        let mut frame = Vec::new();
        FromWorker::File { stream, part, end }.write(&mut frame);
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [file.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let sent = sendmsg(&self.link, &[io::IoSlice::new(&frame)], &mut control, SendFlags::empty());
        assert_eq!(sent, Ok(frame.len()));
    }
}

fn part(offset: u64, len: u64) -> FilePart {
    FilePart { offset, len }
}

/// Returns a file on the disk that the page cache holds, and its bytes.
fn written(len: usize) -> (File, Vec<u8>) {
    let bytes: Vec<u8> = (0..len as u32).map(|n| (n % 251) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    (file, bytes)
}

async fn tcp() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Socket::tcp(listener.accept().await.unwrap().0, &Rc::default()).unwrap(), client)
}

fn with_worker<F: Future<Output = ()>>(talk: impl FnOnce(Rc<ThreadState>, Worker) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let shared = shared(true, |_| {});
        let worker = Worker::attach(&shared).await;
        talk(shared, worker).await;
    });
}

/// Starts a driver that serves one end of a pair of sockets.
fn serve(shared: &Rc<ThreadState>, socket: Socket) -> Rc<Counts> {
    let counts = Rc::new(Counts::default());
    let io = Counting(socket, Rc::clone(&counts));
    let (client, seen) = (client(shared), Rc::clone(&counts));
    tokio::task::spawn_local(async move {
        let mut drive = std::pin::pin!(super::super::h1::drive(client, io, BytesMut::new()));
        std::future::poll_fn(|cx| {
            let before = seen.sent.get();
            let polled = drive.as_mut().poll(cx);
            seen.most_in_a_turn.set(seen.most_in_a_turn.get().max(seen.sent.get() - before));
            polled
        })
        .await;
    });
    counts
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";

/// Reads a response of a known length. Returns its body.
async fn response(io: &mut (impl AsyncRead + Unpin), len: usize) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    let mut body = vec![0; len];
    io.read_exact(&mut body).await.unwrap();
    body
}

async fn files_go_through(
    mut worker: Worker,
    counts: Rc<Counts>,
    mut io: impl AsyncRead + AsyncWrite + Unpin,
) {
    let (file, bytes) = written(3_000_000);
    // Both requests arrive before the first is answered.
    io.write_all(&[GET, GET].concat()).await.unwrap();
    for (parts, range) in [
        (&[part(0, 1_000_000), part(1_000_000, 2_000_000)][..], 0..3_000_000),
        (&[part(7, 500_000)][..], 7..500_007),
    ] {
        let stream = worker.request().await;
        worker.answer(stream, Some(range.len() as u64), &file, parts);
        assert!(response(&mut io, range.len()).await == bytes[range]);
    }
    assert_eq!(counts.sent.get(), 3_500_000);
    assert!(counts.written.get() < 1000, "only heads are written: {}", counts.written.get());
}

#[test]
fn what_files_cost_of_the_window_is_given_back_when_they_are_sent() {
    with_worker(|shared, mut worker| async move {
        let (socket, mut io) = tcp().await;
        let counts = serve(&shared, socket);
        let (file, bytes) = written(100_000);
        io.write_all(GET).await.unwrap();
        let stream = worker.request().await;
        worker.head(stream, Some(1_000_000));
        let mut window = RESPONSE_WINDOW as usize;
        for sent in 0..10 {
            while window < FILE_COST {
                window += worker.credit().await;
            }
            window -= FILE_COST;
            worker.part(stream, &file, part(0, 100_000), sent == 9);
        }
        assert!(response(&mut io, 1_000_000).await == bytes.repeat(10));
        assert_eq!(counts.sent.get(), 1_000_000);
    });
}

#[test]
fn files_leave_by_sendfile_behind_their_heads_over_tcp() {
    with_worker(|shared, worker| async move {
        let (socket, io) = tcp().await;
        files_go_through(worker, serve(&shared, socket), io).await;
    });
}

#[test]
fn files_leave_by_sendfile_behind_their_heads_over_a_unix_socket() {
    with_worker(|shared, worker| async move {
        let (near, far) = UnixStream::pair().unwrap();
        files_go_through(worker, serve(&shared, Socket::unix(near, &Rc::default())), far).await;
    });
}

#[test]
fn a_file_without_length_is_read_and_leaves_in_chunks() {
    with_worker(|shared, mut worker| async move {
        let (socket, mut io) = tcp().await;
        let counts = serve(&shared, socket);
        let (file, _) = written(200_000);
        io.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
        let stream = worker.request().await;
        worker.head(stream, None);
        worker.part(stream, &file, part(0, 100_000), false);
        let mut seen = vec![0; 1000];
        io.read_exact(&mut seen).await.unwrap();
        worker.part(stream, &file, part(100_000, 100_000), true);
        io.read_to_end(&mut seen).await.unwrap();
        assert!(seen.ends_with(b"\r\n0\r\n\r\n"));
        assert_eq!(counts.sent.get(), 0);
    });
}

#[test]
fn small_files_are_read_and_leave_with_their_heads() {
    with_worker(|shared, mut worker| async move {
        let (socket, mut io) = tcp().await;
        let counts = serve(&shared, socket);
        let (file, bytes) = written(1000);
        io.write_all(GET).await.unwrap();
        let stream = worker.request().await;
        worker.answer(stream, Some(1000), &file, &[part(0, 1000)]);
        assert_eq!(response(&mut io, 1000).await, bytes);
        assert_eq!(counts.sent.get(), 0);
    });
}

#[test]
fn a_file_that_shrinks_ends_its_connection_with_what_there_was() {
    with_worker(|shared, mut worker| async move {
        let (socket, mut io) = tcp().await;
        let counts = serve(&shared, socket);
        let (file, bytes) = written(200_000);
        io.write_all(GET).await.unwrap();
        let stream = worker.request().await;
        file.set_len(150_000).unwrap();
        worker.answer(stream, Some(200_000), &file, &[part(0, 200_000)]);
        assert!(response(&mut io, 150_000).await == bytes[..150_000]);
        assert_eq!(io.read(&mut [0; 1]).await.unwrap(), 0, "the connection is closed");
        assert_eq!(counts.sent.get(), 150_000);
    });
}

#[test]
fn a_client_that_does_not_read_its_file_is_given_up_after_the_write_timeout() {
    with_worker(|shared, mut worker| async move {
        let (socket, mut io) = tcp().await;
        let counts = serve(&shared, socket);
        let (file, _) = written(32 << 20);
        io.write_all(GET).await.unwrap();
        let stream = worker.request().await;
        worker.answer(stream, Some(32 << 20), &file, &[part(0, 32 << 20)]);
        while counts.sent.get() == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        let began = Instant::now();
        while !shared.connections.borrow().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!((60..64).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_file_ends_its_request() {
    with_worker(|shared, mut worker| async move {
        let (socket, mut io) = tcp().await;
        let counts = serve(&shared, socket);
        let (file, _) = written(32 << 20);
        io.write_all(GET).await.unwrap();
        let stream = worker.request().await;
        worker.answer(stream, Some(32 << 20), &file, &[part(0, 32 << 20)]);
        response(&mut io, 100_000).await;
        io.set_zero_linger().unwrap();
        drop(io);
        while !shared.connections.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(counts.sent.get() < 32 << 20);
    });
}

#[test]
fn one_turn_sends_a_bounded_part_of_a_file() {
    with_worker(|shared, mut worker| async move {
        let (socket, mut io) = tcp().await;
        let counts = serve(&shared, socket);
        counts.swallows.set(true);
        let (file, _) = written(8 << 20);
        io.write_all(GET).await.unwrap();
        let stream = worker.request().await;
        worker.answer(stream, Some(8 << 20), &file, &[part(0, 8 << 20)]);
        while counts.sent.get() < 8 << 20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(counts.most_in_a_turn.get(), 1 << 20);
    });
}

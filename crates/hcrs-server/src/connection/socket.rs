//! A client's socket, TCP or unix, and its read-ahead for TLS.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hcrs_http::{Address, Endpoints, append};
use hcrs_metrics::{Counters, Stall};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::exchange::send_file::SendFile;
use crate::hangup::{self, Hangup};

/// The most bytes that one read of the socket takes. TLS asks for 4 KiB at a time, each of which would cost a
/// system call.
const READ_AHEAD: usize = 64 << 10;

/// The most bytes of HTTP/2 that the system holds before it has sent them. They leave before a more urgent response
/// that comes later. By itself it holds up to 4 MiB for a client that reads slowly.
const UNSENT_MAX: u32 = 128 << 10;

thread_local! {
    /// The buffer that reads land in, shared by the thread so that a connection at rest holds no buffer.
    static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_AHEAD].into_boxed_slice());
}

/// A client's socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// Bytes that were read from the socket and not passed on yet.
    ahead: Vec<u8>,
    handed_on: usize,
    /// Whether the system took no bytes when some were last written.
    is_blocked: bool,
    metrics: Rc<Counters>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Returns a TCP socket whose bytes are counted.
    pub(crate) fn tcp(stream: TcpStream, metrics: &Rc<Counters>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::new(Stream::Tcp(stream), metrics))
    }

    /// Returns a unix socket whose bytes are counted.
    pub(crate) fn unix(stream: UnixStream, metrics: &Rc<Counters>) -> Self {
        Self::new(Stream::Unix(stream), metrics)
    }

    fn new(stream: Stream, metrics: &Rc<Counters>) -> Self {
        Self { stream, ahead: Vec::new(), handed_on: 0, is_blocked: false, metrics: Rc::clone(metrics) }
    }

    /// Returns the addresses of the peer and of this end; `None` on a unix socket.
    pub(crate) fn addresses(&self) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        match &self.stream {
            Stream::Tcp(stream) => Ok(Some((stream.peer_addr()?, stream.local_addr()?))),
            Stream::Unix(_) => Ok(None),
        }
    }

    /// Puts bytes back that were read too far, so that they are read again.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.ahead.splice(..self.handed_on, bytes.iter().copied());
            self.handed_on = 0;
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        self.metrics.received_bytes.add((buf.filled().len() - before) as u64);
        polled
    }

    /// Counts the bytes that were written, or that the system begins to take none.
    fn note_written(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(written) => {
                self.is_blocked = false;
                self.metrics.sent_bytes.add(written.as_ref().map_or(0, |&len| len as u64));
            }
            Poll::Pending => {
                if !std::mem::replace(&mut self.is_blocked, true) {
                    self.metrics.stalls.of(Stall::ClientSocket).increment();
                }
            }
        }
    }
}

/// A transport that can be told to hold few bytes that were not sent.
pub(crate) trait LimitUnsent {
    /// Lets the system hold at most [`UNSENT_MAX`] bytes that it has not sent. It is only an advantage, so an error
    /// has no effect.
    fn limit_unsent(&self);
}

impl LimitUnsent for Socket {
    fn limit_unsent(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            let _refused = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_MAX);
        }
    }
}

impl<T: LimitUnsent> LimitUnsent for TlsStream<T> {
    fn limit_unsent(&self) {
        self.get_ref().0.limit_unsent();
    }
}

/// Returns both ends' addresses in the form of request heads.
pub(crate) fn endpoints((client, server): (SocketAddr, SocketAddr)) -> Endpoints {
    let (client_host, server_host) = (host(client), host(server));
    Endpoints::new(
        Some(Address { host: &client_host, port: client.port() }),
        Some(Address { host: &server_host, port: server.port() }),
    )
}

/// Returns the host of an address. An IPv4 client of an IPv6 socket is shown by its IPv4 address.
fn host(address: SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.handed_on < this.ahead.len() {
            let ready = &this.ahead[this.handed_on..];
            let n = ready.len().min(buf.remaining());
            buf.put_slice(&ready[..n]);
            this.handed_on += n;
            if this.handed_on == this.ahead.len() {
                this.ahead = Vec::new();
                this.handed_on = 0;
            }
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() >= READ_AHEAD / 2 {
            return this.poll_stream(cx, buf);
        }
        LANDING.with_borrow_mut(|landing| {
            let mut landed = ReadBuf::new(landing);
            ready!(this.poll_stream(cx, &mut landed))?;
            let bytes = landed.filled();
            let n = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..n]);
            append(&mut this.ahead, &bytes[n..]);
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        self.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Hangup for Socket {
    fn has_hung_up(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => hangup::has_hung_up(stream),
            Stream::Unix(stream) => hangup::has_hung_up(stream),
        }
    }
}

impl SendFile for Socket {
    fn sends_files(&self) -> bool {
        true
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            Stream::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    fn try_send_file(&mut self, file: &File, offset: u64, len: usize) -> io::Result<usize> {
        let mut from = offset;
        let sent = match &self.stream {
            Stream::Tcp(stream) => stream
                .try_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(stream, file, Some(&mut from), len)?)),
            Stream::Unix(stream) => stream
                .try_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(stream, file, Some(&mut from), len)?)),
        };
        self.metrics.sent_bytes.add(sent.as_ref().map_or(0, |&len| len as u64));
        sent
    }
}

//! Connections to upstreams: the socket, TLS, and the choice of the protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::client::conn::http2;
use hyper::rt::Executor;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::body::Body;
use super::io::Io;
use super::transport::Transport;
use crate::settings::{UpstreamAddress, UpstreamProtocol, UpstreamTls, UpstreamUrl};

/// The window of each stream of HTTP/2, and of each connection, in bytes.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The size of the largest head over HTTP/2, in bytes.
const HEAD_MAX: u32 = 64 << 10;
/// The bytes that a stream of HTTP/2 may hold for an upstream that does not read.
const SEND_BUFFER: usize = 64 << 10;

/// An open connection.
pub(super) enum Connected {
    /// For HTTP/1.1, one request at a time.
    Http1(Transport),
    /// For HTTP/2, many requests at a time. It is run by a task of its own until this is dropped.
    Http2(http2::SendRequest<Body>),
}

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Socket(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("the settings of TLS with it cannot be used, which was logged")]
    NoTls,
    #[error("it does not speak HTTP/2")]
    NotHttp2,
    #[error("{0}")]
    Handshake(hyper::Error),
}

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Any requests.
    Requests,
    /// A WebSocket, which is an upgrade of HTTP/1.1.
    Upgrade,
}

/// Connects to an upstream. The caller gives up at the deadline, by which each of its addresses has its share of the time.
pub(super) async fn connect(
    url: &UpstreamUrl,
    protocol: UpstreamProtocol,
    tls: Option<&UpstreamTls>,
    purpose: Purpose,
    until: Instant,
) -> Result<Connected, ConnectError> {
    let (transport, negotiated) = open(url, tls, purpose, until).await?;
    let is_h2 = purpose == Purpose::Requests
        && match protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Auto => negotiated,
            UpstreamProtocol::Http2 if url.is_tls && !negotiated => return Err(ConnectError::NotHttp2),
            UpstreamProtocol::Http2 => true,
        };
    if !is_h2 {
        return Ok(Connected::Http1(transport));
    }
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .handshake(Io(transport))
        .await
        .map_err(ConnectError::Handshake)?;
    run(connection);
    Ok(Connected::Http2(sender))
}

/// Runs a connection. Its errors reach the requests that it has.
fn run(connection: impl Future<Output = hyper::Result<()>> + 'static) {
    spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!("Connection to an upstream ended: {error}");
        }
    });
}

/// Opens the transport. Returns it, and whether HTTP/2 was negotiated.
async fn open(
    url: &UpstreamUrl,
    tls: Option<&UpstreamTls>,
    purpose: Purpose,
    until: Instant,
) -> Result<(Transport, bool), ConnectError> {
    let (host, port) = match &url.address {
        UpstreamAddress::Tcp { host, port } => (host, *port),
        UpstreamAddress::Unix(path) => {
            let socket = UnixStream::connect(path).await.map_err(ConnectError::Socket)?;
            return Ok((Transport::Unix(socket), false));
        }
    };
    let addresses: Vec<_> = lookup_host((host.as_str(), port)).await.map_err(ConnectError::Socket)?.collect();
    let socket = connect_to_one(&addresses, until).await.map_err(ConnectError::Socket)?;
    socket.set_nodelay(true).map_err(ConnectError::Socket)?;
    if !url.is_tls {
        return Ok((Transport::Tcp(socket), false));
    }
    let tls = tls.ok_or(ConnectError::NoTls)?;
    let name =
        ServerName::try_from(host.clone()).map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
    let config = match purpose {
        Purpose::Requests => &tls.any,
        Purpose::Upgrade => &tls.http1,
    };
    let socket =
        TlsConnector::from(Arc::clone(config)).connect(name, socket).await.map_err(ConnectError::Tls)?;
    let is_h2 = socket.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Transport::Tls(Box::new(socket)), is_h2))
}

/// Connects to the first of the addresses that accepts. Each has an equal share of the time that is left, so that one
/// that is silent leaves time for the others. The last one has until the caller gives up.
async fn connect_to_one(addresses: &[SocketAddr], until: Instant) -> io::Result<TcpStream> {
    let Some((last, others)) = addresses.split_last() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    };
    for (at, address) in others.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        if let Ok(Ok(socket)) = timeout(share, TcpStream::connect(address)).await {
            return Ok(socket);
        }
    }
    TcpStream::connect(last).await
}

/// Runs the tasks of HTTP/2 on this thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        spawn_local(async move {
            task.await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Returns a listener that accepts nothing, and what fills its backlog.
    fn silent() -> (SocketAddr, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&address).unwrap_err();
            sockets.push(socket);
        }
        (address.as_socket().unwrap(), sockets)
    }

    #[tokio::test]
    async fn an_address_that_is_silent_leaves_time_for_the_next() {
        let (silent, _sockets) = silent();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = listener.local_addr().unwrap();
        let until = || Instant::now() + Duration::from_secs(2);
        let socket = connect_to_one(&[silent, answers], until()).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), answers);
        let alone = [silent];
        let waiting = timeout(Duration::from_millis(300), connect_to_one(&alone, until()));
        waiting.await.unwrap_err();
        assert_eq!(connect_to_one(&[], until()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_server_with_tls_is_not_spoken_to_without() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = UpstreamUrl::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        let connected = connect(&url, UpstreamProtocol::Http1, None, Purpose::Requests, until).await;
        assert!(matches!(connected, Err(ConnectError::NoTls)));
    }
}

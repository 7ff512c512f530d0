//! Connections to upstreams: the socket, TLS, and the choice of the protocol.

use std::io;
use std::sync::Arc;

use hyper::client::conn::http2;
use hyper::rt::Executor;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::spawn_local;
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

/// Connects to an upstream.
pub(super) async fn connect(
    url: &UpstreamUrl,
    protocol: UpstreamProtocol,
    tls: Option<&UpstreamTls>,
    purpose: Purpose,
) -> Result<Connected, ConnectError> {
    let (transport, negotiated) = open(url, tls, purpose).await?;
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
) -> Result<(Transport, bool), ConnectError> {
    let (host, port) = match &url.address {
        UpstreamAddress::Tcp { host, port } => (host, *port),
        UpstreamAddress::Unix(path) => {
            let socket = UnixStream::connect(path).await.map_err(ConnectError::Socket)?;
            return Ok((Transport::Unix(socket), false));
        }
    };
    let socket = TcpStream::connect((host.as_str(), port)).await.map_err(ConnectError::Socket)?;
    socket.set_nodelay(true).map_err(ConnectError::Socket)?;
    let Some(tls) = tls.filter(|_| url.is_tls) else { return Ok((Transport::Tcp(socket), false)) };
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

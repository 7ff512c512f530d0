//! Accepts connections of one listener, for as long as the thread serves.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hcrs_tls::TlsConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_local;

use crate::admit;
use crate::bind::{BoundListener, BoundSocket};
use crate::clock;
use crate::edge_thread::Shared;
use crate::log_writer::COMPLAINT_INTERVAL;
use crate::socket::Socket;

/// How long to wait when the process or the machine has no descriptor left for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Listens, and gives each connection a task of its own.
pub(crate) async fn run(shared: Rc<Shared>, listener: BoundListener, tls: Option<Arc<TlsConfig>>) {
    let address = listener.address.clone();
    let tls = listener.tls.then_some(tls).flatten();
    let proxy_protocol = listener.proxy_protocol;
    let listening = match listen(listener, shared.settings.backlog) {
        Ok(listening) => listening,
        Err(error) => return tracing::error!("Cannot listen on {address}: {error}"),
    };
    let mut complained = None;
    loop {
        let accepted = match &listening {
            Listening::Tcp(listener) => listener.accept().await.and_then(|(stream, _)| Socket::tcp(stream)),
            Listening::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::unix(stream)),
        };
        match accepted {
            Ok(socket) => {
                if let Some(admitted) = admit::admit(&shared) {
                    spawn_local(crate::handshake::serve(admitted, socket, proxy_protocol, tls.clone()));
                }
            }
            Err(error) if is_of_the_client(&error) => {
                tracing::debug!("A connection was gone before it was accepted: {error}");
            }
            Err(error) => {
                let now = clock::now();
                if complained.is_none_or(|at| now >= at + COMPLAINT_INTERVAL) {
                    complained = Some(now);
                    tracing::error!("Cannot accept connections on {address} for now: {error}");
                }
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

fn listen(listener: BoundListener, backlog: u32) -> io::Result<Listening> {
    listener.listen(backlog)?;
    Ok(match listener.socket {
        BoundSocket::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket)?),
        BoundSocket::Unix(socket) => Listening::Unix(UnixListener::from_std(socket)?),
    })
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected
    )
}

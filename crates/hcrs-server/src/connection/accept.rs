//! Accepts the connections of one listener, for as long as the thread serves, and then those that the kernel
//! has already established: closing the listener would reset them.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hcrs_log::COMPLAINT_INTERVAL;
use hcrs_metrics::Counters;
use hcrs_tls::TlsConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_local;

use super::socket::Socket;
use super::{Entrance, admit};
use crate::bind::{BoundListener, BoundSocket};
use crate::clock;
use crate::state::ThreadState;

/// How long to wait when the process or the machine has no descriptor left for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Waits for the next connection.
    async fn accept(&self, metrics: &Rc<Counters>) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.and_then(|(stream, _)| Socket::tcp(stream, metrics))
            }
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::unix(stream, metrics)),
        }
    }

    /// Returns the next connection that is already established, whatever the listener's known readiness.
    fn accept_at_once(&self, metrics: &Rc<Counters>) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let listener = socket2::SockRef::from(listener);
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Socket::tcp(tokio::net::TcpStream::from_std(stream.into())?, metrics)
            }
            Self::Unix(listener) => {
                let listener = socket2::SockRef::from(listener);
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Socket::unix(tokio::net::UnixStream::from_std(stream.into())?, metrics))
            }
        }
    }
}

/// Listens, and serves each connection in a task of its own, until the thread drains.
pub(crate) async fn run(shared: Rc<ThreadState>, listener: BoundListener, tls: Option<Arc<TlsConfig>>) {
    let address = listener.address.clone();
    let tls = listener.tls.then_some(tls).flatten();
    let proxy_protocol = listener.proxy_protocol;
    let listening = match listen(listener, shared.settings().backlog) {
        Ok(listening) => listening,
        Err(error) => return tracing::error!("Cannot listen on {address}: {error}"),
    };
    let mut complained = None;
    let serve = |socket| {
        if let Some(admitted) = admit::admit(&shared) {
            spawn_local(super::serve(admitted, socket, Entrance { proxy_protocol, tls: tls.clone() }));
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = listening.accept(&shared.metrics) => accepted,
            () = shared.drains.cancelled() => {
                let there = std::iter::repeat_with(|| listening.accept_at_once(&shared.metrics));
                // At most as many as the kernel's queue holds.
                return there.take(shared.settings().backlog as usize + 1).map_while(Result::ok).for_each(serve);
            }
        };
        match accepted {
            Ok(socket) => serve(socket),
            Err(error) if is_of_the_client(&error) => {
                tracing::debug!("A connection was gone before it was accepted: {error}");
            }
            Err(error) => {
                let now = clock::now();
                if complained.is_none_or(|at| now >= at + COMPLAINT_INTERVAL) {
                    complained = Some(now);
                    tracing::error!("Cannot accept connections on {address}: {error}; trying again");
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

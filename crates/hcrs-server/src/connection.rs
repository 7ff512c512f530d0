//! A client's connection, from its socket to the driver of its protocol.
//!
//! ```text
//! accept ─► admit ─► peer ─► handshake ─► negotiate ─► drive
//! ```
//!
//! QUIC connections have a way of their own ([`quic`]).

pub(crate) mod accept;
mod admit;
mod handshake;
mod negotiate;
mod peer;
pub(crate) mod quic;
mod rewind;
pub(crate) mod socket;

use std::fmt;
use std::sync::Arc;

use hcrs_metrics::ConnectionProtocol;
use hcrs_tls::TlsConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::Instrument as _;

use crate::client::{Admitted, Client};
use crate::drive;
use crate::exchange::send_file::SendFile;
use crate::hangup::Hangup;

use negotiate::Negotiated;
use socket::{LimitUnsent, Socket};

/// The steps that the connections of a listener begin with.
#[derive(Debug, Clone)]
pub(crate) struct Entrance {
    /// Whether they begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The configuration of the TLS handshake, if there is one.
    pub tls: Option<Arc<TlsConfig>>,
}

/// Serves a connection from its first byte to its last, in a span that exists only at debug.
fn serve(admitted: Admitted, socket: Socket, entrance: Entrance) -> impl Future<Output = ()> {
    let serial = admitted.shared.next_serial();
    let span = tracing::debug_span!("connection", conn = serial);
    take_steps(admitted, serial, socket, entrance).instrument(span)
}

async fn take_steps(admitted: Admitted, serial: u64, mut socket: Socket, entrance: Entrance) {
    let settings = admitted.shared.kept_settings();
    let peer = peer::identify(&mut socket, entrance.proxy_protocol, &settings.proxies);
    let Some(peer) = unless_refused(serial, admitted.until_drained(peer).await) else { return };
    let Some(tls) = entrance.tls else {
        return drive(Client::new(admitted, serial, peer, None), socket).await;
    };
    let agreed = admitted.until_drained(handshake::shake_hands(&admitted, socket, &tls)).await;
    let Some((stream, agreed)) = unless_refused(serial, agreed).flatten() else { return };
    drive(Client::new(admitted, serial, peer, Some(agreed)), stream).await;
}

/// Drives the connection in the protocol that its client uses.
async fn drive<T: AsyncRead + AsyncWrite + SendFile + Hangup + LimitUnsent + Unpin>(client: Client, io: T) {
    match negotiate::negotiate(&client, io).await {
        Some(Negotiated::H1(io, first)) => {
            client.admitted.negotiate(ConnectionProtocol::Http1);
            // Apart, because the room for the steps before is that of the task for all its life.
            Box::pin(drive::h1::drive(client, io, first)).await;
        }
        Some(Negotiated::H2(io)) => {
            client.admitted.negotiate(ConnectionProtocol::Http2);
            io.get_ref().limit_unsent();
            Box::pin(drive::h2::drive(client, io)).await;
        }
        None => {}
    }
}

/// Returns the outcome of a step; `None` if the connection is refused, which is logged, or if the thread has
/// drained.
fn unless_refused<T, E: fmt::Display>(serial: u64, step: Option<Result<T, E>>) -> Option<T> {
    step?.inspect_err(|refused| tracing::debug!(conn = serial, "Connection refused: {refused}")).ok()
}

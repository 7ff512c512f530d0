//! QUIC (RFC 9000), the transport of HTTP/3: its state machine is quinn-proto's; sockets, tasks and keys are here.
//!
//! ```text
//! socket ─► passing ─► endpoint ─► handshake ─► connection ─► drive
//! ```
//!
//! Each thread has an endpoint of its own for each address, whose task receives datagrams and puts them into the
//! inboxes of their connections. A connection is driven by a task of its own, which is woken once for many
//! datagrams, and sends what it has at the end of its turn. Datagrams that arrive at another thread than that of
//! their connection are passed on.

mod allowance;
mod config;
mod connection;
pub(crate) mod endpoint;
mod handshake;
mod ids;
mod inbox;
mod keys;
mod passing;
mod places;
mod retry;
mod socket;
pub(crate) mod succession;

use hcrs_metrics::ConnectionProtocol;
use tracing::Instrument as _;

use super::peer;
use crate::client::{Admitted, Client};
use crate::drive;

pub(crate) use passing::{QuicListener, listeners};

use endpoint::Arriving;

/// Serves a connection from its first datagram to its last, in a span that exists only at debug.
fn serve(admitted: Admitted, arriving: Arriving) -> impl Future<Output = ()> {
    let serial = admitted.shared.next_serial();
    let span = tracing::debug_span!("connection", conn = serial);
    take_steps(admitted, serial, arriving).instrument(span)
}

async fn take_steps(admitted: Admitted, serial: u64, arriving: Arriving) {
    let agreed = admitted.until_drained(handshake::shake_hands(&admitted, arriving)).await;
    let Some((mut connection, agreed)) = super::unless_refused(serial, agreed) else { return };
    let settings = admitted.shared.kept_settings();
    let peer = peer::of_addresses(connection.addresses(), &settings.proxies);
    let (tls, proxies) = (agreed.info.number, settings.proxies.clone());
    connection.report_moves(move |addresses| peer::of_addresses(addresses, &proxies).endpoints.with_tls(tls));
    admitted.negotiate(ConnectionProtocol::Http3);
    let client = Client::new(admitted, serial, peer, Some(agreed));
    drive::h3::drive(client, connection).await.drain().await;
}

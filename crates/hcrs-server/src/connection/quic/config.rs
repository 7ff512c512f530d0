//! The configuration of QUIC connections, from the settings of HTTP/2 and of connections.

use std::sync::Arc;
use std::time::Duration;

use hcrs_tls::{QuicHandshake, TlsConfig};
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn_proto::{IdleTimeout, ServerConfig, TransportConfig, VarInt};

use super::keys::Keys;
use crate::settings::ConnectionSettings;

/// The shortest time without a datagram after which a connection is lost. The keep-alive timeout ends one that is
/// not used, with a GOAWAY, so that the time here has to be longer.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_BEYOND_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The most streams in one direction of a client: its control stream, two of QPACK, and some that are ignored.
const UNI_STREAMS: u32 = 8;

/// The window of those streams and of heads, beside that of the bodies.
const HEADS_WINDOW: u64 = 256 << 10;

/// The window of the bodies of a connection, as long as no app waits for one.
const BODIES_WINDOW: u64 = 1 << 20;

/// The most bytes of responses that are kept until the client has acknowledged them.
pub(super) const SEND_WINDOW: u64 = 256 << 10;

/// The same, for connections that have a place for more: 160 Mbit/s with round trips of 100 ms.
pub(super) const LARGE_SEND_WINDOW: u64 = 2 << 20;

/// The most handshakes that wait for their turn, and the room for their datagrams.
const INCOMING: usize = 1024;
const INCOMING_BYTES: u64 = 16 << 10;
const INCOMING_BYTES_OF_ALL: u64 = 4 << 20;

/// The sizes of a connection's window, by which all its streams together are bounded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    /// The size of a connection whose apps read what there is.
    pub usual: VarInt,
    /// The size with which bodies that are not read, on all streams that there may be, do not stop another one.
    pub wide: VarInt,
}

impl Windows {
    pub(super) fn of(settings: &ConnectionSettings) -> Self {
        let h2 = &settings.h2;
        let of_bodies = |bodies: u64| VarInt::from_u64(bodies + HEADS_WINDOW).unwrap_or(VarInt::MAX);
        let wide = u64::from(h2.max_concurrent_streams) * u64::from(h2.stream_window);
        Self { usual: of_bodies(wide.min(BODIES_WINDOW)), wide: of_bodies(wide) }
    }
}

/// Returns the configuration with which the first datagrams of clients are read.
pub(super) fn of_unknown_clients(keys: &Keys, tls: &TlsConfig) -> Result<ServerConfig, NoInitialCipherSuite> {
    let mut config = server_config(keys, &tls.current().for_quic())?;
    config
        .max_incoming(INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_OF_ALL);
    Ok(config)
}

/// Returns the configuration of a connection.
pub(super) fn of_connection(
    keys: &Keys,
    handshake: &QuicHandshake,
    settings: &ConnectionSettings,
) -> Result<ServerConfig, NoInitialCipherSuite> {
    let mut config = server_config(keys, handshake)?;
    config.transport_config(Arc::new(transport(settings)));
    Ok(config)
}

fn server_config(keys: &Keys, handshake: &QuicHandshake) -> Result<ServerConfig, NoInitialCipherSuite> {
    let crypto = QuicServerConfig::try_from(handshake.config())?;
    Ok(ServerConfig::new(Arc::new(crypto), Arc::clone(&keys.tokens) as _))
}

fn transport(settings: &ConnectionSettings) -> TransportConfig {
    let h2 = &settings.h2;
    let idle = IDLE.max(settings.keep_alive_timeout.saturating_add(IDLE_BEYOND_KEEP_ALIVE));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(h2.max_concurrent_streams.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .max_idle_timeout(IdleTimeout::try_from(idle).ok())
        .stream_receive_window(h2.stream_window.into())
        .receive_window(Windows::of(settings).usual)
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    transport
}

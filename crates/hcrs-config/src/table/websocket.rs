//! Settings of WebSockets that Hypercorn does not have: HTTP/2, compression, pongs, closing, fragments.

use hcrs_ws::Compression;

use super::store;
use crate::defaults::Defaults;
use crate::draft::Draft;
use crate::kind::{ABOVE_ZERO, ValueKind, seconds};
use crate::setting::Group::Protocols;
use crate::setting::Setting;

/// Exponents of a compression window that zlib supports.
const WINDOW_BITS: ValueKind = ValueKind::Whole(9, 15);

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Protocols,
        "websocket_over_h2",
        ValueKind::Boolean,
        |d| d.server.connection.h2.extended_connect.to_string(),
        |v, d| store(&mut d.server.connection.h2.extended_connect, v.boolean()),
        "Accepts WebSockets over HTTP/2 (RFC 8441). Otherwise browsers open an HTTP/1.1 connection for each \
         WebSocket.",
    )
    .extension(),
    Setting::new(
        Protocols,
        "websocket_compression",
        ValueKind::Boolean,
        |d| d.server.connection.websocket.compression.is_some().to_string(),
        |v, d| store(&mut d.websocket_compression, v.boolean()),
        "Compresses WebSocket messages if the client offers it (permessage-deflate).",
    )
    .at_start()
    .extension(),
    Setting::new(
        Protocols,
        "websocket_compression_level",
        ValueKind::Whole(1, 9),
        |d| default_compression(d).level.to_string(),
        |v, d| store(&mut compression(d).level, v.whole()),
        "Compression level of WebSocket messages, from 1 (fastest) to 9 (smallest).",
    )
    .at_start()
    .extension(),
    Setting::new(
        Protocols,
        "websocket_compression_mem_level",
        ValueKind::Whole(1, 9),
        |d| default_compression(d).mem_level.to_string(),
        |v, d| store(&mut compression(d).mem_level, v.whole()),
        "Memory level of WebSocket compressors, from 1 to 9: each uses 7 × 2^(level + 6) bytes beside its \
         window.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Protocols,
        "websocket_compression_min_size",
        ValueKind::Whole(0, i64::MAX),
        |d| default_compression(d).min_size.to_string(),
        |v, d| store(&mut compression(d).min_size, v.whole()),
        "Size from which WebSocket messages are compressed, in bytes.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Protocols,
        "websocket_compression_max_contexts",
        ValueKind::Whole(0, i64::MAX),
        |d| default_compression(d).max_contexts.to_string(),
        |v, d| store(&mut compression(d).max_contexts, v.whole()),
        "Number of WebSockets of an edge thread that keep a compressor between messages, if \
         websocket_server_context_takeover allows it; the others compress each message independently.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Protocols,
        "websocket_server_max_window_bits",
        WINDOW_BITS,
        |d| default_compression(d).server_max_window_bits.to_string(),
        |v, d| store(&mut compression(d).server_max_window_bits, v.whole()),
        "Size of the compression window for WebSocket messages to the client, as the exponent of a power of \
         two in bytes; a client may request a smaller one.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Protocols,
        "websocket_client_max_window_bits",
        WINDOW_BITS,
        |d| default_compression(d).client_max_window_bits.to_string(),
        |v, d| store(&mut compression(d).client_max_window_bits, v.whole()),
        "Size of the compression window for WebSocket messages from the client, as the exponent of a power \
         of two in bytes, if the client lets the server choose.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Protocols,
        "websocket_server_context_takeover",
        ValueKind::Boolean,
        |d| default_compression(d).server_context_takeover.to_string(),
        |v, d| store(&mut compression(d).server_context_takeover, v.boolean()),
        "Lets compressed WebSocket messages to the client refer to earlier ones: they are smaller, at some \
         370 KB for each connection.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Protocols,
        "websocket_client_context_takeover",
        ValueKind::Boolean,
        |d| default_compression(d).client_context_takeover.to_string(),
        |v, d| store(&mut compression(d).client_context_takeover, v.boolean()),
        "Lets compressed WebSocket messages from the client refer to earlier ones: they are smaller, at \
         some 45 KB for each connection.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Protocols,
        "websocket_ping_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.websocket.ping_timeout),
        |v, d| store(&mut d.server.connection.websocket.ping_timeout, v.seconds()),
        "Time for which a WebSocket's client may send neither a pong nor any other byte after a ping, in \
         seconds; then the connection is closed.",
    )
    .extension(),
    Setting::new(
        Protocols,
        "websocket_close_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.websocket_close_timeout),
        |v, d| store(&mut d.server.connection.websocket_close_timeout, v.seconds()),
        "Time limit for a WebSocket's client to answer a Close frame, in seconds; then the connection is \
         closed.",
    )
    .extension(),
    Setting::new(
        Protocols,
        "websocket_max_fragments",
        ValueKind::Whole(1, u32::MAX as i64),
        |d| d.server.connection.websocket.max_fragments.to_string(),
        |v, d| store(&mut d.server.connection.websocket.max_fragments, v.whole()),
        "Largest number of frames of a WebSocket message.",
    )
    .extension(),
];

/// Returns the default parameters of compression.
fn default_compression(defaults: &Defaults) -> Compression {
    defaults.server.connection.websocket.compression.clone().unwrap_or_default()
}

/// Returns the parameters of compression in the draft. `websocket_compression` decides whether they are used.
fn compression(draft: &mut Draft) -> &mut Compression {
    draft.server.connection.websocket.compression.get_or_insert_default()
}

//! WebSockets beyond what Hypercorn lets one set: HTTP/2, compression, pongs, closing, fragments.

use hcrs_ws::Compression;

use super::fill;
use crate::draft::Draft;
use crate::setting::Group::Protocols;
use crate::setting::{ABOVE_ZERO, Defaults, Kind, Setting, seconds};

/// Bits of a window: what no zlib can make is not offered.
const WINDOW_BITS: Kind = Kind::Whole(9, 15);

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Protocols,
        "websocket_over_h2",
        Kind::Boolean,
        |d| d.server.connection.h2.extended_connect.to_string(),
        |v, d| fill(&mut d.server.connection.h2.extended_connect, v.boolean()),
        "Whether WebSockets are taken over HTTP/2 (RFC 8441). If not, browsers open a connection of HTTP/1.1 for each.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_compression",
        Kind::Boolean,
        |d| d.server.connection.websocket.compression.is_some().to_string(),
        |v, d| fill(&mut d.websocket_compression, v.boolean()),
        "Whether WebSockets are compressed where the client offers it (permessage-deflate).",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_compression_level",
        Kind::Whole(1, 9),
        |d| default(d).level.to_string(),
        |v, d| fill(&mut terms(d).level, v.whole()),
        "The effort of compressing WebSocket messages, from 1, fast, to 9, small.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_compression_mem_level",
        Kind::Whole(1, 9),
        |d| default(d).mem_level.to_string(),
        |v, d| fill(&mut terms(d).mem_level, v.whole()),
        "The memory of a compressor's bookkeeping, from 1 to 9: 7 × 2^(level + 6) bytes.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_compression_min_size",
        Kind::Whole(0, i64::MAX),
        |d| default(d).min_size.to_string(),
        |v, d| fill(&mut terms(d).min_size, v.whole()),
        "The shortest WebSocket message that is worth compressing, in bytes.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_compression_max_contexts",
        Kind::Whole(0, i64::MAX),
        |d| default(d).max_contexts.to_string(),
        |v, d| fill(&mut terms(d).max_contexts, v.whole()),
        "How many WebSockets of an edge thread keep a compressor between messages where \
         websocket_server_context_takeover allows it; the others compress each message by itself.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_server_max_window_bits",
        WINDOW_BITS,
        |d| default(d).server_max_window_bits.to_string(),
        |v, d| fill(&mut terms(d).server_max_window_bits, v.whole()),
        "The window of WebSocket messages to the client, as a power of two in bytes; a client may ask for less.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_client_max_window_bits",
        WINDOW_BITS,
        |d| default(d).client_max_window_bits.to_string(),
        |v, d| fill(&mut terms(d).client_max_window_bits, v.whole()),
        "The window of WebSocket messages from the client, as a power of two in bytes, where the client lets the \
         server choose.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_server_context_takeover",
        Kind::Boolean,
        |d| default(d).server_context_takeover.to_string(),
        |v, d| fill(&mut terms(d).server_context_takeover, v.boolean()),
        "Whether compressed WebSocket messages to the client may refer to the ones before: smaller, for some 370 KB \
         a connection.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_client_context_takeover",
        Kind::Boolean,
        |d| default(d).client_context_takeover.to_string(),
        |v, d| fill(&mut terms(d).client_context_takeover, v.boolean()),
        "Whether compressed WebSocket messages from the client may refer to the ones before: smaller, for some 45 KB a \
         connection.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_ping_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.websocket.ping_timeout),
        |v, d| fill(&mut d.server.connection.websocket.ping_timeout, v.seconds()),
        "How long a WebSocket's client may take for the pong, or for any other byte, in seconds; then the connection \
         is closed.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_close_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.connection.websocket_close_timeout),
        |v, d| fill(&mut d.server.connection.websocket_close_timeout, v.seconds()),
        "How long a WebSocket's client may take to answer a Close frame, in seconds; then the connection is closed.",
    )
    .own(),
    Setting::new(
        Protocols,
        "websocket_max_fragments",
        Kind::Whole(1, u32::MAX as i64),
        |d| d.server.connection.websocket.max_fragments.to_string(),
        |v, d| fill(&mut d.server.connection.websocket.max_fragments, v.whole()),
        "The most frames of a WebSocket message.",
    )
    .own(),
];

/// The terms that compression has when nothing is said.
fn default(defaults: &Defaults) -> Compression {
    defaults.server.connection.websocket.compression.clone().unwrap_or_default()
}

/// The terms in the making; whether they count is said by another key.
fn terms(draft: &mut Draft) -> &mut Compression {
    draft.server.connection.websocket.compression.get_or_insert_default()
}

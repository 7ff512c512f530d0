//! Settings: the limits on a client's messages, and the cost of compression.

use std::time::Duration;

/// The settings of a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of a message, its fragments together, after inflating. A longer one is closed with 1009, as
    /// soon as a frame announces it or inflating reaches the limit. Default 16 MiB.
    pub max_message_size: usize,
    /// Most bytes of messages that the WebSockets of one connection may hold at a time, without the first 64
    /// KiB of each: of incomplete messages as they grow, inflated, and of those that wait for the app. A
    /// WebSocket that needs more is closed with 1009. Never less than two messages of the largest size.
    /// Default 32 MiB.
    pub connection_room: usize,
    /// Most bytes of messages that the WebSockets of all connections of a thread may hold, counted in the
    /// same way. Never less than eight messages of the largest size. Default 128 MiB.
    pub thread_room: usize,
    /// Most frames of a message. One with more is closed with 1008. Default 131 072.
    pub max_fragments: u32,
    /// Time between a ping's answer and the next ping; the first one is sent at once. `None`, the default,
    /// means no pings.
    pub ping_interval: Option<Duration>,
    /// Time that a client has for the pong, or for any other byte. Default 20 s.
    pub ping_timeout: Duration,
    /// Terms of permessage-deflate (RFC 7692). With `None` each offer is declined. Default: the default
    /// terms.
    pub compression: Option<Compression>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_message_size: 16 << 20,
            connection_room: 32 << 20,
            thread_room: 128 << 20,
            max_fragments: 131_072,
            ping_interval: None,
            ping_timeout: Duration::from_secs(20),
            compression: Some(Compression::default()),
        }
    }
}

/// Terms of permessage-deflate, and the limits of its cost in memory and time.
///
/// A compressor takes some 370 KiB with the default sizes, and not less than some 135 KiB with the smallest;
/// a decompressor some 45 KiB, whatever the window. Without context takeover both are borrowed from the
/// thread's [`DeflatePool`] for the time of a message, so that an idle connection holds neither. With it each
/// connection keeps its own.
///
/// A number outside its range is taken as the nearest inside.
///
/// [`DeflatePool`]: crate::DeflatePool
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// The effort, 1 (fast) to 9 (small). Default 1.
    pub level: u8,
    /// The memory for a compressor's bookkeeping, 1 to 9: 7 × 2^(level + 6) bytes. Default 8.
    pub mem_level: u8,
    /// Base-two logarithm of the compressor's window in bytes, 9 to 15, unless the client asks for less.
    /// Default 15.
    pub server_max_window_bits: u8,
    /// Base-two logarithm of the client's window in bytes, 9 to 15, if the client lets the server choose.
    /// Default 15.
    pub client_max_window_bits: u8,
    /// Whether messages to the client may refer to earlier ones. Default no.
    pub server_context_takeover: bool,
    /// Whether messages of the client may refer to earlier ones. Default no.
    pub client_context_takeover: bool,
    /// Length of the shortest message that is compressed, in bytes. Default 1024.
    pub min_size: usize,
    /// Most compressors that the connections of one pool may keep at a time by `server_context_takeover`;
    /// further connections compress each message by itself. Default 64.
    pub max_contexts: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            level: 1,
            mem_level: 8,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
            server_context_takeover: false,
            client_context_takeover: false,
            min_size: 1024,
            max_contexts: 64,
        }
    }
}

//! What this crate runs on: the ceilings of what a client may send, and what compression may cost.

use std::time::Duration;

/// What one WebSocket runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of a message, its fragments together, after inflating. Beyond: 1009, as soon as a frame
    /// announces it or inflating reaches it. Default 16 MiB.
    pub max_message_size: usize,
    /// Bytes of messages that the WebSockets of one connection may hold at a time, but for the first 64 KiB of each: of
    /// unfinished messages as they grow, inflated, and of those that wait for the app. Beyond: 1009 for the one that
    /// wants more. Never less than two messages of the largest size. Default 32 MiB.
    pub connection_room: usize,
    /// The same for all connections of a thread. Never less than eight messages of the largest size. Default 128 MiB.
    pub thread_room: usize,
    /// Most frames of a message. Beyond: 1008. Default 131 072.
    pub max_fragments: u32,
    /// Time between a ping's answer, or the opening, and the next ping; the first one is sent at once.
    /// `None`, the default: no pings.
    pub ping_interval: Option<Duration>,
    /// Time that a client has for the pong, or for any other byte. Default 20 s.
    pub ping_timeout: Duration,
    /// Terms of permessage-deflate (RFC 7692). `None`: every offer is declined. Default: the default terms.
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

/// Terms of permessage-deflate, and what of the memory and time that it costs is spent.
///
/// A compressor takes some 370 KiB with the default sizes, and not less than some 135 KiB with the smallest; a
/// decompressor some 45 KiB, whatever the window. Without context takeover both are lent by the thread's [`DeflatePool`] for the
/// time of a message, so that an idle connection holds neither. With it each connection keeps its own.
///
/// A number outside its range is taken as the nearest inside.
///
/// [`DeflatePool`]: crate::DeflatePool
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// Effort, 1 (fast) to 9 (small). Default 1.
    pub level: u8,
    /// Memory for a compressor's bookkeeping, 1 to 9: 7 × 2^(level + 6) bytes. Default 8.
    pub mem_level: u8,
    /// Base-two logarithm of the compressor's window in bytes, 9 to 15, unless the client asks for less.
    /// Default 15.
    pub server_max_window_bits: u8,
    /// The same for what the client sends, where it lets the server choose. Default 15.
    pub client_max_window_bits: u8,
    /// Whether messages to the client may refer to the ones before. Default no.
    pub server_context_takeover: bool,
    /// Whether messages of the client may refer to the ones before. Default no.
    pub client_context_takeover: bool,
    /// Shortest message that is worth compressing, in bytes. Default 1024.
    pub min_size: usize,
    /// Compressors that the connections of one pool may keep at a time by `server_context_takeover`; the other
    /// connections compress each message by itself. Default 64.
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

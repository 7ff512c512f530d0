//! Settings of an HTTP/2 connection.

/// The limits of an HTTP/2 connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most streams of one connection at a time; more are refused (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub max_concurrent_streams: u32,
    /// Most bytes of a request's header list, with 32 more for each field (RFC 9113 §6.5.2).
    pub max_header_list_size: u32,
    /// Size of the largest frame that a client may send, in bytes.
    pub max_inbound_frame_size: u32,
    /// Most fields of a request, with each cookie crumb and repeat.
    pub max_fields: usize,
    /// Whether clients may ask for a WebSocket by extended CONNECT (`SETTINGS_ENABLE_CONNECT_PROTOCOL`, RFC
    /// 8441). If not, their streams are reset.
    pub extended_connect: bool,
    /// Most bytes of a request's body that may be unread on one stream.
    pub stream_window: u32,
    /// Number of unread body bytes on the whole connection from which on its window opens only for streams
    /// that an app reads.
    pub connection_room: usize,
    /// Number of unread body bytes on all connections of a thread from which on no window opens any further.
    pub thread_room: usize,
    /// Most resets, of either end, that a client may cause in a burst.
    pub reset_burst: u32,
    /// Number of resets that are forgiven each second. Each completed response forgives one more, because a
    /// connection that serves many users has resets in proportion to its requests.
    pub reset_refill: u32,
    /// Most frames without progress (PING, SETTINGS, PRIORITY, unknown, empty DATA, needless `WINDOW_UPDATE`)
    /// that a client may send in a burst.
    pub frame_burst: u32,
    /// Number of frames without progress that are forgiven each second.
    pub frame_refill: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            max_header_list_size: 65_536,
            max_inbound_frame_size: 16_384,
            max_fields: 256,
            extended_connect: true,
            stream_window: 128 << 10,
            connection_room: 2 << 20,
            thread_room: 64 << 20,
            reset_burst: 500,
            reset_refill: 33,
            frame_burst: 10_000,
            frame_refill: 330,
        }
    }
}

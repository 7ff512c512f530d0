//! The limits of an HTTP/2 connection.

/// What an HTTP/2 connection runs on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Streams of one connection at a time; more are refused (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub max_concurrent_streams: u32,
    /// Bytes of a request's header list, each field counted with 32 more (RFC 9113 §6.5.2).
    pub max_header_list_size: u32,
    /// The largest frame that a client may send, in bytes.
    pub max_inbound_frame_size: u32,
    /// Fields of a request, cookie crumbs and repeats counted.
    pub max_fields: usize,
    /// Whether WebSockets may be asked for by extended CONNECT (`SETTINGS_ENABLE_CONNECT_PROTOCOL`, RFC 8441); if not,
    /// streams that do are reset.
    pub extended_connect: bool,
    /// Bytes of a request's body that may be unread on one stream.
    pub stream_window: u32,
    /// Bytes of bodies that may be unread on the whole connection before its window opens only for streams that are read.
    pub connection_room: usize,
    /// Bytes of bodies that may be unread on all connections that share a room, before no window opens any further.
    pub thread_room: usize,
    /// Bytes of a response that are handed to HTTP/2 ahead of the client's window.
    pub max_send_buffer_size: usize,
    /// Small DATA frames: what their padding up to 256 bytes may add up to while they are unread, in bytes.
    pub data_frame_budget: usize,
    /// Resets, of either end, that a client may cause in a burst.
    pub reset_burst: u32,
    /// Resets that are forgiven each second. Each response that is given out whole forgives one more: a connection that serves
    /// many users at once has resets in proportion to its requests.
    pub reset_refill: u32,
    /// Frames without progress (PING, SETTINGS, PRIORITY, unknown, empty DATA, `WINDOW_UPDATE` beyond need) that a
    /// client may send in a burst.
    pub frame_burst: u32,
    /// Such frames that are forgiven each second.
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
            max_send_buffer_size: 64 << 10,
            data_frame_budget: 4 << 20,
            reset_burst: 500,
            reset_refill: 33,
            frame_burst: 10_000,
            frame_refill: 330,
        }
    }
}

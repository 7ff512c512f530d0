//! Settings of an HTTP/3 connection.

/// The limits of an HTTP/3 connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most request streams of one connection at a time; more are rejected. The transport has to announce the
    /// same limit.
    pub max_concurrent_streams: u32,
    /// Most bytes of a request's header list, with 32 more for each field
    /// (`SETTINGS_MAX_FIELD_SECTION_SIZE`).
    pub max_header_list_size: u32,
    /// Most fields of a request, with each cookie crumb and repeat.
    pub max_fields: usize,
    /// Whether clients may ask for a WebSocket by extended CONNECT (`SETTINGS_ENABLE_CONNECT_PROTOCOL`, RFC
    /// 9220). If not, their streams are reset.
    pub extended_connect: bool,
    /// Number of unread bytes of a request's body from which on no more is taken from the transport.
    pub stream_window: usize,
    /// Number of unread body bytes on the whole connection from which on a body is only taken from the
    /// transport if its app has read all before.
    pub connection_room: usize,
    /// Most resets, of either end, that a client may cause in a burst.
    pub reset_burst: u32,
    /// Number of resets that are forgiven each second. Each completed response forgives one more, because a
    /// connection that serves many users has resets in proportion to its requests.
    pub reset_refill: u32,
    /// Most frames and streams without progress (unknown ones, empty DATA, `PRIORITY_UPDATE`) that a client may
    /// send in a burst.
    pub frame_burst: u32,
    /// Number of frames without progress that are forgiven each second.
    pub frame_refill: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            max_header_list_size: 65_536,
            max_fields: 256,
            extended_connect: true,
            stream_window: 128 << 10,
            connection_room: 2 << 20,
            reset_burst: 500,
            reset_refill: 33,
            frame_burst: 10_000,
            frame_refill: 330,
        }
    }
}

//! Settings: the limits on a client's requests.

/// The limits of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of a request line and its fields together, with the empty line. A longer head is answered
    /// with 414 if the request line alone is longer, else with 431. Default 16 KiB.
    pub max_head_bytes: usize,
    /// Most fields of a head, and again of a trailer section. More are answered with 431. At most 65 535.
    /// Default 256.
    pub max_fields: usize,
    /// Most bytes of chunk extensions in one body, all chunks together. More are answered with 400. Default
    /// 16 KiB.
    pub max_chunk_extension_bytes: usize,
    /// Most bytes of a trailer section. More are answered with 431. Default 16 KiB.
    pub max_trailer_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_head_bytes: 16 * 1024,
            max_fields: 256,
            max_chunk_extension_bytes: 16 * 1024,
            max_trailer_bytes: 16 * 1024,
        }
    }
}

//! What this crate runs on: the ceilings of what a client may send.

/// Ceilings for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of a request line and its fields together, the empty line included.
    /// Beyond: 414 if the request line alone is longer, else 431. Default 16 KiB.
    pub max_head_bytes: usize,
    /// Most fields of a head, and again of a trailer section. Beyond: 431. At most 65 535. Default 256.
    pub max_fields: usize,
    /// Most bytes of chunk extensions in one body, all chunks together. Beyond: 400. Default 16 KiB.
    pub max_chunk_extension_bytes: usize,
    /// Most bytes of a trailer section. Beyond: 431. Default 16 KiB.
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

//! Frames: their kinds, flags and headers (RFC 9113 §4.1, §6).

/// Frame types.
pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;
/// RFC 9218 §7.1
pub(crate) const PRIORITY_UPDATE: u8 = 0x10;

/// Flags.
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITIZED: u8 = 0x20;

/// Length of a frame's header, in bytes.
pub(crate) const HEADER_LEN: usize = 9;

/// The greatest window (RFC 9113 §6.9.1), and the greatest number of a stream.
pub(crate) const MAX_31: u32 = (1 << 31) - 1;

/// The window with which every stream and every connection begins (RFC 9113 §6.9.2).
pub(crate) const FIRST_WINDOW: u32 = 65_535;

/// The least frame size that every end accepts (RFC 9113 §4.2).
pub(crate) const LEAST_FRAME_SIZE: u32 = 16_384;

/// The greatest frame size (RFC 9113 §4.2).
pub(crate) const MAX_FRAME_SIZE: u32 = (1 << 24) - 1;

/// Settings (RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1).
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(crate) const ENABLE_PUSH: u16 = 0x2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
    pub(crate) const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Length of the payload, in bytes.
    pub(crate) len: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream_id: u32,
}

impl Header {
    /// Reads a header.
    #[inline]
    pub(crate) fn read(bytes: [u8; HEADER_LEN]) -> Self {
        let [a, b, c, kind, flags, id @ ..] = bytes;
        Self {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream_id: u32::from_be_bytes(id) & MAX_31,
        }
    }

    /// Returns the header's bytes.
    #[inline]
    pub(crate) fn bytes(self) -> [u8; HEADER_LEN] {
        let len = (self.len as u32).to_be_bytes();
        let id = self.stream_id.to_be_bytes();
        [len[1], len[2], len[3], self.kind, self.flags, id[0], id[1], id[2], id[3]]
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Logs the frame, in the `direction` in which it passes.
    #[inline]
    pub(crate) fn log(self, direction: &'static str) {
        tracing::debug!(
            target: "hcrs_h2::frames",
            frame = self.kind_name(),
            stream = self.stream_id,
            flags = self.flags,
            len = self.len,
            "{direction}"
        );
    }

    fn kind_name(self) -> &'static str {
        match self.kind {
            DATA => "Data",
            HEADERS => "Headers",
            PRIORITY => "Priority",
            RST_STREAM => "Reset",
            SETTINGS => "Settings",
            PUSH_PROMISE => "PushPromise",
            PING => "Ping",
            GOAWAY => "GoAway",
            WINDOW_UPDATE => "WindowUpdate",
            CONTINUATION => "Continuation",
            PRIORITY_UPDATE => "PriorityUpdate",
            _ => "Unknown",
        }
    }
}

/// An error code (RFC 9113 §7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub(crate) u32);

impl ErrorCode {
    pub(crate) const NO_ERROR: Self = Self(0x0);
    pub(crate) const PROTOCOL_ERROR: Self = Self(0x1);
    pub(crate) const FLOW_CONTROL_ERROR: Self = Self(0x3);
    pub(crate) const STREAM_CLOSED: Self = Self(0x5);
    pub(crate) const FRAME_SIZE_ERROR: Self = Self(0x6);
    pub(crate) const REFUSED_STREAM: Self = Self(0x7);
    pub(crate) const CANCEL: Self = Self(0x8);
    pub(crate) const COMPRESSION_ERROR: Self = Self(0x9);
    pub(crate) const ENHANCE_YOUR_CALM: Self = Self(0xb);
}

impl std::fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

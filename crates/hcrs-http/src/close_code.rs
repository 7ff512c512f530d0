//! Status codes of a WebSocket's Close frames (RFC 6455 §7.4.1 and the registry it made).

/// The purpose is fulfilled.
pub const NORMAL: u16 = 1000;
/// The server is shutting down, or the page was left.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// Never sent: it is reported where a Close frame had no code.
pub const NO_STATUS: u16 = 1005;
/// Never sent: it is reported where the transport ended without a Close frame.
pub const ABNORMAL: u16 = 1006;
/// The data does not match its type: text that is not UTF-8, or a broken compressed message.
pub const INVALID_PAYLOAD: u16 = 1007;
/// A rule of the endpoint is broken.
pub const POLICY_VIOLATION: u16 = 1008;
/// A message is too large.
pub const MESSAGE_TOO_BIG: u16 = 1009;
/// The server met a condition that keeps it from going on.
pub const INTERNAL_ERROR: u16 = 1011;
/// The server restarts; the client may connect again.
pub const SERVICE_RESTART: u16 = 1012;

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod connection;
mod ended;
mod flow;
mod frame;
mod head;
mod hpack;
mod output;
mod protocol;
mod settings;
mod stream;

pub use connection::{Connection, Turn, handshake};
pub use ended::Ended;
pub use frame::ErrorCode;
pub use hcrs_mux::{BodyRoom, Event, Sent, ServerFields, StreamKey, recycle};
pub use settings::Settings;

/// The client connection preface, which an HTTP/2 client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

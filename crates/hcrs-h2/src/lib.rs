#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod connection;
mod event;
mod flow;
mod frame;
mod head;
mod hpack;
mod output;
mod protocol;
mod settings;
mod stream;
mod streams;

pub use connection::{Connection, Turn, handshake};
pub use event::{Ended, Event, Sent, StreamKey};
pub use frame::ErrorCode;
pub use hcrs_mux::{BodyRoom, ServerFields, recycle};
pub use settings::Settings;

/// The client connection preface, which an HTTP/2 client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

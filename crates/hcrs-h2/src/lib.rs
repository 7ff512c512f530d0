#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod budget;
mod connection;
mod event;
mod frames;
mod head;
mod meter;
mod settings;
mod spare;
mod stream;
mod streams;
mod transport;
mod turn_waker;

pub use connection::{BodyRoom, Connection, Turn, handshake};
pub use event::{Ended, Event, Sent, StreamKey};
pub use head::ServerFields;
pub use settings::Settings;
pub use spare::recycle;

/// The client connection preface, which an HTTP/2 client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

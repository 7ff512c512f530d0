#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod connection;
mod ended;
mod error;
mod frame;
mod outbox;
mod protocol;
mod qpack;
mod settings;
mod stream;
mod transport;
mod varint;

pub use connection::{Connection, Turn};
pub use ended::Ended;
pub use error::ErrorCode;
pub use hcrs_mux::{BodyRoom, Event, Sent, ServerFields, StreamKey, recycle};
pub use settings::Settings;
pub use transport::{Read, Transport, Write};

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod connection;
mod error;
mod event;
mod frame;
mod outbox;
mod protocol;
mod qpack;
mod settings;
mod stream;
mod streams;
mod transport;
mod varint;

pub use connection::{Connection, Turn};
pub use error::ErrorCode;
pub use event::{Ended, Event, Sent, StreamKey};
pub use hcrs_mux::{BodyRoom, ServerFields, recycle};
pub use settings::Settings;
pub use transport::{Read, Transport, Write};

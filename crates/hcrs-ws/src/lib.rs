#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod close;
mod connection;
mod deflate;
mod frame;
mod handshake;
mod keep_alive;
mod mask;
mod receive;
mod room;
mod send;
mod settings;
mod utf8;

pub use close::Failure;
pub use connection::{Connection, Event, MessageKind};
pub use deflate::DeflatePool;
pub use handshake::{
    Accepted, DeflateTerms, Handshake, Opening, Refusal, SubprotocolNotOffered, asks_for_websocket,
};
pub use hcrs_http::close_code;
pub use keep_alive::PongMissing;
pub use room::{HeldBytes, MessageRoom};
pub use send::SendError;
pub use settings::{Compression, Settings};

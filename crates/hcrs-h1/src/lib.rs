#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod chunk;
mod client;
mod connection;
mod event;
mod head;
mod response;
mod scan;
mod settings;
mod status;
mod target;

pub use client::{
    BadResponse, ClientConnection, OutgoingRequest, RequestBody, RequestFields, ResponseEvent, Unsendable,
};
pub use connection::Connection;
pub use event::{Awaits, Event, Request};
pub use response::ServerFields;
pub use settings::Settings;

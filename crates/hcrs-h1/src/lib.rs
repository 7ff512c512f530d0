#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod chunk;
mod connection;
mod event;
mod head;
mod response;
mod scan;
mod settings;
mod status;
mod target;

pub use connection::Connection;
pub use event::{Awaits, Event, Request};
pub use response::ServerFields;
pub use settings::Settings;

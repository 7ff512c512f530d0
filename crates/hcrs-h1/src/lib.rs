#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod chunk;
mod connection;
mod head;
mod response;
mod scan;
mod settings;
mod status;
mod target;

pub use connection::{Awaits, BodyLength, Connection, Event, Extra, Request};
pub use settings::Settings;

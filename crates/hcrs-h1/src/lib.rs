#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod connection;
mod settings;

pub use connection::{Awaits, BodyLength, Connection, Event, Extra, Request};
pub use settings::Settings;

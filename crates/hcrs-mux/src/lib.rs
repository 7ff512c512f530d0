#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod body_room;
mod budget;
mod entry;
mod event;
mod field;
mod huffman;
pub mod literal;
mod path;
mod request;
pub mod response;
mod spare;
mod streams;
mod unwanted;

pub use body_room::BodyRoom;
pub use budget::Budget;
pub use entry::Entry;
pub use event::{Event, Sent, StreamKey, next_event};
pub use field::{Field, Form, Name};
pub use request::{Checks, Decoded, Request, RequestReader, TrailersReader};
pub use response::{CheckedHead, FieldEncoder, ServerFields};
pub use spare::{recycle, take};
pub use streams::{Owned, Owner, Streams};
pub use unwanted::Unwanted;

/// Bytes that a field costs besides its name and value, in header lists and tables (RFC 7541 §4.1, RFC 9114
/// §4.2.2).
pub const ENTRY_COST: usize = 32;

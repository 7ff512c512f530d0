//! The crate as its driver uses it: bytes in, events out, responses back.

mod driver;

mod client;
mod exchanges;
mod properties;
mod responses;
mod strictness;

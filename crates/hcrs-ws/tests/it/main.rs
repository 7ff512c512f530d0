//! The crate as its driver uses it: bytes in, events out, frames back.

mod driver;

mod closing;
mod compression;
mod flow;
mod framing;
mod handshakes;
mod limits;
mod memory;
mod negotiation;
mod properties;
mod text;

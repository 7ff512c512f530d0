//! The crate as its driver uses it: a client and a transport in memory, [`hcrs_h3::Connection`] on the other end.
//!
//! Nothing runs by itself: a test polls the server, and the clock is a number.

mod frames;
mod server;
mod wire;

mod control;
mod floods;
mod model;
mod priorities;
mod requests;
mod responses;
mod shutdown;

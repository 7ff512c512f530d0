//! The crate as its driver uses it: a client on one end of an in-memory pipe, [`hcrs_h2::Connection`] on the
//! other.
//!
//! Honest traffic comes from the `h2` crate's client (`client`), hostile traffic from frames packed by hand
//! (`peer`). Nothing runs by itself: a test polls both ends in turn, and the clock is a number.

mod client;
mod early_answers;
mod peer;
mod pipe;
mod server;

mod floods;
mod polls;
mod priorities;
mod pushes;
mod requests;
mod resets;
mod responses;
mod shutdown;
mod windows;

//! Heads: those of requests are built from their fields and checked, those of responses are written.

mod path;
mod request;
mod response;

pub(crate) use request::{Checks, Decoded, Request, RequestReader, TrailersReader};
pub use response::ServerFields;
pub(crate) use response::{
    CheckedHead, check_interim, fault, interim, promise, response, trailers, write_trailers,
};

#[cfg(test)]
mod tests;

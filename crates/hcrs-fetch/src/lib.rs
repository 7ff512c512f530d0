#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod exchange;
mod response;
mod socket;
mod target;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

pub use response::Response;
pub use target::Target;

use socket::Timed;

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// Where it is sent to.
    pub target: &'a Target,
    /// The type of the body, and the body.
    pub body: Option<(&'a str, &'a [u8])>,
}

/// The bounds of a request and its response.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The instant at which the request is given up.
    pub until: Instant,
    /// The longest body of the response, in bytes. `None` if only the head is asked for: the connection is closed
    /// behind it, and the response has no body.
    pub max_body_bytes: Option<usize>,
}

/// Sends a request, and waits for the response. Redirects are not followed.
///
/// # Errors
///
/// `TimedOut` after the deadline; `InvalidData` for bytes that are no response, or too many; `InvalidInput` for a
/// target with TLS without a configuration of it, and for a request that cannot be written; and the errors of the
/// socket and of TLS.
pub fn fetch(request: Request<'_>, tls: Option<&Arc<ClientConfig>>, bounds: Bounds) -> io::Result<Response> {
    let Some(name) = request.target.tls_name()? else {
        return exchange::exchange(&mut Timed::connect(request.target, bounds.until)?, request, bounds);
    };
    let config = tls.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "TLS is not configured"))?;
    let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let socket = Timed::connect(request.target, bounds.until)?;
    exchange::exchange(&mut StreamOwned::new(tls, socket), request, bounds)
}

#[cfg(test)]
mod tests;

//! The addresses of a client's connection, encoded once when it is accepted.

use std::num::NonZeroU8;

use crate::path_prefix::PATH_PREFIX_MAX;

/// The address of one end of a connection, as ASGI has it: a host text and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// The IP address without brackets.
    pub host: &'a str,
    /// The port; 0 if there is none.
    pub port: u16,
}

/// The client's and the server's address of a connection, ready to be copied into each of its request heads.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    client: Box<[u8]>,
    server: Box<[u8]>,
    prefix: Box<[u8]>,
    tls: Option<NonZeroU8>,
}

impl Endpoints {
    /// Encodes both addresses. An end on a unix socket has none.
    pub fn new(client: Option<Address<'_>>, server: Option<Address<'_>>) -> Self {
        Self { client: encode(client), server: encode(server), prefix: Box::default(), tls: None }
    }

    /// Returns the same addresses with the prefix that a proxy removes from the path of each request: at most
    /// [`PATH_PREFIX_MAX`] bytes, as [`path_prefix`](crate::path_prefix()) and
    /// [`PathPrefix`](crate::PathPrefix) check.
    #[must_use]
    pub fn with_prefix(self, prefix: &[u8]) -> Self {
        debug_assert!(prefix.len() <= PATH_PREFIX_MAX, "the head has one byte for its length");
        Self { prefix: prefix.into(), ..self }
    }

    /// Returns the same addresses with the number of the connection's TLS info.
    #[must_use]
    pub fn with_tls(self, number: NonZeroU8) -> Self {
        Self { tls: Some(number), ..self }
    }

    /// Returns the number of the connection's TLS info; `None` for a cleartext connection.
    pub(crate) fn tls(&self) -> Option<NonZeroU8> {
        self.tls
    }

    /// Returns the client's address.
    pub fn client(&self) -> Option<Address<'_>> {
        decode(&self.client)
    }

    /// Returns the address that the client connected to.
    pub fn server(&self) -> Option<Address<'_>> {
        decode(&self.server)
    }

    pub(crate) fn blocks(&self) -> (&[u8], &[u8], &[u8]) {
        (&self.client, &self.server, &self.prefix)
    }
}

fn encode(address: Option<Address<'_>>) -> Box<[u8]> {
    let Some(Address { host, port }) = address else { return Box::default() };
    let mut block = Vec::with_capacity(2 + host.len());
    block.extend_from_slice(&port.to_le_bytes());
    block.extend_from_slice(host.as_bytes());
    block.into_boxed_slice()
}

pub(crate) fn decode(block: &[u8]) -> Option<Address<'_>> {
    let (port, host) = block.split_first_chunk::<2>()?;
    Some(Address { host: std::str::from_utf8(host).ok()?, port: u16::from_le_bytes(*port) })
}

//! Proxies that stand before the edge: whom a connection is for, and whether its requests' fields are believed.

use std::io;
use std::net::IpAddr;

use hcrs_forwarded::{PROXY_HEADER_MAX, Proxied, ProxyHeaderError, parse_proxy_header, without_forwarded};
use hcrs_http::{Endpoints, RequestHead, Scheme};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::ProxySettings;
use crate::handshake::Client;
use crate::socket::{self, Socket};

/// What is done with the fields in which a proxy speaks of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardedFields {
    /// They are fields like all others.
    AsTheyAre,
    /// They come from somebody who is trusted.
    Believed,
    /// The app does not see them.
    Dropped,
}

/// Whom a connection is for.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The addresses of both ends, those that the proxy names if there is one.
    pub endpoints: Endpoints,
    /// What is done with its requests' fields.
    pub forwarded: ForwardedFields,
    /// Whether it spoke TLS with the proxy; what it speaks here is still to be seen.
    pub scheme: Scheme,
}

/// Why a connection is closed before anything else is read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0} may not speak the PROXY protocol, only the trusted may")]
    Untrusted(String),
    #[error("{0} from {1}")]
    Header(ProxyHeaderError, String),
    #[error("the PROXY protocol header of {0} was not complete in time")]
    Late(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Finds out whom the connection is for, by the header of the PROXY protocol if there has to be one.
pub(crate) async fn peer(
    socket: &mut Socket,
    proxy_protocol: bool,
    settings: &ProxySettings,
) -> Result<Peer, Refused> {
    let own = socket.addresses()?;
    let own_address = own.map(|(peer, _)| peer.ip());
    let proxied =
        if proxy_protocol { read_header(socket, own_address, settings).await? } else { Proxied::Itself };
    let own_endpoints = || own.map(socket::endpoints).unwrap_or_default();
    let (endpoints, is_trusted, tls) = match proxied {
        Proxied::Itself => (own_endpoints(), settings.trusted.of_peer(own_address), false),
        // Such a proxy does not look into what it passes on: the fields are those of the client that it names, which
        // is a hop and no peer, or of nobody knows whom.
        Proxied::Client { client, server, tls } => {
            (socket::endpoints((client, server)), settings.trusted.of_hop(client.ip()), tls)
        }
        Proxied::Unnamed => (own_endpoints(), false, false),
        // A socket of the proxy's machine, which nobody has spoken of when unix sockets were trusted.
        Proxied::Unix => (Endpoints::default(), false, false),
    };
    let endpoints = match &settings.stripped_prefix {
        Some(prefix) => endpoints.with_prefix(prefix.as_bytes()),
        None => endpoints,
    };
    let scheme = if tls { Scheme::Https } else { Scheme::Http };
    Ok(Peer { endpoints, forwarded: forwarded(settings, is_trusted), scheme })
}

fn forwarded(settings: &ProxySettings, is_trusted: bool) -> ForwardedFields {
    if settings.forwarded.is_none() && !settings.drop_untrusted {
        return ForwardedFields::AsTheyAre;
    }
    match is_trusted {
        true if settings.forwarded.is_some() => ForwardedFields::Believed,
        false if settings.drop_untrusted => ForwardedFields::Dropped,
        _ => ForwardedFields::AsTheyAre,
    }
}

async fn read_header(
    socket: &mut Socket,
    own_address: Option<IpAddr>,
    settings: &ProxySettings,
) -> Result<Proxied, Refused> {
    let name = || own_address.map_or_else(|| "a unix socket".to_owned(), |address| address.to_string());
    if !settings.trusted.of_peer(own_address) {
        return Err(Refused::Untrusted(name()));
    }
    // On the heap, for else every connection would have room for it.
    let mut bytes = vec![0; PROXY_HEADER_MAX];
    let mut filled = 0;
    let read = async {
        loop {
            let n = socket.read(&mut bytes[filled..]).await?;
            if n == 0 {
                return Err(Refused::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            filled += n;
            match parse_proxy_header(&bytes[..filled]) {
                Ok(Some(header)) => return Ok(header),
                Ok(None) => {}
                Err(error) => return Err(Refused::Header(error, name())),
            }
        }
    };
    let (proxied, len) =
        timeout(settings.protocol_timeout, read).await.map_err(|_| Refused::Late(name()))??;
    socket.put_back(&bytes[len..filled]);
    Ok(proxied)
}

impl Client {
    /// The head as the client would have sent it without the proxies between, as far as they are believed.
    pub(crate) fn without_proxies(&self, head: RequestHead) -> RequestHead {
        let changed = match self.forwarded {
            ForwardedFields::AsTheyAre => return head,
            ForwardedFields::Dropped => without_forwarded(&head),
            ForwardedFields::Believed => {
                let settings = &self.admitted.shared.settings.proxies;
                settings.forwarded.and_then(|forwarded| forwarded.believe(&head, &settings.trusted))
            }
        };
        changed.unwrap_or(head)
    }
}

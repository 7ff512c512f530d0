//! Identifies the client of a connection by its own addresses or those that the PROXY protocol names, and
//! decides whether its requests' forwarded fields are trusted.

use std::io;
use std::net::{IpAddr, SocketAddr};

use hcrs_forwarded::{PROXY_HEADER_MAX, Proxied, ProxyHeaderError, parse_proxy_header};
use hcrs_http::{Endpoints, Scheme};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::socket::{self, Socket};
use crate::ProxySettings;
use crate::client::{ForwardedFields, Peer};

/// The reason why a connection is closed before anything else is read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "the peer {0} is not trusted to speak the PROXY protocol; name it in forwarded_allow_ips if it is a proxy"
    )]
    Untrusted(String),
    #[error("{0} from {1}")]
    Header(ProxyHeaderError, String),
    #[error("the PROXY protocol header of {0} was not complete in time")]
    Late(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Returns the client of a connection, from the header of the PROXY protocol if `proxy_protocol` is set.
pub(crate) async fn identify(
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
        Proxied::Itself => (own_endpoints(), settings.trusted.trusts_peer(own_address), false),
        // Such a proxy does not look into the data that it forwards, so the fields come from the client that
        // it names: a hop and no peer.
        Proxied::Client { client, server, tls } => {
            (socket::endpoints((client, server)), settings.trusted.trusts_hop(client.ip()), tls)
        }
        Proxied::Unnamed => (own_endpoints(), false, false),
        // A unix socket on the proxy's machine: trust in unix sockets means those of this machine.
        Proxied::Unix => (Endpoints::default(), false, false),
    };
    let endpoints = with_prefix(endpoints, settings);
    let scheme = if tls { Scheme::Https } else { Scheme::Http };
    Ok(Peer { endpoints, forwarded: forwarded(settings, is_trusted), is_trusted, scheme })
}

/// Returns the client of a QUIC connection between these addresses, the client's first.
pub(super) fn of_addresses(own: (SocketAddr, SocketAddr), settings: &ProxySettings) -> Peer {
    let is_trusted = settings.trusted.trusts_peer(Some(own.0.ip()));
    Peer {
        endpoints: with_prefix(socket::endpoints(own), settings),
        forwarded: forwarded(settings, is_trusted),
        is_trusted,
        scheme: Scheme::Https,
    }
}

fn with_prefix(endpoints: Endpoints, settings: &ProxySettings) -> Endpoints {
    match &settings.stripped_prefix {
        Some(prefix) => endpoints.with_prefix(prefix.as_bytes()),
        None => endpoints,
    }
}

fn forwarded(settings: &ProxySettings, is_trusted: bool) -> ForwardedFields {
    if settings.forwarded.is_none() && !settings.drop_untrusted {
        return ForwardedFields::AsTheyAre;
    }
    match is_trusted {
        true if settings.forwarded.is_some() => ForwardedFields::Trusted,
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
    if !settings.trusted.trusts_peer(own_address) {
        return Err(Refused::Untrusted(name()));
    }
    // Heap-allocated: inline it would enlarge every connection's future.
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

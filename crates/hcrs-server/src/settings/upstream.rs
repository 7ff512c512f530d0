//! Routes to other HTTP servers (`upstream`).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hcrs_http::is_authority;
use hcrs_tls::{Authorities, TlsError, client_config};
use tokio_rustls::rustls::ClientConfig;

/// The servers that a route proxies to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// The servers, at least one.
    pub servers: Vec<UpstreamUrl>,
    /// Whether the route's prefix is removed from the path.
    pub strip_path: bool,
    /// The choice of a server.
    pub balance: Balance,
    /// The protocol that is spoken with the servers.
    pub protocol: UpstreamProtocol,
    /// The `host` that the servers see.
    pub host: UpstreamHost,
    /// How long a connection may take, with its handshakes.
    pub connect_timeout: Duration,
    /// How long a server that owes bytes may send none.
    pub read_timeout: Duration,
    /// How long a server may take no bytes of a body.
    pub send_timeout: Duration,
    /// The file with the authorities that issue the servers' certificates; `None` for those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Whether the servers' certificates are verified.
    pub verify: bool,
    /// The requests by which the servers are checked.
    pub health: Option<HealthCheck>,
    /// The number of further attempts for a request that no server has begun.
    pub retries: u8,
    /// The most connections of an edge thread to one server.
    pub connections: usize,
}

impl UpstreamSettings {
    /// Returns the default settings for these servers.
    pub fn new(servers: Vec<UpstreamUrl>) -> Self {
        Self {
            servers,
            strip_path: false,
            balance: Balance::LeastBusy,
            protocol: UpstreamProtocol::Auto,
            host: UpstreamHost::Client,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            ca: None,
            verify: true,
            health: None,
            retries: 2,
            connections: 256,
        }
    }
}

/// The configurations of TLS with a route's servers.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamTls {
    /// For connections in any protocol that the settings allow.
    pub any: Arc<ClientConfig>,
    /// For connections that have to speak HTTP/1.1.
    pub http1: Arc<ClientConfig>,
}

impl UpstreamSettings {
    /// Returns the TLS with the servers; `None` if none speaks it. Reads the file of authorities.
    pub(crate) fn tls(&self) -> Result<Option<UpstreamTls>, TlsError> {
        if !self.servers.iter().any(|server| server.is_tls) {
            return Ok(None);
        }
        let authorities = match &self.ca {
            _ if !self.verify => Authorities::Unverified,
            Some(path) => Authorities::File(path),
            None => Authorities::System { setting: Some("upstream_ca") },
        };
        let any: &[&[u8]] = match self.protocol {
            UpstreamProtocol::Auto => &[b"h2", b"http/1.1"],
            UpstreamProtocol::Http1 => &[b"http/1.1"],
            UpstreamProtocol::Http2 => &[b"h2"],
        };
        let any = client_config(authorities, any)?;
        let mut http1 = ClientConfig::clone(&any);
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(UpstreamTls { any, http1: Arc::new(http1) }))
    }
}

/// The choice of a server for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    /// The server with the fewest requests of this edge thread.
    LeastBusy,
    /// The same server for requests with the same value, as long as it is up.
    Hash(HashKey),
}

/// The value of a request by which it is sent to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    Address,
    /// The path.
    Path,
    /// The value of this field, in lower case; requests without it are sent to the least busy server.
    Field(String),
}

/// The protocol that is spoken with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1; over TLS, HTTP/2 if the server chooses it.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

/// The `host` that a server sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamHost {
    /// That of the request.
    Client,
    /// That of the server's URL.
    Upstream,
    /// This one.
    Named(String),
}

/// The requests by which servers are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path; a server is up if the status is 2xx or 3xx.
    pub path: String,
    /// The time between two checks.
    pub interval: Duration,
}

impl HealthCheck {
    /// The default time between two checks.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
}

/// The URL of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// The address.
    pub address: UpstreamAddress,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// The host and the port, as in the URL.
    pub authority: String,
    /// The path that stands before those of requests, without a slash at its end.
    pub base: String,
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A name or an IP address, and a port.
    Tcp {
        /// The name, or the address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl UpstreamUrl {
    /// Parses `http://HOST[:PORT][/BASE]`, `https://…` or `unix:PATH`. The error describes what is expected.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "http://HOST:PORT, https://HOST:PORT or unix:PATH";
        if let Some(path) = url.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self {
                address: UpstreamAddress::Unix(path.into()),
                is_tls: false,
                authority: "localhost".to_owned(),
                base: String::new(),
            });
        }
        let (is_tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(EXPECTED),
        };
        let (authority, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let base = base.trim_end_matches('/');
        let is_base = base.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
        if !is_base || authority.contains('@') || !is_authority(authority.as_bytes()) {
            return Err(EXPECTED);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(EXPECTED)?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|&port| port > 0).ok_or(EXPECTED)?,
            None if is_tls => 443,
            None => 80,
        };
        if host.is_empty() {
            return Err(EXPECTED);
        }
        Ok(Self {
            address: UpstreamAddress::Tcp { host: host.to_owned(), port },
            is_tls,
            authority: authority.to_owned(),
            base: base.to_owned(),
        })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            UpstreamAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            UpstreamAddress::Tcp { .. } => {
                let scheme = if self.is_tls { "https" } else { "http" };
                write!(f, "{scheme}://{}{}", self.authority, self.base)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_address_protocol_and_base_path() {
        let tcp = |host: &str, port| UpstreamAddress::Tcp { host: host.to_owned(), port };
        for (url, address, is_tls, base) in [
            ("http://127.0.0.1:9000", tcp("127.0.0.1", 9000), false, ""),
            ("http://a.test", tcp("a.test", 80), false, ""),
            ("https://a.test/", tcp("a.test", 443), true, ""),
            ("https://[::1]:8443/base/x/", tcp("::1", 8443), true, "/base/x"),
            ("unix:/run/x.sock", UpstreamAddress::Unix("/run/x.sock".into()), false, ""),
        ] {
            let parsed = UpstreamUrl::parse(url).unwrap();
            assert_eq!((&parsed.address, parsed.is_tls, &*parsed.base), (&address, is_tls, base), "{url}");
            assert_eq!(parsed.to_string(), url.trim_end_matches('/'));
        }
    }

    #[test]
    fn anything_else_is_no_url() {
        for bad in [
            "",
            "unix:",
            "127.0.0.1:9000",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:70000",
            "http://u@a",
            "http://a/?b",
            "http://a/b c",
        ] {
            assert!(UpstreamUrl::parse(bad).is_err(), "{bad}");
        }
    }
}

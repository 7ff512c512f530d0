//! Where a request is sent to.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hcrs_http::is_authority;
use rustls_pki_types::ServerName;

/// The server of a request, and what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(crate) place: Place,
    /// The host, and the port if it is named, as they are written.
    pub(crate) authority: String,
    /// The path, and the query if there is one.
    path: String,
}

/// The socket of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A name or an address, without brackets.
    Tcp { host: String, port: u16, is_tls: bool },
    /// A unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Parses a URL with `http` or `https`. A fragment is left out.
    pub fn parse(url: &str) -> Option<Self> {
        let (is_tls, rest) = match url.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if !is_authority(authority.as_bytes()) || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if is_tls => 443,
            None => 80,
        };
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let place = Place::Tcp { host: host.to_owned(), port, is_tls };
        Some(Self { place, authority: authority.to_owned(), path })
    }

    /// Returns a path at a port of an address, without TLS, asked for as that of a host.
    pub fn cleartext(host: &str, address: &str, port: u16, path: String) -> Self {
        let place = Place::Tcp { host: address.to_owned(), port, is_tls: false };
        Self { place, authority: host.to_owned(), path }
    }

    /// Returns a path at a unix socket, asked for as that of a host.
    pub fn unix(host: &str, socket: &Path, path: String) -> Self {
        Self { place: Place::Unix(socket.to_owned()), authority: host.to_owned(), path }
    }

    /// Returns the same server with another path.
    #[must_use]
    pub fn with_path(self, path: String) -> Self {
        Self { path, ..self }
    }

    /// Whether it is asked over TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.place, Place::Tcp { is_tls: true, .. })
    }

    /// Returns the name or the address of the host, without brackets and port.
    pub fn host(&self) -> &str {
        match &self.place {
            Place::Tcp { host, .. } => host,
            Place::Unix(_) => &self.authority,
        }
    }

    /// Returns the path, and the query if there is one.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the name that the server's certificate has to have; `None` without TLS.
    pub(crate) fn tls_name(&self) -> io::Result<Option<ServerName<'static>>> {
        let Place::Tcp { host, is_tls: true, .. } = &self.place else { return Ok(None) };
        ServerName::try_from(host.clone()).map(Some).map_err(io::Error::other)
    }
}

/// The URL.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authority, path, .. } = self;
        write!(f, "{}://{authority}{path}", if self.is_tls() { "https" } else { "http" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_and_a_port() {
        for (url, host, port, path) in [
            ("https://ca.test/dir?a#b", "ca.test", 443, "/dir?a"),
            ("https://127.0.0.1:14000", "127.0.0.1", 14000, "/"),
            ("https://[::1]:1/x", "::1", 1, "/x"),
            ("https://[::1]?x", "::1", 443, "/?x"),
            ("http://a", "a", 80, "/"),
            ("http://a/b/", "a", 80, "/b/"),
        ] {
            let target = Target::parse(url).unwrap();
            let is_tls = url.starts_with("https");
            assert_eq!(target.place, Place::Tcp { host: host.to_owned(), port, is_tls }, "{url}");
            assert_eq!((target.host(), target.path(), target.is_tls()), (host, path, is_tls), "{url}");
        }
    }

    #[test]
    fn a_target_is_shown_as_a_url() {
        for url in ["https://ca.test/dir?a", "http://[::1]:4318/"] {
            assert_eq!(Target::parse(url).unwrap().to_string(), url);
        }
        assert_eq!(Target::parse("http://a").unwrap().with_path("/b".into()).to_string(), "http://a/b");
    }

    #[test]
    fn anything_else_is_no_target() {
        for wrong in [
            "",
            "localhost:4318",
            "grpc://a:4317",
            "http://",
            "http://:80",
            "https:///x",
            "https://a:b/",
            "https://a:/",
            "http://a:70000",
            "https://u@a/",
            "https://a\r\nb/",
            "http://a/b c",
            "http://a b/",
            "http://[::1",
            "http://[::1]x/",
        ] {
            assert_eq!(Target::parse(wrong), None, "{wrong}");
        }
    }
}

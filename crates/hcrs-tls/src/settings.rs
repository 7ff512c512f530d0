//! What TLS runs on, with its defaults.

use std::path::PathBuf;
use std::time::Duration;

/// The identity of the TLS listeners and what they may negotiate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// PEM file with the certificate first and then its issuers, without the root.
    pub certfile: PathBuf,
    /// PEM file with the certificate's private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub keyfile: PathBuf,
    /// ALPN protocol names (RFC 7301), the preferred one first. A client that offers only others is refused
    /// with alert 120; one that offers none is let in.
    pub alpn_protocols: Vec<String>,
    /// Time from accepting a connection to the end of its handshake.
    pub handshake_timeout: Duration,
}

impl Settings {
    /// The default of [`Settings::handshake_timeout`].
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
    /// The default of [`Settings::alpn_protocols`].
    pub const ALPN_PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

    /// The defaults for this certificate and key.
    pub fn new(certfile: impl Into<PathBuf>, keyfile: impl Into<PathBuf>) -> Self {
        Self {
            certfile: certfile.into(),
            keyfile: keyfile.into(),
            alpn_protocols: Self::ALPN_PROTOCOLS.map(String::from).to_vec(),
            handshake_timeout: Self::HANDSHAKE_TIMEOUT,
        }
    }
}

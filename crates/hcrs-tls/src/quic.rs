//! The configurations of QUIC connections: TLS 1.3 and HTTP/3 alone, with all else as over TCP.
//!
//! A QUIC connection gets its configuration before its client's first message can be read. So the certificate is
//! chosen within the handshake, by a resolver of the connection's own, which remembers what it has chosen.

use std::sync::{Arc, OnceLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use rustls_pki_types::CertificateDer;

use crate::TlsInfo;
use crate::certificates::Certificates;

/// The ALPN name of HTTP/3 (RFC 9114 section 3.1).
pub(crate) const ALPN: &[u8] = b"h3";

/// The configuration of one QUIC connection, and what its handshake has chosen.
#[derive(Debug)]
pub struct QuicHandshake {
    config: Arc<ServerConfig>,
    chooser: Arc<Chooser>,
}

impl QuicHandshake {
    /// Returns a connection's configuration, made from that of all QUIC connections.
    pub(crate) fn new(all: &ServerConfig, certificates: &Arc<Certificates>) -> Self {
        let suites = all.crypto_provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
        let chooser =
            Arc::new(Chooser { certificates: Arc::clone(certificates), suites, choice: OnceLock::new() });
        let mut config = all.clone();
        config.cert_resolver = Arc::clone(&chooser) as _;
        Self { config: Arc::new(config), chooser }
    }

    /// Returns the configuration, for this one connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Returns the info of the connection once its handshake is over, in which the client has sent these
    /// certificates. `None` if the handshake has not begun.
    pub fn info(&self, client_chain: &[CertificateDer<'static>]) -> Option<TlsInfo> {
        let Choice { place, suite } = self.chooser.choice.get()?;
        let certificate = Arc::clone(&self.chooser.certificates.identities()[*place].pem);
        Some(TlsInfo::of_quic(*suite, certificate, client_chain))
    }
}

/// The choice of a handshake.
#[derive(Debug)]
struct Choice {
    place: usize,
    suite: Option<CipherSuite>,
}

/// Chooses the certificate of one connection.
#[derive(Debug)]
struct Chooser {
    certificates: Arc<Certificates>,
    suites: Vec<CipherSuite>,
    choice: OnceLock<Choice>,
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let choice = self.choice.get_or_init(|| Choice {
            place: self.certificates.choose(&hello),
            // As rustls chooses by the client's order.
            suite: hello.cipher_suites().iter().find(|suite| self.suites.contains(suite)).copied(),
        });
        Some(Arc::clone(&self.certificates.identities()[choice.place].certified))
    }
}

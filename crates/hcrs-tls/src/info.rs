//! What a handshake agreed on, for the ASGI extension `tls` and the access log.

use std::sync::{Arc, OnceLock};

use rustls::{CipherSuite, ProtocolVersion, ServerConnection};
use rustls_pki_types::CertificateDer;

use crate::{Choice, pem, x509};

/// The facts about a connection whose handshake is done.
///
/// To keep them is cheap; the client's certificates become text when that is first asked for.
#[derive(Debug)]
pub struct ConnectionFacts {
    version: Option<ProtocolVersion>,
    cipher_suite: Option<CipherSuite>,
    server_certificate: Arc<str>,
    client_chain: Box<[CertificateDer<'static>]>,
    client_chain_pem: OnceLock<Box<[String]>>,
    client_name: OnceLock<Option<String>>,
}

/// Whether both say the same.
impl PartialEq for ConnectionFacts {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && self.cipher_suite == other.cipher_suite
            && self.client_chain == other.client_chain
            && self.server_certificate == other.server_certificate
    }
}

impl ConnectionFacts {
    /// Takes them from a connection that was made with the choice's configuration.
    pub fn of(connection: &ServerConnection, choice: &Choice) -> Self {
        Self {
            version: connection.protocol_version(),
            cipher_suite: connection.negotiated_cipher_suite().map(|suite| suite.suite()),
            server_certificate: Arc::clone(&choice.certificate),
            client_chain: connection.peer_certificates().unwrap_or_default().into(),
            client_chain_pem: OnceLock::new(),
            client_name: OnceLock::new(),
        }
    }

    /// `tls_version`: the number on the wire, 0x0303 for TLS 1.2 and 0x0304 for TLS 1.3.
    pub fn version(&self) -> Option<u16> {
        self.version.map(u16::from)
    }

    /// As in `TLS 1.3`.
    pub fn version_name(&self) -> &'static str {
        match self.version {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS",
        }
    }

    /// `cipher_suite`: the number in IANA's registry.
    pub fn cipher_suite(&self) -> Option<u16> {
        self.cipher_suite.map(u16::from)
    }

    /// The name in IANA's registry, as in `TLS_AES_128_GCM_SHA256`.
    pub fn cipher_suite_name(&self) -> Option<String> {
        let name = self.cipher_suite?.as_str()?;
        Some(name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}")))
    }

    /// `server_cert`: the certificate that the client was given, as PEM.
    pub fn server_certificate(&self) -> &str {
        &self.server_certificate
    }

    /// `client_cert_chain`: what the client sent, its own certificate first, each as PEM. Empty if it was not
    /// asked or had none.
    pub fn client_certificates(&self) -> &[String] {
        self.client_chain_pem.get_or_init(|| self.client_chain.iter().map(pem::certificate).collect())
    }

    /// `client_cert_name`: the subject of the client's certificate as a string (RFC 4514).
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.get_or_init(|| x509::subject(self.client_chain.first()?)).as_deref()
    }
}

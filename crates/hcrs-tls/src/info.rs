//! The outcome of a handshake, for the ASGI extension `tls` and the access log.

use std::sync::{Arc, OnceLock};

use rustls::{CipherSuite, ProtocolVersion, ServerConnection};
use rustls_pki_types::CertificateDer;

use crate::{Choice, pem, x509};

/// The facts about a TLS connection whose handshake is complete.
///
/// They are cheap to keep: the client's certificates are encoded as text on first use.
#[derive(Debug)]
pub struct TlsInfo {
    version: Option<ProtocolVersion>,
    cipher_suite: Option<CipherSuite>,
    server_certificate: Arc<str>,
    client_chain: Box<[CertificateDer<'static>]>,
    client_chain_pem: OnceLock<Box<[String]>>,
    client_name: OnceLock<Option<String>>,
}

/// Two infos are equal if they have the same facts.
impl PartialEq for TlsInfo {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && self.cipher_suite == other.cipher_suite
            && self.client_chain == other.client_chain
            && self.server_certificate == other.server_certificate
    }
}

impl TlsInfo {
    /// Reads the info of a connection that was made with the choice's configuration.
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

    /// Returns the info of a QUIC connection, whose version is TLS 1.3.
    pub(crate) fn of_quic(
        cipher_suite: Option<CipherSuite>,
        server_certificate: Arc<str>,
        client_chain: &[CertificateDer<'static>],
    ) -> Self {
        Self {
            version: Some(ProtocolVersion::TLSv1_3),
            cipher_suite,
            server_certificate,
            client_chain: client_chain.into(),
            client_chain_pem: OnceLock::new(),
            client_name: OnceLock::new(),
        }
    }

    /// Returns the extension's `tls_version`: the number on the wire, 0x0303 for TLS 1.2 and 0x0304 for TLS
    /// 1.3.
    pub fn version(&self) -> Option<u16> {
        self.version.map(u16::from)
    }

    /// Returns the version's name, as in `TLS 1.3`.
    pub fn version_name(&self) -> &'static str {
        match self.version {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS",
        }
    }

    /// Returns the extension's `cipher_suite`: the number in IANA's registry.
    pub fn cipher_suite(&self) -> Option<u16> {
        self.cipher_suite.map(u16::from)
    }

    /// Returns the cipher suite's name in IANA's registry, as in `TLS_AES_128_GCM_SHA256`.
    pub fn cipher_suite_name(&self) -> Option<String> {
        let name = self.cipher_suite?.as_str()?;
        Some(name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}")))
    }

    /// Returns the extension's `server_cert`: the certificate that the server sent, as PEM.
    pub fn server_certificate(&self) -> &str {
        &self.server_certificate
    }

    /// Returns the extension's `client_cert_chain`: the certificates that the client sent, its own first,
    /// each as PEM. It is empty if the client was not asked or had none.
    pub fn client_certificates(&self) -> &[String] {
        self.client_chain_pem.get_or_init(|| self.client_chain.iter().map(pem::certificate).collect())
    }

    /// Returns the extension's `client_cert_name`: the subject of the client's certificate as a string (RFC
    /// 4514).
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.get_or_init(|| x509::subject(self.client_chain.first()?)).as_deref()
    }
}

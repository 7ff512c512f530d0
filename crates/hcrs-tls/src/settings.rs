//! Settings of TLS, with their defaults.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::key_exchange::KeyExchange;
use crate::verify::{VerifyFlags, VerifyMode};
use crate::version::TlsVersion;

/// The settings of the TLS listeners: identity, clients' certificates, and negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// PEM file with the certificate first and then its issuers, without the root; empty if all certificates are
    /// in [`Settings::managed`].
    pub certfile: PathBuf,
    /// PEM file with the certificate's private key: PKCS #8, PKCS #1 or SEC 1; only PKCS #8 may be encrypted.
    pub keyfile: PathBuf,
    /// The password of an encrypted key; ignored if the key is not encrypted.
    pub keyfile_password: Option<Password>,
    /// Certificates for other names. Each is sent to clients that ask for one of its names (RFC 6066 section
    /// 3). The one of [`Settings::certfile`] is also sent to clients that ask for no name, or for a name that
    /// no certificate has.
    pub more_certificates: Vec<CertificateFiles>,
    /// Certificates that come by themselves. They follow the others.
    pub managed: Vec<ManagedCertificate>,
    /// PEM file with the authorities whose client certificates are accepted; CRLs in it count as well.
    pub ca_certs: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub verify_mode: VerifyMode,
    /// The checks on clients' certificates.
    pub verify_flags: VerifyFlags,
    /// PEM files with certificate revocation lists. With any of them every certificate of a client's chain
    /// is checked, unless [`VerifyFlags::CRL_CHECK_LEAF`] alone is set. A certificate whose issuer has no
    /// list here is refused, and so is one whose list is past its next update.
    pub crls: Vec<PathBuf>,
    /// File with the keys of session tickets, one a line in base64 or hexadecimal digits: the first encrypts,
    /// all decrypt. Servers with the same file and the same policy on clients' certificates resume each other's
    /// sessions. Without it the keys are random, change every six hours, and end with the process.
    pub ticket_keys: Option<PathBuf>,
    /// The cipher suites of TLS 1.2, in OpenSSL's cipher list format. Those of TLS 1.3 are always on.
    pub ciphers: String,
    /// The oldest version that is accepted.
    pub minimum_version: TlsVersion,
    /// The key exchange groups that are accepted; among them the client's order decides.
    pub key_exchange: Vec<KeyExchange>,
    /// ALPN protocol names (RFC 7301), the preferred one first. A client that offers only others is refused
    /// with alert 120; one that offers none is accepted.
    pub alpn_protocols: Vec<String>,
    /// The time from accepting a connection to the end of its handshake.
    pub handshake_timeout: Duration,
}

impl Settings {
    /// The default of [`Settings::handshake_timeout`].
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
    /// The default of [`Settings::alpn_protocols`].
    pub const ALPN_PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];
    /// The default of [`Settings::ciphers`]: the suites of TLS 1.2 with ECDHE and AES-GCM.
    pub const CIPHERS: &str = "ECDHE+AESGCM";
    /// The default of [`Settings::key_exchange`].
    pub const KEY_EXCHANGE: [KeyExchange; 4] =
        [KeyExchange::X25519MlKem768, KeyExchange::X25519, KeyExchange::Secp256r1, KeyExchange::Secp384r1];

    /// Returns the default settings with this certificate and key.
    pub fn new(certfile: impl Into<PathBuf>, keyfile: impl Into<PathBuf>) -> Self {
        Self {
            certfile: certfile.into(),
            keyfile: keyfile.into(),
            keyfile_password: None,
            more_certificates: Vec::new(),
            managed: Vec::new(),
            ca_certs: None,
            verify_mode: VerifyMode::default(),
            verify_flags: VerifyFlags::default(),
            crls: Vec::new(),
            ticket_keys: None,
            ciphers: Self::CIPHERS.to_owned(),
            minimum_version: TlsVersion::default(),
            key_exchange: Self::KEY_EXCHANGE.to_vec(),
            alpn_protocols: Self::ALPN_PROTOCOLS.map(String::from).to_vec(),
            handshake_timeout: Self::HANDSHAKE_TIMEOUT,
        }
    }

    /// Returns the certificates of the operator with their keys, the default one first.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = CertificateFiles> {
        let first = CertificateFiles {
            certfile: self.certfile.clone(),
            keyfile: self.keyfile.clone(),
            keyfile_password: self.keyfile_password.clone(),
        };
        let first = (!first.certfile.as_os_str().is_empty()).then_some(first);
        first.into_iter().chain(self.more_certificates.iter().cloned())
    }

    /// Returns all files that are read, each once.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            self.certificates().flat_map(|pair| [pair.certfile, pair.keyfile]).collect();
        files.extend(self.managed.iter().map(|managed| managed.file.clone()));
        files.extend(self.ca_certs.clone());
        files.extend(self.crls.iter().cloned());
        files.extend(self.ticket_keys.clone());
        let mut seen = std::collections::HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        files
    }
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, as [`Settings::certfile`].
    pub certfile: PathBuf,
    /// The key, as [`Settings::keyfile`].
    pub keyfile: PathBuf,
    /// The password, as [`Settings::keyfile_password`].
    pub keyfile_password: Option<Password>,
}

/// A certificate that comes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedCertificate {
    /// The name that it is for. As long as there is no file, clients that ask for it get a self-made certificate.
    pub name: String,
    /// PEM file with the key and the certificate.
    pub file: PathBuf,
}

/// A password. `Debug` hides it, so it does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<T: Into<String>> From<T> for Password {
    fn from(password: T) -> Self {
        Self(password.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

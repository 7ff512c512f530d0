//! What can be wrong with certificates and keys, in words for the one who wrote the paths.

use std::io;
use std::path::PathBuf;

/// Why there is no TLS configuration or no development certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or its folder cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has damaged PEM text.
    #[error("{} is not valid PEM: {detail}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The certificate file has no certificate.
    #[error("certfile {} holds no certificate: a block \"-----BEGIN CERTIFICATE-----\" is expected", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file has no private key.
    #[error("keyfile {} holds no private key: a block \"-----BEGIN PRIVATE KEY-----\" is expected", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key is encrypted.
    #[error(
        "the key in keyfile {0} is encrypted, which is not supported yet; \
         write a decrypted copy with: openssl pkey -in {0} -out key.pem",
        path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key has a form or an algorithm that cannot sign here.
    #[error("the key in keyfile {} cannot be used: {source}", path.display())]
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// The certificate cannot be parsed.
    #[error("the first certificate in certfile {} cannot be used: {source}", path.display())]
    UnusableCertificate {
        /// The file.
        path: PathBuf,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// Certificate and key are not a pair.
    #[error(
        "the key in keyfile {} does not belong to the first certificate in certfile {}; \
         the server's own certificate must come before its issuers",
        keyfile.display(),
        certfile.display()
    )]
    NotAPair {
        /// The certificate's file.
        certfile: PathBuf,
        /// The key's file.
        keyfile: PathBuf,
    },
    /// A protocol name that ALPN cannot carry.
    #[error("alpn_protocols: {name:?} must have 1 to 255 bytes")]
    AlpnName {
        /// The name.
        name: String,
    },
    /// The cryptography provider refused to start.
    #[error("TLS cannot start: {0}")]
    Provider(rustls::Error),
    /// A development certificate cannot be made, for instance for a name that is not one.
    #[error("cannot make a certificate: {0}")]
    Generate(rcgen::Error),
}

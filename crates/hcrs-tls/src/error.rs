//! Errors of settings, certificates and keys, in words for the operator.

use std::io;
use std::path::PathBuf;

/// The reason why there is no TLS configuration, or no development certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file or its folder cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file has damaged PEM text.
    #[error("{} is not valid PEM: {detail}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The description of the damage.
        detail: String,
    },
    /// The certificate file has no certificate.
    #[error(
        "certfile {} holds no certificate: a block \"-----BEGIN CERTIFICATE-----\" is expected",
        path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file has no private key.
    #[error(
        "keyfile {} holds no private key: a block \"-----BEGIN PRIVATE KEY-----\" is expected",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key is encrypted and there is no password.
    #[error("the key in keyfile {} is encrypted: keyfile_password is needed", path.display())]
    PasswordMissing {
        /// The file.
        path: PathBuf,
    },
    /// The password does not open the private key.
    #[error("keyfile_password does not decrypt the key in keyfile {}", path.display())]
    WrongPassword {
        /// The file.
        path: PathBuf,
    },
    /// The private key is encrypted in the form that PEM had before PKCS #8 (RFC 1421).
    #[error(
        "the key in keyfile {0} is encrypted in the old form \"Proc-Type: 4,ENCRYPTED\", \
         which is not supported; convert it with: openssl pkcs8 -topk8 -in {0} -out new-key.pem",
        path.display()
    )]
    LegacyEncryption {
        /// The file.
        path: PathBuf,
    },
    /// The private key is encrypted with an algorithm that is not implemented.
    #[error(
        "the key in keyfile {0} is encrypted with an algorithm that is not implemented ({detail}); \
         convert it with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in {0} -out new-key.pem",
        path.display()
    )]
    UnknownEncryption {
        /// The file.
        path: PathBuf,
        /// The error of the library.
        detail: String,
    },
    /// The private key has a form or an algorithm that cannot sign here.
    #[error("the key in keyfile {} cannot be used: {source}", path.display())]
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// The error of the TLS library.
        source: rustls::Error,
    },
    /// The certificate cannot be parsed.
    #[error("the first certificate in certfile {} cannot be used: {source}", path.display())]
    UnusableCertificate {
        /// The file.
        path: PathBuf,
        /// The error of the TLS library.
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
    /// A setting has a word that it does not accept.
    #[error("{setting}: {name:?} is not known; expected {expected}")]
    UnknownName {
        /// The setting.
        setting: &'static str,
        /// The word.
        name: String,
        /// The words that the setting accepts.
        expected: &'static str,
    },
    /// `ciphers` selects no suite.
    #[error(
        "ciphers: {list:?} leaves no cipher suite for TLS 1.2; \
         select some with ECDHE and AES-GCM or ChaCha20-Poly1305, as in \"ECDHE+AESGCM\""
    )]
    NoCiphers {
        /// The list.
        list: String,
    },
    /// `key_exchange` is empty.
    #[error("key_exchange names no group: at least one is needed, as in x25519")]
    NoKeyExchange,
    /// `key_exchange` has only groups of TLS 1.3.
    #[error(
        "key_exchange has no group for TLS 1.2, which would fail every handshake of it: \
         add x25519, or set minimum_version to 1.3"
    )]
    NoKeyExchangeForTls12,
    /// Clients' certificates have to be verified, but there is no authority.
    #[error("verify_mode is {mode} but ca_certs is not set: no client certificate could be accepted")]
    NoAuthorities {
        /// The mode's name.
        mode: &'static str,
    },
    /// There is no file of the authorities that the system trusts.
    #[error(
        "there are no certificates of authorities; SSL_CERT_FILE can name a file of them{}",
        setting.map(|setting| format!(", or {setting}")).unwrap_or_default()
    )]
    NoSystemAuthorities {
        /// The setting that can name a file instead.
        setting: Option<&'static str>,
    },
    /// The file of authorities for servers has none that can be used.
    #[error("{} holds no certificate of an authority that can be used", path.display())]
    NoServerAuthorities {
        /// The file.
        path: PathBuf,
    },
    /// The file of authorities has none that can be used.
    #[error("ca_certs {} holds no certificate that can be used", path.display())]
    NoUsableAuthority {
        /// The file.
        path: PathBuf,
    },
    /// Revocation has to be checked, but there are no lists.
    #[error(
        "verify_flags asks for CRLs but there is none in ca_certs or crls: \
         every client certificate would be refused"
    )]
    NoCrls,
    /// A file of CRLs has none.
    #[error("crls: {} holds no CRL: a block \"-----BEGIN X509 CRL-----\" is expected", path.display())]
    EmptyCrlFile {
        /// The file.
        path: PathBuf,
    },
    /// A CRL cannot be parsed.
    #[error("a CRL in {} cannot be used: {detail}", path.display())]
    UnusableCrl {
        /// The file.
        path: PathBuf,
        /// The error of the TLS library.
        detail: String,
    },
    /// No verifier can be built from the authorities and CRLs.
    #[error("client certificates cannot be verified: {0}")]
    Verifier(String),
    /// A line of the file of ticket keys is no key. The text of the line is not in the message.
    #[error(
        "ticket_keys {}:{line}: expected 32 to 64 random bytes in base64 or hexadecimal digits, \
         as written by: openssl rand -base64 32",
        path.display()
    )]
    TicketKey {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
    },
    /// The file of ticket keys has more keys than are tried.
    #[error("ticket_keys {}:{line}: there are more than {max} keys; remove the oldest", path.display())]
    TooManyTicketKeys {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The most keys.
        max: usize,
    },
    /// The file of ticket keys has none.
    #[error("ticket_keys {} holds no key; make one with: openssl rand -base64 32", path.display())]
    NoTicketKeys {
        /// The file.
        path: PathBuf,
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
    /// A development certificate cannot be made, for instance for an invalid name.
    #[error("cannot make a certificate: {0}")]
    Generate(rcgen::Error),
}

//! Warnings for the operator about settings and files that work.

use std::path::PathBuf;

/// A warning about the settings or the files.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsWarning {
    /// A name or a selector in `ciphers` matches no suite of this crate.
    #[error("ciphers: {name:?} names no cipher suite that is offered here and was left out")]
    UnknownCipher {
        /// The element of the list.
        name: String,
    },
    /// `ciphers` has a suite of TLS 1.3.
    #[error("ciphers: {name:?} has no effect: the list is for TLS 1.2, the suites of TLS 1.3 are always on")]
    Tls13Cipher {
        /// The element of the list.
        name: String,
    },
    /// `ciphers` has a security level that is not implemented.
    #[error("ciphers: {name:?} has no effect: security levels above 2 are not implemented")]
    SecurityLevel {
        /// The element of the list.
        name: String,
    },
    /// `verify_flags` has bits that are not implemented.
    #[error("verify_flags: {flags:#x} is not implemented and was left out")]
    UnknownVerifyFlags {
        /// The bits.
        flags: u32,
    },
    /// A setting about clients' certificates is set, but clients are not asked for one.
    #[error("{setting} has no effect while verify_mode is CERT_NONE")]
    NotVerifying {
        /// The setting's name.
        setting: &'static str,
    },
    /// The TLS library does not accept an authority.
    #[error("ca_certs {}: certificate {number} cannot be used and was left out: {source}", path.display())]
    UnusableAuthority {
        /// The file.
        path: PathBuf,
        /// The certificate's place in the file, from 1.
        number: usize,
        /// The error of the TLS library.
        source: rustls::Error,
    },
    /// Other users of the machine can read or change the keys of session tickets.
    #[error(
        "ticket_keys {0} can be read or written by every user of the machine, who could decrypt sessions; \
         make it private with: chmod 600 {0}",
        path.display()
    )]
    TicketKeysOpen {
        /// The file.
        path: PathBuf,
    },
    /// A certificate has expired; clients refuse it.
    #[error("the certificate in certfile {} has expired: its last moment was {end}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// The end of the validity, as in `2026-11-30T12:00:00Z`.
        end: String,
    },
    /// A certificate is not valid yet; clients refuse it.
    #[error("the certificate in certfile {} is not valid before {start}", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The start of the validity, as in `2026-11-30T12:00:00Z`.
        start: String,
    },
    /// A stored certificate cannot be used; another one will be asked for.
    #[error("a self-made certificate is used in place of a stored one: {detail}")]
    Managed {
        /// The error.
        detail: String,
    },
    /// No client can ask for a further certificate.
    #[error(
        "the certificate in certfile {} has no DNS name among its subject alternative names: \
         it will never be sent to a client",
        path.display()
    )]
    NoNames {
        /// The file.
        path: PathBuf,
    },
    /// A CRL has expired; certificates of its issuer are refused.
    #[error(
        "a CRL in {} expired at {end} (nextUpdate): the certificates of its issuer are refused \
         until it is replaced",
        path.display()
    )]
    CrlExpired {
        /// The file.
        path: PathBuf,
        /// The CRL's next update, as in `2026-11-30T12:00:00Z`.
        end: String,
    },
}

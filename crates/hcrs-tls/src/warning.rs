//! What works but is worth a word to the operator.

use std::path::PathBuf;

/// Something about the settings or the files that does not stop TLS.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsWarning {
    /// A name or a selector in `ciphers` that no suite here has.
    #[error("ciphers: {name:?} names no cipher suite that is offered here and was left out")]
    UnknownCipher {
        /// The element of the list.
        name: String,
    },
    /// A suite of TLS 1.3 in `ciphers`.
    #[error("ciphers: {name:?} has no effect: the list is for TLS 1.2, the suites of TLS 1.3 are always on")]
    Tls13Cipher {
        /// The element of the list.
        name: String,
    },
    /// A security level that is not implemented.
    #[error("ciphers: {name:?} has no effect: security levels above 2 are not implemented")]
    SecurityLevel {
        /// The element of the list.
        name: String,
    },
    /// Bits of `verify_flags` that mean nothing here.
    #[error("verify_flags: {flags:#x} is not implemented and was left out")]
    UnknownVerifyFlags {
        /// The bits.
        flags: u32,
    },
    /// Settings about clients' certificates while none is asked for.
    #[error("{setting} has no effect while verify_mode is CERT_NONE")]
    NotVerifying {
        /// The setting's name.
        setting: &'static str,
    },
    /// An authority that the TLS library does not accept.
    #[error("ca_certs {}: certificate {number} cannot be used and was left out: {source}", path.display())]
    UnusableAuthority {
        /// The file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// A certificate's time is over; clients will refuse it.
    #[error("the certificate in certfile {} has expired: its last moment was {end}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// The end of its validity, as in `2026-11-30T12:00:00Z`.
        end: String,
    },
    /// A certificate's time has not come; clients will refuse it.
    #[error("the certificate in certfile {} is not valid before {start}", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The start of its validity, as in `2026-11-30T12:00:00Z`.
        start: String,
    },
    /// A further certificate that no client can ask for.
    #[error(
        "the certificate in certfile {} has no DNS name among its subject alternative names: \
         no client will be given it",
        path.display()
    )]
    NoNames {
        /// The file.
        path: PathBuf,
    },
    /// A CRL's time is over; certificates of its issuer are refused.
    #[error("a CRL in {} was due to be replaced at {end}: the certificates of its issuer are refused", path.display())]
    CrlExpired {
        /// The file.
        path: PathBuf,
        /// Its next update, as in `2026-11-30T12:00:00Z`.
        end: String,
    },
}

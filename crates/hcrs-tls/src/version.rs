//! The versions of TLS.

use std::str::FromStr;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::TlsError;

/// A version of TLS; nothing older is implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl TlsVersion {
    /// Returns this version and all newer ones.
    pub(crate) fn and_newer(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&TLS13, &TLS12],
            Self::Tls13 => vec![&TLS13],
        }
    }
}

impl FromStr for TlsVersion {
    type Err = TlsError;

    /// Parses `1.2`, `TLSv1.2`, `TLS 1.2` or the name in Python's `ssl.TLSVersion`, `TLSv1_2`; likewise for
    /// 1.3.
    fn from_str(name: &str) -> Result<Self, TlsError> {
        match name {
            "1.2" | "TLSv1.2" | "TLS 1.2" | "TLSv1_2" => Ok(Self::Tls12),
            "1.3" | "TLSv1.3" | "TLS 1.3" | "TLSv1_3" => Ok(Self::Tls13),
            _ => Err(TlsError::UnknownName {
                setting: "minimum_version",
                name: name.to_owned(),
                expected: "1.2 or 1.3",
            }),
        }
    }
}

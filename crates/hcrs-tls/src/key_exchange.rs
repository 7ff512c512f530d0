//! Key exchange groups by name.

use std::fmt;
use std::str::FromStr;

use rustls::ProtocolVersion;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;

use crate::{TlsError, TlsVersion};

/// A group of the registry "TLS Supported Groups".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyExchange {
    /// `X25519MLKEM768`: X25519 and ML-KEM-768, which is safe from quantum computers. TLS 1.3 only.
    X25519MlKem768,
    /// `SecP256r1MLKEM768`: P-256 and ML-KEM-768. TLS 1.3 only.
    Secp256r1MlKem768,
    /// `MLKEM768` alone. TLS 1.3 only.
    MlKem768,
    /// `MLKEM1024` alone. TLS 1.3 only.
    MlKem1024,
    /// `x25519` (RFC 7748).
    X25519,
    /// `secp256r1`, also called P-256 and prime256v1.
    Secp256r1,
    /// `secp384r1`, also called P-384.
    Secp384r1,
}

impl KeyExchange {
    /// All groups.
    pub const ALL: [Self; 7] = [
        Self::X25519MlKem768,
        Self::Secp256r1MlKem768,
        Self::MlKem768,
        Self::MlKem1024,
        Self::X25519,
        Self::Secp256r1,
        Self::Secp384r1,
    ];

    /// Returns the name in IANA's registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::Secp256r1MlKem768 => "SecP256r1MLKEM768",
            Self::MlKem768 => "MLKEM768",
            Self::MlKem1024 => "MLKEM1024",
            Self::X25519 => "x25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
        }
    }

    fn group(self) -> &'static dyn SupportedKxGroup {
        match self {
            Self::X25519MlKem768 => kx_group::X25519MLKEM768,
            Self::Secp256r1MlKem768 => kx_group::SECP256R1MLKEM768,
            Self::MlKem768 => kx_group::MLKEM768,
            Self::MlKem1024 => kx_group::MLKEM1024,
            Self::X25519 => kx_group::X25519,
            Self::Secp256r1 => kx_group::SECP256R1,
            Self::Secp384r1 => kx_group::SECP384R1,
        }
    }
}

impl fmt::Display for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyExchange {
    type Err = TlsError;

    /// Parses the name in IANA's registry or one of the common aliases, in either case.
    fn from_str(name: &str) -> Result<Self, TlsError> {
        let known = match name.to_ascii_lowercase().as_str() {
            "p-256" | "prime256v1" => Some(Self::Secp256r1),
            "p-384" => Some(Self::Secp384r1),
            lower => Self::ALL.into_iter().find(|group| group.name().eq_ignore_ascii_case(lower)),
        };
        known.ok_or_else(|| TlsError::UnknownName {
            setting: "key_exchange",
            name: name.to_owned(),
            expected: "X25519MLKEM768, SecP256r1MLKEM768, MLKEM768, MLKEM1024, x25519, secp256r1 \
                       or secp384r1",
        })
    }
}

/// Returns the groups as the TLS library has them. At least one must be usable in the oldest version that is
/// accepted.
pub(crate) fn groups(
    names: &[KeyExchange],
    oldest: TlsVersion,
) -> Result<Vec<&'static dyn SupportedKxGroup>, TlsError> {
    let version = match oldest {
        TlsVersion::Tls12 => ProtocolVersion::TLSv1_2,
        TlsVersion::Tls13 => ProtocolVersion::TLSv1_3,
    };
    let groups: Vec<_> = names.iter().map(|name| name.group()).collect();
    if groups.is_empty() {
        return Err(TlsError::NoKeyExchange);
    }
    if !groups.iter().any(|group| group.usable_for_version(version)) {
        return Err(TlsError::NoKeyExchangeForTls12);
    }
    Ok(groups)
}

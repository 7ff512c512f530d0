//! Settings of certificates that come by themselves, with their defaults.

use std::fmt;
use std::path::PathBuf;

use hcrs_tls::ManagedCertificate;
use serde::{Deserialize, Serialize};

use crate::domain::Domain;
use crate::jose;
use crate::storage::Storage;

/// The settings of certificates that come by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The names that get a certificate each, none twice.
    pub domains: Vec<Domain>,
    /// The address that the authority writes to about the account.
    pub email: Option<String>,
    /// The authority.
    pub directory: DirectoryUrl,
    /// PEM file with the authorities that the directory's own certificate is verified by; `None` for those that
    /// the system trusts.
    pub directory_ca: Option<PathBuf>,
    /// The challenges that are tried.
    pub challenge: ChallengePolicy,
    /// The profile that certificates are issued by; `None` for the authority's default one.
    pub profile: Option<String>,
    /// The account at the authority that ours is bound to.
    pub external_account: Option<ExternalAccount>,
    /// The folder of accounts, keys, certificates and answers to challenges.
    pub storage: PathBuf,
    /// The type of the certificates' keys.
    pub key_type: KeyType,
}

impl AcmeSettings {
    /// Returns the names with the files of their certificates.
    pub fn certificates(&self) -> Vec<ManagedCertificate> {
        let storage = Storage::new(&self.storage, &self.directory);
        let managed = |domain: &Domain| ManagedCertificate {
            name: domain.to_string(),
            file: storage.certificate(domain),
        };
        self.domains.iter().map(managed).collect()
    }

    /// Returns the default settings with this folder, without names.
    pub fn new(storage: PathBuf) -> Self {
        Self {
            domains: Vec::new(),
            email: None,
            directory: DirectoryUrl::default(),
            directory_ca: None,
            challenge: ChallengePolicy::default(),
            profile: None,
            external_account: None,
            storage,
            key_type: KeyType::default(),
        }
    }
}

/// The URL of an authority's directory (RFC 8555 section 7.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryUrl(String);

impl DirectoryUrl {
    /// The word for Let's Encrypt.
    pub const LETS_ENCRYPT: &str = "letsencrypt";
    /// The word for the test authority of Let's Encrypt, whose certificates clients do not trust.
    pub const LETS_ENCRYPT_STAGING: &str = "letsencrypt-staging";

    /// Parses one of the words, or a URL with `https`.
    pub fn parse(text: &str) -> Option<Self> {
        let url = match text {
            Self::LETS_ENCRYPT => "https://acme-v02.api.letsencrypt.org/directory",
            Self::LETS_ENCRYPT_STAGING => "https://acme-staging-v02.api.letsencrypt.org/directory",
            url => url,
        };
        crate::http::parse_url(url).ok()?;
        Some(Self(url.to_owned()))
    }

    /// Returns the URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the authority's folder in the storage: the host and the path, with other letters than
    /// those of names replaced.
    pub(crate) fn folder(&self) -> String {
        let rest = self.0.trim_start_matches("https://");
        let is_kept = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
        rest.chars().map(|letter| if is_kept(letter) { letter.to_ascii_lowercase() } else { '_' }).collect()
    }
}

impl Default for DirectoryUrl {
    fn default() -> Self {
        Self::parse(Self::LETS_ENCRYPT).expect("invariant: the word is known")
    }
}

/// A challenge by which an authority sees that a name leads here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChallengeKind {
    /// A request for a file, over HTTP at port 80 (RFC 8555 section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A TLS handshake at port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl ChallengeKind {
    /// Returns the name of the challenge.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// The challenges that are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChallengePolicy {
    /// Both, another one after each failure.
    #[default]
    Auto,
    /// This one alone.
    Only(ChallengeKind),
}

impl ChallengePolicy {
    /// The words of the setting.
    pub const WORDS: &[&str] = &["auto", "tls-alpn-01", "http-01"];

    /// Parses a word of the setting.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "tls-alpn-01" => Some(Self::Only(ChallengeKind::TlsAlpn01)),
            "http-01" => Some(Self::Only(ChallengeKind::Http01)),
            _ => None,
        }
    }

    /// Returns the challenge for a try after this number of failures; `last` is the one that has succeeded before.
    pub(crate) fn after(self, failures: u32, last: Option<ChallengeKind>) -> ChallengeKind {
        let first = last.unwrap_or(ChallengeKind::TlsAlpn01);
        match (self, first) {
            (Self::Only(kind), _) => kind,
            (Self::Auto, first) if failures.is_multiple_of(2) => first,
            (Self::Auto, ChallengeKind::TlsAlpn01) => ChallengeKind::Http01,
            (Self::Auto, ChallengeKind::Http01) => ChallengeKind::TlsAlpn01,
        }
    }
}

/// The type of a certificate's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    /// ECDSA with the curve P-256.
    #[default]
    EcdsaP256,
    /// ECDSA with the curve P-384.
    EcdsaP384,
    /// RSA with 2,048 bits.
    Rsa2048,
    /// RSA with 3,072 bits.
    Rsa3072,
    /// RSA with 4,096 bits.
    Rsa4096,
}

impl KeyType {
    /// The words of the setting.
    pub const WORDS: &[&str] = &["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"];

    /// Parses a word of the setting.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "ecdsa-p256" => Some(Self::EcdsaP256),
            "ecdsa-p384" => Some(Self::EcdsaP384),
            "rsa-2048" => Some(Self::Rsa2048),
            "rsa-3072" => Some(Self::Rsa3072),
            "rsa-4096" => Some(Self::Rsa4096),
            _ => None,
        }
    }
}

/// An account at the authority that was made by other means (RFC 8555 section 7.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The identifier of its key.
    pub kid: String,
    /// Its key.
    pub key: HmacKey,
}

/// A key for HMAC. `Debug` hides it, so it does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct HmacKey(Vec<u8>);

impl HmacKey {
    /// Parses a key in base64url, with or without padding.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = jose::decode(text.trim_end_matches('='))?;
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_a_word_or_a_url_and_names_a_folder() {
        let folder = |text: &str| DirectoryUrl::parse(text).map(|directory| directory.folder());
        assert_eq!(folder("letsencrypt").unwrap(), "acme-v02.api.letsencrypt.org_directory");
        assert_ne!(folder("letsencrypt"), folder("letsencrypt-staging"));
        assert_eq!(folder("https://ca.test:14000/dir?x=../..").unwrap(), "ca.test_14000_dir_x_.._..");
        for wrong in ["", "zerossl", "http://ca.test/dir", "https://", "https://a b/", "https://ca.test/é"] {
            assert_eq!(folder(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn challenges_alternate_unless_one_is_chosen() {
        let kinds =
            |policy: ChallengePolicy, last| [0, 1, 2].map(|failures| policy.after(failures, last).as_str());
        assert_eq!(kinds(ChallengePolicy::Auto, None), ["tls-alpn-01", "http-01", "tls-alpn-01"]);
        let last = Some(ChallengeKind::Http01);
        assert_eq!(kinds(ChallengePolicy::Auto, last), ["http-01", "tls-alpn-01", "http-01"]);
        let only = ChallengePolicy::parse("tls-alpn-01").unwrap();
        assert_eq!(kinds(only, last), ["tls-alpn-01"; 3]);
        assert!(ChallengePolicy::WORDS.iter().all(|word| ChallengePolicy::parse(word).is_some()));
        assert!(KeyType::WORDS.iter().all(|word| KeyType::parse(word).is_some()));
    }

    #[test]
    fn keys_are_read_and_not_shown() {
        let key = HmacKey::parse("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W").unwrap();
        assert_eq!(key.as_bytes().len(), 48);
        assert_eq!(format!("{key:?}"), "HmacKey(hidden)");
        assert_eq!(HmacKey::parse("YQ==").unwrap().as_bytes(), b"a");
        assert_eq!((HmacKey::parse(""), HmacKey::parse("a b")), (None, None));
    }
}

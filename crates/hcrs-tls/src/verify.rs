//! Clients' certificates: whether one is asked for, and the authorities that may have issued it.

use std::fmt;
use std::ops::BitOr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{self, SHA256};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::x509::{self, Moment};
use crate::{Settings, TlsError, TlsWarning, pem};

/// The demand for a client's certificate; names and numbers are those of Python's `ssl.VerifyMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VerifyMode {
    /// `CERT_NONE`, 0: clients are not asked.
    #[default]
    None,
    /// `CERT_OPTIONAL`, 1: clients are asked. A client without a certificate is accepted, one with an invalid
    /// certificate is refused.
    Optional,
    /// `CERT_REQUIRED`, 2: a client without a valid certificate is refused.
    Required,
}

impl VerifyMode {
    /// Returns Python's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "CERT_NONE",
            Self::Optional => "CERT_OPTIONAL",
            Self::Required => "CERT_REQUIRED",
        }
    }

    fn unknown(name: String) -> TlsError {
        let expected = "CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2)";
        TlsError::UnknownName { setting: "verify_mode", name, expected }
    }
}

impl fmt::Display for VerifyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for VerifyMode {
    type Err = TlsError;

    /// Parses Python's name, with or without `VerifyMode.` before it, or its number.
    fn from_str(name: &str) -> Result<Self, TlsError> {
        match name.strip_prefix("VerifyMode.").unwrap_or(name) {
            "CERT_NONE" | "0" => Ok(Self::None),
            "CERT_OPTIONAL" | "1" => Ok(Self::Optional),
            "CERT_REQUIRED" | "2" => Ok(Self::Required),
            _ => Err(Self::unknown(name.to_owned())),
        }
    }
}

impl TryFrom<i64> for VerifyMode {
    type Error = TlsError;

    fn try_from(number: i64) -> Result<Self, TlsError> {
        number.to_string().parse()
    }
}

/// The checks on clients' certificates; the bits are those of Python's `ssl.VerifyFlags`.
///
/// [`Self::X509_STRICT`], [`Self::X509_TRUSTED_FIRST`] and [`Self::X509_PARTIAL_CHAIN`] have no effect:
/// certificates are always checked that way. Other bits are ignored with a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyFlags(u32);

impl VerifyFlags {
    /// `VERIFY_CRL_CHECK_LEAF`: the client's own certificate must not be on its issuer's CRL.
    pub const CRL_CHECK_LEAF: Self = Self(0x4);
    /// `VERIFY_CRL_CHECK_CHAIN`: as before, and the certificates between it and the authority must not be on
    /// theirs.
    pub const CRL_CHECK_CHAIN: Self = Self(0xc);
    /// `VERIFY_X509_STRICT`: no workarounds for broken certificates.
    pub const X509_STRICT: Self = Self(0x20);
    /// `VERIFY_X509_TRUSTED_FIRST`: prefer authorities over what the client sends.
    pub const X509_TRUSTED_FIRST: Self = Self(0x8000);
    /// `VERIFY_X509_PARTIAL_CHAIN`: a certificate in `ca_certs` is an authority though it is not self-signed.
    pub const X509_PARTIAL_CHAIN: Self = Self(0x8_0000);
    /// `VERIFY_ALLOW_PROXY_CERTS`: not implemented; the name is known so that the warning can show the bit.
    const ALLOW_PROXY_CERTS: Self = Self(0x40);

    const NAMES: [(&str, Self); 7] = [
        ("VERIFY_DEFAULT", Self(0)),
        ("VERIFY_CRL_CHECK_LEAF", Self::CRL_CHECK_LEAF),
        ("VERIFY_CRL_CHECK_CHAIN", Self::CRL_CHECK_CHAIN),
        ("VERIFY_X509_STRICT", Self::X509_STRICT),
        ("VERIFY_ALLOW_PROXY_CERTS", Self::ALLOW_PROXY_CERTS),
        ("VERIFY_X509_TRUSTED_FIRST", Self::X509_TRUSTED_FIRST),
        ("VERIFY_X509_PARTIAL_CHAIN", Self::X509_PARTIAL_CHAIN),
    ];

    /// Returns the flags with these bits, known or not.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of these are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Returns the bits that are not implemented.
    fn unknown(self) -> u32 {
        let known =
            Self::CRL_CHECK_CHAIN | Self::X509_STRICT | Self::X509_TRUSTED_FIRST | Self::X509_PARTIAL_CHAIN;
        self.0 & !known.0
    }
}

impl BitOr for VerifyFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromStr for VerifyFlags {
    type Err = TlsError;

    /// Parses Python's names joined by `|`, with or without `VerifyFlags.` before them, or the number.
    fn from_str(names: &str) -> Result<Self, TlsError> {
        if let Ok(bits) = names.parse() {
            return Ok(Self(bits));
        }
        names.split('|').map(str::trim).try_fold(Self::default(), |flags, name| {
            let name = name.strip_prefix("VerifyFlags.").unwrap_or(name);
            match Self::NAMES.iter().find(|(known, _)| *known == name) {
                Some((_, flag)) => Ok(flags | *flag),
                None => Err(TlsError::UnknownName {
                    setting: "verify_flags",
                    name: name.to_owned(),
                    expected: "a number or names as VERIFY_CRL_CHECK_LEAF, VERIFY_CRL_CHECK_CHAIN, \
                               VERIFY_X509_STRICT, VERIFY_X509_TRUSTED_FIRST, VERIFY_X509_PARTIAL_CHAIN",
                }),
            }
        })
    }
}

/// The policy on clients' certificates, as read from the files. Policies can be compared, because a ticket
/// that was issued under one must not be accepted under another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    mode: VerifyMode,
    authorities: Vec<CertificateDer<'static>>,
    /// The revocation lists; empty if revocation is not checked.
    crls: Vec<CertificateRevocationListDer<'static>>,
    leaf_only: bool,
    next_updates: Vec<NextUpdate>,
}

/// The next update of a list.
#[derive(Debug, PartialEq, Eq)]
struct NextUpdate {
    path: PathBuf,
    moment: Moment,
}

impl Policy {
    /// Reads `ca_certs` and `crls`. An authority that cannot be used is skipped with a warning, since fewer
    /// clients are accepted without it. A CRL that cannot be used is an error, since more clients would be
    /// accepted without it.
    pub(crate) fn load(
        settings: &Settings,
        provider: &Arc<CryptoProvider>,
        warnings: &mut Vec<TlsWarning>,
    ) -> Result<Self, TlsError> {
        let mode = settings.verify_mode;
        let unknown = settings.verify_flags.unknown();
        if unknown != 0 {
            warnings.push(TlsWarning::UnknownVerifyFlags { flags: unknown });
        }
        let mut policy = Self {
            mode,
            authorities: Vec::new(),
            crls: Vec::new(),
            leaf_only: !settings.verify_flags.contains(VerifyFlags::CRL_CHECK_CHAIN)
                && settings.verify_flags.contains(VerifyFlags::CRL_CHECK_LEAF),
            next_updates: Vec::new(),
        };
        if mode == VerifyMode::None {
            let present = [("ca_certs", settings.ca_certs.is_some()), ("crls", !settings.crls.is_empty())];
            let unused = present.into_iter().filter(|(_, present)| *present);
            warnings.extend(unused.map(|(setting, _)| TlsWarning::NotVerifying { setting }));
            return Ok(policy);
        }
        let Some(path) = &settings.ca_certs else {
            return Err(TlsError::NoAuthorities { mode: mode.name() });
        };
        let text = pem::read(path)?;
        policy.add_authorities(path, &text, warnings)?;
        let asked = settings.verify_flags.contains(VerifyFlags::CRL_CHECK_LEAF);
        if asked || !settings.crls.is_empty() {
            policy.add_crls(path, &text, provider)?;
            for path in &settings.crls {
                if policy.add_crls(path, &pem::read(path)?, provider)? == 0 {
                    return Err(TlsError::EmptyCrlFile { path: path.clone() });
                }
            }
            if policy.crls.is_empty() {
                return Err(TlsError::NoCrls);
            }
        }
        Ok(policy)
    }

    /// Returns a hash of what decides which clients are accepted. Equal policies have equal hashes, on every
    /// machine.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = digest::Context::new(&SHA256);
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add(self.mode.name().as_bytes());
        add(&[u8::from(self.leaf_only)]);
        add(&(self.authorities.len() as u64).to_be_bytes());
        self.authorities.iter().for_each(|authority| add(authority));
        self.crls.iter().for_each(|crl| add(crl));
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        fingerprint
    }

    fn add_authorities(
        &mut self,
        path: &Path,
        text: &[u8],
        warnings: &mut Vec<TlsWarning>,
    ) -> Result<(), TlsError> {
        let certificates: Vec<CertificateDer<'static>> = pem::blocks(path, text)?;
        for (number, certificate) in (1..).zip(certificates) {
            match RootCertStore::empty().add(certificate.clone()) {
                Ok(()) => self.authorities.push(certificate),
                Err(source) => {
                    warnings.push(TlsWarning::UnusableAuthority { path: path.into(), number, source });
                }
            }
        }
        if self.authorities.is_empty() {
            return Err(TlsError::NoUsableAuthority { path: path.into() });
        }
        Ok(())
    }

    /// Adds the lists in the text. Returns their number.
    fn add_crls(
        &mut self,
        path: &Path,
        text: &[u8],
        provider: &Arc<CryptoProvider>,
    ) -> Result<usize, TlsError> {
        let crls: Vec<CertificateRevocationListDer<'static>> = pem::blocks(path, text)?;
        let number = crls.len();
        for crl in crls {
            WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(provider))
                .with_crls([crl.clone()])
                .build()
                .map_err(|error| TlsError::UnusableCrl { path: path.into(), detail: error.to_string() })?;
            if let Some(moment) = x509::next_update(&crl) {
                self.next_updates.push(NextUpdate { path: path.into(), moment });
            }
            self.crls.push(crl);
        }
        Ok(number)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.authorities.iter().cloned());
        Arc::new(roots)
    }

    /// Returns the verifier. A list past its next update revokes all certificates of its issuer, as in
    /// OpenSSL.
    pub(crate) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        if self.mode == VerifyMode::None {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(provider))
            .with_crls(self.crls.iter().cloned())
            .enforce_revocation_expiration();
        if self.leaf_only {
            builder = builder.only_check_end_entity_revocation();
        }
        if self.mode == VerifyMode::Optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(|error| TlsError::Verifier(error.to_string()))
    }

    /// Returns warnings about lists past their next update.
    pub(crate) fn out_of_date(&self, now: SystemTime) -> impl Iterator<Item = TlsWarning> + '_ {
        let late = self.next_updates.iter().filter(move |next| now > next.moment.time);
        late.map(|next| TlsWarning::CrlExpired { path: next.path.clone(), end: next.moment.text.clone() })
    }
}

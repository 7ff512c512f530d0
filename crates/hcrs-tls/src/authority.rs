//! The local authority that signs development certificates. Its key stays in one folder, and its name
//! constraints (RFC 5280 section 4.2.1.10) limit the trust in it to the names of that folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::development::{BACK_DATED, DAY, VALID_FOR};
use crate::{DevCertificate, TlsError, provider, x509};

/// Validity of an authority: long, because trusting it takes a person some work.
const AUTHORITY_VALID_FOR: Duration = DAY.saturating_mul(730);

pub(crate) struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

/// A certificate with its key, before both are written.
pub(crate) struct Leaf {
    pub key: KeyPair,
    pub certificate: CertificateDer<'static>,
}

impl Authority {
    /// Loads the authority in these files, if it can be read and outlives a certificate that it signs now.
    pub(crate) fn load(cafile: &Path, ca_keyfile: &Path, now: SystemTime) -> Option<Self> {
        let certificate = CertificateDer::from_pem_file(cafile).ok()?;
        let key = KeyPair::from_pem(&fs::read_to_string(ca_keyfile).ok()?).ok()?;
        let validity = x509::validity(&certificate)?;
        (validity.start.time <= now && now + VALID_FOR <= validity.end.time)
            .then_some(Self { key, certificate })
    }

    /// Creates an authority for certificates with these names.
    pub(crate) fn new(names: &[&str], now: SystemTime) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TlsError::Generate)?;
        let mut params = params(&key);
        params.not_before = (now - BACK_DATED).into();
        params.not_after = (now + AUTHORITY_VALID_FOR).into();
        // Without a subtree for a kind of name, any name of that kind would be allowed.
        let mut all: Vec<&str> = DevCertificate::LOCAL_NAMES.to_vec();
        all.extend(names.iter().filter(|name| !DevCertificate::LOCAL_NAMES.contains(name)));
        let permitted_subtrees = parsed(&all)?.subject_alt_names.iter().filter_map(subtree).collect();
        let excluded_subtrees = Vec::new();
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
        let certificate = params.self_signed(&key).map_err(TlsError::Generate)?.der().clone();
        Ok(Self { key, certificate })
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Signs a certificate (ECDSA P-256) for a key made for it.
    pub(crate) fn issue(&self, names: &[&str], now: SystemTime) -> Result<Leaf, TlsError> {
        let mut params = parsed(names)?;
        params.distinguished_name.push(DnType::CommonName, "hcrs development certificate");
        params.not_before = (now - BACK_DATED).into();
        params.not_after = (now + VALID_FOR).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TlsError::Generate)?;
        let issuer = Issuer::new(self::params(&self.key), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(TlsError::Generate)?.der().clone();
        Ok(Leaf { key, certificate })
    }

    /// Signs a certificate that clients of this authority accept for the names; `None` if they would not,
    /// because the files are not a pair or the name constraints do not allow the names.
    pub(crate) fn issue_acceptable(&self, names: &[&str], now: SystemTime) -> Option<Leaf> {
        let leaf = self.issue(names, now).ok()?;
        let trusted = [self.certificate.clone()];
        is_accepted(&leaf.certificate, &trusted, names, now).then_some(leaf)
    }
}

/// Returns the parts of the authority's certificate that its signatures need. They follow from its key, so
/// the certificate need not be parsed to be used again.
fn params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let identifier = params.key_identifier(key).first_chunk().copied().map_or(0, u32::from_be_bytes);
    params.distinguished_name.push(DnType::CommonName, format!("hcrs development CA {identifier:08x}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Returns parameters with the host names and IP addresses as subject alternative names.
fn parsed(names: &[&str]) -> Result<CertificateParams, TlsError> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    CertificateParams::new(names).map_err(TlsError::Generate)
}

/// Returns the subtree of a name: the name and, for a host, all names below it.
fn subtree(name: &SanType) -> Option<GeneralSubtree> {
    match name {
        SanType::DnsName(name) => {
            let name = name.as_str();
            Some(GeneralSubtree::DnsName(name.strip_prefix("*.").unwrap_or(name).to_owned()))
        }
        SanType::IpAddress(address) => {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            Some(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, bits)))
        }
        _ => None,
    }
}

/// Whether a client with these authorities accepts the certificate for all the names at that time.
pub(crate) fn is_accepted(
    leaf: &CertificateDer<'_>,
    authorities: &[CertificateDer<'static>],
    names: &[&str],
    then: SystemTime,
) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let (Ok(verifier), Ok(then)) = (verifier, then.duration_since(UNIX_EPOCH)) else { return false };
    let then = UnixTime::since_unix_epoch(then);
    names.iter().all(|name| {
        let name = match name.strip_prefix("*.") {
            Some(parent) => format!("any.{parent}"),
            None => (*name).to_owned(),
        };
        ServerName::try_from(name)
            .is_ok_and(|name| verifier.verify_server_cert(leaf, &[], &name, &[], then).is_ok())
    })
}

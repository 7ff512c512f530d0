//! Keys of certificates, the requests that are signed with them, and what a certificate says.

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, RsaKeySize,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectAltName};

use crate::domain::Domain;
use crate::jose;
use crate::schedule::Validity;
use crate::settings::KeyType;

/// Makes a key. Returns it as PEM.
pub(crate) fn new_key(kind: KeyType) -> Result<String, rcgen::Error> {
    let key = match kind {
        KeyType::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyType::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
        KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
    };
    key.map(|key| key.serialize_pem())
}

/// Returns the request for a certificate (RFC 2986), signed by its key. The name is an alternative name alone: a common
/// name has 64 letters at most, and some authorities refuse one.
pub(crate) fn request(domain: &Domain, key: &str) -> Result<Vec<u8>, rcgen::Error> {
    let key = KeyPair::from_pem(key)?;
    let mut params = CertificateParams::new([domain.as_str().to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key)?.der().to_vec())
}

/// The facts of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    pub(crate) validity: Validity,
    /// The names, in lower case.
    pub(crate) names: Vec<String>,
    /// The identifier by which an authority is asked when to renew (RFC 9773 section 4.1), if it has one.
    pub(crate) id: Option<String>,
    /// A number that is different for each certificate.
    pub(crate) seed: u64,
}

impl CertificateFacts {
    /// Returns the facts of the first certificate in a PEM text.
    pub(crate) fn of_pem(pem: &str) -> Option<Self> {
        let leaf = CertificateDer::pem_slice_iter(pem.as_bytes()).next()?.ok()?;
        let certificate = Certificate::from_der(&leaf).ok()?;
        let certificate = certificate.tbs_certificate();
        let validity = certificate.validity();
        let names = match certificate.get_extension::<SubjectAltName>() {
            Ok(Some((_, SubjectAltName(names)))) => names,
            _ => Vec::new(),
        };
        let names = names.into_iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.to_string().to_ascii_lowercase()),
            _ => None,
        });
        let serial = certificate.serial_number().as_bytes();
        let authority = certificate.get_extension::<AuthorityKeyIdentifier>().ok().flatten();
        let authority = authority.and_then(|(_, authority)| authority.key_identifier);
        let id = authority.and_then(|authority| {
            // The contents of the number as it is encoded, which begin with a zero where the first bit is set.
            let encoded = certificate.serial_number().to_der().ok()?;
            let contents = encoded.get(2..)?;
            Some(format!("{}.{}", jose::encode(authority.as_bytes()), jose::encode(contents)))
        });
        let digest = jose::digest_of(serial);
        Some(Self {
            validity: Validity {
                start: validity.not_before.to_unix_duration().as_secs(),
                end: validity.not_after.to_unix_duration().as_secs(),
            },
            names: names.collect(),
            id,
            seed: digest.first_chunk().copied().map_or(0, u64::from_be_bytes),
        })
    }

    /// Whether the certificate is for a name.
    pub(crate) fn is_for(&self, domain: &Domain) -> bool {
        self.names.iter().any(|name| name == domain.as_str())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SerialNumber, date_time_ymd};
    use x509_cert::request::CertReq;

    use super::*;

    #[test]
    fn requests_have_the_name_as_an_alternative_name_alone() {
        let long = Domain::parse(&format!("{}.example.com", "a".repeat(63))).unwrap();
        for kind in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
            let key = new_key(kind).unwrap();
            let bytes = request(&long, &key).unwrap();
            let request = CertReq::from_der(&bytes).unwrap();
            assert_eq!(request.info.subject.to_string(), "");
            assert!(bytes.windows(long.as_str().len()).any(|part| part == long.as_str().as_bytes()));
            assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
        }
    }

    #[test]
    fn the_facts_of_a_certificate_are_read() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["A.test".to_owned(), "b.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 1, 11);
        params.serial_number = Some(SerialNumber::from_slice(&[0x87, 0x65]));
        params.use_authority_key_identifier_extension = true;
        let pem = params.self_signed(&key).unwrap().pem();
        let facts = CertificateFacts::of_pem(&pem).unwrap();
        assert_eq!(facts.names, ["a.test", "b.test"]);
        assert!(facts.is_for(&Domain::parse("b.test").unwrap()));
        assert!(!facts.is_for(&Domain::parse("c.test").unwrap()));
        assert_eq!(facts.validity.end - facts.validity.start, 10 * 86_400);
        let id = facts.id.unwrap();
        assert!(id.ends_with(".AIdl"), "{id}: the number has a leading zero, as it is positive");
        assert_eq!(CertificateFacts::of_pem("no certificate"), None);
    }
}

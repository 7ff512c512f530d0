//! The contents of certificates and CRLs (RFC 5280). Trust is decided elsewhere.

use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

/// An instant that can be compared and printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    pub time: SystemTime,
    pub text: String,
}

impl From<Time> for Moment {
    fn from(time: Time) -> Self {
        Self { time: SystemTime::UNIX_EPOCH + time.to_unix_duration(), text: time.to_date_time().to_string() }
    }
}

/// The first and the last instant of a certificate's validity.
#[derive(Debug, Clone)]
pub(crate) struct Validity {
    pub start: Moment,
    pub end: Moment,
}

/// Returns the validity of a certificate (section 4.1.2.5).
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    Some(Validity { start: validity.not_before.into(), end: validity.not_after.into() })
}

/// Returns the DNS names among the subject alternative names (section 4.2.1.6), as written there.
pub(crate) fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some((_, names))) = certificate.tbs_certificate().get_extension::<SubjectAltName>() else {
        return Vec::new();
    };
    let names = names.0.into_iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    });
    names.collect()
}

/// Returns the subject (section 4.1.2.6) as a string (RFC 4514).
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    Some(Certificate::from_der(certificate).ok()?.tbs_certificate().subject().to_string())
}

/// Returns the instant of a list's next update (section 5.1.2.5).
pub(crate) fn next_update(crl: &CertificateRevocationListDer<'_>) -> Option<Moment> {
    let list: CertificateList = CertificateList::from_der(crl).ok()?;
    list.tbs_cert_list.next_update.map(Moment::from)
}

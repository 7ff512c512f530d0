//! Certificates that come by themselves: until there is one, a self-made certificate stands in for it.
//!
//! A handshake that is refused would do as well for browsers. With a certificate that nobody trusts, probes and
//! clients that do not verify are served from the start, and a person who looks sees what is missing.

use std::io;
use std::time::SystemTime;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::development::{BACK_DATED, DAY};
use crate::identity::Identity;
use crate::settings::{CertificateFiles, ManagedCertificate};
use crate::{TlsError, TlsWarning, provider};

/// The name that the self-made certificate shows to a person.
const STAND_IN: &str = "hcrs: no certificate yet";

/// Loads a certificate; one of our own if there is none, or at a start if the file is damaged.
pub(crate) fn load(
    managed: &ManagedCertificate,
    provider: &CryptoProvider,
    is_start: bool,
    warnings: &mut Vec<TlsWarning>,
) -> Result<Identity, TlsError> {
    let files = CertificateFiles {
        certfile: managed.file.clone(),
        keyfile: managed.file.clone(),
        keyfile_password: None,
    };
    match Identity::load(&files, provider) {
        Err(TlsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) if is_start => warnings.push(TlsWarning::Managed { detail: error.to_string() }),
        outcome => return outcome,
    }
    stand_in(&managed.name, &files, provider)
}

fn stand_in(name: &str, files: &CertificateFiles, provider: &CryptoProvider) -> Result<Identity, TlsError> {
    let key = KeyPair::generate().map_err(TlsError::Generate)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(TlsError::Generate)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, STAND_IN);
    let now = SystemTime::now();
    params.not_before = (now - BACK_DATED).into();
    params.not_after = (now + 365 * DAY).into();
    let leaf = params.self_signed(&key).map_err(TlsError::Generate)?.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Identity::of(files, vec![leaf], key, provider).map(Identity::into_stand_in)
}

/// Checks that a key and a chain of certificates, as PEM, are a pair that can be served.
pub fn check_pair(key: &str, chain: &str) -> Result<(), TlsError> {
    let files = CertificateFiles {
        certfile: "the certificate".into(),
        keyfile: "the key".into(),
        keyfile_password: None,
    };
    let malformed = |error: rustls_pki_types::pem::Error| crate::pem::damaged(&files.certfile, &error);
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().map_err(malformed)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(malformed)?;
    Identity::of(&files, chain, key, &provider()).map(|_| ())
}

//! A certificate chain and its private key, read from PEM files and checked to be a pair.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::Error;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::CertificateFiles;
use crate::x509::{self, Validity};
use crate::{TlsError, TlsWarning, key, pem};

/// The facts of a certificate that an operator looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The file that it was read from.
    pub file: PathBuf,
    /// The DNS names that it was issued for.
    pub names: Vec<String>,
    /// The last instant of its validity, if it can be read.
    pub not_after: Option<SystemTime>,
}

/// An identity of the server: a certificate with its key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub certified: Arc<CertifiedKey>,
    /// The server's own certificate as text.
    pub pem: Arc<str>,
    /// The DNS names that the certificate was issued for.
    pub names: Vec<String>,
    /// Whether it is self-made, as long as there is no other.
    pub is_stand_in: bool,
    certfile: PathBuf,
    validity: Option<Validity>,
}

impl Identity {
    /// Returns the facts of the certificate.
    pub(crate) fn facts(&self) -> CertificateFacts {
        CertificateFacts {
            file: self.certfile.clone(),
            names: self.names.clone(),
            not_after: self.validity.as_ref().map(|validity| validity.end.time),
        }
    }

    /// Reads both files. The error names the file.
    pub(crate) fn load(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let CertificateFiles { certfile, keyfile, keyfile_password } = files;
        let chain: Vec<CertificateDer<'static>> = pem::blocks(certfile, &pem::read(certfile)?)?;
        let key = key::load(keyfile, keyfile_password.as_ref())?;
        Self::of(files, chain, key, provider)
    }

    /// Returns the identity of a chain and its key; the files are those that errors and warnings name.
    pub(crate) fn of(
        files: &CertificateFiles,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let CertificateFiles { certfile, keyfile, .. } = files;
        let Some(leaf) = chain.first().cloned() else {
            return Err(TlsError::NoCertificate { path: certfile.clone() });
        };
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|source| TlsError::UnusableKey { path: keyfile.clone(), source })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(TlsError::NotAPair { certfile: certfile.clone(), keyfile: keyfile.clone() });
            }
            Err(source) => return Err(TlsError::UnusableCertificate { path: certfile.clone(), source }),
        }
        Ok(Self {
            certified: Arc::new(certified),
            pem: pem::certificate(&leaf).into(),
            names: x509::dns_names(&leaf),
            is_stand_in: false,
            certfile: certfile.clone(),
            validity: x509::validity(&leaf),
        })
    }

    /// Marks the identity as self-made, as long as there is no other.
    pub(crate) fn into_stand_in(mut self) -> Self {
        self.is_stand_in = true;
        self
    }

    /// Returns a warning if no client can ask for the certificate.
    pub(crate) fn nameless(&self) -> Option<TlsWarning> {
        self.names.is_empty().then(|| TlsWarning::NoNames { path: self.certfile.clone() })
    }

    /// Returns a warning if clients refuse the certificate at this time.
    pub(crate) fn out_of_date(&self, now: SystemTime) -> Option<TlsWarning> {
        let Validity { start, end } = self.validity.as_ref()?;
        let path = || self.certfile.clone();
        if now > end.time {
            Some(TlsWarning::Expired { path: path(), end: end.text.clone() })
        } else if now < start.time {
            Some(TlsWarning::NotYetValid { path: path(), start: start.text.clone() })
        } else {
            None
        }
    }
}

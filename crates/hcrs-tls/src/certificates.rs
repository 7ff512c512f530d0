//! The server's certificates, and the choice of one for a client.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::identity::Identity;
use crate::sni::Names;
use crate::{Settings, TlsError, TlsWarning, ciphers, managed};

/// The server's certificates, at least one. The first is for clients that ask for a name that no certificate
/// has.
#[derive(Debug)]
pub(crate) struct Certificates {
    identities: Vec<Identity>,
    names: Names,
}

impl Certificates {
    /// Reads every pair of files. At a start, a file of a managed certificate that is damaged counts as none.
    pub(crate) fn load(
        settings: &Settings,
        provider: &CryptoProvider,
        is_start: bool,
        warnings: &mut Vec<TlsWarning>,
    ) -> Result<Self, TlsError> {
        let identities = settings.certificates().map(|files| Identity::load(&files, provider));
        let identities = identities.collect::<Result<Vec<_>, _>>()?;
        let mut identities = identities;
        for managed in &settings.managed {
            identities.push(managed::load(managed, provider, is_start, warnings)?);
        }
        if identities.is_empty() {
            return Err(TlsError::NoCertificate { path: settings.certfile.clone() });
        }
        warnings.extend(identities.iter().skip(1).filter_map(Identity::nameless));
        let names = Names::new(identities.iter().map(|identity| identity.names.as_slice()));
        Ok(Self { identities, names })
    }

    /// Returns the place of the certificate for a client: of those for the name, the first whose key the
    /// client can verify. So a name may have an ECDSA and an RSA certificate.
    pub(crate) fn choose(&self, hello: &ClientHello<'_>) -> usize {
        let mut places = hello.server_name().into_iter().flat_map(|name| self.names.find(name)).peekable();
        let first = places.peek().copied().unwrap_or_default();
        places.find(|place| self.suits(*place, hello)).unwrap_or(first)
    }

    fn suits(&self, place: usize, hello: &ClientHello<'_>) -> bool {
        let key = &self.identities[place].certified.key;
        key.choose_scheme(hello.signature_schemes()).is_some()
            && ciphers::fit(hello.cipher_suites(), key.algorithm())
    }

    pub(crate) fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// Returns warnings about certificates that are not valid at this time.
    pub(crate) fn out_of_date(&self, now: SystemTime) -> impl Iterator<Item = TlsWarning> + '_ {
        self.identities.iter().filter_map(move |identity| identity.out_of_date(now))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.identities[self.choose(&hello)].certified))
    }
}

//! The challenge `tls-alpn-01` (RFC 8737): an authority opens a connection with a protocol of its own, and expects a
//! self-made certificate for the name, with a digest.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::{TlsError, provider};

/// The protocol that an authority offers, and no other beside it.
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// The names that an authority is expected to look at.
#[derive(Debug, Default)]
pub(crate) struct Challenges(RwLock<HashMap<String, Arc<ServerConfig>>>);

impl Challenges {
    pub(crate) fn present(&self, name: &str, digest: &[u8; 32]) -> Result<(), TlsError> {
        let config = Arc::new(config(name, digest)?);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_ascii_lowercase(), config);
        Ok(())
    }

    pub(crate) fn withdraw(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&name.to_ascii_lowercase());
    }

    /// Returns the configuration for a client that offers the authority's protocol alone.
    pub(crate) fn find(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        if offered.next() != Some(ACME_PROTOCOL) || offered.next().is_some() {
            return None;
        }
        let name = hello.server_name()?.to_ascii_lowercase();
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()
    }
}

fn config(name: &str, digest: &[u8; 32]) -> Result<ServerConfig, TlsError> {
    let key = KeyPair::generate().map_err(TlsError::Generate)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(TlsError::Generate)?;
    // A common name has 64 letters at most.
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
    let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;
    let provider = provider();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let key = provider.key_provider.load_private_key(key).map_err(TlsError::Provider)?;
    // Not checked to be a pair, for which it would be parsed: the critical extension is unknown there.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ACME_PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

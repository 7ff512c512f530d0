//! The challenge `tls-alpn-01` (RFC 8737): an authority opens a connection with a protocol of its own, and expects a
//! self-made certificate for the name, with a digest.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use crate::{TlsError, provider};

/// The protocol that an authority offers, and no other beside it.
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// Returns the name that an authority looks at, in lower case, if a handshake is its challenge: it offers the
/// authority's protocol alone.
pub fn challenged_name(hello: &ClientHello<'_>) -> Option<String> {
    let mut offered = hello.alpn()?;
    if offered.next() != Some(ACME_PROTOCOL) || offered.next().is_some() {
        return None;
    }
    Some(hello.server_name()?.to_ascii_lowercase())
}

/// Makes the configuration for the challenge for a name, with this digest. The connection is to be closed when the
/// handshake is over.
pub fn challenge_config(name: &str, digest: &[u8; 32]) -> Result<Arc<ServerConfig>, TlsError> {
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
    Ok(Arc::new(config))
}

/// Returns the configuration of a client that looks at a challenge, as an authority does. It verifies nothing: what
/// counts is the digest in the certificate that it gets.
pub fn challenge_client_config() -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("invariant: the provider has suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    config.alpn_protocols = vec![ACME_PROTOCOL.to_vec()];
    Arc::new(config)
}

/// Accepts any server. Signatures are not verified, for which the certificate would be parsed: the critical extension
/// is unknown there.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

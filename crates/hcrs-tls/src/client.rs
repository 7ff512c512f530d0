//! TLS as a client: of upstreams, of authorities of certificates, of collectors of spans.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{TlsError, pem, provider};

/// The variable that names a file of authorities, as for OpenSSL.
const CERTIFICATES: &str = "SSL_CERT_FILE";
/// The files in which distributions have the authorities that they trust.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The authorities that a client trusts.
#[derive(Debug, Clone, Copy)]
pub enum Authorities<'a> {
    /// Those that the system trusts: of the file that `SSL_CERT_FILE` names, or of the distribution's.
    System {
        /// The setting that can name a file instead, for the error if the system has none.
        setting: Option<&'static str>,
    },
    /// Those of this file.
    File(&'a Path),
    /// Any: certificates are not verified.
    Unverified,
}

/// Builds the configuration of a client that offers these protocols.
pub fn client_config(authorities: Authorities<'_>, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions");
    let builder = match authorities {
        Authorities::System { setting } => builder.with_root_certificates(system_roots(setting)?),
        Authorities::File(path) => builder.with_root_certificates(roots(path)?),
        Authorities::Unverified => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
        }
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn system_roots(setting: Option<&'static str>) -> Result<RootCertStore, TlsError> {
    if let Some(named) = std::env::var_os(CERTIFICATES) {
        return roots(named.as_ref());
    }
    BUNDLES
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .ok_or(TlsError::NoSystemAuthorities { setting })
        .and_then(roots)
}

/// Returns the certificates of a file that can be used, of which there has to be one.
fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let certificates = pem::blocks::<CertificateDer<'_>>(path, &pem::read(path)?)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(TlsError::NoServerAuthorities { path: path.into() });
    }
    Ok(roots)
}

/// Accepts any certificate whose key the server has.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

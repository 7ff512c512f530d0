#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod development;
mod error;
mod identity;
mod settings;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

pub use development::{DevCertificate, make_dev_certificate};
pub use error::TlsError;
pub use settings::Settings;

/// Reads the certificate and the key and makes the configuration that every TLS listener shares.
///
/// TLS 1.2 and 1.3 with ALPN. Sessions resume by tickets alone, so that no session is kept in memory and
/// no lock is taken; the ticket keys are random, rotate, and end with the process. Early data is refused:
/// it can be replayed.
pub fn server_config(settings: &Settings) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let identity = identity::load(&settings.certfile, &settings.keyfile, &provider)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Provider)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = alpn(&settings.alpn_protocols)?;
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1; // one is all that a client needs to resume; each costs some 250 bytes
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The protocol names as they go on the wire (RFC 7301 section 3.1: 1 to 255 bytes each).
fn alpn(names: &[String]) -> Result<Vec<Vec<u8>>, TlsError> {
    names
        .iter()
        .map(|name| match name.len() {
            1..=255 => Ok(name.clone().into_bytes()),
            _ => Err(TlsError::AlpnName { name: name.clone() }),
        })
        .collect()
}

/// The cryptography, always named: with a second provider in the build the process-wide default would panic.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;

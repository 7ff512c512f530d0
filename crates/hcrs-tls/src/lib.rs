#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod authority;
mod certificates;
mod ciphers;
mod configs;
mod development;
mod error;
mod facts;
mod identity;
mod key;
mod key_exchange;
mod pem;
mod reload;
mod settings;
mod sni;
mod verify;
mod version;
mod warning;
mod x509;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use configs::{Choice, ServerConfigs};
pub use development::{DevCertificate, make_dev_certificate};
pub use error::TlsError;
pub use facts::ConnectionFacts;
pub use key_exchange::KeyExchange;
pub use reload::TlsConfig;
pub use settings::{CertificateFiles, Password, Settings};
pub use verify::{VerifyFlags, VerifyMode};
pub use version::TlsVersion;
pub use warning::TlsWarning;

/// One configuration for every client, for those who cannot look at its first message or reload.
///
/// The certificate is chosen by name; the cipher suite by the client's order. [`TlsConfig`] does more.
pub fn server_config(settings: &Settings) -> Result<Arc<ServerConfig>, TlsError> {
    configs::for_all(settings).map(Arc::new)
}

/// The cryptography, always named: with a second provider in the build the process-wide default would panic.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;

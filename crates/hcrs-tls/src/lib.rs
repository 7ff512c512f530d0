#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod authority;
mod certificates;
mod challenge;
mod ciphers;
mod client;
mod configs;
mod development;
mod error;
mod identity;
mod info;
mod key;
mod key_exchange;
mod managed;
mod pem;
mod quic;
mod reload;
mod settings;
mod sni;
mod tickets;
mod verify;
mod version;
mod warning;
mod x509;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use challenge::{ACME_PROTOCOL, challenge_client_config, challenge_config, challenged_name};
pub use client::{Authorities, client_config};
pub use configs::{Choice, ServerConfigs};
pub use development::{DevCertificate, make_dev_certificate};
pub use error::TlsError;
pub use identity::CertificateFacts;
pub use info::TlsInfo;
pub use key_exchange::KeyExchange;
pub use managed::check_pair;
pub use quic::QuicHandshake;
pub use reload::TlsConfig;
pub use settings::{CertificateFiles, ManagedCertificate, Password, Settings};
pub use verify::{VerifyFlags, VerifyMode};
pub use version::TlsVersion;
pub use warning::TlsWarning;

/// Builds one configuration for all clients, for a caller that cannot read a client's first message or
/// reload.
///
/// It chooses the certificate by name, and the cipher suite by the client's order. [`TlsConfig`] does more.
pub fn server_config(settings: &Settings) -> Result<Arc<ServerConfig>, TlsError> {
    configs::for_all(settings).map(Arc::new)
}

/// Returns the cryptography provider. It is always named, because with a second provider in the build the
/// process-wide default would panic.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;

//! The configurations from one reading of the files: a `rustls::ServerConfig` for each certificate and kind
//! of client.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::SingleCertAndKey;

use crate::certificates::Certificates;
use crate::ciphers::{self, Favourite, Selection};
use crate::identity::{CertificateFacts, Identity};
use crate::tickets::SharedTicketer;
use crate::verify::Policy;
use crate::{QuicHandshake, Settings, TlsError, TlsVersion, TlsWarning, key_exchange, provider, quic};

/// The configurations for new connections. They differ in the certificate and in the order of the cipher
/// suites, and share their ticket keys, so that a client can resume with any of them.
#[derive(Debug)]
pub struct ServerConfigs {
    certificates: Arc<Certificates>,
    /// The configurations by the place of the certificate.
    variants: Vec<Variants>,
    /// That of QUIC connections, each of which has a resolver of its own.
    quic: ServerConfig,
    policy: Policy,
    ticketer: Arc<dyn ProducesTickets>,
}

/// The configurations with one certificate.
#[derive(Debug)]
struct Variants {
    aes: Arc<ServerConfig>,
    chacha20: Arc<ServerConfig>,
}

/// The configuration chosen for a client.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The configuration to continue the handshake with.
    pub config: Arc<ServerConfig>,
    /// The server's certificate in the configuration, as PEM.
    pub certificate: Arc<str>,
}

impl ServerConfigs {
    /// Reads all files. Ticket keys that are not in a file are those of `before` if it accepts the same clients.
    pub(crate) fn load(
        settings: &Settings,
        before: Option<&Self>,
    ) -> Result<(Self, Vec<TlsWarning>), TlsError> {
        let mut warnings = Vec::new();
        let parts = Parts::load(settings, before.is_none(), &mut warnings)?;
        let ticketer = match (&settings.ticket_keys, before) {
            (Some(path), _) => SharedTicketer::load(path, &parts.policy, &mut warnings)?,
            (None, Some(before)) if before.policy == parts.policy => Arc::clone(&before.ticketer),
            (None, _) => aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?,
        };
        let variant = |resolver: &Arc<SingleCertAndKey>, favourite| {
            parts.config(Arc::clone(resolver) as _, favourite, &ticketer).map(Arc::new)
        };
        let variants = parts.certificates.identities().iter().map(|identity| {
            let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified)));
            Ok(Variants {
                aes: variant(&resolver, Favourite::Aes)?,
                chacha20: variant(&resolver, Favourite::ChaCha20)?,
            })
        });
        let variants = variants.collect::<Result<_, TlsError>>()?;
        let quic = parts.quic_config(&ticketer)?;
        let Parts { certificates, policy, .. } = parts;
        Ok((Self { certificates, variants, quic, policy, ticketer }, warnings))
    }

    /// Returns the configuration for a client by its first message: the certificate by the name it asks for,
    /// the order of the suites by the algorithm that it is fast at. AES-128 comes before AES-256 unless
    /// `ciphers` orders them otherwise; `ChaCha20` comes first for clients that put it first.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Choice {
        let place = self.certificates.choose(hello);
        let Variants { aes, chacha20 } = &self.variants[place];
        let config = match Favourite::of(hello.cipher_suites()) {
            Favourite::Aes => aes,
            Favourite::ChaCha20 => chacha20,
        };
        let certificate = &self.certificates.identities()[place].pem;
        Choice { config: Arc::clone(config), certificate: Arc::clone(certificate) }
    }

    /// Returns the configuration of one QUIC connection. Its handshake chooses the certificate as
    /// [`ServerConfigs::choose`] does, and the cipher suite by the client's order.
    pub fn for_quic(&self) -> QuicHandshake {
        QuicHandshake::new(&self.quic, &self.certificates)
    }

    /// Returns the facts of the certificates, without the self-made ones that stand in for others.
    pub fn certificates(&self) -> Vec<CertificateFacts> {
        let identities = self.certificates.identities().iter().filter(|identity| !identity.is_stand_in);
        identities.map(Identity::facts).collect()
    }

    /// Returns warnings about certificates and CRLs that are not valid at this time.
    pub fn out_of_date(&self, now: SystemTime) -> Vec<TlsWarning> {
        self.certificates.out_of_date(now).chain(self.policy.out_of_date(now)).collect()
    }
}

/// Returns one configuration for all clients: certificates by name, cipher suites in the client's order.
pub(crate) fn for_all(settings: &Settings) -> Result<ServerConfig, TlsError> {
    let parts = Parts::load(settings, true, &mut Vec::new())?;
    let ticketer = match &settings.ticket_keys {
        Some(path) => SharedTicketer::load(path, &parts.policy, &mut Vec::new())?,
        None => aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?,
    };
    let mut config = parts.config(Arc::clone(&parts.certificates) as _, Favourite::Aes, &ticketer)?;
    config.ignore_client_order = false;
    Ok(config)
}

/// The parts that all configurations share.
struct Parts {
    certificates: Arc<Certificates>,
    policy: Policy,
    verifier: Arc<dyn ClientCertVerifier>,
    suites: Selection,
    groups: Vec<&'static dyn SupportedKxGroup>,
    oldest: TlsVersion,
    alpn: Vec<Vec<u8>>,
    provider: Arc<CryptoProvider>,
}

impl Parts {
    fn load(settings: &Settings, is_start: bool, warnings: &mut Vec<TlsWarning>) -> Result<Self, TlsError> {
        let provider = provider();
        let alpn = alpn(&settings.alpn_protocols)?;
        let mut suites = ciphers::select(&settings.ciphers)?;
        warnings.append(&mut suites.warnings);
        let groups = key_exchange::groups(&settings.key_exchange, settings.minimum_version)?;
        let certificates = Arc::new(Certificates::load(settings, &provider, is_start, warnings)?);
        let policy = Policy::load(settings, &provider, warnings)?;
        let verifier = policy.verifier(&provider)?;
        let oldest = settings.minimum_version;
        Ok(Self { certificates, policy, verifier, suites, groups, oldest, alpn, provider })
    }

    /// Returns the configuration of QUIC connections.
    fn quic_config(&self, ticketer: &Arc<dyn ProducesTickets>) -> Result<ServerConfig, TlsError> {
        let resolver = Arc::clone(&self.certificates) as _;
        let mut config = self.config_from(TlsVersion::Tls13, resolver, Favourite::Aes, ticketer)?;
        config.ignore_client_order = false;
        config.alpn_protocols = vec![quic::ALPN.to_vec()];
        Ok(config)
    }

    /// Returns a configuration of the configured versions.
    fn config(
        &self,
        resolver: Arc<dyn ResolvesServerCert>,
        favourite: Favourite,
        ticketer: &Arc<dyn ProducesTickets>,
    ) -> Result<ServerConfig, TlsError> {
        self.config_from(self.oldest, resolver, favourite, ticketer)
    }

    /// Returns a configuration of the version `oldest` and newer ones. Sessions resume by tickets alone, so that
    /// no session is kept in memory; their keys are those of a file, or random, rotate, and end with the process.
    /// Early data is refused, because it can be replayed.
    fn config_from(
        &self,
        oldest: TlsVersion,
        resolver: Arc<dyn ResolvesServerCert>,
        favourite: Favourite,
        ticketer: &Arc<dyn ProducesTickets>,
    ) -> Result<ServerConfig, TlsError> {
        let provider = CryptoProvider {
            cipher_suites: favourite.order(&self.suites.suites),
            kx_groups: self.groups.clone(),
            ..(*self.provider).clone()
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&oldest.and_newer())
            .map_err(TlsError::Provider)?
            .with_client_cert_verifier(Arc::clone(&self.verifier))
            .with_cert_resolver(resolver);
        config.ignore_client_order = true;
        config.alpn_protocols.clone_from(&self.alpn);
        config.ticketer = Arc::clone(ticketer);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1; // a client needs one to resume; each costs some 250 bytes
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// Returns the protocol names as on the wire (RFC 7301 section 3.1: 1 to 255 bytes each).
fn alpn(names: &[String]) -> Result<Vec<Vec<u8>>, TlsError> {
    names
        .iter()
        .map(|name| match name.len() {
            1..=255 => Ok(name.clone().into_bytes()),
            _ => Err(TlsError::AlpnName { name: name.clone() }),
        })
        .collect()
}

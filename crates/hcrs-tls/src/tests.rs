//! Handshakes in memory, between the server's configurations and clients of the same library.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, SignatureAlgorithm,
};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{Acceptor, ClientHello};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use tempfile::TempDir;

use super::*;

mod choice;
mod clients;
mod development;
mod files;
mod handshake;
mod info;
mod keys;
mod managed;
mod quic;
mod reload;
mod tickets;

/// A folder with the development certificate.
struct Fixture {
    folder: TempDir,
    settings: Settings,
}

fn fixture() -> Fixture {
    let folder = TempDir::new().unwrap();
    let made = make_dev_certificate(folder.path(), &DevCertificate::LOCAL_NAMES).unwrap();
    Fixture { settings: Settings::new(made.certfile, made.keyfile), folder }
}

/// Returns a client that trusts the certificates in the file.
fn client(cafile: &Path, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
    Arc::new(client_with(provider(), cafile, versions, alpn, None))
}

/// Returns a client that trusts the certificates in the file, with its own cryptography and certificate.
fn client_with(
    provider: Arc<CryptoProvider>,
    cafile: &Path,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
    identity: Option<&ClientIdentity>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_file_iter(cafile).unwrap().map(Result::unwrap));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(ClientIdentity { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

/// Carries bytes between both sides until neither has any, or until the first error of either side.
fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> Result<(ServerConnection, ClientConnection), Error> {
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), ServerName::try_from(name).unwrap()).unwrap();
    converse(&mut server, &mut client)?;
    Ok((server, client))
}

/// Handshakes as a listener does: the configuration is chosen by the client's first message.
fn choose_and_shake(
    configs: &ServerConfigs,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<(ServerConnection, Choice), Error> {
    let mut chosen = None;
    let choose = |hello: &ClientHello<'_>| Arc::clone(&chosen.insert(configs.choose(hello)).config);
    let server = shake_by(choose, client, name)?;
    Ok((server, chosen.expect("the configuration was chosen")))
}

/// Handshakes with the configuration that a function chooses by the client's first message.
fn shake_by(
    choose: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<ServerConnection, Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).unwrap();
    }
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut &hello[..]).unwrap();
    let accepted = acceptor.accept().map_err(|(error, _)| error)?.expect("the whole ClientHello was read");
    let config = choose(&accepted.client_hello());
    let mut server = accepted.into_connection(config).map_err(|(error, _)| error)?;
    converse(&mut server, &mut client)?;
    Ok(server)
}

fn converse(server: &mut ServerConnection, client: &mut ClientConnection) -> Result<(), Error> {
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            if let Err(error) = server.process_new_packets() {
                let mut alert = Vec::new();
                server.write_tls(&mut alert).unwrap();
                client.read_tls(&mut &alert[..]).unwrap();
                assert!(client.process_new_packets().is_err());
                return Err(error);
            }
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(())
}

/// A certificate authority and a folder for what it issues.
struct Pki {
    folder: TempDir,
    issued: Cell<u32>,
    ca: CertifiedIssuer<'static, KeyPair>,
}

struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Pki {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), issued: Cell::new(0), ca: authority("test CA") }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn cafile(&self) -> PathBuf {
        self.write("ca.pem", self.ca.pem())
    }

    /// Issues a server's certificate, in files of its own.
    fn server(&self, names: &[&str], algorithm: &'static SignatureAlgorithm) -> CertificateFiles {
        self.server_from(names, algorithm, |_| {})
    }

    fn server_from(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.issued.set(self.issued.get() + 1);
        let number = self.issued.get();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        CertificateFiles {
            certfile: self.write(&format!("{number}.pem"), certificate.pem()),
            keyfile: self.write(&format!("{number}-key.pem"), key.serialize_pem()),
            keyfile_password: None,
        }
    }

    /// Returns settings with the certificates, the default one first.
    fn settings(mut files: Vec<CertificateFiles>) -> Settings {
        let first = files.remove(0);
        Settings { more_certificates: files, ..Settings::new(first.certfile, first.keyfile) }
    }

    /// Returns settings with one certificate for localhost.
    fn localhost(&self) -> Settings {
        Self::settings(vec![self.server(&["localhost"], &rcgen::PKCS_ECDSA_P256_SHA256)])
    }

    fn client(&self, serial: u64) -> ClientIdentity {
        issue_client(&self.ca, serial, |params| {
            params.distinguished_name.push(DnType::CommonName, "client");
        })
    }

    fn trusting_client(&self, identity: Option<&ClientIdentity>) -> Arc<ClientConfig> {
        Arc::new(client_with(provider(), &self.cafile(), &[&TLS13], &[], identity))
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn issue_client(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    serial: u64,
    change: impl FnOnce(&mut CertificateParams),
) -> ClientIdentity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let certificate = params.signed_by(&key, issuer).unwrap();
    ClientIdentity {
        chain: vec![certificate.der().clone()],
        key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    }
}

/// Returns a list of the issuer with these serial numbers, which expires after `days` days, or did before if
/// negative.
fn crl(issuer: &CertifiedIssuer<'static, KeyPair>, days: i64, revoked: &[u64]) -> String {
    let now = SystemTime::now();
    let this_update = (now - 30 * crate::development::DAY).into();
    let revoked = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: this_update,
        reason_code: None,
        invalidity_date: None,
    });
    let span = crate::development::DAY * u32::try_from(days.abs()).unwrap();
    let params = CertificateRevocationListParams {
        this_update,
        next_update: if days < 0 { now - span } else { now + span }.into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().pem().unwrap()
}

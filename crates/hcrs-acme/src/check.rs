//! A check of what an authority will look for, before it is asked: that names lead here, that ports answer, that
//! challenges are reachable and that the storage can be written. No order is made.

use std::io;
use std::net::{IpAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use hcrs_tls::challenge_client_config;
use rustls::ClientConnection;
use rustls_pki_types::ServerName;

use crate::CHALLENGE_PATH;
use crate::client::Client;
use crate::domain::Domain;
use crate::http::{self, Request, Target};
use crate::jose;
use crate::settings::{AcmeSettings, ChallengeKind, ChallengePolicy};
use crate::storage::{self, Storage};

/// How long a port may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most addresses of a name that are looked at.
const ADDRESSES: usize = 8;

/// The ports that an authority connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// That of http-01.
    pub http: u16,
    /// That of tls-alpn-01.
    pub https: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { http: 80, https: 443 }
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is as it has to be.
    pub is_good: bool,
    /// In words.
    pub words: String,
}

impl Finding {
    fn good(words: impl Into<String>) -> Self {
        Self { is_good: true, words: words.into() }
    }

    fn bad(words: impl Into<String>) -> Self {
        Self { is_good: false, words: words.into() }
    }
}

/// Checks everything that can be seen from here. The server has to run.
pub fn check(settings: &AcmeSettings, ports: Ports) -> Vec<Finding> {
    let storage = Storage::new(&settings.storage, &settings.directory);
    let folder = settings.storage.display();
    let mut findings = Vec::new();
    let is_writable = match storage.prepare() {
        Ok(()) => {
            findings.push(Finding::good(format!("the storage {folder} can be written")));
            true
        }
        Err(error) => {
            findings.push(Finding::bad(format!("the storage {folder} cannot be written: {error}")));
            false
        }
    };
    for domain in &settings.domains {
        match addresses(domain) {
            Ok(addresses) => {
                for address in addresses {
                    let place = Place { domain, address, ports };
                    findings.extend(place.check(settings, is_writable.then_some(&storage)));
                }
            }
            Err(why) => findings.push(Finding::bad(why)),
        }
    }
    findings.push(authority(settings));
    findings
}

fn addresses(domain: &Domain) -> Result<Vec<IpAddr>, String> {
    let found = (domain.as_str(), 0).to_socket_addrs();
    let found = found.map_err(|error| format!("{domain} has no address in DNS: {error}"))?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    addresses.truncate(ADDRESSES);
    if addresses.is_empty() { Err(format!("{domain} has no address in DNS")) } else { Ok(addresses) }
}

fn authority(settings: &AcmeSettings) -> Finding {
    let url = settings.directory.as_str();
    let client = match Client::connect(settings) {
        Ok(client) => client,
        Err(failure) => return Finding::bad(failure.words),
    };
    let profiles = client.directory.meta.and_then(|meta| meta.profiles);
    let has = |profile: &str| profiles.as_ref().is_some_and(|profiles| profiles.contains_key(profile));
    match &settings.profile {
        Some(profile) if !has(profile) => {
            let known: Vec<_> = profiles.iter().flatten().map(|(name, _)| name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Finding::bad(format!("{url} has no profile {profile:?}; it has {known}"))
        }
        _ => Finding::good(format!("the authority at {url} answers")),
    }
}

/// A name at one of its addresses.
struct Place<'a> {
    domain: &'a Domain,
    address: IpAddr,
    ports: Ports,
}

impl Place<'_> {
    fn check(&self, settings: &AcmeSettings, storage: Option<&Storage>) -> Vec<Finding> {
        let mut findings = Vec::new();
        if settings.challenge != ChallengePolicy::Only(ChallengeKind::TlsAlpn01) {
            findings.push(match storage {
                Some(storage) => self.http(storage),
                None => self.port(self.ports.http),
            });
        }
        if settings.challenge != ChallengePolicy::Only(ChallengeKind::Http01) {
            findings.push(match storage {
                Some(storage) => self.handshake(storage),
                None => self.port(self.ports.https),
            });
        }
        findings
    }

    /// Asks for the answer to a challenge as an authority does.
    fn http(&self, storage: &Storage) -> Finding {
        let Self { domain, address, ports } = self;
        let place = format!("{domain} at {address} port {}", ports.http);
        let token = format!("hcrs-check-{}-{}", std::process::id(), jose::encode(domain.as_str().as_bytes()));
        let token: String = token.chars().take(64).collect();
        let answer = format!("{token}.check");
        if let Err(error) = storage.store_answer(&token, &answer) {
            return Finding::bad(error.to_string());
        }
        let path = format!("{CHALLENGE_PATH}{token}");
        let target = Target::cleartext(domain.as_str(), &address.to_string(), ports.http, path);
        let response = http::send(Request { method: "GET", target: &target, body: None }, None);
        storage.remove_answer(&token);
        match response {
            Ok(response) if response.status == 200 && response.body == answer.as_bytes() => {
                Finding::good(format!("{place} answers challenges from this storage"))
            }
            Ok(response) => Finding::bad(format!(
                "{place} answers, but with status {} and not from this storage: another server is there, or a proxy \
                 does not pass {CHALLENGE_PATH} on",
                response.status
            )),
            Err(error) => Finding::bad(format!("{place} does not answer: {error}")),
        }
    }

    /// Shakes hands as an authority does.
    fn handshake(&self, storage: &Storage) -> Finding {
        let Self { domain, address, ports } = self;
        let place = format!("{domain} at {address} port {}", ports.https);
        // A challenge that an authority is about to look at is not disturbed.
        let waiting = storage.digest(domain);
        let digest = waiting.unwrap_or_else(|| jose::digest_of(storage::process_name().as_bytes()));
        if waiting.is_none()
            && let Err(error) = storage.store_digest(domain, &digest)
        {
            return Finding::bad(error.to_string());
        }
        let found = self.challenge_certificate();
        if waiting.is_none() {
            storage.remove_digest(domain, &digest);
        }
        match found {
            Ok(certificate) if certificate.windows(digest.len()).any(|part| part == digest) => {
                Finding::good(format!("{place} answers handshakes of challenges from this storage"))
            }
            Ok(_) => Finding::bad(format!(
                "{place} answers the handshake of a challenge, but not from this storage: another server is there"
            )),
            Err(error) => Finding::bad(format!(
                "{place} does not answer the handshake of a challenge: {error}; another server may be there, or a proxy \
                 that terminates TLS"
            )),
        }
    }

    /// Returns the certificate that is sent for a challenge.
    fn challenge_certificate(&self) -> io::Result<Vec<u8>> {
        let until = Instant::now() + HANDSHAKE_TIMEOUT;
        let mut socket =
            TcpStream::connect_timeout(&(self.address, self.ports.https).into(), CONNECT_TIMEOUT)?;
        socket.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
        let name = ServerName::try_from(self.domain.to_string()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(challenge_client_config(), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            while tls.wants_write() {
                tls.write_tls(&mut socket)?;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            if tls.read_tls(&mut socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
        while tls.wants_write() {
            tls.write_tls(&mut socket)?;
        }
        let sent = tls.peer_certificates().and_then(<[_]>::first);
        Ok(sent.map(|certificate| certificate.to_vec()).unwrap_or_default())
    }

    fn port(&self, port: u16) -> Finding {
        let Self { domain, address, .. } = self;
        match TcpStream::connect_timeout(&(*address, port).into(), CONNECT_TIMEOUT) {
            Ok(_) => Finding::good(format!("{domain} at {address} port {port} accepts connections")),
            Err(error) => Finding::bad(format!("{domain} at {address} port {port} does not answer: {error}")),
        }
    }
}

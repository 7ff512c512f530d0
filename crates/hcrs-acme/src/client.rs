//! The requests to an authority, each signed and with a nonce (RFC 8555 section 6).

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hcrs_tls::{Authorities, client_config};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::{self, Request, Response, Target, parse_url};
use crate::jose::{AccountKey, KeyError, Signer};
use crate::messages::{Directory, Problem, one_line};
use crate::schedule::Moment;
use crate::settings::AcmeSettings;

/// How often a request is sent when the authority refuses its nonces.
const NONCES: usize = 8;

/// The reason why there is no certificate, for the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The reason in words.
    pub(crate) words: String,
    /// The status of the authority's response, if it has refused.
    pub(crate) status: Option<u16>,
    /// The authority's name for the problem, if it has one.
    pub(crate) problem: Option<String>,
    /// The wait that the authority asks for, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// Whether the authority has decided, so that nothing is to be expected of the order any more.
    pub(crate) is_final: bool,
}

impl Failure {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), ..Self::default() }
    }

    /// Returns a failure after which nothing is to be expected of the order any more.
    pub(crate) fn last(words: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::new(words) }
    }

    /// Whether it is this problem of the authority.
    pub(crate) fn is(&self, problem: &str) -> bool {
        self.problem.as_deref() == Some(problem)
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Returns the time.
pub(crate) fn now() -> Moment {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A client of one authority.
pub(crate) struct Client {
    pub(crate) directory: Directory,
    tls: Arc<ClientConfig>,
    nonce: Option<String>,
}

/// A key with the account that it is for.
#[derive(Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) key: &'a AccountKey,
    pub(crate) signer: Signer<'a>,
}

impl Client {
    /// Asks an authority for its directory.
    pub(crate) fn connect(settings: &AcmeSettings) -> Result<Self, Failure> {
        let authorities = match &settings.directory_ca {
            Some(file) => Authorities::File(file),
            None => Authorities::System { setting: Some("acme_directory_ca") },
        };
        let tls =
            client_config(authorities, &[b"http/1.1"]).map_err(|error| Failure::new(error.to_string()))?;
        let response = get(settings.directory.as_str(), &tls)?;
        let directory = parse(&response)?;
        Ok(Self { directory, tls, nonce: None })
    }

    /// Reads something that everybody may read.
    pub(crate) fn get(&self, url: &str) -> Result<Response, Failure> {
        get(url, &self.tls)
    }

    /// Sends a signed request. Without a payload it only reads.
    pub(crate) fn post(
        &mut self,
        identity: Identity<'_>,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<Response, Failure> {
        let target = target(url)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let nonce = self.take_nonce()?;
            let body = identity.key.sign(identity.signer, &nonce, url, payload)?;
            let body = Some(("application/jose+json", body.as_bytes()));
            let response = self.send(Request { method: "POST", target: &target, body })?;
            match accepted(response) {
                Err(failure) if failure.is("badNonce") && tries < NONCES => {}
                outcome => return outcome,
            }
        }
    }

    /// Sends a signed request, and returns the message of the response.
    pub(crate) fn ask<T: DeserializeOwned>(
        &mut self,
        identity: Identity<'_>,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<T, Failure> {
        parse(&self.post(identity, url, payload)?)
    }

    fn take_nonce(&mut self) -> Result<String, Failure> {
        if let Some(nonce) = self.nonce.take() {
            return Ok(nonce);
        }
        let target = target(&self.directory.new_nonce)?;
        accepted(self.send(Request { method: "HEAD", target: &target, body: None })?)?;
        self.nonce.take().ok_or_else(|| Failure::new("the authority sends no nonce"))
    }

    /// Sends a request, and keeps the nonce of its response.
    fn send(&mut self, request: Request<'_>) -> Result<Response, Failure> {
        let response = send(request, &self.tls)?;
        let is_nonce =
            |nonce: &&str| nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        self.nonce = response.field("replay-nonce").filter(is_nonce).map(str::to_owned);
        Ok(response)
    }
}

fn target(url: &str) -> Result<Target, Failure> {
    parse_url(url).map_err(|error| Failure::new(format!("the authority names {:?}: {error}", one_line(url))))
}

fn send(request: Request<'_>, tls: &Arc<ClientConfig>) -> Result<Response, Failure> {
    let host = request.target.host();
    http::send(request, Some(tls))
        .map_err(|error| Failure::new(format!("the authority at {host} cannot be asked: {error}")))
}

fn get(url: &str, tls: &Arc<ClientConfig>) -> Result<Response, Failure> {
    let target = target(url)?;
    accepted(send(Request { method: "GET", target: &target, body: None }, tls)?)
}

/// Returns the response if the authority has done what it was asked for.
fn accepted(response: Response) -> Result<Response, Failure> {
    if matches!(response.status, 200..=299) {
        return Ok(response);
    }
    let problem: Option<Problem> = serde_json::from_slice(&response.body).ok();
    let words = problem.as_ref().map_or_else(|| "without a reason".to_owned(), Problem::words);
    Err(Failure {
        words: format!("the authority refuses with status {}: {words}", response.status),
        status: Some(response.status),
        retry_after: response.retry_after(now()),
        is_final: matches!(response.status, 400..=499) && !is_undecided(response.status, problem.as_ref()),
        problem: problem.map(|problem| problem.name().to_owned()),
    })
}

/// Whether an authority that refuses has said nothing about the order.
fn is_undecided(status: u16, problem: Option<&Problem>) -> bool {
    let names = ["badNonce", "orderNotReady", "rateLimited"];
    status == 429 || problem.is_some_and(|problem| names.contains(&problem.name()))
}

/// Returns the message of a response.
pub(crate) fn parse<T: DeserializeOwned>(response: &Response) -> Result<T, Failure> {
    serde_json::from_slice(&response.body)
        .map_err(|error| Failure::new(format!("a response of the authority cannot be read: {error}")))
}

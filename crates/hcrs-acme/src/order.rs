//! The way from an order to a certificate (RFC 8555 section 7.4). Whatever is made on the way is stored before the
//! authority is asked to use it, so that a server that is killed continues with the same account.

use std::thread;
use std::time::{Duration, Instant};

use hcrs_tls::TlsConfig;
use serde_json::{Value, json};

use crate::client::{Client, Failure, Identity, now};
use crate::domain::Domain;
use crate::jose::{self, AccountKey, Signer};
use crate::keys::{CertificateFacts, KeyAndRequest};
use crate::lock::Lock;
use crate::messages::{Authorization, Order, RenewalInfo, State, is_token};
use crate::schedule::{Moment, Window};
use crate::settings::{AcmeSettings, ChallengeKind};
use crate::storage::{AccountRecord, Storage};

/// How long the authority may take to look at challenges, or to make the certificate.
const PATIENCE: Duration = Duration::from_secs(90);
/// The time between two looks at what the authority does: at first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));

/// The parts that an order needs.
pub(crate) struct Desk<'a> {
    pub(crate) settings: &'a AcmeSettings,
    pub(crate) storage: &'a Storage,
    pub(crate) tls: &'a TlsConfig,
    pub(crate) lock: &'a Lock,
}

/// A certificate that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) domain: &'a Domain,
    pub(crate) challenge: ChallengeKind,
    /// The certificate that it replaces.
    pub(crate) replaces: Option<&'a str>,
}

/// An account at an authority.
struct Account {
    key: AccountKey,
    url: String,
}

impl Account {
    fn identity(&self) -> Identity<'_> {
        Identity { key: &self.key, signer: Signer::Account(&self.url) }
    }
}

impl Desk<'_> {
    /// Gets a certificate and stores it.
    pub(crate) fn obtain(&self, wish: Wish<'_>) -> Result<(), Failure> {
        self.storage.prepare()?;
        let mut client = Client::connect(self.settings)?;
        let account = self.account(&mut client)?;
        match self.obtain_by(&mut client, &account, wish) {
            Err(failure) if failure.is("accountDoesNotExist") => {
                // The authority has forgotten it: it gets the same key again.
                let record = self.storage.account()?;
                if let Some(record) = record {
                    self.storage.store_account(&AccountRecord { url: None, ..record })?;
                }
                let account = self.account(&mut client)?;
                self.obtain_by(&mut client, &account, wish)
            }
            outcome => outcome,
        }
    }

    fn obtain_by(&self, client: &mut Client, account: &Account, wish: Wish<'_>) -> Result<(), Failure> {
        let (url, order) = self.order(client, account, wish)?;
        let order = if order.status == State::Pending {
            let mut answers = Answers { desk: self, tokens: Vec::new(), names: Vec::new() };
            for authorization in &order.authorizations {
                self.check_lock()?;
                answers.prove(client, account, authorization, wish)?;
            }
            wait(client, account, &url, |order: &Order| order.status != State::Pending)?
        } else {
            order
        };
        if let Some(error) = &order.error {
            return Err(Failure {
                problem: Some(error.name().to_owned()),
                ..Failure::new(refused(&error.words()))
            });
        }
        self.check_lock()?;
        let made = KeyAndRequest::new(wish.domain, self.settings.key_type)
            .map_err(|error| Failure::new(format!("no key can be made: {error}")))?;
        let payload = json!({ "csr": jose::encode(&made.request) });
        let mut order: Order = client.ask(account.identity(), &order.finalize, Some(&payload))?;
        if order.status != State::Valid {
            order = wait(client, account, &url, |order: &Order| {
                !matches!(order.status, State::Processing | State::Ready)
            })?;
        }
        let Some(certificate) = order.certificate.filter(|_| order.status == State::Valid) else {
            let why =
                order.error.map_or_else(|| "the order has become invalid".to_owned(), |error| error.words());
            return Err(Failure::new(refused(&why)));
        };
        let response = client.post(account.identity(), &certificate, None)?;
        let chain = String::from_utf8(response.body)
            .map_err(|_| Failure::new("the authority's certificate is no text"))?;
        self.store(wish.domain, &made.key, &chain)
    }

    /// Stores a certificate if it is for the name.
    fn store(&self, domain: &Domain, key: &str, chain: &str) -> Result<(), Failure> {
        let Some(facts) = CertificateFacts::of_pem(chain).filter(|facts| facts.is_for(domain)) else {
            return Err(Failure::new(format!("the authority's certificate is not for {domain}")));
        };
        if facts.validity.end <= now() {
            return Err(Failure::new("the authority's certificate has already expired; is the clock right?"));
        }
        hcrs_tls::check_pair(key, chain)
            .map_err(|error| Failure::new(format!("the authority's certificate cannot be used: {error}")))?;
        self.check_lock()?;
        Ok(self.storage.store(domain, key, chain, &self.settings.directory)?)
    }

    /// Returns the account, which is registered if it is not.
    fn account(&self, client: &mut Client) -> Result<Account, Failure> {
        let mut record = if let Some(record) = self.storage.account()? {
            record
        } else {
            // Stored before it is registered: registered again with the same key it is the same account.
            let key = jose::encode(&AccountKey::generate()?);
            let record = AccountRecord { key, url: None, email: None };
            self.storage.store_account(&record)?;
            record
        };
        let pkcs8 = jose::decode(&record.key).unwrap_or_default();
        let key = AccountKey::from_pkcs8(&pkcs8)?;
        let email = self.settings.email.clone();
        let contact: Vec<String> = email.iter().map(|email| format!("mailto:{email}")).collect();
        let url = match record.url.clone() {
            Some(url) => {
                if record.email != email {
                    let identity = Identity { key: &key, signer: Signer::Account(&url) };
                    client.post(identity, &url, Some(&json!({ "contact": contact })))?;
                }
                url
            }
            None => self.register(client, &key, &contact)?,
        };
        if record.url.as_ref() != Some(&url) || record.email != email {
            record = AccountRecord { url: Some(url.clone()), email, ..record };
            self.storage.store_account(&record)?;
        }
        Ok(Account { key, url })
    }

    fn register(&self, client: &mut Client, key: &AccountKey, contact: &[String]) -> Result<String, Failure> {
        let url = client.directory.new_account.clone();
        let mut payload = json!({ "termsOfServiceAgreed": true });
        if !contact.is_empty() {
            payload["contact"] = contact.into();
        }
        let needs_external = client
            .directory
            .meta
            .as_ref()
            .and_then(|meta| meta.external_account_required)
            .unwrap_or_default();
        match &self.settings.external_account {
            Some(external) => payload["externalAccountBinding"] = key.binding(external, &url)?,
            None if needs_external => {
                return Err(Failure::new(
                    "the authority wants an account of its own: set eab_kid and eab_hmac_key of [hcrs.acme]",
                ));
            }
            None => {}
        }
        let response = client.post(Identity { key, signer: Signer::Key }, &url, Some(&payload))?;
        let account = response.field("location");
        account.map(str::to_owned).ok_or_else(|| Failure::new("the authority gives the account no URL"))
    }

    /// Orders a certificate. Returns the order's URL, and its state.
    fn order(
        &self,
        client: &mut Client,
        account: &Account,
        wish: Wish<'_>,
    ) -> Result<(String, Order), Failure> {
        let mut payload = json!({ "identifiers": [{ "type": "dns", "value": wish.domain.as_str() }] });
        if let Some(profile) = &self.settings.profile {
            payload["profile"] = profile.as_str().into();
        }
        let knows_renewals = client.directory.renewal_info.is_some();
        if let Some(replaces) = wish.replaces.filter(|_| knows_renewals) {
            payload["replaces"] = replaces.into();
        }
        let url = client.directory.new_order.clone();
        let response = match client.post(account.identity(), &url, Some(&payload)) {
            Err(failure) if is_about_replacement(&failure, &payload) => {
                // The certificate was replaced by another order, or is one of another account.
                if let Value::Object(members) = &mut payload {
                    members.remove("replaces");
                }
                client.post(account.identity(), &url, Some(&payload))?
            }
            outcome => outcome?,
        };
        let order = response.field("location").map(str::to_owned);
        let order = order.ok_or_else(|| Failure::new("the authority gives the order no URL"))?;
        Ok((order, crate::client::parse(&response)?))
    }

    fn check_lock(&self) -> Result<(), Failure> {
        if self.lock.is_held() {
            return Ok(());
        }
        Err(Failure::new("the lock of the storage was lost to another server"))
    }
}

/// Whether an order was refused because of what it replaces. Let's Encrypt says `unauthorized` of a certificate of
/// another account, and `malformed` of one that it does not know.
fn is_about_replacement(failure: &Failure, payload: &Value) -> bool {
    !payload["replaces"].is_null()
        && (matches!(failure.status, Some(404 | 409))
            || ["alreadyReplaced", "malformed", "unauthorized"].iter().any(|problem| failure.is(problem)))
}

fn refused(why: &str) -> String {
    format!("the authority issues no certificate: {why}")
}

/// The answers to challenges, until the authority has looked at them.
struct Answers<'a> {
    desk: &'a Desk<'a>,
    tokens: Vec<String>,
    names: Vec<Domain>,
}

impl Answers<'_> {
    /// Proves that a name leads here.
    fn prove(
        &mut self,
        client: &mut Client,
        account: &Account,
        url: &str,
        wish: Wish<'_>,
    ) -> Result<(), Failure> {
        let authorization: Authorization = client.ask(account.identity(), url, None)?;
        match authorization.status {
            State::Valid => return Ok(()),
            State::Pending => {}
            _ => return Err(Failure::new(refused("the authorization has become invalid"))),
        }
        let kind = wish.challenge;
        let Some((challenge, token)) = authorization.challenge(kind) else {
            return Err(Failure::new(format!(
                "the authority does not offer the challenge {}",
                kind.as_str()
            )));
        };
        debug_assert!(is_token(token.as_bytes()), "it is checked with the challenge");
        let answer = account.key.key_authorization(token);
        match kind {
            ChallengeKind::Http01 => {
                self.tokens.push(token.to_owned());
                self.desk.storage.store_answer(token, &answer)?;
            }
            ChallengeKind::TlsAlpn01 => {
                self.names.push(wish.domain.clone());
                let digest = jose::digest_of(answer.as_bytes());
                self.desk
                    .tls
                    .present_challenge(wish.domain.as_str(), &digest)
                    .map_err(|error| Failure::new(error.to_string()))?;
            }
        }
        client.post(account.identity(), &challenge.url, Some(&json!({})))?;
        let done = wait(client, account, url, |authorization: &Authorization| {
            !matches!(authorization.status, State::Pending | State::Processing)
        })?;
        if done.status == State::Valid {
            return Ok(());
        }
        let (words, problem) = match done.error() {
            Some(error) => (error.words(), Some(error.name().to_owned())),
            None => ("no reason".to_owned(), None),
        };
        let words = format!("the challenge {} for {} has failed: {words}", kind.as_str(), wish.domain);
        Err(Failure { problem, ..Failure::new(words) })
    }
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            self.desk.storage.remove_answer(token);
        }
        for name in &self.names {
            self.desk.tls.withdraw_challenge(name.as_str());
        }
    }
}

/// Looks at something until it is done.
fn wait<T: serde::de::DeserializeOwned>(
    client: &mut Client,
    account: &Account,
    url: &str,
    is_done: impl Fn(&T) -> bool,
) -> Result<T, Failure> {
    let until = Instant::now() + PATIENCE;
    let (mut pause, most) = LOOK;
    loop {
        let response = client.post(account.identity(), url, None)?;
        let found: T = crate::client::parse(&response)?;
        if is_done(&found) {
            return Ok(found);
        }
        let asked = response.retry_after(now()).map(Duration::from_secs);
        let wait = asked.unwrap_or(pause).clamp(LOOK.0, most);
        if Instant::now() + wait > until {
            return Err(Failure::new("the authority has not finished in time"));
        }
        thread::sleep(wait);
        pause = (pause * 2).min(most);
    }
}

/// The answer of an authority about when to renew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suggested {
    pub(crate) window: Option<Window>,
    /// The wait until it is asked again, in seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) explanation: Option<String>,
}

/// Asks an authority when to renew a certificate (RFC 9773).
pub(crate) fn suggestion(settings: &AcmeSettings, id: &str) -> Result<Suggested, Failure> {
    let client = Client::connect(settings)?;
    let Some(base) = &client.directory.renewal_info else {
        return Ok(Suggested { window: None, retry_after: None, explanation: None });
    };
    let response = client.get(&format!("{}/{id}", base.trim_end_matches('/')))?;
    let info: RenewalInfo = crate::client::parse(&response)?;
    let moment = |text: &str| -> Option<Moment> {
        let at: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(at.as_second()).ok()
    };
    let window = info.suggested_window;
    Ok(Suggested {
        window: moment(&window.start).zip(moment(&window.end)).map(|(start, end)| Window { start, end }),
        retry_after: response.retry_after(now()),
        explanation: info.explanation_url,
    })
}

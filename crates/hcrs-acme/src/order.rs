//! The way from an order to a certificate (RFC 8555 section 7.4). Whatever is made on the way is stored before the
//! authority is asked to use it, so that a server that is killed continues with the same account.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Failure, Identity, now};
use crate::domain::Domain;
use crate::jose::{self, AccountKey, Signer};
use crate::keys::{self, CertificateFacts};
use crate::lock::Lock;
use crate::messages::{Authorization, Order, Problem, RenewalInfo, State, is_token};
use crate::schedule::{DAY, HOUR, Moment, Window};
use crate::settings::{AcmeSettings, ChallengeKind};
use crate::storage::{AccountRecord, OpenOrder, Storage};

/// How long the authority may take to look at challenges, or to make the certificate.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long an order is continued with, in seconds: one that is still not over is given up.
const ORDER_LIFE: u64 = DAY;
/// The time between two looks at what the authority does, unless it says when: at first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));

/// The parts that an order needs.
pub(crate) struct Desk<'a> {
    pub(crate) settings: &'a AcmeSettings,
    pub(crate) storage: &'a Storage,
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

/// An order that is not over, and its state.
struct Ordered {
    open: OpenOrder,
    state: Order,
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
        let ordered = match self.open_order(client, account, wish.domain)? {
            Some(found) => found,
            None => self.order(client, account, wish)?,
        };
        let outcome = self.fulfil(client, account, wish, ordered);
        if outcome.as_ref().err().is_none_or(|failure| failure.is_final) {
            self.storage.remove_order(wish.domain);
        }
        outcome
    }

    /// Returns the order that a server before has left, with its state, if it may still become a certificate.
    fn open_order(
        &self,
        client: &mut Client,
        account: &Account,
        domain: &Domain,
    ) -> Result<Option<Ordered>, Failure> {
        let Some(open) = self.storage.open_order(domain) else { return Ok(None) };
        let is_fresh = now().checked_sub(open.made).is_some_and(|age| age < ORDER_LIFE);
        // A server that was killed between the last two steps has stored the certificate and left the order.
        let is_over = self.storage.load(domain).is_some_and(|stored| stored.pem.contains(&open.key));
        if is_fresh
            && !is_over
            && (open.key_type, &open.profile) == (self.settings.key_type, &self.settings.profile)
        {
            match client.ask::<Order>(account.identity(), &open.url, None) {
                Ok(state) if state.status != State::Invalid => {
                    tracing::info!("Continuing with the order for {domain} that was not over");
                    return Ok(Some(Ordered { open, state }));
                }
                Err(failure) if !failure.is_final => return Err(failure),
                Ok(_) | Err(_) => {}
            }
        }
        self.storage.remove_order(domain);
        Ok(None)
    }

    /// Does what is left to do for an order, and stores the certificate.
    fn fulfil(
        &self,
        client: &mut Client,
        account: &Account,
        wish: Wish<'_>,
        ordered: Ordered,
    ) -> Result<(), Failure> {
        let Ordered { open, state: mut order } = ordered;
        if order.status == State::Pending {
            let mut answers = Answers { desk: self, tokens: Vec::new(), digests: Vec::new() };
            for authorization in &order.authorizations {
                self.check_lock()?;
                answers.prove(client, account, authorization, wish)?;
            }
            order = wait(client, account, &open.url, |order: &Order| order.status != State::Pending)?;
        }
        if order.status == State::Ready {
            self.check_lock()?;
            let request = keys::request(wish.domain, &open.key).map_err(|error| no_key(&error))?;
            let payload = json!({ "csr": jose::encode(&request) });
            order = client.ask(account.identity(), &order.finalize, Some(&payload))?;
        }
        if matches!(order.status, State::Processing | State::Ready) {
            order = wait(client, account, &open.url, |order: &Order| {
                !matches!(order.status, State::Processing | State::Ready)
            })?;
        }
        let Some(certificate) = order.certificate.filter(|_| order.status == State::Valid) else {
            let why = order.error.as_ref().map_or("the order has become invalid".to_owned(), Problem::words);
            let problem = order.error.map(|error| error.name().to_owned());
            return Err(Failure { problem, ..refused(&why) });
        };
        let response = client.post(account.identity(), &certificate, None)?;
        let chain = String::from_utf8(response.body)
            .map_err(|_| Failure::last("the authority's certificate is no text"))?;
        self.store(wish.domain, &open.key, &chain)
    }

    /// Stores a certificate if it is for the name.
    fn store(&self, domain: &Domain, key: &str, chain: &str) -> Result<(), Failure> {
        let Some(facts) = CertificateFacts::of_pem(chain).filter(|facts| facts.is_for(domain)) else {
            return Err(Failure::last(format!("the authority's certificate is not for {domain}")));
        };
        if facts.validity.end <= now() {
            return Err(Failure::last(
                "the authority's certificate has already expired; is the clock right?",
            ));
        }
        hcrs_tls::check_pair(key, chain)
            .map_err(|error| Failure::last(format!("the authority's certificate cannot be used: {error}")))?;
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

    /// Orders a certificate, and stores the order with a new key. Returns it with its state.
    fn order(&self, client: &mut Client, account: &Account, wish: Wish<'_>) -> Result<Ordered, Failure> {
        let key_type = self.settings.key_type;
        let key = keys::new_key(key_type).map_err(|error| no_key(&error))?;
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
        let url = response.field("location").map(str::to_owned);
        let url = url.ok_or_else(|| Failure::new("the authority gives the order no URL"))?;
        let open = OpenOrder { url, key, key_type, profile: self.settings.profile.clone(), made: now() };
        self.storage.store_order(wish.domain, &open)?;
        Ok(Ordered { open, state: crate::client::parse(&response)? })
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

fn refused(why: &str) -> Failure {
    Failure::last(format!("the authority issues no certificate: {why}"))
}

fn no_key(error: &rcgen::Error) -> Failure {
    Failure::last(format!("no key can be made: {error}"))
}

/// The answers to challenges, until the authority has looked at them.
struct Answers<'a> {
    desk: &'a Desk<'a>,
    tokens: Vec<String>,
    digests: Vec<(Domain, [u8; 32])>,
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
            _ => {
                let why = authorization.error().map(Problem::words);
                return Err(refused(why.as_deref().unwrap_or("the authorization has become invalid")));
            }
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
                let digest = jose::digest_of(answer.as_bytes());
                self.digests.push((wish.domain.clone(), digest));
                self.desk.storage.store_digest(wish.domain, &digest)?;
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
        Err(Failure { problem, ..Failure::last(words) })
    }
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            self.desk.storage.remove_answer(token);
        }
        for (domain, digest) in &self.digests {
            self.desk.storage.remove_digest(domain, digest);
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
        let left = until.saturating_duration_since(Instant::now());
        let retry_after = response.retry_after(now());
        let wait = match retry_after.map(Duration::from_secs) {
            None => pause,
            Some(asked) if asked <= left => asked.max(LOOK.0),
            // ZeroSSL asks for a day, and finishes within seconds.
            Some(_) => most,
        };
        if wait > left {
            // The order is continued with in the next try.
            let retry_after = retry_after.map(|asked| asked.min(HOUR));
            return Err(Failure { retry_after, ..Failure::new("the authority has not finished in time") });
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

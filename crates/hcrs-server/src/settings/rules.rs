//! Rules: what applies to requests besides the origin of their answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_forwarded::Network;
use hcrs_http::ResponseHead;
use hcrs_rules::{ErrorPages, FieldChanges, Limit, Rate};

use super::{FixedBody, LoadedFile, PasswordSource};
use crate::StartError;

/// The rules of requests. Each is `None` where it is not configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The largest body of a request to the app or to an upstream, in bytes.
    pub max_body_size: Option<u64>,
    /// Which responses are compressed, and how.
    pub compression: hcrs_coding::Settings,
    /// The networks of the clients that are served; others are refused.
    pub allow: Option<Vec<Network>>,
    /// The networks of clients that are refused.
    pub deny: Option<Vec<Network>>,
    /// The requests that a client may make.
    pub rate: Option<Rate>,
    /// The number of requests of a client that may come at once, in place of the rate's own.
    pub rate_burst: Option<u32>,
    /// The property by which clients are told apart for the rate; by default their address.
    pub rate_by: Option<RateBy>,
    /// The users that are served.
    pub auth: Option<PasswordSource>,
    /// The realm in the challenge for a name and a password.
    pub auth_realm: Option<String>,
    /// The changes of the fields of responses.
    pub fields: FieldChanges,
    /// The `strict-transport-security` of responses over HTTPS.
    pub strict_transport: Option<StrictTransport>,
    /// The time from a request's arrival to the end of its response; zero for no limit.
    pub request_timeout: Option<Duration>,
    /// Whether requests are in the access log.
    pub access_log: Option<bool>,
    /// The pages in place of the server's own errors.
    pub error_pages: Option<ErrorPages<FixedBody>>,
    /// The file during whose presence requests get 503.
    pub maintenance_file: Option<PathBuf>,
    /// The number of bytes of a response that are taken from a worker ahead of the client.
    pub buffer_response: Option<u64>,
    /// The number of the route that sets the rate, from 1; zero for the rate of all requests.
    pub rate_owner: u64,
}

/// The property by which clients are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RateBy {
    /// The address; of an IPv6 address its first 64 bits, because a client has that many.
    #[default]
    Address,
    /// The value of this field of the request; where it is missing, the address.
    Field(String),
}

/// The value of `strict-transport-security` (RFC 6797).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrictTransport {
    /// None is sent.
    Off,
    /// This one is sent.
    Sent(String),
}

impl StrictTransport {
    /// Returns the value that is sent by default: a year, without the subdomains, which may have other servers.
    pub fn year() -> Self {
        Self::Sent("max-age=31536000".to_owned())
    }
}

impl Rules {
    /// The realm by default.
    pub const REALM: &str = "restricted";

    /// Returns these rules, and those of `others` where these have none.
    #[must_use]
    pub fn before(&self, others: &Rules) -> Rules {
        let own = self.clone();
        let has_rate = own.rate.is_some() || own.rate_burst.is_some() || own.rate_by.is_some();
        Rules {
            max_body_size: own.max_body_size.or(others.max_body_size),
            compression: own.compression.before(&others.compression),
            allow: own.allow.or_else(|| others.allow.clone()),
            deny: own.deny.or_else(|| others.deny.clone()),
            rate: own.rate.or(others.rate),
            rate_burst: own.rate_burst.or(others.rate_burst),
            rate_by: own.rate_by.or_else(|| others.rate_by.clone()),
            auth: own.auth.or_else(|| others.auth.clone()),
            auth_realm: own.auth_realm.or_else(|| others.auth_realm.clone()),
            fields: own.fields.before(&others.fields),
            strict_transport: own.strict_transport.or_else(|| others.strict_transport.clone()),
            request_timeout: own.request_timeout.or(others.request_timeout),
            access_log: own.access_log.or(others.access_log),
            error_pages: own.error_pages.or_else(|| others.error_pages.clone()),
            maintenance_file: own.maintenance_file.or_else(|| others.maintenance_file.clone()),
            buffer_response: own.buffer_response.or(others.buffer_response),
            rate_owner: if has_rate { own.rate_owner } else { others.rate_owner },
        }
    }

    /// Returns these rules as those of the route with this number, from 1.
    pub(super) fn of_route(&self, number: usize) -> Rules {
        Rules { rate_owner: number as u64, ..self.clone() }
    }

    /// Whether a request may be refused before its origin is asked.
    pub(crate) fn may_refuse(&self) -> bool {
        self.allow.is_some()
            || self.deny.is_some()
            || self.rate.is_some()
            || self.auth.is_some()
            || self.maintenance_file.is_some()
    }

    /// Whether an exchange has to know the rules: they change its responses or its deadlines.
    pub(crate) fn may_change_exchange(&self) -> bool {
        !self.fields.is_empty()
            || self.strict_transport.is_some()
            || self.request_timeout.is_some()
            || self.access_log.is_some()
            || self.error_pages.is_some()
            || self.buffer_response.is_some()
            || self.may_refuse()
    }

    /// Returns the rules for an exchange, if it has to know them.
    pub(crate) fn for_exchange(self: &Arc<Self>) -> Option<Arc<Self>> {
        self.may_change_exchange().then(|| Arc::clone(self))
    }

    /// Returns the head of a response as the rules change it.
    pub(crate) fn changed_head(&self, head: ResponseHead, is_https: bool) -> ResponseHead {
        let strict_transport = match &self.strict_transport {
            Some(StrictTransport::Sent(value)) if is_https => {
                Some(("strict-transport-security", value.as_str()))
            }
            _ => None,
        };
        if self.fields.is_empty() && strict_transport.is_none() {
            return head;
        }
        self.fields.apply(&head, strict_transport.as_slice())
    }

    /// Returns when the response to a request that arrived at this instant has to be complete.
    pub(crate) fn deadline(&self, arrived: Instant) -> Option<Instant> {
        self.request_timeout.filter(|timeout| !timeout.is_zero()).map(|timeout| arrived + timeout)
    }

    /// Returns the limit of a client's requests.
    pub(crate) fn limit(&self) -> Option<Limit> {
        let rate = self.rate?;
        // Without a burst that the rate allows: the configuration has refused one that was given beside the rate.
        let rate = self.rate_burst.and_then(|burst| rate.with_burst(burst).ok()).unwrap_or(rate);
        Some(Limit { rule: self.rate_owner, rate })
    }

    /// Returns the key of the rule that names this file, whose path a line's number may follow.
    pub fn key_of_file(&self, path: &str) -> Option<&'static str> {
        let is_it = |file: &std::path::Path| path.starts_with(&*file.to_string_lossy());
        if self.auth.as_ref().is_some_and(|auth| is_it(auth.path())) {
            return Some("auth");
        }
        let mut pages = self.error_pages.iter().flat_map(ErrorPages::pages);
        let is_page = |page: &FixedBody| matches!(page, FixedBody::File(file) if is_it(file.path()));
        pages.any(is_page).then_some("error_pages")
    }

    /// Reads the files that are a part of the rules.
    pub(super) fn load(&mut self, files: &mut FileContents) -> Result<(), StartError> {
        for page in self.error_pages.iter_mut().flat_map(ErrorPages::pages_mut) {
            if let FixedBody::File(file) = page {
                files.load(file)?;
            }
        }
        match &mut self.auth {
            Some(auth) => files.load_passwords(auth),
            None => Ok(()),
        }
    }
}

/// The files that were read during one load of the configuration, so that each is read and kept once.
#[derive(Debug, Default)]
pub(super) struct FileContents {
    files: HashMap<PathBuf, LoadedFile>,
    passwords: HashMap<PathBuf, PasswordSource>,
}

impl FileContents {
    fn load(&mut self, file: &mut LoadedFile) -> Result<(), StartError> {
        if let Some(loaded) = self.files.get(file.path()) {
            file.clone_from(loaded);
            return Ok(());
        }
        file.load()?;
        self.files.insert(file.path().to_owned(), file.clone());
        Ok(())
    }

    fn load_passwords(&mut self, source: &mut PasswordSource) -> Result<(), StartError> {
        if let Some(loaded) = self.passwords.get(source.path()) {
            source.clone_from(loaded);
            return Ok(());
        }
        source.load()?;
        self.passwords.insert(source.path().to_owned(), source.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_a_route_stand_before_those_of_all_requests() {
        let (of_all, none) = (Rules { max_body_size: Some(1), ..Rules::default() }, Rules::default());
        let own = Rules { max_body_size: Some(0), ..Rules::default() };
        assert_eq!([own.before(&of_all), none.before(&of_all)], [own, of_all]);
    }

    #[test]
    fn a_route_has_buckets_of_its_own_where_it_sets_the_rate() {
        let rate = |text| Some(Rate::parse(text).unwrap());
        let of_all = Rules { rate: rate("10/s"), ..Rules::default() };
        let owner = |own: Rules| own.of_route(3).before(&of_all).limit().unwrap().rule;
        assert_eq!(owner(Rules::default()), 0);
        assert_eq!(owner(Rules { rate: rate("1/s"), ..Rules::default() }), 3);
        assert_eq!(owner(Rules { rate_by: Some(RateBy::Field("x-key".into())), ..Rules::default() }), 3);
        assert_eq!(Rules::default().limit(), None);
    }

    #[test]
    fn rules_that_are_not_configured_concern_no_exchange() {
        let none = Rules { max_body_size: Some(1), ..Rules::default() };
        assert!(!none.may_refuse() && !none.may_change_exchange());
        let timeout = Rules { request_timeout: Some(Duration::from_secs(1)), ..Rules::default() };
        assert!(!timeout.may_refuse() && timeout.may_change_exchange());
        let denied = Rules { deny: Some(Vec::new()), ..Rules::default() };
        assert!(denied.may_refuse() && denied.may_change_exchange());
    }
}

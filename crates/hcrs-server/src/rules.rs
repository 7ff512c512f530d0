//! Applies rules to requests before their origin is asked.

mod maintenance;
mod passwords;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use hcrs_http::{Fault, RequestHead, RequestView};
use hcrs_rules::{Credentials, Limiter, Verdict};

use crate::clock;
use crate::exchange::PiecedResponse;
use crate::settings::{RateBy, Rules};

use maintenance::MaintenanceFiles;
pub(crate) use passwords::Verification;
use passwords::{Passwords, VerifierQueue};

/// State of rules that all edge threads of a server share. What is not used takes no memory.
#[derive(Debug, Default)]
pub(crate) struct SharedRuleState {
    limiter: OnceLock<(Instant, Limiter)>,
    verifiers: VerifierQueue,
}

/// State of rules of an edge thread.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    shared: Arc<SharedRuleState>,
    maintenance: MaintenanceFiles,
    passwords: Passwords,
}

impl RuleState {
    /// Returns the state of a thread of the server that shares `shared`.
    pub(crate) fn new(shared: Arc<SharedRuleState>) -> Rc<Self> {
        Rc::new(Self { shared, ..Self::default() })
    }

    /// Has files looked at again: the settings have changed.
    pub(crate) fn renew(&self) {
        self.maintenance.renew();
    }
}

/// The outcome of the rules for a request.
#[derive(Debug)]
pub(crate) enum Judged {
    /// Its origin may be asked.
    Admitted,
    /// It is refused.
    Refused(Fault),
    /// It is answered without its origin.
    Answered(PiecedResponse),
    /// Its origin may be asked once its name and password were verified.
    Verifying(Verification),
}

/// Applies the rules to a request, which has `is_counted` if it has taken a token of its rate before.
pub(crate) fn judge(
    rules: &Rules,
    head: &RequestHead,
    state: &Rc<RuleState>,
    is_counted: &mut bool,
    now: Instant,
) -> Judged {
    let view = head.view();
    if !allows(rules, &view) {
        return Judged::Refused(Fault::Forbidden);
    }
    if let Some(file) = &rules.maintenance_file
        && let Some(page) = state.maintenance.page(file, now)
    {
        return Judged::Answered(maintenance::response(rules, file, page).into());
    }
    if !std::mem::replace(is_counted, true)
        && let Some(limit) = rules.limit()
    {
        let (epoch, limiter) = state.shared.limiter.get_or_init(|| (clock::now(), Limiter::default()));
        let client = client_key(rules.rate_by.as_ref().unwrap_or(&RateBy::Address), &view);
        let now = now.saturating_duration_since(*epoch);
        if let Verdict::Refused { retry_after } = limiter.take(limit, &client, now) {
            // In whole seconds, at least one, so that the client does not come too early.
            let seconds = retry_after.as_secs().saturating_add(1);
            return Judged::Refused(Fault::RateLimited(u32::try_from(seconds).unwrap_or(u32::MAX)));
        }
    }
    let Some(auth) = &rules.auth else { return Judged::Admitted };
    let credentials = view.fields().first(b"authorization").and_then(Credentials::parse);
    let (Some(users), Some(credentials)) = (auth.users(), credentials) else {
        return Judged::Refused(Fault::Unauthorized);
    };
    match passwords::verify(state, users, credentials, now) {
        passwords::Verifying::IsRight => Judged::Admitted,
        passwords::Verifying::Unavailable => Judged::Refused(Fault::AuthQueueFull),
        passwords::Verifying::Begun(verification) => Judged::Verifying(verification),
    }
}

/// Whether the client's address is allowed. A client without one is in no network.
fn allows(rules: &Rules, view: &RequestView<'_>) -> bool {
    if rules.allow.is_none() && rules.deny.is_none() {
        return true;
    }
    let address = address(view);
    let has = |networks: &[hcrs_forwarded::Network]| {
        address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
    };
    !rules.deny.as_deref().is_some_and(has) && rules.allow.as_deref().is_none_or(has)
}

/// Returns the client's address, as a trusted proxy names it if there is one.
fn address(view: &RequestView<'_>) -> Option<IpAddr> {
    Some(view.client()?.host.parse::<IpAddr>().ok()?.to_canonical())
}

/// Returns the bytes that tell the client from others: a byte for their kind, and the property.
fn client_key(by: &RateBy, view: &RequestView<'_>) -> Vec<u8> {
    if let RateBy::Field(name) = by
        && let Some(value) = view.fields().first(name.as_bytes())
    {
        return [&[1], value].concat();
    }
    match address(view) {
        Some(IpAddr::V4(address)) => [&[4], &address.octets()[..]].concat(),
        Some(IpAddr::V6(address)) => [&[6], &address.octets()[..8]].concat(),
        // All such clients together, as those of a proxy that is not trusted are.
        None => vec![0],
    }
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Address, Endpoints, RequestLine, Scheme, Version};

    use super::*;

    fn head(client: Option<&str>) -> RequestHead {
        let line = RequestLine {
            version: Version::Http2,
            scheme: Scheme::Https,
            method: b"GET",
            path: b"/",
            query: b"",
        };
        let client = client.map(|host| Address { host, port: 1 });
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::new(client, None));
        head.push_field(b"x-key", b"k");
        head
    }

    #[test]
    fn clients_are_allowed_by_the_network_of_their_address() {
        let networks = |texts: &[&str]| Some(texts.iter().map(|text| text.parse().unwrap()).collect());
        let is_allowed = |rules: &Rules, client| allows(rules, &head(client).view());
        let some = Rules {
            allow: networks(&["10.0.0.0/8", "2001:db8::/32"]),
            deny: networks(&["10.1.0.0/16"]),
            ..Rules::default()
        };
        for (client, expected) in [
            (Some("10.2.0.1"), true),
            (Some("10.1.0.1"), false),
            (Some("::ffff:10.2.0.1"), true),
            (Some("::ffff:10.1.0.1"), false),
            (Some("192.0.2.1"), false),
            (Some("2001:db8::1"), true),
            (Some("2001:db9::1"), false),
            (Some("unknown"), false),
            (None, false),
        ] {
            assert_eq!(is_allowed(&some, client), expected, "{client:?}");
        }
        let denied = Rules { deny: networks(&["0.0.0.0/0"]), ..Rules::default() };
        assert!(!is_allowed(&denied, Some("192.0.2.1")) && !is_allowed(&denied, Some("::ffff:192.0.2.1")));
        assert!(is_allowed(&denied, Some("2001:db8::1")) && is_allowed(&denied, None));
        let nobody = Rules { allow: networks(&[]), ..Rules::default() };
        assert!(!is_allowed(&nobody, Some("192.0.2.1")));
        assert!(is_allowed(&Rules::default(), None));
    }

    #[test]
    fn clients_are_told_apart_by_address_or_by_a_field() {
        let key = |by: RateBy, client| client_key(&by, &head(client).view());
        let by_address = |client| key(RateBy::Address, client);
        assert_eq!(by_address(Some("192.0.2.1")), by_address(Some("::ffff:192.0.2.1")));
        assert_ne!(by_address(Some("192.0.2.1")), by_address(Some("192.0.2.2")));
        assert_eq!(by_address(Some("2001:db8::1")), by_address(Some("2001:db8::ffff:0:0:1")));
        assert_ne!(by_address(Some("2001:db8::1")), by_address(Some("2001:db8:0:1::1")));
        assert_eq!(by_address(None), by_address(Some("unknown")));
        let by_field = |name: &str| key(RateBy::Field(name.to_owned()), Some("192.0.2.1"));
        assert_eq!(by_field("x-key"), b"\x01k");
        assert_eq!(by_field("x-none"), by_address(Some("192.0.2.1")));
    }
}

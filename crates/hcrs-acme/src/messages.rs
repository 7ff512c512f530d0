//! The messages of an authority (RFC 8555 section 7.1), as far as they are read.

use serde::Deserialize;

use crate::settings::ChallengeKind;

/// The URLs of an authority.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Directory {
    pub(crate) new_nonce: String,
    pub(crate) new_account: String,
    pub(crate) new_order: String,
    /// Where it suggests when to renew (RFC 9773).
    #[serde(default)]
    pub(crate) renewal_info: Option<String>,
    #[serde(default)]
    pub(crate) meta: Option<Meta>,
}

/// Facts about an authority.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    /// Whether accounts have to be bound to external ones.
    #[serde(default)]
    pub(crate) external_account_required: Option<bool>,
    /// The profiles of certificates, with a description each.
    #[serde(default)]
    pub(crate) profiles: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The state of an order, an authorization or a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Pending,
    Ready,
    Processing,
    Valid,
    #[serde(other)]
    Invalid,
}

/// An order of a certificate.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Order {
    pub(crate) status: State,
    #[serde(default)]
    pub(crate) authorizations: Vec<String>,
    pub(crate) finalize: String,
    #[serde(default)]
    pub(crate) certificate: Option<String>,
    #[serde(default)]
    pub(crate) error: Option<Problem>,
}

/// The authorization of the account for a name.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Authorization {
    pub(crate) status: State,
    #[serde(default)]
    pub(crate) challenges: Vec<Challenge>,
}

/// A way to prove that a name leads here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Challenge {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) token: Option<String>,
    #[serde(default)]
    pub(crate) error: Option<Problem>,
}

impl Authorization {
    /// Returns the challenge of this kind with its token, if there is one.
    pub(crate) fn challenge(&self, kind: ChallengeKind) -> Option<(&Challenge, &str)> {
        let challenge = self.challenges.iter().find(|challenge| challenge.kind == kind.as_str())?;
        Some((challenge, challenge.token.as_deref().filter(|token| is_token(token.as_bytes()))?))
    }

    /// Returns the reason why it is invalid, if one is given.
    pub(crate) fn error(&self) -> Option<&Problem> {
        self.challenges.iter().find_map(|challenge| challenge.error.as_ref())
    }
}

/// The shortest and the longest token that is answered, in bytes: 128 bits are required (RFC 8555 section 8.3).
const TOKEN_MIN: usize = 16;
const TOKEN_MAX: usize = 128;

/// Whether this may be the token of a challenge: letters of base64url, so that it is the name of a file.
pub(crate) fn is_token(token: &[u8]) -> bool {
    (TOKEN_MIN..=TOKEN_MAX).contains(&token.len())
        && token.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// An error of an authority (RFC 7807).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Problem {
    #[serde(rename = "type", default)]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) detail: Option<String>,
    #[serde(default)]
    pub(crate) subproblems: Option<Vec<Problem>>,
    /// Where the operator reads more, or agrees to new terms (RFC 8555 section 7.3.3).
    #[serde(default)]
    pub(crate) instance: Option<String>,
}

/// The longest text of a problem that is kept, in bytes.
const WORDS_MAX: usize = 600;

impl Problem {
    /// Returns the type without the prefix that all types of ACME share.
    pub(crate) fn name(&self) -> &str {
        let kind = self.kind.as_deref().unwrap_or_default();
        kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind)
    }

    /// Returns the problem in the authority's words, on one line of bounded length.
    pub(crate) fn words(&self) -> String {
        let mut words = self.detail.clone().unwrap_or_default();
        for problem in self.subproblems.iter().flatten() {
            if let Some(detail) = &problem.detail {
                words.push_str("; ");
                words.push_str(detail);
            }
        }
        match (words.is_empty(), self.name()) {
            (true, "") => words.push_str("no reason"),
            (true, name) => words.push_str(name),
            (false, "") => {}
            (false, name) => words = format!("{words} ({name})"),
        }
        if let Some(place) = self.instance.as_deref().filter(|place| place.starts_with("https://")) {
            words.push_str("; see ");
            words.push_str(place);
        }
        one_line(&words)
    }
}

/// Returns a text of others as one line of bounded length without control characters.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if line.len() > WORDS_MAX {
        let end = (0..=WORDS_MAX).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

/// The suggestion of when to renew (RFC 9773 section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RenewalInfo {
    pub(crate) suggested_window: SuggestedWindow,
    #[serde(rename = "explanationURL", default)]
    pub(crate) explanation_url: Option<String>,
}

/// The time in which to renew.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct SuggestedWindow {
    pub(crate) start: String,
    pub(crate) end: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> T {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn messages_may_lack_what_is_not_needed_and_have_more() {
        let directory: Directory = parse(
            r#"{"newNonce":"n","newAccount":"a","newOrder":"o","renewalInfo":null,"x9":"https://a",
                "meta":{"externalAccountRequired":null,"profiles":{"classic":"d"},"website":"w"}}"#,
        );
        assert!(directory.renewal_info.is_none() && directory.meta.unwrap().profiles.is_some());
        let order: Order = parse(r#"{"status":"brand-new","finalize":"f","certificate":null}"#);
        assert_eq!((order.status, order.authorizations.len()), (State::Invalid, 0));
        let authorization: Authorization = parse(
            r#"{"status":"pending","challenges":[{"type":"dns-persist-01","url":"u"},
                {"type":"http-01","url":"h","token":"0123456789abcdef_-"},
                {"type":"tls-alpn-01","url":"t","token":"../../etc/passwd"}]}"#,
        );
        assert_eq!(authorization.challenge(ChallengeKind::Http01).unwrap().1, "0123456789abcdef_-");
        assert!(authorization.challenge(ChallengeKind::TlsAlpn01).is_none(), "it is no name of a file");
    }

    #[test]
    fn tokens_are_names_of_files() {
        assert!(is_token(b"0123456789abcdef") && is_token(&[b'a'; 128]));
        for wrong in
            [&b""[..], b"short", &[b'a'; 129], b"0123456789abcde.", b"0123456789/bcdef", b"0123456789abcd\0f"]
        {
            assert!(!is_token(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn problems_are_told_on_one_line() {
        let problem: Problem = parse(
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many\ncertificates",
                "subproblems":[{"type":"x","detail":"of a.test"}],"status":429}"#,
        );
        assert_eq!(problem.words(), "too many certificates; of a.test (rateLimited)");
        assert_eq!(Problem::default().words(), "no reason");
        let terms: Problem = parse(
            r#"{"type":"urn:ietf:params:acme:error:userActionRequired","detail":"new terms",
                "instance":"https://ca.test/agree"}"#,
        );
        assert_eq!(terms.words(), "new terms (userActionRequired); see https://ca.test/agree");
        let long = Problem { detail: Some("é".repeat(1000)), ..Problem::default() };
        assert!(long.words().len() <= WORDS_MAX + 3);
    }
}

//! Names that certificates are asked for.

use std::fmt;
use std::net::IpAddr;

/// A host name in lower case, without a final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

/// The reason why a text is no name that a certificate can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// It is a wildcard.
    #[error(
        "a wildcard needs the challenge dns-01, which hcrs does not offer; name each host, or have the certificate \
         made by another client and set certfile and keyfile"
    )]
    Wildcard,
    /// It is an address.
    #[error("an address cannot be named, only a host name")]
    Address,
    /// It has letters outside of ASCII.
    #[error("write the name as DNS has it, in ASCII, beginning with xn--")]
    International,
    /// It has another form.
    #[error("expected a host name, as www.example.com, without port and path")]
    Form,
}

/// The longest name, and the longest part of one (RFC 1035 section 2.3.4), in bytes.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

impl Domain {
    /// Parses a host name.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.contains('*') {
            return Err(DomainError::Wildcard);
        }
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(DomainError::Address);
        }
        if !name.is_ascii() {
            return Err(DomainError::International);
        }
        let is_label = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= NAME_MAX && name.split('.').all(is_label) {
            Ok(Self(name))
        } else {
            Err(DomainError::Form)
        }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_one_form_and_are_names_of_files() {
        let parsed = |text: &str| Domain::parse(text).map(|domain| domain.0);
        assert_eq!(parsed("WWW.Example.COM.").unwrap(), "www.example.com");
        assert_eq!(parsed("xn--bcher-kva.example").unwrap(), "xn--bcher-kva.example");
        assert_eq!(parsed("localhost").unwrap(), "localhost");
        for (wrong, why) in [
            ("*.example.com", DomainError::Wildcard),
            ("192.0.2.1", DomainError::Address),
            ("[2001:db8::1]", DomainError::Address),
            ("bücher.example", DomainError::International),
            ("", DomainError::Form),
            (".", DomainError::Form),
            ("a..b", DomainError::Form),
            ("../etc", DomainError::Form),
            ("a/b", DomainError::Form),
            ("a.test:443", DomainError::Form),
            ("-a.test", DomainError::Form),
            ("a_b.test", DomainError::Form),
        ] {
            assert_eq!(parsed(wrong), Err(why), "{wrong}");
        }
        assert_eq!(parsed(&"a".repeat(64)), Err(DomainError::Form));
        assert!(parsed(&["a".repeat(63).as_str(); 3].join(".")).is_ok());
        assert_eq!(parsed(&["a".repeat(63).as_str(); 4].join(".")), Err(DomainError::Form));
    }
}

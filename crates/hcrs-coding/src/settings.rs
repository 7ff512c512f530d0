//! Settings of compression.

use std::sync::LazyLock;

use crate::coding::Coding;
use crate::types::{self, TypePattern};

/// Which responses are compressed, and how. Each setting is `None` where it is not configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The codings, in the order in which they are preferred. None by default.
    pub codings: Option<Vec<Coding>>,
    /// The content types: by default those of which most bodies become much shorter.
    pub types: Option<Vec<TypePattern>>,
    /// The size of a body, in bytes, below which it is left as it is: [`Settings::MIN_SIZE`] by default. Bodies of
    /// unknown length are compressed.
    pub min_size: Option<u64>,
    /// Whether responses that set cookies, and those to requests with `authorization`, are compressed. Not by default:
    /// their length would tell an attacker who can put text of their own into the body what else it holds (BREACH).
    pub secrets: Option<bool>,
}

impl Settings {
    /// The default of [`Settings::min_size`]: a shorter body fits into one packet with its head.
    pub const MIN_SIZE: u64 = 1 << 10;

    /// Returns the default of [`Settings::types`].
    pub fn default_types() -> &'static [TypePattern] {
        static TYPES: LazyLock<Vec<TypePattern>> = LazyLock::new(|| {
            let pattern = |text: &&str| text.parse().expect("invariant: the default types are patterns");
            types::DEFAULT.iter().map(pattern).collect()
        });
        &TYPES
    }

    /// Whether any response is compressed.
    pub fn is_on(&self) -> bool {
        !self.codings().is_empty()
    }

    /// Returns these settings, and those of `others` where these have none.
    #[must_use]
    pub fn before(&self, others: &Self) -> Self {
        let Self { codings, types, min_size, secrets } = self.clone();
        Self {
            codings: codings.or_else(|| others.codings.clone()),
            types: types.or_else(|| others.types.clone()),
            min_size: min_size.or(others.min_size),
            secrets: secrets.or(others.secrets),
        }
    }

    pub(crate) fn codings(&self) -> &[Coding] {
        self.codings.as_deref().unwrap_or_default()
    }

    /// Whether the value of `content-type` is one of the types.
    pub(crate) fn takes_type(&self, content_type: &[u8]) -> bool {
        let types: &[TypePattern] = self.types.as_deref().unwrap_or_else(|| Self::default_types());
        types.iter().any(|pattern| pattern.matches(content_type))
    }

    pub(crate) fn threshold(&self) -> u64 {
        self.min_size.unwrap_or(Self::MIN_SIZE)
    }

    /// Whether responses with secrets are compressed.
    pub(crate) fn takes_secrets(&self) -> bool {
        self.secrets.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stand_before_others_one_by_one() {
        let others = Settings {
            codings: Some(Coding::ALL.to_vec()),
            types: Some(vec!["text/*".parse().unwrap()]),
            min_size: Some(1),
            secrets: Some(true),
        };
        assert_eq!(Settings::default().before(&others), others);
        let own = Settings { codings: Some(Vec::new()), min_size: Some(2), ..Settings::default() };
        let merged = own.before(&others);
        assert_eq!((merged.min_size, merged.types == others.types), (Some(2), true));
        assert!(others.is_on() && !merged.is_on() && !Settings::default().is_on());
    }
}

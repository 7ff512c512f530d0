//! Content types that gain from compression.

use std::str::FromStr;

/// A pattern of content types, without parameters: `text/html`, `text/*`, `application/*+json` or `*/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypePattern {
    /// The type, in lower case; `None` for any.
    kind: Option<String>,
    subtype: Subtype,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subtype {
    Any,
    /// A subtype, in lower case.
    Exact(String),
    /// The end of a subtype, in lower case and with its plus.
    Suffix(String),
}

/// The text is no pattern of content types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a content type like \"text/html\", or a pattern like \"text/*\" or \"application/*+json\"")]
pub struct MalformedType;

/// The types of which most bodies become much shorter.
pub(crate) const DEFAULT: [&str; 16] = [
    "text/*",
    "application/json",
    "application/*+json",
    "application/x-ndjson",
    "application/jsonl",
    "application/javascript",
    "application/xml",
    "application/*+xml",
    "application/wasm",
    "application/x-protobuf",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "image/svg+xml",
    "image/x-icon",
    "image/bmp",
];

impl FromStr for TypePattern {
    type Err = MalformedType;

    fn from_str(text: &str) -> Result<Self, MalformedType> {
        let (kind, subtype) = text.split_once('/').ok_or(MalformedType)?;
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        let kind = match kind {
            "*" => None,
            kind if is_name(kind) => Some(kind.to_ascii_lowercase()),
            _ => return Err(MalformedType),
        };
        let subtype = match subtype.strip_prefix('*') {
            Some("") => Subtype::Any,
            Some(suffix) if suffix.len() > 1 && suffix.starts_with('+') && is_name(suffix) => {
                Subtype::Suffix(suffix.to_ascii_lowercase())
            }
            None if is_name(subtype) => Subtype::Exact(subtype.to_ascii_lowercase()),
            _ => return Err(MalformedType),
        };
        Ok(Self { kind, subtype })
    }
}

impl TypePattern {
    /// Whether the value of `content-type` is of this pattern.
    pub(crate) fn matches(&self, content_type: &[u8]) -> bool {
        let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let Some(slash) = essence.iter().position(|&byte| byte == b'/') else { return false };
        let (kind, subtype) = (&essence[..slash], &essence[slash + 1..]);
        let is_kind = self.kind.as_ref().is_none_or(|own| kind.eq_ignore_ascii_case(own.as_bytes()));
        is_kind
            && match &self.subtype {
                Subtype::Any => true,
                Subtype::Exact(own) => subtype.eq_ignore_ascii_case(own.as_bytes()),
                Subtype::Suffix(own) => subtype
                    .len()
                    .checked_sub(own.len())
                    .is_some_and(|at| subtype[at..].eq_ignore_ascii_case(own.as_bytes())),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_types_whatever_their_case_and_parameters() {
        for (pattern, content_type, expected) in [
            ("text/*", "text/html; charset=utf-8", true),
            ("text/*", "TEXT/Plain", true),
            ("text/html", "text/html;charset=utf-8", true),
            ("Text/HTML", "text/html", true),
            ("text/html", "text/html5", false),
            ("application/*+json", "application/problem+json", true),
            ("application/*+json", "application/json", false),
            ("application/*+json", "image/x+json", false),
            ("*/*", "image/png", true),
            ("*/*", "", false),
            ("text/*", "text", false),
            ("text/*", "textual/html", false),
        ] {
            let parsed: TypePattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(content_type.as_bytes()), expected, "{pattern} {content_type}");
        }
    }

    #[test]
    fn the_default_types_are_patterns_and_others_are_refused() {
        assert!(DEFAULT.iter().all(|text| text.parse::<TypePattern>().is_ok()));
        for text in
            ["", "text", "/", "text/", "/html", "*", "text/*html", "text/*+", "te xt/html", "text/html; q=1"]
        {
            assert_eq!(text.parse::<TypePattern>(), Err(MalformedType), "{text}");
        }
    }
}

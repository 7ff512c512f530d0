//! The grammar of a chunk's extensions (RFC 9112 §7.1.1). Blanks before the first semicolon are not accepted.

use hcrs_http::is_field_name;

/// A place in an extension, behind its semicolon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    QuotedPair,
    QuoteEnd,
    AfterValue,
}

impl Extension {
    /// Returns the place after one more byte; `None` if the byte is not allowed here.
    pub(super) fn next(self, byte: u8) -> Option<Self> {
        let is_blank = matches!(byte, b' ' | b'\t');
        let is_token = is_field_name(&[byte]);
        match (self, byte) {
            (Self::BeforeName | Self::AfterName | Self::BeforeValue | Self::AfterValue, _) if is_blank => {
                Some(self)
            }
            (Self::BeforeName | Self::Name, _) if is_token => Some(Self::Name),
            (Self::Name, _) if is_blank => Some(Self::AfterName),
            (Self::Name | Self::AfterName, b'=') => Some(Self::BeforeValue),
            (Self::BeforeValue | Self::Token, _) if is_token => Some(Self::Token),
            (Self::BeforeValue, b'"') => Some(Self::Quoted),
            (Self::Quoted, b'"') => Some(Self::QuoteEnd),
            (Self::Quoted, b'\\') => Some(Self::QuotedPair),
            (Self::Quoted | Self::QuotedPair, _) if super::is_text(byte) => Some(Self::Quoted),
            (Self::Token | Self::QuoteEnd, _) if is_blank => Some(Self::AfterValue),
            (Self::Name | Self::AfterName | Self::Token | Self::QuoteEnd | Self::AfterValue, b';') => {
                Some(Self::BeforeName)
            }
            _ => None,
        }
    }

    /// Whether the line may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::QuoteEnd)
    }
}

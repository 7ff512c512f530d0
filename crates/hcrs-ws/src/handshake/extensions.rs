//! The grammar of `sec-websocket-extensions` (RFC 6455 §9.1).

use hcrs_http::is_field_name;

use super::negotiate::{DeflateOffer, EXTENSION};

/// The error for a field that breaks its grammar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One extension that the client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// A permessage-deflate that can be accepted or declined.
    Deflate(DeflateOffer),
    /// Another extension, or a permessage-deflate with unknown parameters: it is declined.
    Unknown,
}

/// A scanner of one field.
pub(super) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// Reads the next extension, if there is one.
    pub(super) fn next_extension(&mut self) -> Result<Option<Extension>, Malformed> {
        self.skip_blanks();
        while self.eat(b',') {}
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut offer = (self.token()? == EXTENSION).then(DeflateOffer::default);
        while self.eat(b';') {
            let name = self.token()?;
            let value = if self.eat(b'=') { Some(self.value()?) } else { None };
            offer = offer.and_then(|offer| offer.with(name, value.as_deref()));
        }
        if !self.rest.is_empty() && !self.eat(b',') {
            return Err(Malformed);
        }
        Ok(Some(offer.map_or(Extension::Unknown, Extension::Deflate)))
    }

    /// Reads a token and the blanks behind it.
    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.rest.iter().position(|&byte| !is_field_name(&[byte])).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        self.skip_blanks();
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// Reads a token, or a token in quotes, which has the same meaning.
    fn value(&mut self) -> Result<Vec<u8>, Malformed> {
        let Some(mut quoted) = self.rest.strip_prefix(b"\"") else { return self.token().map(<[u8]>::to_vec) };
        let mut value = Vec::new();
        loop {
            let (&byte, rest) = quoted.split_first().ok_or(Malformed)?;
            quoted = rest;
            match byte {
                b'"' => break,
                b'\\' => {
                    let (&byte, rest) = quoted.split_first().ok_or(Malformed)?;
                    quoted = rest;
                    value.push(byte);
                }
                byte => value.push(byte),
            }
        }
        self.rest = quoted;
        self.skip_blanks();
        if is_field_name(&value) { Ok(value) } else { Err(Malformed) }
    }

    /// Reads a separator and the blanks behind it, if it comes next.
    fn eat(&mut self, separator: u8) -> bool {
        let Some((_, rest)) = self.rest.split_first().filter(|(first, _)| **first == separator) else {
            return false;
        };
        self.rest = rest;
        self.skip_blanks();
        true
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(value: &str) -> Result<Vec<Extension>, Malformed> {
        let mut scanner = Scanner::new(value.as_bytes());
        std::iter::from_fn(|| scanner.next_extension().transpose()).collect()
    }

    #[test]
    fn blanks_quotes_and_empty_items_do_not_matter() {
        let offer = DeflateOffer::default().with(b"client_max_window_bits", Some(b"10")).unwrap();
        for value in [
            "permessage-deflate;client_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=\"10\"",
            "permessage-deflate ; client_max_window_bits = \"1\\0\"",
            "\t, permessage-deflate;\tclient_max_window_bits=10 ,,",
        ] {
            assert_eq!(scan(value), Ok(vec![Extension::Deflate(offer)]), "{value:?}");
        }
        assert_eq!(scan("a, permessage-deflate; b, x-c; d=\"e\""), Ok(vec![Extension::Unknown; 3]));
        assert_eq!(scan(""), Ok(vec![]));
        assert_eq!(scan(" , "), Ok(vec![]));
    }

    #[test]
    fn what_breaks_the_grammar_is_malformed() {
        for value in [
            ";",
            "a;",
            "a;;b",
            "a;=b",
            "a;b=",
            "a;b=,",
            "a b",
            "a=b",
            "\"a\"",
            "a;b=\"",
            "a;b=\"c",
            "a;b=\"c\\",
            "a;b=\"\"",
            "a;b=\"c d\"",
            "a;b=\"c\"d",
            "a;b=c;d e",
            "a/b",
            "a;b=\u{e9}",
        ] {
            assert_eq!(scan(value), Err(Malformed), "{value:?}");
        }
    }
}

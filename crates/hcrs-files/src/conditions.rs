//! Conditional requests (RFC 9110 §13) for a file.

use hcrs_http::Fields;

use crate::ranges::{self, Part, Ranges};
use crate::validators::{Comparison, Validators, date};

/// What a request for a file is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The whole file.
    Whole,
    /// These parts: 206. One part is the body itself, several are parts of `multipart/byteranges`.
    Parts(Vec<Part>),
    /// The client has it: 304.
    NotModified,
    /// The request was for another version: 412.
    PreconditionFailed,
    /// No range is within the file: 416.
    NotSatisfiable,
}

/// Judges a GET or HEAD request by its conditions and ranges, in the order of RFC 9110 §13.2.2. `len` is the length of
/// the file. Ranges apply to GET alone.
pub fn judge(fields: Fields<'_>, is_get: bool, len: u64, validators: &Validators) -> Verdict {
    let mut asked = Asked::default();
    for (name, value) in fields {
        asked.note(name, value, validators);
    }
    let is_changed_since = |value| date(value).is_none_or(|since| validators.modified > since);
    let is_other = match (asked.if_match, asked.if_unmodified_since) {
        (Some(is_matched), _) => !is_matched,
        // A date that cannot be read is ignored.
        (None, Some(value)) => date(value).is_some_and(|since| validators.modified > since),
        (None, None) => false,
    };
    if is_other {
        return Verdict::PreconditionFailed;
    }
    let is_held = match (asked.if_none_match, asked.if_modified_since) {
        (Some(is_matched), _) => is_matched,
        (None, Some(value)) => !is_changed_since(value),
        (None, None) => false,
    };
    if is_held {
        return Verdict::NotModified;
    }
    let Some(range) = asked.range.filter(|_| is_get) else { return Verdict::Whole };
    let is_same = asked.if_range.is_none_or(|value| match date(value) {
        Some(since) => validators.modified == since,
        None => value != b"*" && validators.is_in(value, Comparison::Strong),
    });
    if !is_same {
        return Verdict::Whole;
    }
    match ranges::parse(range, len) {
        Ranges::Ignored => Verdict::Whole,
        Ranges::Parts(parts) => Verdict::Parts(parts),
        Ranges::NotSatisfiable => Verdict::NotSatisfiable,
    }
}

/// The conditions of a request. Lists may be spread over several fields; of the others the first counts.
#[derive(Debug, Default)]
struct Asked<'a> {
    /// Whether a tag of the list matches.
    if_match: Option<bool>,
    if_none_match: Option<bool>,
    if_unmodified_since: Option<&'a [u8]>,
    if_modified_since: Option<&'a [u8]>,
    if_range: Option<&'a [u8]>,
    range: Option<&'a [u8]>,
}

impl<'a> Asked<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8], validators: &Validators) {
        let matches = |found: Option<bool>, comparison| {
            Some(found.unwrap_or(false) || validators.is_in(value, comparison))
        };
        match name {
            b"if-match" => self.if_match = matches(self.if_match, Comparison::Strong),
            b"if-none-match" => self.if_none_match = matches(self.if_none_match, Comparison::Weak),
            b"if-unmodified-since" => drop(self.if_unmodified_since.get_or_insert(value)),
            b"if-modified-since" => drop(self.if_modified_since.get_or_insert(value)),
            b"if-range" => drop(self.if_range.get_or_insert(value)),
            b"range" => drop(self.range.get_or_insert(value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use hcrs_http::ResponseHead;

    use super::*;

    /// `Tue, 14 Nov 2023 22:13:20 GMT`.
    const SECOND: u64 = 1_700_000_000;
    const SAME: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const BEFORE: &str = "Tue, 14 Nov 2023 22:13:19 GMT";
    const AFTER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";

    fn verdict(fields: &[(&str, &str)], is_get: bool) -> Verdict {
        let modified = UNIX_EPOCH + Duration::from_secs(SECOND);
        let validators = Validators { etag: "\"a\"".into(), modified };
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        judge(ResponseHead::new(200, fields).fields(), is_get, 100, &validators)
    }

    fn part(start: u64, len: u64) -> Verdict {
        Verdict::Parts(vec![Part { start, len }])
    }

    #[test]
    fn conditions_count_in_the_order_of_the_rfc() {
        use Verdict::{NotModified, PreconditionFailed, Whole};
        let table: &[(&[(&str, &str)], Verdict)] = &[
            (&[], Whole),
            (&[("if-match", "\"a\"")], Whole),
            (&[("if-match", "W/\"a\"")], PreconditionFailed),
            (&[("if-match", "\"b\""), ("if-match", "\"a\"")], Whole),
            (&[("if-match", "*"), ("if-unmodified-since", BEFORE)], Whole),
            (&[("if-unmodified-since", BEFORE)], PreconditionFailed),
            (&[("if-unmodified-since", SAME)], Whole),
            (&[("if-unmodified-since", "never")], Whole),
            (&[("if-none-match", "\"a\"")], NotModified),
            (&[("if-none-match", "W/\"a\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"b\""), ("if-modified-since", AFTER)], Whole),
            (&[("if-modified-since", SAME)], NotModified),
            (&[("if-modified-since", BEFORE)], Whole),
            (&[("if-modified-since", "yesterday")], Whole),
            (&[("if-match", "\"b\""), ("if-none-match", "\"a\"")], PreconditionFailed),
            (&[("if-none-match", "\"a\""), ("range", "bytes=0-1")], NotModified),
        ];
        for (fields, expected) in table {
            for is_get in [true, false] {
                assert_eq!(verdict(fields, is_get), *expected, "{fields:?}");
            }
        }
    }

    #[test]
    fn ranges_are_of_the_version_that_the_client_has() {
        assert_eq!(verdict(&[("range", "bytes=0-9")], true), part(0, 10));
        assert_eq!(verdict(&[("range", "bytes=0-9")], false), Verdict::Whole);
        for (if_range, is_same) in [
            ("\"a\"", true),
            ("W/\"a\"", false),
            ("\"b\"", false),
            ("*", false),
            (SAME, true),
            (BEFORE, false),
            (AFTER, false),
        ] {
            let expected = if is_same { part(0, 10) } else { Verdict::Whole };
            assert_eq!(
                verdict(&[("range", "bytes=0-9"), ("if-range", if_range)], true),
                expected,
                "{if_range}"
            );
        }
        assert_eq!(verdict(&[("range", "bytes=100-")], true), Verdict::NotSatisfiable);
    }
}

//! The validators of a file: its entity tag and the time of its last change.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The validators of a file (RFC 9110 §8.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// The entity tag, with its quotes. It is strong: it changes with each write.
    pub etag: String,
    /// The last change, in whole seconds, as the fields have it.
    pub modified: SystemTime,
}

impl Validators {
    /// Returns the validators of a file of this length that was last written at this time.
    pub fn new(len: u64, written: SystemTime) -> Self {
        let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            etag: format!("\"{:x}-{len:x}\"", since.as_nanos()),
            modified: UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        }
    }

    /// Returns the validators of a file in the coding with this name, whose tag is another than that of the original with the same
    /// length and time.
    #[must_use]
    pub fn in_coding(self, coding: &str) -> Self {
        let opaque = self.etag.trim_end_matches('"');
        Self { etag: format!("{opaque}-{coding}\""), modified: self.modified }
    }

    /// Returns the value of `last-modified`.
    pub fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }

    /// Whether a list of entity tags, or `*`, has this one. In the strong comparison weak tags match nothing.
    pub(crate) fn is_in(&self, list: &[u8], comparison: Comparison) -> bool {
        let is_same = |tag: &[u8]| match (tag.strip_prefix(b"W/"), comparison) {
            (None, _) => tag == self.etag.as_bytes(),
            (Some(opaque), Comparison::Weak) => opaque == self.etag.as_bytes(),
            (Some(_), Comparison::Strong) => false,
        };
        // This tag has no comma, so one within another tag does no harm.
        list.trim_ascii() == b"*" || list.split(|&byte| byte == b',').any(|tag| is_same(tag.trim_ascii()))
    }
}

/// How entity tags are compared (RFC 9110 §8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Strong,
    Weak,
}

/// Parses a date in any of the three forms of RFC 9110 §5.6.7.
pub(crate) fn date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_changes_with_each_write_and_the_length() {
        let at = |nanos| UNIX_EPOCH + Duration::new(1_700_000_000, nanos);
        let tags = [(1, at(0)), (2, at(0)), (1, at(1))].map(|(len, at)| Validators::new(len, at).etag);
        assert!(tags[0] != tags[1] && tags[0] != tags[2], "{tags:?}");
        assert!(tags.iter().all(|tag| tag.starts_with('"') && tag.ends_with('"')));
        let validators = Validators::new(1, at(999));
        assert_eq!(validators.last_modified(), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(validators.modified, at(0));
        assert_eq!(
            Validators::new(1, at(0)).in_coding("br").etag,
            format!("{}-br\"", tags[0].trim_end_matches('"'))
        );
        let _before_the_epoch = Validators::new(0, UNIX_EPOCH - Duration::from_secs(1));
    }

    #[test]
    fn lists_of_tags_are_compared_strongly_or_weakly() {
        let validators = Validators { etag: "\"a\"".into(), modified: UNIX_EPOCH };
        for (list, strong, weak) in [
            ("\"a\"", true, true),
            ("\"b\", \"a\"", true, true),
            ("W/\"a\"", false, true),
            ("\"b\",W/\"a\" ", false, true),
            ("*", true, true),
            ("a", false, false),
            ("", false, false),
            ("\"x, \"a\"", true, true),
        ] {
            assert_eq!(validators.is_in(list.as_bytes(), Comparison::Strong), strong, "{list}");
            assert_eq!(validators.is_in(list.as_bytes(), Comparison::Weak), weak, "{list}");
        }
    }
}

//! Byte ranges (RFC 9110 §14).

use std::ops::Range;

/// The most ranges of a request; one that asks for more gets the whole file.
pub const RANGES_MAX: usize = 16;

/// The gap between two ranges, in bytes, up to which they are sent as one: the head of a part is longer.
const GAP: u64 = 128;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The offset of its first byte.
    pub start: u64,
    /// The number of its bytes, at least one.
    pub len: u64,
}

impl Part {
    /// Returns the value of `content-range` in a file of `of` bytes.
    pub fn content_range(self, of: u64) -> String {
        format!("bytes {}-{}/{of}", self.start, self.end() - 1)
    }

    fn end(self) -> u64 {
        self.start + self.len
    }
}

/// The ranges of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// The field is malformed, of another unit, or asks for more than the file has: the whole file is sent.
    Ignored,
    /// These parts, in the order of the request.
    Parts(Vec<Part>),
    /// None is within the file.
    NotSatisfiable,
}

/// Parses the value of `range` for a file of `len` bytes. Ranges that overlap, or almost touch, become one, so that no
/// request is answered with more bytes than the file has.
pub(crate) fn parse(value: &[u8], len: u64) -> Ranges {
    let Some(list) = strip_unit(value) else { return Ranges::Ignored };
    let mut parts: Vec<Part> = Vec::new();
    let mut count = 0;
    for spec in list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty()) {
        count += 1;
        if count > RANGES_MAX {
            return Ranges::Ignored;
        }
        let Some(asked) = range(spec, len) else { return Ranges::Ignored };
        if !asked.is_empty() {
            add(&mut parts, Part { start: asked.start, len: asked.end - asked.start });
        }
    }
    match (count, parts.is_empty()) {
        (0, _) => Ranges::Ignored,
        (_, true) => Ranges::NotSatisfiable,
        (_, false) => Ranges::Parts(parts),
    }
}

fn strip_unit(value: &[u8]) -> Option<&[u8]> {
    let (unit, list) = value.split_at_checked(5)?;
    let list = list.trim_ascii_start().strip_prefix(b"=")?;
    unit.eq_ignore_ascii_case(b"bytes").then_some(list)
}

/// Parses one range, which is empty if it is outside the file; `None` if it is malformed.
fn range(spec: &[u8], len: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (spec[..dash].trim_ascii(), spec[dash + 1..].trim_ascii());
    let (start, end) = match (first, last) {
        ([], []) => return None,
        ([], suffix) => (len.saturating_sub(number(suffix)?), len),
        (first, []) => (number(first)?, len),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(len))
        }
    };
    Some(start..end)
}

/// Parses digits; a number that is too large is the largest.
fn number(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, add))
}

/// Adds a part, joined with those that it overlaps or almost touches.
fn add(parts: &mut Vec<Part>, mut part: Part) {
    let joins = |other: &Part, part: Part| {
        other.start <= part.end().saturating_add(GAP) && part.start <= other.end().saturating_add(GAP)
    };
    let mut at = parts.len();
    while let Some(found) = parts.iter().position(|other| joins(other, part)) {
        let other = parts.remove(found);
        let end = part.end().max(other.end());
        let start = part.start.min(other.start);
        part = Part { start, len: end - start };
        at = at.min(found);
    }
    parts.insert(at.min(parts.len()), part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(value: &str) -> Vec<(u64, u64)> {
        match parse(value.as_bytes(), 1000) {
            Ranges::Parts(parts) => parts.into_iter().map(|part| (part.start, part.len)).collect(),
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn ranges_are_within_the_file() {
        assert_eq!(parts("bytes=0-0"), [(0, 1)]);
        assert_eq!(parts("bytes=0-"), [(0, 1000)]);
        assert_eq!(parts("bytes=990-5000"), [(990, 10)]);
        assert_eq!(parts("bytes=-10"), [(990, 10)]);
        assert_eq!(parts("bytes=-5000"), [(0, 1000)]);
        assert_eq!(parts("BYTES = 5 - 6 "), [(5, 2)]);
        assert_eq!(parts("bytes=999-99999999999999999999999999"), [(999, 1)]);
        assert_eq!(Part { start: 990, len: 10 }.content_range(1000), "bytes 990-999/1000");
    }

    #[test]
    fn several_ranges_keep_their_order_and_overlaps_become_one() {
        assert_eq!(parts("bytes=800-899,0-99"), [(800, 100), (0, 100)]);
        assert_eq!(parts("bytes=0-99,50-149"), [(0, 150)]);
        assert_eq!(parts("bytes=0-99,200-299,100-199"), [(0, 300)]);
        assert_eq!(parts("bytes=0-9, ,2000-,900-"), [(0, 10), (900, 100)]);
        assert_eq!(parts("bytes=0-0,100-100"), [(0, 101)], "the gap is shorter than a part's head");
        let overlapping = format!("bytes={}", vec!["0-"; RANGES_MAX].join(","));
        assert_eq!(parts(&overlapping), [(0, 1000)]);
    }

    #[test]
    fn malformed_ranges_and_too_many_are_ignored() {
        let many = format!("bytes={}", vec!["0-0"; RANGES_MAX + 1].join(","));
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-",
            "bytes=5-2",
            "bytes=0-1-2",
            "lines=0-1",
            "bytes 0-1",
            &many,
        ] {
            assert_eq!(parse(value.as_bytes(), 1000), Ranges::Ignored, "{value}");
        }
    }

    #[test]
    fn ranges_behind_the_end_are_not_satisfiable() {
        for (value, len) in
            [("bytes=1000-", 1000), ("bytes=-0", 1000), ("bytes=0-", 0), ("bytes=2000-3000,5000-", 1000)]
        {
            assert_eq!(parse(value.as_bytes(), len), Ranges::NotSatisfiable, "{value}");
        }
    }
}

//! The kinds of values that settings take, and the form of a value in the file.

use std::time::Duration;

/// Kind of value that a setting takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number within both bounds.
    Whole(i64, i64),
    /// A whole number within both bounds, or the word `auto`.
    WholeOrAuto(i64, i64),
    /// Permission bits; as text they are decimal, or octal after `0o`.
    Mask,
    /// A number of seconds, at least this one; fractions are allowed.
    Seconds(f64),
    /// A string.
    Text,
    /// The path of a file or directory.
    Path,
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// An array of strings.
    Texts,
    /// A string or an array of strings.
    TextOrTexts,
    /// A table of strings, or an array of strings of the form `NAME=value`.
    Variables,
    /// `true` or `false`, or the binds for which it is true.
    BooleanOrBinds,
    /// A name or its number.
    NameOrNumber,
    /// A table with arbitrary keys.
    Table,
    /// An array of tables.
    Tables,
}

/// Word by which the server chooses a number.
pub(crate) const AUTO: &str = "auto";

/// Deadlines of at least a millisecond: a deadline of zero would refuse everything.
pub(crate) const ABOVE_ZERO: ValueKind = ValueKind::Seconds(0.001);
/// Deadlines that may be zero.
pub(crate) const FROM_ZERO: ValueKind = ValueKind::Seconds(0.0);
/// Longest deadline, in seconds: a year. A longer one is meant as "never", and no wait is without a deadline.
pub(crate) const MAX_SECONDS: f64 = 31_536_000.0;

/// Returns a duration in the form of the file: seconds.
pub(crate) fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

/// Returns a string in the form of the file.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                quoted.extend(format!("\\u{:04X}", u32::from(control)).chars());
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns an array of strings in the form of the file.
pub(crate) fn array<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", texts.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// Parses permission bits: decimal, as in Hypercorn, even with a leading zero, or octal after `0o`.
pub fn parse_mask(text: &str) -> Option<i64> {
    match text.strip_prefix("0o") {
        Some(octal) => i64::from_str_radix(octal, 8).ok(),
        None => text.parse().ok(),
    }
}

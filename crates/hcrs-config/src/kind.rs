//! The kinds of values that settings take, and the form of a value in the file.

use std::time::Duration;

/// Kind of value that a setting takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number within both bounds.
    Whole(i64, i64),
    /// A number of bytes, or text such as `10M`; at most the largest number of a file.
    Size,
    /// A whole number within both bounds, or the word `auto`.
    WholeOrAuto(i64, i64),
    /// Permission bits; as text they are decimal, or octal after `0o`.
    Mask,
    /// A number of seconds, at least this one; fractions are allowed.
    Seconds(f64),
    /// A number from 0 to 1.
    Ratio,
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
    /// `true`, or a string.
    TrueOrText,
    /// A table of strings, or an array of strings of the form `name=value`.
    Pairs,
    /// `true` or `false`, or a string.
    BooleanOrText,
    /// `true` or `false`, or the binds for which it is true.
    BooleanOrBinds,
    /// `true` or `false`, or an array of these words. As a flag it takes no value.
    BooleanOrWords(&'static [&'static str]),
    /// A name or its number.
    NameOrNumber,
    /// A table with arbitrary keys.
    Table,
    /// An array of tables.
    Tables,
}

impl ValueKind {
    /// Whether a flag of this kind takes no value.
    pub(crate) fn is_switch(self) -> bool {
        matches!(self, Self::Boolean | Self::BooleanOrWords(_))
    }
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

/// Parses a number of bytes: digits, and K, M or G for powers of 1,024, with or without B or iB behind it.
pub(crate) fn parse_size(text: &str) -> Option<i64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(factor)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1500", Some(1500)),
            ("10M", Some(10 << 20)),
            ("10m", Some(10 << 20)),
            ("2 GiB", Some(2 << 30)),
            ("64KB", Some(64 << 10)),
            ("7B", Some(7)),
            ("", None),
            ("M", None),
            ("-1", None),
            ("1.5M", None),
            ("1T", None),
            ("9999999999G", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }
}

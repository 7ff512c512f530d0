//! Priorities of responses (RFC 9218): their urgency, and whether parts of them are of use.
//!
//! A priority is a dictionary of structured fields (RFC 9651), in the field `priority` of requests and responses
//! and in the frame `PRIORITY_UPDATE`.

/// The priority of a response (RFC 9218 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Priority {
    urgency: u8,
    is_incremental: bool,
}

impl Priority {
    /// Number of urgencies: 0, the most urgent, to 7.
    pub const URGENCIES: u8 = 8;

    /// Parses a value. Parameters that it does not have, or has with a value that means nothing, are those of
    /// [`Priority::default`], and so are all if it is malformed.
    pub fn parse(value: &[u8]) -> Self {
        Self::default().updated(value)
    }

    /// Returns this priority with the parameters that a value has. So a response's field `priority` changes
    /// that of its request (RFC 9218 §8). Parameters that mean nothing, and malformed values, change nothing.
    #[must_use]
    pub fn updated(self, value: &[u8]) -> Self {
        self.updated_by_lines([value])
    }

    /// Returns this priority with the parameters of a field that has several lines, of which the last with a
    /// parameter decides. If one of them is malformed, all are ignored (RFC 9651 §4.2).
    #[must_use]
    pub fn updated_by_lines<'a>(self, lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut parameters = Parameters::default();
        for line in lines {
            if (Parser { rest: line }).dictionary(&mut parameters).is_none() {
                return self;
            }
        }
        Self {
            urgency: parameters.urgency.unwrap_or(self.urgency),
            is_incremental: parameters.is_incremental.unwrap_or(self.is_incremental),
        }
    }

    /// The default priority, but incremental: that of bytes that are of use by themselves, as messages are.
    pub const IN_TURNS: Self = Self { urgency: 3, is_incremental: true };

    /// Returns the urgency: 0 for the most urgent responses, 7 for those that are only of use later.
    pub fn urgency(self) -> u8 {
        self.urgency
    }

    /// Whether the client can use parts of the response, so that it may share the connection with others of
    /// its urgency.
    pub fn is_incremental(self) -> bool {
        self.is_incremental
    }
}

impl Default for Priority {
    /// Returns the priority of responses of which nothing is known (RFC 9218 §4.1, §4.2).
    fn default() -> Self {
        Self { urgency: 3, is_incremental: false }
    }
}

/// The members of a dictionary that have a meaning, if their values do.
#[derive(Debug, Default)]
struct Parameters {
    urgency: Option<u8>,
    is_incremental: Option<bool>,
}

impl Parameters {
    /// Sets a member. Of those with the same key the last counts, also if its value means nothing.
    fn set(&mut self, key: &[u8], value: Value) {
        match key {
            b"u" => {
                self.urgency = match value {
                    Value::Integer(urgency) => {
                        u8::try_from(urgency).ok().filter(|urgency| *urgency < Priority::URGENCIES)
                    }
                    _ => None,
                };
            }
            b"i" => {
                self.is_incremental = match value {
                    Value::Boolean(is_incremental) => Some(is_incremental),
                    _ => None,
                };
            }
            _ => {}
        }
    }
}

/// The value of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Integer(i64),
    Boolean(bool),
    Other,
}

/// A parser of structured fields, by the algorithms of RFC 9651 §4.2. Each function removes what it has parsed
/// from the front, and returns `None` if that is malformed.
#[derive(Debug)]
struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn dictionary(&mut self, parameters: &mut Parameters) -> Option<()> {
        self.skip(|byte| byte == b' ');
        if self.rest.is_empty() {
            return Some(());
        }
        loop {
            let key = self.key()?;
            let value = if self.take(b'=') { self.item_or_list()? } else { Value::Boolean(true) };
            self.parameters()?;
            parameters.set(key, value);
            let after = self.rest;
            self.skip(|byte| matches!(byte, b' ' | b'\t'));
            if self.rest.is_empty() {
                // Only spaces may follow the last member.
                return after.iter().all(|byte| *byte == b' ').then_some(());
            }
            if !self.take(b',') {
                return None;
            }
            self.skip(|byte| matches!(byte, b' ' | b'\t'));
        }
    }

    fn item_or_list(&mut self) -> Option<Value> {
        if !self.take(b'(') {
            return self.item();
        }
        loop {
            self.skip(|byte| byte == b' ');
            if self.take(b')') {
                return Some(Value::Other);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.rest.first()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(|byte| byte == b' ');
            self.key()?;
            if self.take(b'=') {
                self.item()?;
            }
        }
        Some(())
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        if !matches!(self.rest.first()?, b'a'..=b'z' | b'*') {
            return None;
        }
        Some(self.skip(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*')))
    }

    /// Parses an item without its parameters.
    fn item(&mut self) -> Option<Value> {
        match *self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => {
                self.rest = &self.rest[1..];
                self.string()
            }
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                self.skip(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
                Some(Value::Other)
            }
            b':' => {
                self.rest = &self.rest[1..];
                self.skip(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
                self.take(b':').then_some(Value::Other)
            }
            b'?' => {
                self.rest = &self.rest[1..];
                let is_true = self.take(b'1');
                (is_true || self.take(b'0')).then_some(Value::Boolean(is_true))
            }
            b'@' => {
                self.rest = &self.rest[1..];
                matches!(self.number()?, Value::Integer(_)).then_some(Value::Other)
            }
            b'%' => {
                self.rest = &self.rest[1..];
                self.take(b'"').then_some(())?;
                self.display_string()
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value> {
        let is_negative = self.take(b'-');
        let digits = self.skip(|byte| byte.is_ascii_digit());
        if self.take(b'.') {
            let fraction = self.skip(|byte| byte.is_ascii_digit());
            let has_form = matches!(digits.len(), 1..=12) && matches!(fraction.len(), 1..=3);
            return has_form.then_some(Value::Other);
        }
        if !matches!(digits.len(), 1..=15) {
            return None;
        }
        let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Some(Value::Integer(if is_negative { -number } else { number }))
    }

    /// Parses a string behind its first quote.
    fn string(&mut self) -> Option<Value> {
        loop {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => return Some(Value::Other),
                b'\\' => {
                    if !self.take(b'"') && !self.take(b'\\') {
                        return None;
                    }
                }
                b' '..=b'~' => {}
                _ => return None,
            }
        }
    }

    /// Parses a display string behind its first quote. That its bytes are UTF-8 is not checked, because nothing
    /// reads them.
    fn display_string(&mut self) -> Option<Value> {
        loop {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => return Some(Value::Other),
                b'%' => {
                    let (digits, rest) = self.rest.split_first_chunk::<2>()?;
                    if !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
                        return None;
                    }
                    self.rest = rest;
                }
                b' '..=b'~' => {}
                _ => return None,
            }
        }
    }

    /// Removes a byte if it is the next.
    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Removes the bytes of a kind, and returns them.
    fn skip(&mut self, is_of_kind: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.rest.iter().position(|byte| !is_of_kind(*byte)).unwrap_or(self.rest.len());
        let (skipped, rest) = self.rest.split_at(len);
        self.rest = rest;
        skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(urgency: u8, is_incremental: bool) -> Priority {
        Priority { urgency, is_incremental }
    }

    #[test]
    fn a_value_has_an_urgency_and_is_incremental_or_not() {
        for (value, urgency, is_incremental) in [
            ("", 3, false),
            ("  ", 3, false),
            ("u=0", 0, false),
            ("u=7", 7, false),
            ("i", 3, true),
            ("i=?1", 3, true),
            ("i=?0", 3, false),
            ("u=5, i", 5, true),
            ("i,u=5", 5, true),
            ("  u=5\t,\ti  ", 5, true),
            ("u=2;a;b=1.5; c=\"x\", i;d", 2, true),
            ("u=002", 2, false),
            ("u=-0", 0, false),
        ] {
            assert_eq!(Priority::parse(value.as_bytes()), priority(urgency, is_incremental), "{value:?}");
        }
    }

    #[test]
    fn the_last_of_several_members_counts() {
        assert_eq!(Priority::parse(b"u=1, u=5, i, i=?0"), priority(5, false));
        assert_eq!(Priority::parse(b"u=1, u=high"), Priority::default(), "also if it means nothing");
    }

    #[test]
    fn unknown_members_are_ignored_whatever_their_type() {
        for member in [
            "a",
            "*a-b_c.d*9",
            "a=1",
            "a=-999999999999999",
            "a=123456789012.123",
            "a=token/x:y",
            "a=*",
            "a=\"a \\\" \\\\ b, u=7\"",
            "a=:aGVsbG8=:",
            "a=::",
            "a=?0",
            "a=@1659578233",
            "a=%\"f%c3%bc, u=7\"",
            "a=()",
            "a=( 1  x;p=2 \"y\" )",
            "a=(1 2);q=@5",
            "ui=6",
        ] {
            for value in [format!("u=1, {member}, i"), format!("u=1, i, {member}"), format!("{member},u=1,i")]
            {
                assert_eq!(Priority::parse(value.as_bytes()), priority(1, true), "{value}");
            }
        }
    }

    #[test]
    fn values_that_mean_nothing_are_ignored_one_by_one() {
        for member in
            ["u", "u=8", "u=-1", "u=3.0", "u=1.0", "u=\"1\"", "u=a", "u=(1)", "u=@1", "u=999999999999"]
        {
            let value = format!("i, {member}");
            assert_eq!(Priority::parse(value.as_bytes()), priority(3, true), "{value}");
        }
        for member in ["i=1", "i=true", "i=\"?1\"", "i=(?1)"] {
            let value = format!("u=6, {member}");
            assert_eq!(Priority::parse(value.as_bytes()), priority(6, false), "{value}");
        }
    }

    #[test]
    fn a_malformed_value_is_ignored_as_a_whole() {
        for rest in [
            ",",
            ", ",
            " i",
            "\t",
            ",,i",
            ", I",
            ", 1",
            ", =1",
            ", a=",
            ", a=\"x",
            ", a=\"\\x\"",
            ", a=\"\u{7f}\"",
            ", a=\"\u{fc}\"",
            ", a=:x",
            ", a=:-:",
            ", a=?2",
            ", a=?",
            ", a=@1.5",
            ", a=@",
            ", a=%x",
            ", a=%\"%C3\"",
            ", a=%\"%c\"",
            ", a=%\"x",
            ", a=(1",
            ", a=(1,2)",
            ", a=(1\"x\")",
            ", a=1.",
            ", a=1.1234",
            ", a=1234567890123.1",
            ", a=1234567890123456",
            ", a=-",
            ", a=--1",
            ", a=1;",
            ", a=1;B",
            ", a=1;b=(1)",
            "\0",
        ] {
            let value = format!("u=1{rest}");
            assert_eq!(Priority::parse(value.as_bytes()), Priority::default(), "{value:?}");
            assert_eq!(priority(6, true).updated(value.as_bytes()), priority(6, true), "{value:?}");
        }
    }

    #[test]
    fn a_response_changes_what_it_names() {
        let request = priority(6, true);
        for (value, urgency, is_incremental) in [
            ("", 6, true),
            ("u=1", 1, true),
            ("i=?0", 6, false),
            ("u=0,i=?0", 0, false),
            ("u=9,i=1", 6, true),
        ] {
            let merged = request.updated(value.as_bytes());
            assert_eq!(merged, priority(urgency, is_incremental), "{value:?}");
        }
    }

    #[test]
    fn lines_are_one_dictionary() {
        let lines = |lines: &[&'static str]| {
            Priority::default().updated_by_lines(lines.iter().map(|line| line.as_bytes()))
        };
        assert_eq!(lines(&[]), Priority::default());
        assert_eq!(lines(&["u=1", "i"]), priority(1, true));
        assert_eq!(lines(&["u=1", "u=2, i=?0"]), priority(2, false));
        assert_eq!(lines(&["u=1", "i,"]), Priority::default());
    }
}

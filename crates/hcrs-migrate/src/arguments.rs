//! Parses the arguments and the environment variables of another server.

use hcrs_config::{Datum, nearest};

use crate::row::{FlagValue, MigratedSetting, Row, Server, texts};
use crate::sheet::Sheet;

/// Settings and positional arguments of a command line.
#[derive(Debug, Default)]
pub(crate) struct ParsedArguments {
    /// Settings in the order of their flags.
    pub(crate) settings: Vec<MigratedSetting>,
    pub(crate) positional: Vec<String>,
    /// Whether a flag is unknown, so that a positional argument may be its value.
    pub(crate) has_unknown: bool,
}

/// Parses arguments. `prefix` precedes each flag in messages; wrong arguments are added to `problems`.
pub(crate) fn parse(
    server: &Server,
    arguments: &[String],
    prefix: &str,
    problems: &mut Vec<String>,
) -> ParsedArguments {
    let words = arguments.iter().peekable();
    let mut parser = ArgumentParser { server, words, prefix, problems, parsed: ParsedArguments::default() };
    while let Some(word) = parser.words.next() {
        if word == "--" {
            parser.parsed.positional.extend(parser.words.by_ref().cloned());
        } else if !word.starts_with('-') || word == "-" {
            parser.parsed.positional.push(word.clone());
        } else if word.starts_with("--") {
            parser.long(word);
        } else {
            parser.short(&word[1..]);
        }
    }
    parser.parsed
}

/// Parser of arguments with its remaining input and its result.
struct ArgumentParser<'a> {
    server: &'a Server,
    words: std::iter::Peekable<std::slice::Iter<'a, String>>,
    prefix: &'a str,
    problems: &'a mut Vec<String>,
    parsed: ParsedArguments,
}

impl ArgumentParser<'_> {
    /// Parses a long flag, possibly shortened or joined with its value by `=`.
    fn long(&mut self, word: &str) {
        let (flag, joined) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (word, None),
        };
        if let Some((row, flag)) = find_long(self.server, flag) {
            self.take(row, flag, joined);
        } else {
            self.unknown(flag);
            self.words.next_if(|word| !word.starts_with('-'));
        }
    }

    /// Parses letters after one dash: flags without a value, and possibly a last one with its value.
    fn short(&mut self, letters: &str) {
        for (at, letter) in letters.char_indices() {
            let flag = format!("-{letter}");
            let rows = &self.server.rows;
            let Some(row) = rows.iter().position(|row| row.each_flag().any(|known| known == flag)) else {
                return self.unknown(&flag);
            };
            if rows[row].value == FlagValue::Absent {
                self.take(row, &flag, None);
                continue;
            }
            let rest = &letters[at + letter.len_utf8()..];
            let joined =
                Some(rest.strip_prefix('=').unwrap_or(rest).to_owned()).filter(|rest| !rest.is_empty());
            return self.take(row, &flag, joined);
        }
    }

    fn unknown(&mut self, flag: &str) {
        self.parsed.has_unknown = true;
        let known = self.server.rows.iter().flat_map(Row::each_flag);
        let hint = nearest(known, flag).map_or(String::new(), |near| format!("; did you mean {near}?"));
        let (prefix, name) = (self.prefix, self.server.name);
        self.problems.push(format!("{prefix}{flag}: not a known flag of {name}{hint}"));
    }

    /// Adds the setting of a flag, with the joined value or the next word.
    fn take(&mut self, row: usize, flag: &str, joined: Option<String>) {
        let prefix = self.prefix;
        let kind = self.server.rows[row].value;
        let value = match kind {
            FlagValue::Absent => None,
            FlagValue::Optional(known) => {
                joined.or_else(|| self.words.next_if(|word| known.contains(&word.as_str())).cloned())
            }
            FlagValue::Single | FlagValue::List => match joined.or_else(|| self.words.next().cloned()) {
                Some(value) => Some(value),
                None => return self.problems.push(format!("{prefix}{flag}: the value is missing; add it")),
            },
        };
        let shown = match &value {
            Some(_) if flag.contains("password") => " (hidden)".to_owned(),
            Some(value) => format!(" {value}"),
            None => String::new(),
        };
        let datum = match value {
            Some(value) if kind == FlagValue::List => texts([value.as_str()]),
            Some(value) => Datum::Text(value),
            None => Datum::Boolean(!flag.starts_with("--no-")),
        };
        let origin = format!("{prefix}{flag}{shown}");
        self.parsed.settings.push(MigratedSetting { row, datum, origin, is_default: false });
    }
}

/// Returns the row and the full form of a long flag, which may be shortened if the server allows it.
fn find_long<'a>(server: &'a Server, flag: &str) -> Option<(usize, &'a str)> {
    let all =
        || server.rows.iter().enumerate().flat_map(|(at, row)| row.each_flag().map(move |known| (at, known)));
    all().find(|(_, known)| *known == flag).or_else(|| {
        let mut matching = all().filter(|(_, known)| server.abbreviates && known.starts_with(flag));
        let first = matching.next()?;
        matching.all(|(at, _)| at == first.0).then_some(first)
    })
}

/// Records the settings that environment variables set.
pub(crate) fn record_variables(server: &Server, environment: &[(String, String)], sheet: &mut Sheet<'_>) {
    for (name, value) in environment {
        let prefixed =
            server.prefix.and_then(|prefix| name.strip_prefix(prefix)).map(str::to_ascii_lowercase);
        let shared =
            server.variables.iter().find(|(known, _)| known == name).map(|(_, row)| (*row).to_owned());
        let Some(row) = prefixed.or(shared).and_then(|row| server.row(&row)) else { continue };
        let datum = match server.rows[row].value {
            FlagValue::List => texts(value.split_whitespace()),
            _ => Datum::Text(value.clone()),
        };
        let shown = if name.contains("PASSWORD") { "(hidden)" } else { value };
        sheet.record(MigratedSetting { row, datum, origin: format!("{name}={shown}"), is_default: false });
    }
}

//! The configuration in the making: settings of ours with what each came from, what has no counterpart, and what is
//! wrong; and how that is written down.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::draft::Draft;
use crate::migrate::row::{Outcome, Server, Told};
use crate::setting::{Kind, Setting, quoted};
use crate::source::Source;
use crate::value::{Datum, Place, SECRET, Value};
use crate::{ConfigError, read, table};

/// Longer values push the comment behind them out of its column.
const COMMENT_COLUMN: usize = 48;
/// Longer words of the origin are cut off: they are a reminder, and the file has the value.
const MAX_ORIGIN: usize = 90;

/// What becomes of another server's settings.
pub(crate) struct Sheet<'a> {
    pub(crate) server: &'a Server,
    /// What was said, one for each row at most.
    told: BTreeMap<usize, Told>,
    lines: BTreeMap<&'static str, Line>,
    /// What has no counterpart, or not quite: what was said, and why.
    pub(crate) notes: Vec<(String, String)>,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
    /// Variables that whoever starts the server has to set.
    pub(crate) environment: Vec<(String, String)>,
    /// Files of variables that have to be read before the start.
    pub(crate) environment_files: Vec<String>,
    /// The folder that the server was told to go to.
    pub(crate) folder: Option<String>,
    /// User and group that the server was told to become.
    pub(crate) identity: [Option<String>; 2],
}

struct Line {
    literal: String,
    origin: String,
}

impl<'a> Sheet<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        Self {
            server,
            told: BTreeMap::new(),
            lines: BTreeMap::new(),
            notes: Vec::new(),
            problems: Vec::new(),
            environment: Vec::new(),
            environment_files: Vec::new(),
            folder: None,
            identity: [None, None],
        }
    }

    /// Takes note of what the server was told. What is said later wins; lists of one place are one list.
    pub(crate) fn tell(&mut self, told: Told) {
        self.told.insert(told.row, told);
    }

    /// What was said for a setting of the server's.
    pub(crate) fn said(&self, name: &str) -> Option<&Told> {
        self.server.row(name).and_then(|row| self.told.get(&row))
    }

    /// What was said, or its default.
    pub(crate) fn said_or_default(&self, name: &str) -> Option<Told> {
        let row = self.server.row(name)?;
        self.told.get(&row).cloned().or_else(|| self.default_of(row))
    }

    /// What was said as text, or the default; nothing if it is no text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.said_or_default(name).and_then(|told| told.text().ok())
    }

    fn default_of(&self, row: usize) -> Option<Told> {
        let default = self.server.rows[row].default?;
        Some(Told {
            row,
            datum: Datum::Text(default.to_owned()),
            origin: format!("{}'s default", self.server.name),
            is_default: true,
        })
    }

    /// Sets one of our settings, from text or from what a file had.
    pub(crate) fn set(&mut self, key: &str, datum: &Datum, origin: impl Into<String>) {
        let Some(setting) = table::find(key) else {
            self.problems.push(format!("{key} is no setting"));
            return;
        };
        let literal = match datum {
            Datum::Text(text) => {
                literal(&Value::from_text(setting.kind, text, Place::Nowhere).datum, setting.kind)
            }
            other => literal(other, setting.kind),
        };
        self.lines.insert(setting.key, Line { literal, origin: one_line(&origin.into()) });
    }

    /// The value of one of our settings as it will be written.
    pub(crate) fn literal(&self, key: &str) -> Option<&str> {
        self.lines.get(key).map(|line| line.literal.as_str())
    }

    /// Takes a setting of ours back.
    pub(crate) fn unset(&mut self, key: &str) {
        self.lines.remove(key);
    }

    /// Says that something has no counterpart, and why.
    pub(crate) fn note(&mut self, said: &str, why: &str) {
        let note = (one_line(said), why.trim_end_matches('.').to_owned());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Turns all that was said, and the defaults that matter, into settings of ours.
    pub(crate) fn convert(&mut self) {
        for row in 0..self.server.rows.len() {
            let default = self.default_of(row);
            let said = self.told.get(&row).cloned();
            match &self.server.rows[row].outcome {
                Outcome::Same(key) => {
                    if let Some(told) = said.or(default) {
                        self.set(key, &told.datum, told.origin);
                    }
                }
                Outcome::Made(_, make) => {
                    if let Some(told) = said.or(default)
                        && let Err(problem) = make(&told, self)
                    {
                        self.problems.push(format!("{}: {problem}", told.origin));
                    }
                }
                Outcome::Part(_) => {}
                Outcome::Without(why) => {
                    if let Some(told) = said
                        && !says_the_same(&told, default.as_ref())
                    {
                        self.note(&told.origin, why);
                    }
                }
            }
        }
        let finish = self.server.finish;
        finish(self);
    }

    /// The file, checked as hcrs checks it.
    pub(crate) fn written(&self, head: &str, ends: &[(String, String)]) -> Result<String, ConfigError> {
        let mut problems = self.problems.clone();
        let text = self.body(head, ends);
        let source = Source::new("the result".into(), text.clone());
        let mut draft = Draft::default();
        read::apply_file(&source, &mut draft);
        if let Err(ConfigError::Invalid(found)) = draft.finish(&source) {
            problems.extend(found);
        }
        if problems.is_empty() { Ok(text) } else { Err(ConfigError::Invalid(problems)) }
    }

    /// Whether the file holds a password.
    pub(crate) fn is_secret(&self) -> bool {
        self.lines.contains_key(SECRET)
    }

    fn body(&self, head: &str, ends: &[(String, String)]) -> String {
        let mut text = head.to_owned();
        for own in [false, true] {
            let there = |setting: &&Setting| setting.own == own && self.lines.contains_key(setting.key);
            let mut settings: Vec<&Setting> = table::all().filter(there).collect();
            if settings.is_empty() {
                continue;
            }
            settings.sort_by_key(|setting| setting.key != "application_path");
            text += if own { "\n[hcrs]\n" } else { "\n" };
            let width = |setting: &&Setting| setting.key.len() + 3 + self.lines[setting.key].literal.len();
            let column = settings.iter().map(width).filter(|width| *width <= COMMENT_COLUMN).max();
            let column = column.unwrap_or(0) + 2;
            for setting in settings {
                let Line { literal, origin } = &self.lines[setting.key];
                let line = format!("{} = {literal}  ", setting.key);
                let _infallible = writeln!(text, "{line:column$}# {origin}");
            }
        }
        let notes: Vec<_> = self.notes.iter().chain(ends).collect();
        if !notes.is_empty() {
            text += "\n# What has no counterpart, or not quite:\n#\n";
            for (said, why) in notes {
                let _infallible = writeln!(text, "# - {said}: {why}");
            }
        }
        text
    }
}

/// As it is written in the file.
fn literal(datum: &Datum, kind: Kind) -> String {
    match datum {
        Datum::Integer(bits @ 0..) if kind == Kind::Mask => format!("0o{bits:03o}"),
        Datum::Boolean(value) => value.to_string(),
        Datum::Integer(value) => value.to_string(),
        Datum::Float(value) => value.to_string(),
        Datum::Text(text) => quoted(text),
        Datum::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| literal(&value.datum, kind)).collect();
            format!("[{}]", values.join(", "))
        }
        Datum::Table(entries) => {
            let entry =
                |(key, value): &(String, Value)| format!("{} = {}", quoted(key), literal(&value.datum, kind));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Datum::Other(what) => quoted(what),
    }
}

/// Whether something was said that holds anyway.
fn says_the_same(told: &Told, default: Option<&Told>) -> bool {
    let Some(default) = default else { return told.boolean() == Ok(false) };
    match (told.text(), default.text()) {
        (Ok(told), Ok(default)) => {
            let number = |text: &str| text.parse::<f64>().ok();
            told.eq_ignore_ascii_case(&default) || number(&told).is_some_and(|n| number(&default) == Some(n))
        }
        _ => false,
    }
}

/// Without what would end a comment.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// As part of a comment.
fn one_line(text: &str) -> String {
    let mut line = printable(text);
    if let Some((end, _)) = line.char_indices().nth(MAX_ORIGIN) {
        line.truncate(end);
        line.push('…');
    }
    line
}

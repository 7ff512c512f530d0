//! The result of a conversion in progress: settings of hcrs with their origins, notes about settings without
//! a counterpart, and problems; and its form as a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hcrs_config::{ConfigError, Datum, SECRET, Setting, Value, ValueKind, check_text, quoted, table};

use crate::row::{Mapping, MigratedSetting, Server};

/// Widest column of settings; a longer setting pushes its comment to the right.
const COMMENT_COLUMN: usize = 48;
/// Longest origin in a comment, in characters; a longer one is cut off, since the line has the value itself.
const MAX_ORIGIN: usize = 90;

/// Conversion in progress of another server's settings.
pub(crate) struct Sheet<'a> {
    /// The other server.
    pub(crate) server: &'a Server,
    /// Given settings of the other server, by row.
    given: BTreeMap<usize, MigratedSetting>,
    /// Settings of hcrs, by key.
    lines: BTreeMap<&'static str, Line>,
    /// Notes about settings without an exact counterpart.
    pub(crate) notes: Vec<Note>,
    /// Problems that prevent the conversion.
    pub(crate) problems: Vec<String>,
    /// Variables that the server would set, which become `env` unless a unit has them.
    pub(crate) environment: Vec<(String, String)>,
    /// Files of variables that must be read before hcrs is started.
    pub(crate) environment_files: Vec<String>,
    /// Directory of a `cd` before the server is started.
    pub(crate) folder: Option<String>,
    /// Directory to which the server would change, which is also the setting `chdir` unless a unit has it.
    pub(crate) chdir: Option<String>,
    /// User to which the server would change.
    pub(crate) user: Option<String>,
    /// Group to which the server would change.
    pub(crate) group: Option<String>,
}

/// Note about a setting that has no exact counterpart, or about a step that the file cannot express.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// The setting as it was given, or the subject of the step.
    pub(crate) subject: String,
    /// Reason, or the step to take.
    pub(crate) text: String,
}

/// Setting of hcrs as a line of the file.
struct Line {
    literal: String,
    origin: String,
}

impl<'a> Sheet<'a> {
    /// Creates an empty conversion.
    pub(crate) fn new(server: &'a Server) -> Self {
        Self {
            server,
            given: BTreeMap::new(),
            lines: BTreeMap::new(),
            notes: Vec::new(),
            problems: Vec::new(),
            environment: Vec::new(),
            environment_files: Vec::new(),
            folder: None,
            chdir: None,
            user: None,
            group: None,
        }
    }

    /// Records a given setting of the server. A later value replaces an earlier one.
    pub(crate) fn record(&mut self, given: MigratedSetting) {
        self.given.insert(given.row, given);
    }

    /// Returns the value that was given for a setting of the server.
    pub(crate) fn given(&self, name: &str) -> Option<&MigratedSetting> {
        self.server.row(name).and_then(|row| self.given.get(&row))
    }

    /// Returns the value that was given for a setting of the server, or its default.
    pub(crate) fn given_or_default(&self, name: &str) -> Option<MigratedSetting> {
        let row = self.server.row(name)?;
        self.given.get(&row).cloned().or_else(|| self.default_of(row))
    }

    /// Returns the value of a setting of the server, or its default, as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.given_or_default(name).and_then(|given| given.text().ok())
    }

    fn default_of(&self, row: usize) -> Option<MigratedSetting> {
        let default = self.server.rows[row].default?;
        Some(MigratedSetting {
            row,
            datum: Datum::Text(default.to_owned()),
            origin: format!("{}'s default", self.server.name),
            is_default: true,
        })
    }

    /// Sets a setting of hcrs.
    pub(crate) fn set(&mut self, key: &str, datum: &Datum, origin: impl Into<String>) {
        let Some(setting) = table::find(key) else {
            self.problems.push(format!("{key} is not a setting of hcrs"));
            return;
        };
        let literal = match datum {
            Datum::Text(text) => literal(&Datum::from_text(setting.kind, text), setting.kind),
            other => literal(other, setting.kind),
        };
        self.lines.insert(setting.key, Line { literal, origin: one_line(&origin.into()) });
    }

    /// Returns the value of a setting of hcrs in the form of the file.
    pub(crate) fn literal(&self, key: &str) -> Option<&str> {
        self.lines.get(key).map(|line| line.literal.as_str())
    }

    /// Removes a setting of hcrs.
    pub(crate) fn unset(&mut self, key: &str) {
        self.lines.remove(key);
    }

    /// Adds a note, unless there is the same one already.
    pub(crate) fn note(&mut self, subject: &str, text: &str) {
        let note = Note { subject: one_line(subject), text: text.trim_end_matches('.').to_owned() };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Converts the given settings, and the defaults that differ, to settings of hcrs.
    pub(crate) fn convert(&mut self) {
        for row in 0..self.server.rows.len() {
            let default = self.default_of(row);
            let given = self.given.get(&row).cloned();
            match &self.server.rows[row].mapping {
                Mapping::Same(key) => {
                    if let Some(value) = given.or(default) {
                        self.set(key, &value.datum, value.origin);
                    }
                }
                Mapping::Converted(_, convert) => {
                    if let Some(value) = given.or(default)
                        && let Err(problem) = convert(&value, self)
                    {
                        self.problems.push(format!("{}: {problem}", value.origin));
                    }
                }
                Mapping::PartOf(_) => {}
                Mapping::Unsupported(reason) => {
                    if let Some(value) = given
                        && !equals_default(&value, default.as_ref())
                    {
                        self.note(&value.origin, reason);
                    }
                }
            }
        }
        let finish = self.server.finish;
        finish(self);
    }

    /// Sets the settings of the process, for which a unit has entries of its own.
    pub(crate) fn set_process(&mut self) {
        let origin = |what: &str| format!("{}'s {what}", self.server.name);
        if let Some(user) = self.user.clone() {
            self.set("process_user", &Datum::Text(user), origin("user"));
            if let Some(group) = self.group.clone() {
                self.set("process_group", &Datum::Text(group), origin("group"));
            }
        }
        if self.environment.is_empty() {
            return;
        }
        let variables = self.environment.iter();
        let variables =
            variables.map(|(name, value)| (name.clone(), Value::from(Datum::Text(value.clone())))).collect();
        self.set("env", &Datum::Table(variables), format!("{}'s variables", self.server.name));
    }

    /// Returns the file, after a check as the server would check it. `steps` follow the notes.
    pub(crate) fn to_toml(&self, head: &str, steps: &[Note]) -> Result<String, ConfigError> {
        let mut problems = self.problems.clone();
        let text = self.body(head, steps);
        match check_text("the result", text.clone()) {
            Err(ConfigError::Invalid(found)) => problems.extend(found),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        if problems.is_empty() { Ok(text) } else { Err(ConfigError::Invalid(problems)) }
    }

    /// Returns whether the file contains a password.
    pub(crate) fn is_secret(&self) -> bool {
        self.lines.contains_key(SECRET)
    }

    fn body(&self, head: &str, steps: &[Note]) -> String {
        let mut text = head.to_owned();
        for is_extension in [false, true] {
            let is_set = |setting: &&Setting| {
                setting.is_extension == is_extension && self.lines.contains_key(setting.key)
            };
            let mut settings: Vec<&Setting> = table::all().filter(is_set).collect();
            if settings.is_empty() {
                continue;
            }
            settings.sort_by_key(|setting| setting.key != "application_path");
            text += if is_extension { "\n[hcrs]\n" } else { "\n" };
            let width = |setting: &&Setting| setting.key.len() + 3 + self.lines[setting.key].literal.len();
            let column = settings.iter().map(width).filter(|width| *width <= COMMENT_COLUMN).max();
            let column = column.unwrap_or(0) + 2;
            for setting in settings {
                let Line { literal, origin } = &self.lines[setting.key];
                let line = format!("{} = {literal}  ", setting.key);
                let _infallible = writeln!(text, "{line:column$}# {origin}");
            }
        }
        let notes: Vec<_> = self.notes.iter().chain(steps).collect();
        if !notes.is_empty() {
            text += "\n# Without an exact counterpart:\n#\n";
            for Note { subject, text: note } in notes {
                let _infallible = writeln!(text, "# - {subject}: {note}");
            }
        }
        text
    }
}

/// Returns a value in the form of the file.
fn literal(datum: &Datum, kind: ValueKind) -> String {
    match datum {
        Datum::Integer(bits @ 0..) if kind == ValueKind::Mask => format!("0o{bits:03o}"),
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
        Datum::Other(description) => quoted(description),
    }
}

/// Returns whether a given value equals the default, so that it changes nothing.
fn equals_default(given: &MigratedSetting, default: Option<&MigratedSetting>) -> bool {
    let Some(default) = default else { return given.boolean() == Ok(false) };
    match (given.text(), default.text()) {
        (Ok(given), Ok(default)) => {
            let number = |text: &str| text.parse::<f64>().ok();
            let is_equal_number = || number(&given).is_some_and(|given| number(&default) == Some(given));
            given.eq_ignore_ascii_case(&default) || is_equal_number()
        }
        _ => false,
    }
}

/// Returns the text without control characters, which could end a comment.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Returns the text as part of a comment on one line.
fn one_line(text: &str) -> String {
    let mut line = printable(text);
    if let Some((end, _)) = line.char_indices().nth(MAX_ORIGIN) {
        line.truncate(end);
        line.push('…');
    }
    line
}

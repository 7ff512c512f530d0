//! The converted configuration, line by line with its origins.

use std::cell::RefCell;
use std::fmt::Write as _;

use hcrs_config::{quoted, table};

use super::syntax::{Directive, Place};
use crate::sheet::printable;

/// Column at which comments begin at the latest, unless a line is longer.
const COMMENT_COLUMN: usize = 60;
/// Longest origin, in characters.
const MAX_ORIGIN: usize = 160;

/// A line of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Value in the form of the file.
    pub(crate) literal: String,
    pub(crate) origin: String,
}

impl Entry {
    pub(crate) fn new(key: &str, literal: impl Into<String>, origin: impl Into<String>) -> Self {
        Self { key: key.into(), literal: literal.into(), origin: origin.into() }
    }

    pub(crate) fn text(key: &str, text: &str, origin: impl Into<String>) -> Self {
        Self::new(key, quoted(text), origin)
    }

    pub(crate) fn texts<'a>(
        key: &str,
        texts: impl IntoIterator<Item = &'a str>,
        origin: impl Into<String>,
    ) -> Self {
        let texts: Vec<&str> = texts.into_iter().collect();
        match texts[..] {
            [text] => Self::text(key, text, origin),
            _ => Self::new(key, array(texts), origin),
        }
    }
}

/// Returns an array in the form of the file.
pub(crate) fn array<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

/// Returns a table of texts in the form of the file.
pub(crate) fn inline_table<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let entry = |(key, value): (&str, &str)| {
        let is_bare = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let key = if is_bare && key.starts_with(|c: char| c.is_ascii_alphabetic()) {
            key.to_owned()
        } else {
            quoted(key)
        };
        format!("{key} = {}", quoted(value))
    };
    let entries: Vec<String> = entries.into_iter().map(entry).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// Returns the places of directives as an origin, and marks them as named in the result.
pub(crate) fn origin<'a>(directives: impl IntoIterator<Item = &'a Directive>) -> String {
    let mut places: Vec<&Place> = Vec::new();
    for directive in directives {
        directive.see();
        if !places.contains(&&directive.place) {
            places.push(&directive.place);
        }
    }
    let mut text = String::new();
    let mut file = None;
    for place in places {
        match file {
            None => text = place.to_string(),
            Some(before) if before == &place.file => write_to(&mut text, format_args!(", {}", place.line)),
            Some(_) => write_to(&mut text, format_args!(", {place}")),
        }
        file = Some(&place.file);
    }
    text
}

fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _infallible = text.write_fmt(arguments);
}

/// Returns the places of directives with a remark.
pub(crate) fn origin_with<'a>(
    directives: impl IntoIterator<Item = &'a Directive>,
    remark: impl std::fmt::Display,
) -> String {
    format!("{}: {remark}", origin(directives))
}

/// A table of the result, such as a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Header, as `[[hcrs.routes]]`.
    pub(crate) header: &'static str,
    pub(crate) origin: String,
    pub(crate) entries: Vec<Entry>,
}

/// Sections of notes below the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// Assumptions, and differences that need a decision.
    Check,
    /// Directives without an exact counterpart.
    NoCounterpart,
    /// Directives that are not needed.
    NotNeeded,
}

impl Section {
    fn title(self) -> &'static str {
        match self {
            Self::Check => "To be checked:",
            Self::NoCounterpart => "Without an exact counterpart:",
            Self::NotNeeded => "Not needed, because hcrs does this by itself or needs none of it:",
        }
    }
}

#[derive(Debug, Clone)]
struct Note {
    section: Section,
    text: String,
    /// Directives of the note; those of notes with the same text are collected.
    subjects: Vec<String>,
}

/// The configuration that is being converted.
#[derive(Debug, Default)]
pub(crate) struct NginxSheet {
    pub(crate) entries: Vec<Entry>,
    pub(crate) tables: Vec<Table>,
    /// Why the app has no name, if there is one.
    pub(crate) unnamed_app: Option<String>,
    notes: RefCell<Vec<Note>>,
}

impl NginxSheet {
    /// Sets a setting outside of tables.
    pub(crate) fn set(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Adds a note about directives. `text` is the reason or the step to take.
    pub(crate) fn note<'a>(
        &self,
        section: Section,
        directives: impl IntoIterator<Item = &'a Directive>,
        text: impl Into<String>,
    ) {
        let text = text.into();
        let subjects = directives.into_iter().map(|directive| {
            directive.see();
            format!("{} ({})", shortened(&directive.written()), directive.place)
        });
        let mut notes = self.notes.borrow_mut();
        let known = notes.iter_mut().find(|note| note.section == section && note.text == text);
        let subjects: Vec<String> = subjects.collect();
        match known {
            Some(note) => {
                for subject in subjects {
                    if !note.subjects.contains(&subject) {
                        note.subjects.push(subject);
                    }
                }
            }
            None => notes.push(Note { section, text, subjects }),
        }
    }

    /// Adds a note about directives if there are any.
    pub(crate) fn note_some(&self, section: Section, directives: Vec<&Directive>, text: &str) {
        if !directives.is_empty() {
            self.note(section, directives, text);
        }
    }

    /// Returns the file.
    pub(crate) fn to_toml(&self, head: &str) -> String {
        let mut text = head.to_owned();
        let is_extension =
            |entry: &&Entry| table::find(&entry.key).is_none_or(|setting| setting.is_extension);
        // Those of Hypercorn have the order of the reference, those of hcrs that of the conversion.
        let order = |entry: &&Entry| table::all().position(|setting| setting.key == entry.key);
        let (own, mut plain): (Vec<&Entry>, Vec<&Entry>) = self.entries.iter().partition(is_extension);
        plain.sort_by_key(|entry| (entry.key != "application_path", order(entry)));
        text.push('\n');
        if let Some(app) = &self.unnamed_app {
            write_to(&mut text, format_args!("# application_path = \"MODULE:APP\"  # {}\n", shortened(app)));
        }
        write_entries(&mut text, &plain);
        if !own.is_empty() {
            text.push_str("\n[hcrs]\n");
            write_entries(&mut text, &own);
        }
        for table in &self.tables {
            write_to(&mut text, format_args!("\n# {}\n", shortened(&table.origin)));
            if !table.header.is_empty() {
                write_to(&mut text, format_args!("{}\n", table.header));
            }
            write_entries(&mut text, &table.entries.iter().collect::<Vec<_>>());
        }
        let notes = self.notes.borrow();
        for section in [Section::Check, Section::NoCounterpart, Section::NotNeeded] {
            let mut title = Some(section.title());
            for note in notes.iter().filter(|note| note.section == section) {
                if let Some(title) = title.take() {
                    write_to(&mut text, format_args!("\n# {title}\n#\n"));
                }
                let subjects = note.subjects.join(", ");
                let colon = if subjects.is_empty() { "" } else { ": " };
                write_to(
                    &mut text,
                    format_args!("# - {}{colon}{}\n", printable(&subjects), printable(&note.text)),
                );
            }
        }
        text
    }
}

fn write_entries(text: &mut String, entries: &[&Entry]) {
    let width = |entry: &&&Entry| entry.key.len() + 3 + entry.literal.len();
    let column = entries.iter().map(|entry| width(&entry)).filter(|width| *width <= COMMENT_COLUMN).max();
    let column = column.unwrap_or(0) + 2;
    for Entry { key, literal, origin } in entries {
        let line = format!("{key} = {literal}  ");
        if origin.is_empty() {
            write_to(text, format_args!("{}\n", line.trim_end()));
        } else {
            write_to(text, format_args!("{line:column$}# {}\n", shortened(origin)));
        }
    }
}

/// Returns the text as part of a comment on one line.
fn shortened(text: &str) -> String {
    let mut line = printable(text);
    if let Some((end, _)) = line.char_indices().nth(MAX_ORIGIN) {
        line.truncate(end);
        line.push('…');
    }
    line
}

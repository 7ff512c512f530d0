//! The text of a configuration, and the form in which messages show a place in it.

use std::ops::Range;

use crate::value::Place;

/// Text of a configuration file with the file's name; empty if there is no file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    name: String,
    text: String,
    /// Whether the text was generated from a configuration in Python, so that its places mean nothing to the
    /// author.
    evaluated: bool,
}

impl Source {
    /// Creates a source from a TOML file.
    pub(crate) fn new(name: String, text: String) -> Self {
        Self { name, text, evaluated: false }
    }

    /// Creates a source from the TOML that a configuration in Python was evaluated to.
    pub(crate) fn evaluated(name: String, text: String) -> Self {
        Self { name, text, evaluated: true }
    }

    /// Returns whether the configuration is in Python, where unknown names are the author's own variables.
    pub(crate) fn is_evaluated(&self) -> bool {
        self.evaluated
    }

    /// Returns the place as the origin of a value, without the column.
    pub(crate) fn origin(&self, place: &Place) -> String {
        match place {
            Place::Flag(flag) => (*flag).into(),
            Place::Variable(name) => name.clone(),
            Place::File(_) if self.evaluated => self.name.clone(),
            Place::File(span) => format!("{}:{}", self.name, self.locate(span.start).0),
            Place::Nowhere => "default".into(),
        }
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the message on one line, preceded by its place.
    pub(crate) fn line(&self, place: &Place, message: &str) -> String {
        match place {
            Place::Flag(flag) => format!("{flag}: {message}"),
            Place::Variable(name) => format!("{name}: {message}"),
            Place::File(_) if self.evaluated => format!("{}: {message}", self.name),
            Place::File(span) => {
                let (line, column, _) = self.locate(span.start);
                format!("{}:{line}:{column}: {message}", self.name)
            }
            Place::Nowhere => message.into(),
        }
    }

    /// Returns the message preceded by its place and, for a place in the file, followed by the line with a
    /// marker below.
    pub(crate) fn excerpt(&self, place: &Place, message: &str) -> String {
        let head = self.line(place, message);
        let Place::File(span) = place else { return head };
        if self.evaluated {
            return head;
        }
        let (number, column, line) = self.locate(span.start);
        let margin = " ".repeat(number.to_string().len());
        let before: String =
            line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let marker = "^".repeat(self.width(span, line.chars().count() + 1 - column));
        format!("{head}\n{margin} |\n{number} | {line}\n{margin} | {before}{marker}")
    }

    /// Returns the line number and the column (in characters) of an offset, both counted from 1, and the
    /// line's text.
    fn locate(&self, offset: usize) -> (usize, usize, &str) {
        let boundary = (0..=offset.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at));
        let before = &self.text[..boundary.unwrap_or(0)];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[start..].lines().next().unwrap_or("");
        (before.matches('\n').count() + 1, before[start..].chars().count() + 1, line)
    }

    /// Returns the number of characters to mark: those of the span up to the end of its line, and at least
    /// one.
    fn width(&self, span: &Range<usize>, rest_of_line: usize) -> usize {
        let marked = self.text.get(span.clone()).map_or(1, |text| text.chars().count());
        marked.min(rest_of_line).max(1)
    }
}

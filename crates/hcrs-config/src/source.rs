//! The configuration's text, and how a place in it is shown: file, line, column, the line itself, a marker.

use std::ops::Range;

use crate::value::Place;

/// The text of the file; empty without one.
#[derive(Debug, Default)]
pub(crate) struct Source {
    name: String,
    text: String,
    /// Whether the text is what a Python file came to, whose places mean nothing to its author.
    evaluated: bool,
}

impl Source {
    pub(crate) fn new(name: String, text: String) -> Self {
        Self { name, text, evaluated: false }
    }

    /// What a configuration in Python came to.
    pub(crate) fn evaluated(name: String, text: String) -> Self {
        Self { name, text, evaluated: true }
    }

    /// Whether it is written in Python, where names that are no settings are the author's own.
    pub(crate) fn is_evaluated(&self) -> bool {
        self.evaluated
    }

    /// Where something stands, without the column.
    pub(crate) fn origin(&self, place: &Place) -> String {
        match place {
            Place::Flag(flag) => (*flag).into(),
            Place::Variable(name) => name.clone(),
            Place::File(_) if self.evaluated => self.name.clone(),
            Place::File(span) => format!("{}:{}", self.name, self.locate(span.start).0),
            Place::Nowhere => "default".into(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// One line: where, and what.
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

    /// Where, what, and for a place in the file also the line with a marker below.
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

    /// Line and column, from 1 on and in characters, and the text of the line.
    fn locate(&self, offset: usize) -> (usize, usize, &str) {
        let boundary = (0..=offset.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at));
        let before = &self.text[..boundary.unwrap_or(0)];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[start..].lines().next().unwrap_or("");
        (before.matches('\n').count() + 1, before[start..].chars().count() + 1, line)
    }

    /// How many characters to mark: the span's, but not beyond its line, and one at least.
    fn width(&self, span: &Range<usize>, rest_of_line: usize) -> usize {
        let marked = self.text.get(span.clone()).map_or(1, |text| text.chars().count());
        marked.min(rest_of_line).max(1)
    }
}

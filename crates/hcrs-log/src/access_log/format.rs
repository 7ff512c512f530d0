//! The format of access lines. `access_log_format` is parsed once, at the start, so that a line is put
//! together without parsing it again.

use std::fmt;

use crate::escape::{Quotes, push_escaped};

/// The content of an access line.
///
/// Atoms are those of Hypercorn and gunicorn, and some that only this server has; `docs/guide/logs.md` lists
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessFormat {
    pub(super) form: Form,
    /// Names, in lower case, of the response's fields that lines show; [`Atom::Response`] is an index into
    /// them.
    response_fields: Vec<Box<[u8]>>,
    /// Whether lines show the response's `content-length`.
    shows_length: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Texts and atoms, alternately.
    Text(Vec<Part>),
    /// One JSON object for each line.
    Json,
    /// A short line for a developer.
    Terminal { has_colors: bool },
}

/// A text and the atom behind it; the last part has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: Box<[u8]>,
    pub(super) atom: Option<Atom>,
    /// The least number of characters of the atom; negative if it is padded on its right.
    pub(super) width: i16,
}

/// A value that a line shows of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Atom {
    /// `h`
    Client,
    /// `u`
    User,
    /// `t`
    Time,
    /// `r`
    Line,
    /// `R`
    LineWithQuery,
    /// `s`
    Status,
    /// `st`
    Reason,
    /// `S`
    Scheme,
    /// `b`, `B`
    Length,
    /// `m`
    Method,
    /// `U`
    Path,
    /// `Uq`
    PathWithQuery,
    /// `q`
    Query,
    /// `H`
    Version,
    /// `T`
    Seconds,
    /// `M`
    Milliseconds,
    /// `D`
    Microseconds,
    /// `L`
    Duration,
    /// `p`
    Process,
    /// `{name}i`, and `f` and `a`
    Request(Box<[u8]>),
    /// `{name}o`
    Response(usize),
    /// `bytes_sent`
    BytesSent,
    /// `bytes_received`
    BytesReceived,
    /// `queue_time`
    QueueTime,
    /// `head_time`
    HeadTime,
    /// `worker_pid`
    Worker,
    /// `protocol`
    Protocol,
    /// `connection_id`
    Connection,
    /// `stream_id`
    Stream,
    /// `request_id`
    RequestId,
    /// `trace_id`
    TraceId,
    /// `span_id`
    SpanId,
    /// `fault`
    Fault,
}

/// The atoms with a fixed name.
const ATOMS: [(&str, Atom); 32] = [
    ("h", Atom::Client),
    ("u", Atom::User),
    ("t", Atom::Time),
    ("r", Atom::Line),
    ("R", Atom::LineWithQuery),
    ("s", Atom::Status),
    ("st", Atom::Reason),
    ("S", Atom::Scheme),
    ("b", Atom::Length),
    ("B", Atom::Length),
    ("m", Atom::Method),
    ("U", Atom::Path),
    ("Uq", Atom::PathWithQuery),
    ("q", Atom::Query),
    ("H", Atom::Version),
    ("T", Atom::Seconds),
    ("M", Atom::Milliseconds),
    ("D", Atom::Microseconds),
    ("L", Atom::Duration),
    ("p", Atom::Process),
    ("bytes_sent", Atom::BytesSent),
    ("bytes_received", Atom::BytesReceived),
    ("queue_time", Atom::QueueTime),
    ("head_time", Atom::HeadTime),
    ("worker_pid", Atom::Worker),
    ("protocol", Atom::Protocol),
    ("connection_id", Atom::Connection),
    ("stream_id", Atom::Stream),
    ("request_id", Atom::RequestId),
    ("trace_id", Atom::TraceId),
    ("span_id", Atom::SpanId),
    ("fault", Atom::Fault),
];

/// The longest format, in bytes.
const FORMAT_MAX: usize = 4 << 10;
/// The largest width of an atom.
const WIDTH_MAX: i16 = 256;

/// The reason why a format cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessFormatError {
    /// The atom is unknown.
    #[error("%({0})s is no atom that is known: {known}", known = KnownAtoms)]
    UnknownAtom(String),
    /// A `%` begins neither an atom nor `%%`.
    #[error(
        "{0:?} is neither an atom, which is written as in %(h)s or %({{name}}i)s, nor a percent sign, which is %%"
    )]
    NoAtom(String),
    /// A name in braces is not a valid name of a field or variable.
    #[error("%({0})s names no field: a field's name has letters, digits and hyphens")]
    FieldName(String),
    /// The format is too long.
    #[error("a format has at most {FORMAT_MAX} bytes")]
    TooLong,
}

/// Shows the names of all atoms, in error messages.
struct KnownAtoms;

impl fmt::Display for KnownAtoms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("l")?;
        for (name, _) in ATOMS {
            write!(f, ", {name}")?;
        }
        f.write_str(", and {name}i, {name}o, {name}e")
    }
}

impl AccessFormat {
    /// Hypercorn's default.
    pub const DEFAULT: &str = r#"%(h)s %(l)s %(l)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

    /// Parses a format. Environment variables are read now.
    pub fn parse(format: &str) -> Result<Self, AccessFormatError> {
        if format.len() > FORMAT_MAX {
            return Err(AccessFormatError::TooLong);
        }
        let mut compiler = Compiler::default();
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            compiler.text(&rest[..at]);
            let specifier = &rest[at..];
            rest = match specifier.strip_prefix("%%") {
                Some(after) => {
                    compiler.text("%");
                    after
                }
                None => compiler.atom(specifier)?,
            };
        }
        compiler.text(rest);
        compiler.end(None, 0);
        let Compiler { parts, response_fields, .. } = compiler;
        let shows_length = parts.iter().any(|part| part.atom == Some(Atom::Length));
        Ok(Self { form: Form::Text(parts), response_fields, shows_length })
    }

    /// Whether lines show the response's `content-length`.
    pub fn shows_length(&self) -> bool {
        self.shows_length
    }

    /// Returns the names of the response's fields that lines show.
    pub fn response_fields(&self) -> impl Iterator<Item = &[u8]> {
        self.response_fields.iter().map(AsRef::as_ref)
    }

    /// Returns the format of one JSON object for each line; `docs/guide/logs.md` lists its members.
    pub fn json() -> Self {
        Self { form: Form::Json, response_fields: Vec::new(), shows_length: false }
    }

    /// Returns the format of short lines for a developer who reads them in a terminal, with or without colors:
    /// time, status, method, target, milliseconds and protocol.
    pub fn terminal(has_colors: bool) -> Self {
        Self { form: Form::Terminal { has_colors }, response_fields: Vec::new(), shows_length: false }
    }
}

impl Default for AccessFormat {
    fn default() -> Self {
        Self::parse(Self::DEFAULT).expect("invariant: the default format is one, as a test shows")
    }
}

#[derive(Default)]
struct Compiler {
    parts: Vec<Part>,
    text: Vec<u8>,
    response_fields: Vec<Box<[u8]>>,
}

impl Compiler {
    fn text(&mut self, text: &str) {
        // Tabs of the operator separate columns. No text of a client contains one, because they are escaped.
        for (number, column) in text.split('\t').enumerate() {
            if number > 0 {
                self.text.push(b'\t');
            }
            push_escaped(&mut self.text, column.as_bytes(), Quotes::AsTheyAre);
        }
    }

    fn end(&mut self, atom: Option<Atom>, width: i16) {
        let text = std::mem::take(&mut self.text).into_boxed_slice();
        self.parts.push(Part { text, atom, width });
    }

    /// Parses `%(name)s`, with a width before the last letter as in Python. Returns the rest of the text.
    fn atom<'a>(&mut self, specifier: &'a str) -> Result<&'a str, AccessFormatError> {
        let no_atom = || AccessFormatError::NoAtom(specifier.chars().take(20).collect());
        let (name, after) =
            specifier.strip_prefix("%(").and_then(|rest| rest.split_once(')')).ok_or_else(no_atom)?;
        let letter = after.find(['s', 'd']).ok_or_else(no_atom)?;
        let width = match &after[..letter] {
            "" => 0,
            digits => digits
                .parse()
                .ok()
                .filter(|width| (-WIDTH_MAX..=WIDTH_MAX).contains(width))
                .ok_or_else(no_atom)?,
        };
        match self.named(name)? {
            Named::Atom(atom) => self.end(Some(atom), width),
            Named::Text(text) => push_escaped(&mut self.text, text.as_bytes(), Quotes::Escaped),
        }
        Ok(&after[letter + 1..])
    }

    fn named(&mut self, name: &str) -> Result<Named, AccessFormatError> {
        let request = |name: &[u8]| Named::Atom(Atom::Request(name.into()));
        match name {
            "l" => return Ok(Named::Text("-".to_owned())),
            "f" => return Ok(request(b"referer")),
            "a" => return Ok(request(b"user-agent")),
            _ => {}
        }
        if let Some((_, atom)) = ATOMS.iter().find(|(known, _)| *known == name) {
            return Ok(Named::Atom(atom.clone()));
        }
        let unknown = || AccessFormatError::UnknownAtom(name.chars().take(60).collect());
        let (field, kind) =
            name.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or_else(unknown)?;
        if kind == "e" && !field.is_empty() {
            let value = std::env::var_os(field).map(|value| value.to_string_lossy().into_owned());
            return Ok(Named::Text(value.unwrap_or_else(|| "-".to_owned())));
        }
        if !matches!(kind, "i" | "o") {
            return Err(unknown());
        }
        if !hcrs_http::is_field_name(field.as_bytes()) {
            return Err(AccessFormatError::FieldName(name.chars().take(60).collect()));
        }
        let field = field.to_ascii_lowercase().into_bytes();
        if kind == "i" {
            return Ok(request(&field));
        }
        let known = self.response_fields.iter().position(|known| **known == *field);
        let index = known.unwrap_or_else(|| {
            self.response_fields.push(field.into());
            self.response_fields.len() - 1
        });
        Ok(Named::Atom(Atom::Response(index)))
    }
}

/// The meaning of a name.
enum Named {
    Atom(Atom),
    /// A text that is the same in every line.
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(format: &str) -> String {
        AccessFormat::parse(format).unwrap_err().to_string()
    }

    fn parts_of(format: &str) -> Vec<(String, Option<Atom>, i16)> {
        let AccessFormat { form: Form::Text(parts), .. } = AccessFormat::parse(format).unwrap() else {
            panic!("a text")
        };
        parts
            .into_iter()
            .map(|part| (String::from_utf8(part.text.into()).unwrap(), part.atom, part.width))
            .collect()
    }

    #[test]
    fn the_default_is_a_format_that_shows_the_length() {
        let format = AccessFormat::default();
        assert!(format.shows_length);
        assert!(format.response_fields.is_empty());
    }

    #[test]
    fn texts_atoms_and_percent_signs_are_distinguished() {
        let none = || (String::new(), None, 0);
        assert_eq!(parts_of(""), [none()]);
        assert_eq!(
            parts_of("%%%(s)s-%(l)s-%(D)d"),
            [("%".into(), Some(Atom::Status), 0), ("---".into(), Some(Atom::Microseconds), 0), none()]
        );
        assert_eq!(parts_of("%(m)-7s")[0], (String::new(), Some(Atom::Method), -7));
        assert_eq!(parts_of("%(D)8d")[0].2, 8);
        let agent = Some(Atom::Request(b"user-agent"[..].into()));
        assert_eq!(parts_of("%({User-Agent}i)s")[0].1, agent);
        assert_eq!(parts_of("%(a)s")[0].1, agent);
    }

    #[test]
    fn a_response_field_that_is_named_twice_is_kept_once() {
        let format = AccessFormat::parse("%({X-A}o)s %({x-b}o)s %({x-a}o)s").unwrap();
        assert_eq!(format.response_fields, [b"x-a"[..].into(), b"x-b"[..].into()] as [Box<[u8]>; 2]);
        assert_eq!(parts_of("%({X-A}o)s %({x-b}o)s %({x-a}o)s")[2].1, Some(Atom::Response(0)));
    }

    #[test]
    fn environment_variables_are_text_and_cannot_break_a_line() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(parts_of("%({PATH}e)s")[0].0, path);
        assert_eq!(parts_of("%({HCRS_NOT_SET}e)s")[0].0, "-");
        assert_eq!(parts_of("a\nb")[0].0, "a\\x0ab", "a line stays one");
        assert_eq!(parts_of("a\t\tb")[0].0, "a\t\tb", "columns stay columns");
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert!(error_of("%(h)s %(frob)s").starts_with("%(frob)s is no atom that is known: l, h, u, t, r,"));
        assert!(error_of("%({x}z)s").starts_with("%({x}z)s is no atom"));
        assert!(error_of("%({}e)s").starts_with("%({}e)s is no atom"));
        assert_eq!(
            error_of("%({a b}i)s"),
            "%({a b}i)s names no field: a field's name has letters, digits and hyphens"
        );
        for bad in ["%h", "100%", "%(h", "%(h)", "%(h)x", "%(h)9999s", "%(h)+-2s"] {
            assert!(error_of(bad).contains("is neither an atom"), "{bad}: {}", error_of(bad));
        }
        assert_eq!(error_of(&"a".repeat(5000)), "a format has at most 4096 bytes");
    }
}

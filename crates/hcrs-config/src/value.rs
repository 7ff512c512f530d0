//! Values as they were written, in the file, as a flag or in a variable, and their conversion to the type of
//! a setting.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::kind::{MAX_SECONDS, ValueKind, parse_mask, parse_size, quoted};
use crate::secret::{HIDDEN, is_hidden};

/// Place where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// This flag.
    Flag(&'static str),
    /// This environment variable.
    Variable(String),
    /// These bytes of the file.
    File(Range<usize>),
    /// No single place: the value follows from several, or from none.
    Nowhere,
}

/// Wrong value, or a warning about one, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Written value with its place.
#[derive(Debug, Clone)]
pub struct Value {
    /// The value itself.
    pub datum: Datum,
    pub(crate) place: Place,
}

/// Written value without its place.
#[derive(Debug, Clone)]
pub enum Datum {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction, infinity or NaN.
    Float(f64),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// The entries of a table, in the order of the file.
    Table(Vec<(String, Value)>),
    /// A value that no setting takes, described in words: a date, or a number out of range.
    Other(&'static str),
}

impl From<Datum> for Value {
    /// Returns the value without a place.
    fn from(datum: Datum) -> Self {
        Self { datum, place: Place::Nowhere }
    }
}

impl From<&Spanned<DeValue<'_>>> for Value {
    fn from(written: &Spanned<DeValue<'_>>) -> Self {
        let datum = match written.get_ref() {
            DeValue::Boolean(value) => Datum::Boolean(*value),
            DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
                .map_or(Datum::Other("a number with too many digits"), Datum::Integer),
            DeValue::Float(value) => {
                value.as_str().parse().map_or(Datum::Other("a number that cannot be read"), Datum::Float)
            }
            DeValue::String(value) => Datum::Text(value.to_string()),
            DeValue::Array(values) => Datum::Array(values.iter().map(Self::from).collect()),
            DeValue::Table(table) => {
                let mut entries: Vec<_> = table.iter().collect();
                entries.sort_by_key(|(key, _)| key.span().start);
                let entries = entries.into_iter();
                Datum::Table(entries.map(|(key, value)| (key.get_ref().to_string(), value.into())).collect())
            }
            DeValue::Datetime(_) => Datum::Other("a date or time"),
        };
        Self { datum, place: Place::File(written.span()) }
    }
}

impl Datum {
    /// Parses text from outside the file, such as a flag's value, as a value of this kind.
    ///
    /// Text that cannot be parsed stays text, which the setting then refuses.
    pub fn from_text(kind: ValueKind, text: &str) -> Self {
        Value::from_text(kind, text, Place::Nowhere).datum
    }
}

impl Value {
    fn text(&self) -> Result<&str, Mistake> {
        match &self.datum {
            Datum::Text(text) if text.contains('\0') => Err(self.expected("a string without a zero byte")),
            Datum::Text(text) => Ok(text),
            _ => Err(self.expected("a string")),
        }
    }

    /// Returns the mistake of a value that is not the expected one.
    pub(crate) fn expected(&self, expected: impl Display) -> Mistake {
        Mistake { place: self.place.clone(), message: format!("expected {expected}, found {}", self.found()) }
    }

    fn found(&self) -> String {
        match &self.datum {
            Datum::Boolean(value) => value.to_string(),
            Datum::Integer(value) => value.to_string(),
            Datum::Float(value) => value.to_string(),
            Datum::Text(text) => {
                let shown: String = text.chars().take(60).collect();
                let more = if shown.len() < text.len() { "…" } else { "" };
                format!("the string {shown:?}{more}")
            }
            Datum::Array(_) => "an array".into(),
            Datum::Table(_) => "a table".into(),
            Datum::Other(description) => (*description).into(),
        }
    }

    /// Returns the value in the form of the file, with passwords hidden.
    pub(crate) fn literal(&self) -> String {
        match &self.datum {
            Datum::Boolean(value) => value.to_string(),
            Datum::Integer(value) => value.to_string(),
            Datum::Float(value) => value.to_string(),
            Datum::Text(text) => quoted(text),
            Datum::Array(values) => {
                format!("[{}]", values.iter().map(Self::literal).collect::<Vec<_>>().join(", "))
            }
            Datum::Table(entries) => {
                format!("{{ {} }}", entries.iter().map(literal_entry).collect::<Vec<_>>().join(", "))
            }
            Datum::Other(description) => (*description).into(),
        }
    }

    /// Returns the entries of a table in the form of the file, with passwords hidden.
    pub(crate) fn literal_lines(&self) -> Vec<String> {
        match &self.datum {
            Datum::Table(entries) => entries.iter().map(literal_entry).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns variables in the form of the file, with their values hidden.
    pub(crate) fn literal_names(&self) -> String {
        let hidden = |name: &str| format!("{} = {HIDDEN}", bare_or_quoted(name));
        let names: Vec<_> = match &self.datum {
            Datum::Table(entries) => entries.iter().map(|(name, _)| hidden(name)).collect(),
            Datum::Array(values) => values
                .iter()
                .filter_map(|value| value.text().ok()?.split_once('='))
                .map(|(name, _)| hidden(name))
                .collect(),
            _ => Vec::new(),
        };
        format!("{{ {} }}", names.join(", "))
    }

    /// Parses text from outside the file as a value of this kind.
    ///
    /// Text that cannot be parsed stays text, which the setting then refuses.
    pub(crate) fn from_text(kind: ValueKind, text: &str, place: Place) -> Self {
        let as_text = || Datum::Text(text.to_owned());
        let datum = match kind {
            ValueKind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Datum::Boolean(true),
                "false" | "0" | "no" | "off" | "" => Datum::Boolean(false),
                _ => as_text(),
            },
            ValueKind::Whole(..) => text.parse().map_or_else(|_| as_text(), Datum::Integer),
            ValueKind::WholeOrAuto(..) => text.parse().map_or_else(|_| as_text(), Datum::Integer),
            ValueKind::Size => text.parse().map_or_else(|_| as_text(), Datum::Integer),
            ValueKind::Mask => parse_mask(text).map_or_else(as_text, Datum::Integer),
            ValueKind::Seconds(_) | ValueKind::Ratio => text.parse().map_or_else(|_| as_text(), Datum::Float),
            ValueKind::BooleanOrBinds | ValueKind::BooleanOrWords(_) | ValueKind::BooleanOrText
                if matches!(text, "true" | "false") =>
            {
                Datum::Boolean(text == "true")
            }
            ValueKind::Variables | ValueKind::Pairs if text.trim_start().starts_with('{') => {
                return Self::from_toml(text, &place).unwrap_or_else(|| Self { datum: as_text(), place });
            }
            ValueKind::Texts
            | ValueKind::TextOrTexts
            | ValueKind::Variables
            | ValueKind::Pairs
            | ValueKind::BooleanOrBinds
            | ValueKind::BooleanOrWords(_) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let value = |part: &str| Self { datum: Datum::Text(part.into()), place: place.clone() };
                Datum::Array(parts.map(value).collect())
            }
            ValueKind::Table | ValueKind::Tables => {
                return Self::from_toml(text, &place).unwrap_or_else(|| Self { datum: as_text(), place });
            }
            ValueKind::Text
            | ValueKind::Path
            | ValueKind::OneOf(_)
            | ValueKind::NameOrNumber
            | ValueKind::TrueOrText
            | ValueKind::BooleanOrText => as_text(),
        };
        Self { datum, place }
    }

    /// Parses text as the value of a key in a TOML file. The value and everything in it get this place.
    pub(crate) fn from_toml(text: &str, place: &Place) -> Option<Self> {
        const KEY: &str = "value";
        let document = format!("{KEY} = {text}");
        let document = DeTable::parse(&document).ok()?;
        let value = document.get_ref().get(KEY).filter(|_| document.get_ref().len() == 1)?;
        Some(Self::from(value).at(place))
    }

    /// Returns the value, and everything in it, at another place.
    fn at(self, place: &Place) -> Self {
        let datum = match self.datum {
            Datum::Array(values) => Datum::Array(values.into_iter().map(|value| value.at(place)).collect()),
            Datum::Table(entries) => {
                Datum::Table(entries.into_iter().map(|(key, value)| (key, value.at(place))).collect())
            }
            other => other,
        };
        Self { datum, place: place.clone() }
    }

    fn json(&self) -> Result<String, Mistake> {
        Ok(match &self.datum {
            Datum::Boolean(value) => value.to_string(),
            Datum::Integer(value) => value.to_string(),
            Datum::Float(value) if value.is_finite() => value.to_string(),
            Datum::Text(text) => quoted(text),
            Datum::Array(values) => {
                let values = values.iter().map(Self::json).collect::<Result<Vec<_>, _>>()?;
                format!("[{}]", values.join(","))
            }
            Datum::Table(entries) => {
                if let [(key, Self { datum: Datum::Text(object), place })] = &entries[..]
                    && key == PYTHON_OBJECT
                {
                    return Err(Mistake {
                        place: place.clone(),
                        message: format!(
                            "{object} cannot be passed to the workers; write its name as a string, as in \
                             \"ext://package.module.name\" or, for \"()\" and \"class\", \
                             \"package.module.name\""
                        ),
                    });
                }
                let entry = |(key, value): &(String, Self)| Ok(format!("{}:{}", quoted(key), value.json()?));
                format!("{{{}}}", entries.iter().map(entry).collect::<Result<Vec<_>, Mistake>>()?.join(","))
            }
            Datum::Float(_) | Datum::Other(_) => {
                return Err(self.expected(
                    "a value for Python's logging: text, a finite number, true, false, an array or a table",
                ));
            }
        })
    }
}

/// Only key of the table that stands for a Python object without a TOML form (`evaluate.py`).
const PYTHON_OBJECT: &str = "python";

/// Returns an entry of a table in the form of the file, with passwords hidden.
fn literal_entry((key, value): &(String, Value)) -> String {
    if is_hidden(key) {
        return format!("{key} = {HIDDEN}");
    }
    format!("{} = {}", bare_or_quoted(key), value.literal())
}

/// Returns a key in the form of the file.
fn bare_or_quoted(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { quoted(key) }
}

/// Value that was given for a setting, with the kind that the setting takes.
#[derive(Clone, Copy)]
pub(crate) struct GivenValue<'a> {
    pub(crate) value: &'a Value,
    pub(crate) kind: ValueKind,
}

impl<'a> GivenValue<'a> {
    /// Returns a boolean.
    pub(crate) fn boolean(&self) -> Result<bool, Mistake> {
        match self.value.datum {
            Datum::Boolean(value) => Ok(value),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Returns a whole number within the bounds of the setting.
    pub(crate) fn whole<T: TryFrom<i64>>(&self) -> Result<T, Mistake> {
        let (least, most) = match self.kind {
            ValueKind::Whole(least, most) | ValueKind::WholeOrAuto(least, most) => (least, most),
            _ => (0, 0o777),
        };
        if let Datum::Integer(value) = self.value.datum
            && (least..=most).contains(&value)
            && let Ok(value) = T::try_from(value)
        {
            return Ok(value);
        }
        let or_auto = if let ValueKind::WholeOrAuto(..) = self.kind { " or \"auto\"" } else { "" };
        Err(self.expected(format_args!("a whole number from {least} to {most}{or_auto}")))
    }

    /// Returns a number of bytes.
    pub(crate) fn size(&self) -> Result<u64, Mistake> {
        let size = match &self.value.datum {
            Datum::Integer(size) => Some(*size),
            Datum::Text(text) => parse_size(text),
            _ => None,
        };
        let size = size.and_then(|size| u64::try_from(size).ok());
        size.ok_or_else(|| self.expected("a number of bytes, or text as \"10M\""))
    }

    /// Returns a number of seconds within the bounds of the setting, as a duration.
    pub(crate) fn seconds(&self) -> Result<Duration, Mistake> {
        let least = if let ValueKind::Seconds(least) = self.kind { least } else { 0.0 };
        self.number()
            .filter(|seconds| (least..=MAX_SECONDS).contains(seconds))
            .map(Duration::from_secs_f64)
            .ok_or_else(|| self.expected(format_args!("a number of seconds from {least} to {MAX_SECONDS}")))
    }

    /// Returns a number from 0 to 1.
    pub(crate) fn ratio(&self) -> Result<f64, Mistake> {
        self.number()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .ok_or_else(|| self.expected("a number from 0 to 1"))
    }

    fn number(&self) -> Option<f64> {
        match self.value.datum {
            #[expect(clippy::cast_precision_loss, reason = "numbers that lose precision are out of bounds")]
            Datum::Integer(value) => Some(value as f64),
            Datum::Float(value) => Some(value),
            _ => None,
        }
    }

    /// Returns a string.
    pub(crate) fn text(&self) -> Result<&'a str, Mistake> {
        self.value.text()
    }

    /// Returns a path that is not empty.
    pub(crate) fn path(&self) -> Result<PathBuf, Mistake> {
        match self.text() {
            Ok("") | Err(_) => Err(self.expected("a path as a string")),
            Ok(path) => Ok(PathBuf::from(path)),
        }
    }

    /// Returns a table as JSON.
    pub(crate) fn table_as_json(&self) -> Result<String, Mistake> {
        match self.value.datum {
            Datum::Table(_) => self.value.json(),
            _ => Err(self.expected("a table")),
        }
    }

    /// Returns the elements of an array of strings, with their places.
    pub(crate) fn texts(&self) -> Result<Vec<(&'a str, &'a Place)>, Mistake> {
        let Datum::Array(values) = &self.value.datum else {
            return Err(self.expected("an array of strings"));
        };
        values.iter().map(|value| Ok((value.text()?, &value.place))).collect()
    }

    /// Returns the variables of a table of strings, or of an array of strings of the form `NAME=value`.
    pub(crate) fn variables(&self) -> Result<Vec<(String, String)>, Mistake> {
        let variable = |name: &str, value: &str, given: &Value| {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(given.expected("a variable with a name, as in NAME=value"));
            }
            Ok((name.to_owned(), value.to_owned()))
        };
        match &self.value.datum {
            Datum::Table(entries) => {
                entries.iter().map(|(name, value)| variable(name, value.text()?, value)).collect()
            }
            Datum::Array(values) => values
                .iter()
                .map(|given| match given.text()?.split_once('=') {
                    Some((name, value)) => variable(name, value, given),
                    None => Err(given.expected("a string of the form NAME=value")),
                })
                .collect(),
            _ => Err(self.expected("a table of strings, or an array of strings of the form NAME=value")),
        }
    }

    /// Returns the pairs of a table of strings, or of an array of strings of the form `name=value`, with the values
    /// that they are in.
    pub(crate) fn pairs(&self) -> Result<Vec<(&'a str, &'a str, &'a Value)>, Mistake> {
        match &self.value.datum {
            Datum::Table(entries) => {
                entries.iter().map(|(name, value)| Ok((name.as_str(), value.text()?, value))).collect()
            }
            Datum::Array(values) => {
                let pair = |given: &'a Value| match given.text()?.split_once('=') {
                    Some((name, value)) => Ok((name, value, given)),
                    None => Err(given.expected("a string of the form name=value")),
                };
                values.iter().map(pair).collect()
            }
            _ => Err(self.expected("a table of strings, or an array of strings of the form name=value")),
        }
    }

    /// Returns the elements of an array of strings, or a string as its only element, with their places.
    pub(crate) fn text_or_texts(&self) -> Result<Vec<(&'a str, &'a Place)>, Mistake> {
        match &self.value.datum {
            Datum::Text(_) => Ok(vec![(self.text()?, &self.value.place)]),
            Datum::Array(_) => self.texts(),
            _ => Err(self.expected("a string or an array of strings")),
        }
    }

    /// Returns a value that was read together with its place, for checks that involve several settings.
    pub(crate) fn placed<T>(&self, read: Result<T, Mistake>) -> Result<Option<(T, Place)>, Mistake> {
        Ok(Some((read?, self.value.place.clone())))
    }

    /// Returns the mistake of a value that is not the expected one.
    pub(crate) fn expected(&self, expected: impl Display) -> Mistake {
        self.value.expected(expected)
    }

    /// Returns a mistake in the value.
    pub(crate) fn mistake(&self, message: impl Display) -> Mistake {
        Mistake { place: self.value.place.clone(), message: message.to_string() }
    }
}

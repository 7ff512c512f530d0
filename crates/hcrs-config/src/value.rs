//! A value as it was written, in the file or as a flag, and how it is read as what a key expects.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::setting::{Kind, MAX_SECONDS, quoted};

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// As this flag.
    Flag(&'static str),
    /// In this variable of the environment.
    Variable(String),
    /// In the file, in these bytes.
    File(Range<usize>),
    /// It follows from several places, or from none.
    Nowhere,
}

/// What is wrong with what was written at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// What was written, and where.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) datum: Datum,
    pub(crate) place: Place,
}

/// What was written.
#[derive(Debug, Clone)]
pub(crate) enum Datum {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Array(Vec<Value>),
    /// The entries of a table, as they stand in the file.
    Table(Vec<(String, Value)>),
    /// What no key expects: a date, or a number that does not fit.
    Other(&'static str),
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

impl Value {
    fn text(&self) -> Result<&str, Mistake> {
        match &self.datum {
            Datum::Text(text) if text.contains('\0') => Err(self.expected("a string without a zero byte")),
            Datum::Text(text) => Ok(text),
            _ => Err(self.expected("a string")),
        }
    }

    /// The mistake of having written this and not what is expected.
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
            Datum::Other(what) => (*what).into(),
        }
    }

    /// As it would be written in the file.
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
                let entry = |(key, value): &(String, Self)| match key.as_str() {
                    SECRET => format!("{key} = {HIDDEN}"),
                    _ => format!("{} = {}", bare_or_quoted(key), value.literal()),
                };
                format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
            Datum::Other(what) => (*what).into(),
        }
    }

    /// Reads text from outside the file as what a setting takes. What cannot be read stays text, and is told
    /// as such by the setting.
    pub(crate) fn from_text(kind: Kind, text: &str, place: Place) -> Self {
        let as_text = || Datum::Text(text.to_owned());
        let datum = match kind {
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Datum::Boolean(true),
                "false" | "0" | "no" | "off" | "" => Datum::Boolean(false),
                _ => as_text(),
            },
            Kind::Whole(..) => text.parse().map_or_else(|_| as_text(), Datum::Integer),
            Kind::Mask => mask(text).map_or_else(as_text, Datum::Integer),
            Kind::Seconds(_) => text.parse().map_or_else(|_| as_text(), Datum::Float),
            Kind::BooleanOrBinds if matches!(text, "true" | "false") => Datum::Boolean(text == "true"),
            Kind::Texts | Kind::TextOrTexts | Kind::BooleanOrBinds => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let value = |part: &str| Self { datum: Datum::Text(part.into()), place: place.clone() };
                Datum::Array(parts.map(value).collect())
            }
            Kind::Table | Kind::Tables => {
                return Self::from_toml(text, &place).unwrap_or_else(|| Self { datum: as_text(), place });
            }
            Kind::Text | Kind::Path | Kind::OneOf(_) | Kind::NameOrNumber => as_text(),
        };
        Self { datum, place }
    }
}

impl Value {
    /// Reads what could stand behind a key in the file; everything in it has this place.
    pub(crate) fn from_toml(text: &str, place: &Place) -> Option<Self> {
        const KEY: &str = "value";
        let document = format!("{KEY} = {text}");
        let document = DeTable::parse(&document).ok()?;
        let value = document.get_ref().get(KEY).filter(|_| document.get_ref().len() == 1)?;
        Some(Self::from(value).at(place))
    }

    /// The same at another place.
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
                            "{object} cannot be passed to the workers: write its name as a string, as in \
                             \"ext://package.module.name\" or, for \"()\" and \"class\", \"package.module.name\""
                        ),
                    });
                }
                let entry = |(key, value): &(String, Self)| Ok(format!("{}:{}", quoted(key), value.json()?));
                format!("{{{}}}", entries.iter().map(entry).collect::<Result<Vec<_>, Mistake>>()?.join(","))
            }
            Datum::Float(_) | Datum::Other(_) => {
                return Err(self.expected(
                    "what Python's logging can be told: text, a number, true, false, an array or a table",
                ));
            }
        })
    }
}

/// The one key of the table that stands for an object in a configuration in Python that TOML has no form for.
const PYTHON_OBJECT: &str = "python";

/// A key as it is written in the file.
fn bare_or_quoted(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { quoted(key) }
}

/// What is not shown, wherever it stands.
pub(crate) const SECRET: &str = "keyfile_password";
/// What may hold a secret: handlers of Python's logging have passwords. No worker gets their variables.
pub(crate) const SECRETS: [&str; 2] = [SECRET, "logconfig_dict"];
/// What is shown instead.
pub(crate) const HIDDEN: &str = "(hidden)";

/// Decimal as Hypercorn reads it, also with a leading zero, so that a command line keeps its meaning.
pub(crate) fn mask(text: &str) -> Option<i64> {
    match text.strip_prefix("0o") {
        Some(octal) => i64::from_str_radix(octal, 8).ok(),
        None => text.parse().ok(),
    }
}

/// A value that was given for a setting.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) value: &'a Value,
    /// What the setting takes.
    pub(crate) kind: Kind,
}

impl<'a> Given<'a> {
    pub(crate) fn boolean(&self) -> Result<bool, Mistake> {
        match self.value.datum {
            Datum::Boolean(value) => Ok(value),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A whole number within the bounds of the setting.
    pub(crate) fn whole<T: TryFrom<i64>>(&self) -> Result<T, Mistake> {
        let (least, most) = match self.kind {
            Kind::Whole(least, most) => (least, most),
            _ => (0, 0o777),
        };
        if let Datum::Integer(value) = self.value.datum
            && (least..=most).contains(&value)
            && let Ok(value) = T::try_from(value)
        {
            return Ok(value);
        }
        Err(self.expected(format_args!("a whole number from {least} to {most}")))
    }

    /// Seconds, fractions allowed, from the bound of the setting on.
    pub(crate) fn seconds(&self) -> Result<Duration, Mistake> {
        let least = if let Kind::Seconds(least) = self.kind { least } else { 0.0 };
        self.number()
            .filter(|seconds| (least..=MAX_SECONDS).contains(seconds))
            .map(Duration::from_secs_f64)
            .ok_or_else(|| self.expected(format_args!("a number of seconds from {least} to {MAX_SECONDS}")))
    }

    fn number(&self) -> Option<f64> {
        match self.value.datum {
            #[expect(clippy::cast_precision_loss, reason = "what is not exact is far beyond the bounds")]
            Datum::Integer(value) => Some(value as f64),
            Datum::Float(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Result<&'a str, Mistake> {
        self.value.text()
    }

    pub(crate) fn path(&self) -> Result<PathBuf, Mistake> {
        match self.text() {
            Ok("") | Err(_) => Err(self.expected("a path as a string")),
            Ok(path) => Ok(PathBuf::from(path)),
        }
    }

    /// A table as JSON.
    pub(crate) fn table_as_json(&self) -> Result<String, Mistake> {
        match self.value.datum {
            Datum::Table(_) => self.value.json(),
            _ => Err(self.expected("a table")),
        }
    }

    /// The elements of an array of strings.
    pub(crate) fn texts(&self) -> Result<Vec<(&'a str, &'a Place)>, Mistake> {
        let Datum::Array(values) = &self.value.datum else {
            return Err(self.expected("an array of strings"));
        };
        values.iter().map(|value| Ok((value.text()?, &value.place))).collect()
    }

    /// The elements of an array of strings, or a string as the only one.
    pub(crate) fn text_or_texts(&self) -> Result<Vec<(&'a str, &'a Place)>, Mistake> {
        match &self.value.datum {
            Datum::Text(_) => Ok(vec![(self.text()?, &self.value.place)]),
            Datum::Array(_) => self.texts(),
            _ => Err(self.expected("a string or an array of strings")),
        }
    }

    /// With the place, for those who are checked together later.
    pub(crate) fn placed<T>(&self, read: Result<T, Mistake>) -> Result<Option<(T, Place)>, Mistake> {
        Ok(Some((read?, self.value.place.clone())))
    }

    /// The mistake of having written this and not what is expected.
    pub(crate) fn expected(&self, expected: impl Display) -> Mistake {
        self.value.expected(expected)
    }
}

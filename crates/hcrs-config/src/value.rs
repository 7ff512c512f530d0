//! A value as it was written, in the file or as a flag, and how it is read as what a key expects.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// As this flag.
    Flag(&'static str),
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
    /// A table, whose keys are looked up by those who expect one.
    Table,
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
            DeValue::Table(_) => Datum::Table,
            DeValue::Datetime(_) => Datum::Other("a date or time"),
        };
        Self { datum, place: Place::File(written.span()) }
    }
}

/// No deadline is longer than a year: what is meant is "never", and nothing here waits for ever.
const MAX_SECONDS: f64 = 31_536_000.0;

impl Value {
    pub(crate) fn boolean(&self) -> Result<bool, Mistake> {
        match self.datum {
            Datum::Boolean(value) => Ok(value),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A whole number within both bounds.
    pub(crate) fn whole<T>(&self, least: T, most: T) -> Result<T, Mistake>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        if let Datum::Integer(value) = self.datum
            && let Ok(value) = T::try_from(value)
            && value >= least
            && value <= most
        {
            return Ok(value);
        }
        Err(self.expected(format_args!("a whole number from {least} to {most}")))
    }

    /// Seconds, fractions allowed.
    pub(crate) fn seconds(&self) -> Result<Duration, Mistake> {
        self.number()
            .filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds))
            .map(Duration::from_secs_f64)
            .ok_or_else(|| self.expected(format_args!("a number of seconds from 0 to {MAX_SECONDS}")))
    }

    /// Seconds, fractions allowed, but at least a millisecond.
    pub(crate) fn seconds_above_zero(&self) -> Result<Duration, Mistake> {
        self.number()
            .filter(|seconds| (0.001..=MAX_SECONDS).contains(seconds))
            .map(Duration::from_secs_f64)
            .ok_or_else(|| self.expected(format_args!("a number of seconds from 0.001 to {MAX_SECONDS}")))
    }

    fn number(&self) -> Option<f64> {
        match self.datum {
            #[expect(clippy::cast_precision_loss, reason = "what is not exact is far beyond the bounds")]
            Datum::Integer(value) => Some(value as f64),
            Datum::Float(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Result<&str, Mistake> {
        match &self.datum {
            Datum::Text(text) if text.contains('\0') => Err(self.expected("a string without a zero byte")),
            Datum::Text(text) => Ok(text),
            _ => Err(self.expected("a string")),
        }
    }

    pub(crate) fn path(&self) -> Result<PathBuf, Mistake> {
        match self.text() {
            Ok("") | Err(_) => Err(self.expected("a path as a string")),
            Ok(path) => Ok(PathBuf::from(path)),
        }
    }

    /// The elements of an array of strings.
    pub(crate) fn texts(&self) -> Result<Vec<(&str, &Place)>, Mistake> {
        let Datum::Array(values) = &self.datum else { return Err(self.expected("an array of strings")) };
        values.iter().map(|value| Ok((value.text()?, &value.place))).collect()
    }

    /// The elements of an array of strings, or a string as the only one.
    pub(crate) fn text_or_texts(&self) -> Result<Vec<(&str, &Place)>, Mistake> {
        match &self.datum {
            Datum::Text(_) => Ok(vec![(self.text()?, &self.place)]),
            Datum::Array(_) => self.texts(),
            _ => Err(self.expected("a string or an array of strings")),
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
            Datum::Table => "a table".into(),
            Datum::Other(what) => (*what).into(),
        }
    }
}

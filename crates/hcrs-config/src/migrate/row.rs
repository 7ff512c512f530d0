//! What is said once of each setting of another server: its names, how its flags are read, and what becomes of it.

use std::borrow::Cow;

use crate::migrate::sheet::Sheet;
use crate::value::{Datum, Place, Value};

/// Another server.
pub(crate) struct Server {
    /// Its name, which is also that of its command.
    pub(crate) name: &'static str,
    /// Its settings.
    pub(crate) rows: Vec<Row>,
    /// What the variables of its settings begin with, if it reads any.
    pub(crate) prefix: Option<&'static str>,
    /// Other variables that it reads, and the settings that they set.
    pub(crate) variables: &'static [(&'static str, &'static str)],
    /// Whether its flags may be shortened as long as they are clear.
    pub(crate) abbreviates: bool,
    /// What the command line's bare word is: the app.
    pub(crate) app: &'static str,
    /// The setting that names its file, and whether one is read that nobody has named.
    pub(crate) config: Option<&'static str>,
    /// What concerns several settings: above all the app.
    pub(crate) finish: fn(&mut Sheet<'_>),
}

/// One setting of another server.
pub(crate) struct Row {
    /// Its name in a file.
    pub(crate) name: Cow<'static, str>,
    /// Its flags, with their dashes and separated by spaces. One that begins with `--no-` turns it off.
    pub(crate) flags: Cow<'static, str>,
    /// What a flag takes.
    pub(crate) takes: Takes,
    /// What it is when nobody sets it, as a flag would say it; said only where that matters.
    pub(crate) default: Option<&'static str>,
    /// What becomes of it.
    pub(crate) outcome: Outcome,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// One value; said twice, the last one counts.
    Value,
    /// One value, and all of them count.
    List,
    /// None.
    Nothing,
    /// One of these words, or none.
    Perhaps(&'static [&'static str]),
}

/// What becomes of a setting.
pub(crate) enum Outcome {
    /// It is this setting of ours, and its default is written out.
    Same(&'static str),
    /// These settings of ours are made from it.
    Made(&'static str, Make),
    /// It is part of what is made from another one.
    Part(&'static str),
    /// There is nothing like it, for this reason.
    Without(&'static str),
}

/// Makes settings of ours; the error says what cannot be understood.
pub(crate) type Make = fn(&Told, &mut Sheet<'_>) -> Result<(), String>;

/// What another server was told for one of its settings.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// The number of the row.
    pub(crate) row: usize,
    pub(crate) datum: Datum,
    /// Where, and in what words.
    pub(crate) origin: String,
    /// Whether nobody has said it.
    pub(crate) is_default: bool,
}

impl Row {
    const fn new(name: &'static str, flags: &'static str, outcome: Outcome) -> Self {
        Self {
            name: Cow::Borrowed(name),
            flags: Cow::Borrowed(flags),
            takes: Takes::Value,
            default: None,
            outcome,
        }
    }

    /// The same under our key.
    pub(crate) const fn same(name: &'static str, flags: &'static str, key: &'static str) -> Self {
        Self::new(name, flags, Outcome::Same(key))
    }

    /// Our keys are made from it.
    pub(crate) const fn made(
        name: &'static str,
        flags: &'static str,
        keys: &'static str,
        make: Make,
    ) -> Self {
        Self::new(name, flags, Outcome::Made(keys, make))
    }

    /// It is part of another one.
    pub(crate) const fn part(name: &'static str, flags: &'static str, of: &'static str) -> Self {
        Self::new(name, flags, Outcome::Part(of))
    }

    /// It has no counterpart.
    pub(crate) const fn without(name: &'static str, flags: &'static str, why: &'static str) -> Self {
        Self::new(name, flags, Outcome::Without(why))
    }

    /// Its flags take nothing.
    pub(crate) const fn switch(mut self) -> Self {
        self.takes = Takes::Nothing;
        self
    }

    /// Its flags make a list.
    pub(crate) const fn list(mut self) -> Self {
        self.takes = Takes::List;
        self
    }

    /// Its flags take one of these words or nothing.
    pub(crate) const fn perhaps(mut self, words: &'static [&'static str]) -> Self {
        self.takes = Takes::Perhaps(words);
        self
    }

    /// What it is when nobody sets it.
    pub(crate) const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Its flags, one by one.
    pub(crate) fn each_flag(&self) -> impl Iterator<Item = &str> {
        self.flags.split_whitespace()
    }
}

impl Server {
    /// The row of this name.
    pub(crate) fn row(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.name == name)
    }
}

impl Told {
    /// A single value as text.
    pub(crate) fn text(&self) -> Result<String, String> {
        match &self.datum {
            Datum::Text(text) => Ok(text.clone()),
            Datum::Integer(value) => Ok(value.to_string()),
            Datum::Float(value) => Ok(value.to_string()),
            Datum::Boolean(value) => Ok(value.to_string()),
            Datum::Table(entries) => match entries.as_slice() {
                // What a configuration in Python has as an object of its own.
                [(key, Value { datum: Datum::Text(object), .. })] if key == "python" => Ok(object.clone()),
                _ => Err("expected a string, found a table".into()),
            },
            Datum::Array(_) | Datum::Other(_) => Err("expected a string".into()),
        }
    }

    /// Several values as texts; a string with commas is taken apart.
    pub(crate) fn texts(&self) -> Result<Vec<String>, String> {
        let apart = |text: &str| -> Vec<String> {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        match &self.datum {
            Datum::Array(values) => {
                let mut texts = Vec::new();
                for value in values {
                    match &value.datum {
                        Datum::Text(text) => texts.extend(apart(text)),
                        _ => return Err("expected an array of strings".into()),
                    }
                }
                Ok(texts)
            }
            _ => Ok(apart(&self.text()?)),
        }
    }

    /// A whole number, also as text.
    pub(crate) fn whole(&self) -> Result<i64, String> {
        if let Datum::Integer(value) = self.datum {
            return Ok(value);
        }
        let text = self.text()?;
        text.trim().parse().map_err(|_| format!("expected a whole number, found {text:?}"))
    }

    /// A number, also as text, or a duration such as `1h30m`.
    pub(crate) fn seconds(&self) -> Result<f64, String> {
        match &self.datum {
            #[expect(clippy::cast_precision_loss, reason = "seconds are far below what is not exact")]
            Datum::Integer(value) => Ok(*value as f64),
            Datum::Float(value) => Ok(*value),
            _ => {
                let text = self.text()?;
                duration(text.trim()).ok_or_else(|| format!("expected a number of seconds, found {text:?}"))
            }
        }
    }

    /// True or false, also in words.
    pub(crate) fn boolean(&self) -> Result<bool, String> {
        match self.datum {
            Datum::Boolean(value) => Ok(value),
            _ => match self.text()?.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
                "false" | "0" | "no" | "off" | "none" | "" | "f" | "n" => Ok(false),
                other => Err(format!("expected true or false, found {other:?}")),
            },
        }
    }
}

/// Seconds as a number, or as numbers with units: `30`, `1.5`, `2h30m`, `1d`.
fn duration(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    let (mut total, mut number) = (0.0, String::new());
    for letter in text.chars() {
        let unit = match letter {
            '0'..='9' | '.' => {
                number.push(letter);
                continue;
            }
            's' => 1.0,
            'm' => 60.0,
            'h' => 3_600.0,
            'd' => 86_400.0,
            _ => return None,
        };
        total += std::mem::take(&mut number).parse::<f64>().ok()? * unit;
    }
    (number.is_empty() && !text.is_empty()).then_some(total)
}

/// A value that stands nowhere in particular.
pub(crate) fn value(datum: Datum) -> Value {
    Value { datum, place: Place::Nowhere }
}

/// Texts as an array.
pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Datum {
    Datum::Array(texts.into_iter().map(|text| value(Datum::Text(text.to_owned()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, seconds) in
            [("30", Some(30.0)), ("1.5", Some(1.5)), ("2h30m", Some(9_000.0)), ("1d", Some(86_400.0))]
        {
            assert_eq!(duration(text), seconds, "{text}");
        }
        for text in ["", "h", "10x", "5m3", "inf", "nan"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}

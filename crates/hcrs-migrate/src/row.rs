//! The description of another server's settings: names, flags, defaults, and the conversion to settings of
//! hcrs.

use std::borrow::Cow;

use crate::sheet::Sheet;
use hcrs_config::{Datum, Value};

/// Description of another server.
pub(crate) struct Server {
    /// Name, which is also that of the command.
    pub(crate) name: &'static str,
    /// Settings.
    pub(crate) rows: Vec<Row>,
    /// Prefix of the environment variables that set settings, if the server reads any.
    pub(crate) prefix: Option<&'static str>,
    /// Further environment variables, and the settings that they set.
    pub(crate) variables: &'static [(&'static str, &'static str)],
    /// Whether long flags may be shortened to an unambiguous prefix.
    pub(crate) abbreviates: bool,
    /// Setting of the app, which is the positional argument of the command line.
    pub(crate) app: &'static str,
    /// Setting that names the configuration file.
    pub(crate) config: Option<&'static str>,
    /// Conversion that involves several settings, above all the app; it runs last.
    pub(crate) finish: fn(&mut Sheet<'_>),
}

/// Setting of another server.
pub(crate) struct Row {
    /// Name in a file.
    pub(crate) name: Cow<'static, str>,
    /// Flags with their dashes, separated by spaces. A flag with the prefix `--no-` turns the setting off.
    pub(crate) flags: Cow<'static, str>,
    /// Value of the flags.
    pub(crate) value: FlagValue,
    /// Default in the form of a flag's value, if the conversion needs it.
    pub(crate) default: Option<&'static str>,
    /// Conversion to settings of hcrs.
    pub(crate) mapping: Mapping,
}

/// Value that a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagValue {
    /// One value; the last occurrence of the flag counts.
    Single,
    /// One value; all occurrences of the flag make a list.
    List,
    /// No value.
    Absent,
    /// One of these words, or no value.
    Optional(&'static [&'static str]),
}

/// Conversion of a setting.
pub(crate) enum Mapping {
    /// The setting becomes this one unchanged, and its default is written out.
    Same(&'static str),
    /// The setting becomes these ones by a function.
    Converted(&'static str, Converter),
    /// The setting contributes to these ones, which another setting's function sets.
    PartOf(&'static str),
    /// The setting has no counterpart, for this reason.
    Unsupported(&'static str),
}

/// Sets settings of hcrs from another server's setting. The error describes an invalid value.
pub(crate) type Converter = fn(&MigratedSetting, &mut Sheet<'_>) -> Result<(), String>;

/// Value of another server's setting, with its origin.
#[derive(Debug, Clone)]
pub(crate) struct MigratedSetting {
    /// Index of the setting's row.
    pub(crate) row: usize,
    pub(crate) datum: Datum,
    /// Place and wording of the value, for the comment beside the converted line.
    pub(crate) origin: String,
    /// Whether the value is the default.
    pub(crate) is_default: bool,
}

impl Row {
    const fn new(name: &'static str, flags: &'static str, mapping: Mapping) -> Self {
        Self {
            name: Cow::Borrowed(name),
            flags: Cow::Borrowed(flags),
            value: FlagValue::Single,
            default: None,
            mapping,
        }
    }

    /// Creates a setting that becomes the setting `key` unchanged.
    pub(crate) const fn same(name: &'static str, flags: &'static str, key: &'static str) -> Self {
        Self::new(name, flags, Mapping::Same(key))
    }

    /// Creates a setting that becomes the settings `keys` by a function.
    pub(crate) const fn converted(
        name: &'static str,
        flags: &'static str,
        keys: &'static str,
        converter: Converter,
    ) -> Self {
        Self::new(name, flags, Mapping::Converted(keys, converter))
    }

    /// Creates a setting that contributes to the settings `keys`.
    pub(crate) const fn part_of(name: &'static str, flags: &'static str, keys: &'static str) -> Self {
        Self::new(name, flags, Mapping::PartOf(keys))
    }

    /// Creates a setting that has no counterpart.
    pub(crate) const fn unsupported(name: &'static str, flags: &'static str, reason: &'static str) -> Self {
        Self::new(name, flags, Mapping::Unsupported(reason))
    }

    /// Makes the flags take no value.
    pub(crate) const fn switch(mut self) -> Self {
        self.value = FlagValue::Absent;
        self
    }

    /// Makes several occurrences of a flag a list.
    pub(crate) const fn list(mut self) -> Self {
        self.value = FlagValue::List;
        self
    }

    /// Makes the flags take one of these words or no value.
    pub(crate) const fn optional_value(mut self, words: &'static [&'static str]) -> Self {
        self.value = FlagValue::Optional(words);
        self
    }

    /// Adds a default.
    pub(crate) const fn with_default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Returns the flags.
    pub(crate) fn each_flag(&self) -> impl Iterator<Item = &str> {
        self.flags.split_whitespace()
    }
}

impl Server {
    /// Returns the index of the setting with this name.
    pub(crate) fn row(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.name == name)
    }
}

impl MigratedSetting {
    /// Returns a single value as text.
    pub(crate) fn text(&self) -> Result<String, String> {
        match &self.datum {
            Datum::Text(text) => Ok(text.clone()),
            Datum::Integer(value) => Ok(value.to_string()),
            Datum::Float(value) => Ok(value.to_string()),
            Datum::Boolean(value) => Ok(value.to_string()),
            Datum::Table(entries) => match entries.as_slice() {
                // A Python object without a TOML form.
                [(key, Value { datum: Datum::Text(object), .. })] if key == "python" => Ok(object.clone()),
                _ => Err("expected a string, found a table".into()),
            },
            Datum::Array(_) | Datum::Other(_) => Err("expected a string".into()),
        }
    }

    /// Returns several values as texts. A string with commas is split.
    pub(crate) fn texts(&self) -> Result<Vec<String>, String> {
        let split = |text: &str| -> Vec<String> {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        match &self.datum {
            Datum::Array(values) => {
                let mut texts = Vec::new();
                for value in values {
                    match &value.datum {
                        Datum::Text(text) => texts.extend(split(text)),
                        _ => return Err("expected an array of strings".into()),
                    }
                }
                Ok(texts)
            }
            _ => Ok(split(&self.text()?)),
        }
    }

    /// Returns a whole number, given as a number or as text.
    pub(crate) fn whole(&self) -> Result<i64, String> {
        if let Datum::Integer(value) = self.datum {
            return Ok(value);
        }
        let text = self.text()?;
        text.trim().parse().map_err(|_| format!("expected a whole number, found {text:?}"))
    }

    /// Returns a number of seconds, given as a number, as text, or as a duration such as `1h30m`.
    pub(crate) fn seconds(&self) -> Result<f64, String> {
        match &self.datum {
            #[expect(clippy::cast_precision_loss, reason = "numbers of seconds are small enough to be exact")]
            Datum::Integer(value) => Ok(*value as f64),
            Datum::Float(value) => Ok(*value),
            _ => {
                let text = self.text()?;
                duration(text.trim()).ok_or_else(|| format!("expected a number of seconds, found {text:?}"))
            }
        }
    }

    /// Returns a boolean, also given in words.
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

/// Parses seconds as a number or as numbers with units: `30`, `1.5`, `2h30m`, `1d`.
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

/// Returns texts as an array.
pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Datum {
    Datum::Array(texts.into_iter().map(|text| Value::from(Datum::Text(text.to_owned()))).collect())
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

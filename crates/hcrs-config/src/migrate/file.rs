//! The file of another server's settings: TOML, JSON or Python.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::migrate::row::{Outcome, Server, Told, value};
use crate::migrate::{NAMES, Surroundings, nearest, server};
use crate::python::Script;
use crate::source::Source;
use crate::value::{Datum, Place, Value};
use crate::{ConfigError, MAX_FILE_BYTES, python, read_file, table};

/// Settings as they stand in a file.
pub(crate) struct Found {
    /// What messages call the file.
    name: String,
    /// The settings, each with where it stands.
    entries: Vec<(String, Datum, Option<String>)>,
    /// Whether it is written in Python, where other names are the author's own.
    evaluated: bool,
}

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Toml,
    Json,
    Python,
    /// What is not read.
    Other,
}

impl Form {
    /// By the ending of the name.
    pub(crate) fn of(name: &str) -> Self {
        let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending {
            _ if name.starts_with("file:") => Self::Python,
            "toml" => Self::Toml,
            "json" => Self::Json,
            "yaml" | "yml" | "ini" | "cfg" => Self::Other,
            _ => Self::Python,
        }
    }
}

/// What callables of a configuration in Python say something: Gunicorn's hooks, and classes.
fn told_callables() -> Vec<String> {
    let gunicorn = server("gunicorn").into_iter().flat_map(|server| server.rows);
    let hooks = gunicorn.filter(|row| row.flags.is_empty() && matches!(row.outcome, Outcome::Without(_)));
    hooks.map(|row| row.name.into_owned()).chain(["worker_class".into(), "logger_class".into()]).collect()
}

impl Found {
    /// Reads a file, or a module of Python's behind `python:`.
    pub(crate) fn read(name: &str, form: Form, around: &Surroundings) -> Result<Self, ConfigError> {
        if let Some(module) = name.strip_prefix("python:") {
            return Self::evaluate(name, "python", module, around);
        }
        let path = around.path(name.strip_prefix("file:").unwrap_or(name));
        let text = read_file(&path)?;
        let invalid = |problem: String| ConfigError::Invalid(vec![format!("{name}: {problem}")]);
        match form {
            Form::Toml => Self::from_toml(name.to_owned(), text),
            Form::Json => Self::from_json(name.to_owned(), &text).map_err(invalid),
            Form::Python => {
                let path = std::path::absolute(&path).unwrap_or(path);
                Self::evaluate(name, "file", &path.display().to_string(), around)
            }
            Form::Other => Err(invalid(
                "only TOML, JSON and Python are read; write the command line behind -- instead".into(),
            )),
        }
    }

    fn from_toml(name: String, text: String) -> Result<Self, ConfigError> {
        let source = Source::new(name.clone(), text);
        let (document, errors) = DeTable::parse_recoverable(source.text());
        if !errors.is_empty() {
            let problem = |error: &toml::de::Error| {
                let place = error.span().map_or(Place::Nowhere, Place::File);
                source.excerpt(&place, &error.message().replace('\n', ", "))
            };
            return Err(ConfigError::Invalid(errors.iter().map(problem).collect()));
        }
        let mut entries: Vec<_> = document.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, written): (&toml::Spanned<toml::de::DeString<'_>>, _)| {
            let place = source.origin(&Place::File(key.span()));
            (key.get_ref().to_string(), Value::from(written).datum, Some(place))
        };
        Ok(Self { name, entries: entries.into_iter().map(entry).collect(), evaluated: false })
    }

    fn from_json(name: String, text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(serde_json::Value::Object(object)) => {
                let said = object.into_iter().filter(|(_, found)| !found.is_null());
                let entries = said.map(|(key, found)| (key, datum(found), None)).collect();
                Ok(Self { name, entries, evaluated: false })
            }
            Ok(_) => Err("expected an object, as in { \"port\": 8000 }".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn evaluate(name: &str, kind: &str, target: &str, around: &Surroundings) -> Result<Self, ConfigError> {
        let invalid = |problem: String| ConfigError::Invalid(vec![format!("{name}: {problem}")]);
        let python = around.interpreter().ok_or_else(|| {
            invalid("a file in Python needs an interpreter, and there is none: name one by --python".into())
        })?;
        let told = told_callables();
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        let folder = around.folder();
        let script = Script {
            kind,
            target,
            told: &told,
            environment: &around.environment,
            folder: folder.is_dir().then_some(folder.as_path()),
        };
        let text = python::evaluate(&python, &script, MAX_FILE_BYTES).map_err(invalid)?;
        let mut found = Self::from_toml(name.to_owned(), text)?;
        for (_, _, place) in &mut found.entries {
            *place = None; // of what Python printed, which nobody has written
        }
        Ok(Self { evaluated: true, ..found })
    }

    /// Whose file it is: by its name, by the table that holds everything, or by the names in it.
    pub(crate) fn server(&self) -> Option<&'static str> {
        let file = Path::new(&self.name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(named) = NAMES.into_iter().find(|known| file.to_ascii_lowercase().contains(known)) {
            return Some(named);
        }
        if let Some(table) = NAMES.into_iter().find(|known| self.table(known).is_some()) {
            return Some(table);
        }
        let known = |name: &str| {
            server(name).map_or(0, |server| {
                let known = self.entries.iter().filter(|(key, ..)| find(&server, key).is_some());
                known.count()
            })
        };
        // Of those that know as many, Gunicorn is the one that is configured in Python.
        let order = if self.evaluated {
            ["gunicorn", "hypercorn", "uvicorn"]
        } else {
            ["hypercorn", "uvicorn", "gunicorn"]
        };
        let most = order.into_iter().rev().max_by_key(|name| known(name))?;
        (known(most) > 0).then_some(most)
    }

    fn table(&self, name: &str) -> Option<&Vec<(String, Value)>> {
        self.entries.iter().find(|(key, ..)| key == name).and_then(|(_, datum, _)| match datum {
            Datum::Table(entries) => Some(entries),
            _ => None,
        })
    }

    /// What the file says to this server. What is not known is told in the second list, with its place.
    pub(crate) fn told(mut self, server: &Server) -> (Vec<Told>, Vec<(String, String)>) {
        if let Some(entries) = self.table(server.name).cloned() {
            let entry = |(key, value): (String, Value)| (key, value.datum, None);
            self.entries = entries.into_iter().map(entry).collect();
        }
        let own = self.entries.iter().position(|(key, ..)| key == crate::read::OWN_TABLE);
        if let Some(at) = own.filter(|_| server.name == "hypercorn")
            && let (_, Datum::Table(own), place) = self.entries.remove(at)
        {
            self.entries.extend(own.into_iter().map(|(key, value)| (key, value.datum, place.clone())));
        }
        let (mut told, mut unknown) = (Vec::new(), Vec::new());
        for (key, datum, place) in self.entries {
            let origin = place.unwrap_or_else(|| match &datum {
                Datum::Table(_) => match show(&datum) {
                    class if class.starts_with("<class") => format!("{}: {key} = {class}", self.name),
                    _ => format!("{}: {key}", self.name),
                },
                _ if key.contains("password") => format!("{}: {key} = (hidden)", self.name),
                _ => format!("{}: {key} = {}", self.name, show(&datum)),
            });
            match find(server, &key) {
                Some(row) => told.push(Told { row, datum, origin, is_default: false }),
                None if self.evaluated => {}
                None => {
                    let known = server.rows.iter().map(|row| row.name.as_ref());
                    let hint =
                        nearest(known, &key).map_or(String::new(), |near| format!("; did you mean {near}?"));
                    let why = format!("{} has no such setting that is known here{hint}", server.name);
                    unknown.push((format!("{}: {key}", self.name), why));
                }
            }
        }
        (told, unknown)
    }
}

/// The row of a key, which may also be spelled as its flag is.
fn find(server: &Server, key: &str) -> Option<usize> {
    let flag = format!("--{}", key.trim_start_matches('-').replace('_', "-"));
    let alias = || {
        let setting = table::all().find(|setting| setting.aliases.contains(&key))?;
        server.row(setting.key).filter(|_| server.name == "hypercorn")
    };
    let by_flag = || server.rows.iter().position(|row| row.each_flag().any(|known| known == flag));
    server.row(key).or_else(by_flag).or_else(alias)
}

fn datum(found: serde_json::Value) -> Datum {
    match found {
        serde_json::Value::Null => Datum::Other("null"),
        serde_json::Value::Bool(value) => Datum::Boolean(value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Datum::Integer(whole),
            (None, Some(number)) => Datum::Float(number),
            (None, None) => Datum::Other("a number with too many digits"),
        },
        serde_json::Value::String(text) => Datum::Text(text),
        serde_json::Value::Array(values) => {
            Datum::Array(values.into_iter().map(|found| value(datum(found))).collect())
        }
        serde_json::Value::Object(object) => {
            Datum::Table(object.into_iter().map(|(key, found)| (key, value(datum(found)))).collect())
        }
    }
}

/// As part of a comment.
fn show(datum: &Datum) -> String {
    match datum {
        Datum::Text(text) => format!("{text:?}"),
        Datum::Integer(value) => value.to_string(),
        Datum::Float(value) => value.to_string(),
        Datum::Boolean(value) => value.to_string(),
        Datum::Array(values) => {
            format!("[{}]", values.iter().map(|value| show(&value.datum)).collect::<Vec<_>>().join(", "))
        }
        Datum::Table(entries) => match entries.as_slice() {
            // What TOML has no form for, as Python shows it.
            [(key, Value { datum: Datum::Text(object), .. })] if key == "python" => object.clone(),
            _ => "{…}".into(),
        },
        Datum::Other(what) => (*what).into(),
    }
}

/// A file that is read though nobody has named it, if it is there.
pub(crate) fn unnamed(server: &Server, around: &Surroundings) -> Option<String> {
    let name = match server.name {
        "gunicorn" => "gunicorn.conf.py",
        _ => return None,
    };
    let path: PathBuf = around.path(name);
    path.is_file().then(|| name.to_owned())
}

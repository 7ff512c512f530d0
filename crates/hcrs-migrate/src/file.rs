//! Reads another server's configuration file: TOML, JSON or Python.

use std::path::{Path, PathBuf};

use hcrs_config::{
    ConfigError, Datum, EXTENSION_TABLE, Script, Value, nearest, parse_toml, read_file, table,
};

use crate::context::LaunchContext;
use crate::row::{Mapping, MigratedSetting, Server};
use crate::server::{NAMES, server};
use crate::sheet::Note;

/// Settings of a file, not yet assigned to a server.
pub(crate) struct SettingsFile {
    /// Name of the file in messages.
    name: String,
    entries: Vec<Entry>,
    /// Whether the file is in Python, where unknown names are the author's own variables.
    is_python: bool,
}

/// Top-level entry of a file.
struct Entry {
    key: String,
    datum: Datum,
    /// File and line, if the format has them.
    place: Option<String>,
}

/// Settings of a file for a particular server.
pub(crate) struct FileSettings {
    pub(crate) known: Vec<MigratedSetting>,
    /// Entries that the server does not have.
    pub(crate) unknown: Vec<Note>,
}

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    Toml,
    Json,
    Python,
    /// A format that cannot be read.
    Other,
}

impl FileFormat {
    /// Returns the format by the extension of the name.
    pub(crate) fn of(name: &str) -> Self {
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        match extension.unwrap_or_default() {
            _ if name.starts_with("file:") => Self::Python,
            "toml" => Self::Toml,
            "json" => Self::Json,
            "yaml" | "yml" | "ini" | "cfg" => Self::Other,
            _ => Self::Python,
        }
    }
}

/// Returns the callables of a Python file that are settings: Gunicorn's hooks, and classes.
fn callables() -> Vec<String> {
    let gunicorn = server("gunicorn").into_iter().flat_map(|server| server.rows);
    let hooks = gunicorn.filter(|row| row.flags.is_empty() && matches!(row.mapping, Mapping::Unsupported(_)));
    hooks.map(|row| row.name.into_owned()).chain(["worker_class".into(), "logger_class".into()]).collect()
}

impl SettingsFile {
    /// Reads a file, or a Python module with the prefix `python:`.
    pub(crate) fn read(name: &str, format: FileFormat, context: &LaunchContext) -> Result<Self, ConfigError> {
        if let Some(module) = name.strip_prefix("python:") {
            return Self::evaluate(name, "python", module, context);
        }
        let path = context.path(name.strip_prefix("file:").unwrap_or(name));
        let text = read_file(&path)?;
        let invalid = |problem: String| ConfigError::Invalid(vec![format!("{name}: {problem}")]);
        match format {
            FileFormat::Toml => Self::from_toml(name.to_owned(), text),
            FileFormat::Json => Self::from_json(name.to_owned(), &text).map_err(invalid),
            FileFormat::Python => {
                let path = std::path::absolute(&path).unwrap_or(path);
                Self::evaluate(name, "file", &path.display().to_string(), context)
            }
            FileFormat::Other => Err(invalid(
                "only TOML, JSON and Python can be read; give the command line instead, after --".into(),
            )),
        }
    }

    fn from_toml(name: String, text: String) -> Result<Self, ConfigError> {
        let entries = parse_toml(&name, text)?.into_iter();
        let entries =
            entries.map(|entry| Entry { key: entry.key, datum: entry.datum, place: Some(entry.origin) });
        Ok(Self { entries: entries.collect(), name, is_python: false })
    }

    fn from_json(name: String, text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(serde_json::Value::Object(object)) => {
                let given = object.into_iter().filter(|(_, value)| !value.is_null());
                let entries = given.map(|(key, value)| Entry { key, datum: datum(value), place: None });
                Ok(Self { name, entries: entries.collect(), is_python: false })
            }
            Ok(_) => Err("expected an object, as in { \"port\": 8000 }".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn evaluate(name: &str, kind: &str, target: &str, context: &LaunchContext) -> Result<Self, ConfigError> {
        let invalid = |problem: String| ConfigError::Invalid(vec![format!("{name}: {problem}")]);
        let python = context.interpreter().ok_or_else(|| {
            invalid("no Python interpreter was found to evaluate the file; name one with --python".into())
        })?;
        let callables = callables();
        let callables: Vec<&str> = callables.iter().map(String::as_str).collect();
        let folder = context.folder();
        let script = Script {
            kind,
            target,
            callables: &callables,
            environment: &context.environment,
            folder: folder.is_dir().then_some(folder.as_path()),
        };
        let text = script.evaluate(&python).map_err(invalid)?;
        let mut file = Self::from_toml(name.to_owned(), text)?;
        for entry in &mut file.entries {
            entry.place = None; // a place in the generated TOML
        }
        Ok(Self { is_python: true, ..file })
    }

    /// Returns the server of the file: by its name, by the table that contains everything, or by the keys.
    pub(crate) fn server(&self) -> Option<&'static str> {
        let file = Path::new(&self.name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(named) = NAMES.into_iter().find(|known| file.to_ascii_lowercase().contains(known)) {
            return Some(named);
        }
        if let Some(table) = NAMES.into_iter().find(|known| self.table(known).is_some()) {
            return Some(table);
        }
        let known_keys = |name: &str| {
            server(name).map_or(0, |server| {
                let known = self.entries.iter().filter(|entry| find(&server, &entry.key).is_some());
                known.count()
            })
        };
        // Among servers with as many known keys, Gunicorn is the one that is configured in Python.
        let order = if self.is_python {
            ["gunicorn", "hypercorn", "uvicorn"]
        } else {
            ["hypercorn", "uvicorn", "gunicorn"]
        };
        let most = order.into_iter().rev().max_by_key(|name| known_keys(name))?;
        (known_keys(most) > 0).then_some(most)
    }

    fn table(&self, name: &str) -> Option<&Vec<(String, Value)>> {
        self.entries.iter().find(|entry| entry.key == name).and_then(|entry| match &entry.datum {
            Datum::Table(entries) => Some(entries),
            _ => None,
        })
    }

    /// Returns the entries as settings of this server.
    pub(crate) fn settings(mut self, server: &Server) -> FileSettings {
        if let Some(entries) = self.table(server.name).cloned() {
            let entry = |(key, value): (String, Value)| Entry { key, datum: value.datum, place: None };
            self.entries = entries.into_iter().map(entry).collect();
        }
        let extensions = self.entries.iter().position(|entry| entry.key == EXTENSION_TABLE);
        if let Some(at) = extensions.filter(|_| server.name == "hypercorn")
            && let Entry { datum: Datum::Table(extensions), place, .. } = self.entries.remove(at)
        {
            self.entries.extend(extensions.into_iter().map(|(key, value)| Entry {
                key,
                datum: value.datum,
                place: place.clone(),
            }));
        }
        let mut settings = FileSettings { known: Vec::new(), unknown: Vec::new() };
        for entry in self.entries {
            let origin = origin(&self.name, &entry);
            match find(server, &entry.key) {
                Some(row) => settings.known.push(MigratedSetting {
                    row,
                    datum: entry.datum,
                    origin,
                    is_default: false,
                }),
                None if self.is_python => {}
                None => {
                    let known = server.rows.iter().map(|row| row.name.as_ref());
                    let hint = nearest(known, &entry.key)
                        .map_or(String::new(), |near| format!("; did you mean {near}?"));
                    settings.unknown.push(Note {
                        subject: format!("{}: {}", self.name, entry.key),
                        text: format!("not a known setting of {}{hint}", server.name),
                    });
                }
            }
        }
        settings
    }
}

/// Returns the origin of an entry: its place, or the file with the entry itself.
fn origin(file: &str, Entry { key, datum, place }: &Entry) -> String {
    match (place, datum) {
        (Some(place), _) => place.clone(),
        (None, Datum::Table(_)) => match shown(datum) {
            class if class.starts_with("<class") => format!("{file}: {key} = {class}"),
            _ => format!("{file}: {key}"),
        },
        _ if key.contains("password") => format!("{file}: {key} = (hidden)"),
        _ => format!("{file}: {key} = {}", shown(datum)),
    }
}

/// Returns the row of a key, which may also be spelled in the form of its flag.
fn find(server: &Server, key: &str) -> Option<usize> {
    let flag = format!("--{}", key.trim_start_matches('-').replace('_', "-"));
    let by_alias = || {
        let setting = table::all().find(|setting| setting.aliases.contains(&key))?;
        server.row(setting.key).filter(|_| server.name == "hypercorn")
    };
    let by_flag = || server.rows.iter().position(|row| row.each_flag().any(|known| known == flag));
    server.row(key).or_else(by_flag).or_else(by_alias)
}

fn datum(json: serde_json::Value) -> Datum {
    match json {
        serde_json::Value::Null => Datum::Other("null"),
        serde_json::Value::Bool(value) => Datum::Boolean(value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Datum::Integer(whole),
            (None, Some(number)) => Datum::Float(number),
            (None, None) => Datum::Other("a number with too many digits"),
        },
        serde_json::Value::String(text) => Datum::Text(text),
        serde_json::Value::Array(values) => {
            Datum::Array(values.into_iter().map(|value| datum(value).into()).collect())
        }
        serde_json::Value::Object(object) => {
            Datum::Table(object.into_iter().map(|(key, value)| (key, datum(value).into())).collect())
        }
    }
}

/// Returns a value as part of a comment.
fn shown(datum: &Datum) -> String {
    match datum {
        Datum::Text(text) => format!("{text:?}"),
        Datum::Integer(value) => value.to_string(),
        Datum::Float(value) => value.to_string(),
        Datum::Boolean(value) => value.to_string(),
        Datum::Array(values) => {
            format!("[{}]", values.iter().map(|value| shown(&value.datum)).collect::<Vec<_>>().join(", "))
        }
        Datum::Table(entries) => match entries.as_slice() {
            // A Python object without a TOML form, in Python's own notation.
            [(key, Value { datum: Datum::Text(object), .. })] if key == "python" => object.clone(),
            _ => "{…}".into(),
        },
        Datum::Other(description) => (*description).into(),
    }
}

/// Returns the file that the server reads by default, if it exists.
pub(crate) fn default_file(server: &Server, context: &LaunchContext) -> Option<String> {
    let name = match server.name {
        "gunicorn" => "gunicorn.conf.py",
        _ => return None,
    };
    let path: PathBuf = context.path(name);
    path.is_file().then(|| name.to_owned())
}

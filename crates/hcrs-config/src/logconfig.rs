//! Checks the syntax of the file of `logconfig`, which the workers read with Python's own functions.

use std::fs;
use std::io;
use std::path::Path;

use hcrs_server::{PythonLogging, StartError};
use toml::de::DeTable;

use crate::config::Config;

/// Sections that Python's `fileConfig` requires in an INI file.
const SECTIONS: [&str; 3] = ["loggers", "handlers", "formatters"];

impl Config {
    /// Returns the error of the file of `logconfig`, as far as it can be found without Python.
    pub fn check_logconfig(&self) -> Option<StartError> {
        let Some(PythonLogging::File(path)) = &self.server.log.python else { return None };
        check(path).err().map(|error| StartError::LogConfig(path.display().to_string(), error))
    }
}

fn check(path: &Path) -> io::Result<()> {
    let shown = path.to_string_lossy();
    let named = |kind: &str| shown.strip_prefix(kind)?.strip_prefix(':').map(Path::new);
    let ends_in = |end: &str| path.extension().is_some_and(|found| found == end);
    let read = |path: &Path| fs::read_to_string(path);
    if let Some(path) = named("json").or_else(|| ends_in("json").then_some(path)) {
        let text = read(path)?;
        serde_json::from_str::<serde_json::Map<_, _>>(&text)
            .map(drop)
            .map_err(|error| invalid("JSON", &error))
    } else if let Some(path) = named("toml").or_else(|| ends_in("toml").then_some(path)) {
        let text = read(path)?;
        DeTable::parse(&text).map(drop).map_err(|error| invalid("TOML", &error.message()))
    } else if ends_in("yaml") || ends_in("yml") {
        Err(io::Error::other("YAML is not supported; convert the file to JSON or TOML"))
    } else {
        let text = read(path)?;
        let has = |section: &str| text.lines().any(|line| line.trim_end() == format!("[{section}]"));
        match SECTIONS.iter().find(|section| !has(section)) {
            Some(section) => Err(invalid("INI", &format!("it has no section [{section}]"))),
            None => Ok(()),
        }
    }
}

fn invalid(form: &str, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is not valid {form}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_syntax_of_its_format() {
        let folder = tempfile::TempDir::new().unwrap();
        let ini = "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n";
        for (kind, name, text, problem) in [
            ("", "a.ini", ini, ""),
            ("json:", "b", "{\"version\": 1}", ""),
            ("", "b.json", "{\"version\": 1}", ""),
            ("toml:", "c", "version = 1", ""),
            ("", "c.toml", "version = 1", ""),
            ("json:", "d", ini, "it is not valid JSON: "),
            ("json:", "e", "[]", "it is not valid JSON: "),
            ("toml:", "f", "version 1", "it is not valid TOML: "),
            ("", "g.conf", "{}", "it is not valid INI: it has no section [loggers]"),
            ("", "h.yaml", "version: 1", "YAML is not supported; convert the file to JSON or TOML"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let found = check(Path::new(&format!("{kind}{}", path.display())));
            let found = found.map_or_else(|error| error.to_string(), |()| String::new());
            assert!(found.starts_with(problem) && found.is_empty() == problem.is_empty(), "{name}: {found}");
        }
        assert_eq!(check(Path::new("toml:missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

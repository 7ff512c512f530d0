//! Whether the file of `logconfig` can be what it is said to be. It is the workers that read it, by Python's own means.

use std::fs;
use std::io;
use std::path::Path;

use hcrs_server::{PythonLogging, StartError};
use toml::de::DeTable;

use crate::Config;

/// What Python's `fileConfig` wants of an INI file.
const SECTIONS: [&str; 3] = ["loggers", "handlers", "formatters"];

impl Config {
    /// What is wrong with the file of `logconfig`, as far as it shows without Python.
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
        Err(io::Error::other("YAML is not read: write it as JSON or as TOML"))
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
    io::Error::new(io::ErrorKind::InvalidData, format!("it cannot be read as {form}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_it_is_said_to_be() {
        let folder = tempfile::TempDir::new().unwrap();
        let ini = "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n";
        for (kind, name, text, problem) in [
            ("", "a.ini", ini, ""),
            ("json:", "b", "{\"version\": 1}", ""),
            ("", "b.json", "{\"version\": 1}", ""),
            ("toml:", "c", "version = 1", ""),
            ("", "c.toml", "version = 1", ""),
            ("json:", "d", ini, "it cannot be read as JSON: "),
            ("json:", "e", "[]", "it cannot be read as JSON: "),
            ("toml:", "f", "version 1", "it cannot be read as TOML: "),
            ("", "g.conf", "{}", "it cannot be read as INI: it has no section [loggers]"),
            ("", "h.yaml", "version: 1", "YAML is not read: write it as JSON or as TOML"),
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

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bind;
mod draft;
mod flags;
mod logconfig;
mod migrate;
mod proxies;
mod python;
mod read;
mod setting;
mod source;
mod table;
mod told;
mod value;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Parser as _;

use crate::draft::Draft;
use crate::flags::{CertificateFlags, Said};
use crate::migrate::{MigrateFlags, with_tip};
use crate::source::Source;

pub use crate::migrate::Migrated;

/// What the server runs on, and what the operator should know about it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's settings, checked.
    pub server: hcrs_server::Settings,
    /// What was ignored or changed, one line each.
    pub warnings: Vec<String>,
    /// Every setting as it is, and where that comes from.
    pub resolved: Vec<Resolved>,
}

/// A setting as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its key.
    pub key: &'static str,
    /// Whether it stands in the table `[hcrs]`.
    pub own: bool,
    /// The value as it would be written in the file; empty if it is unset.
    pub value: String,
    /// A place in the file, a variable of the environment, a flag, or `default`.
    pub origin: String,
}

impl Config {
    /// Every setting as a file that could be read again, each with where it comes from.
    pub fn shown(&self) -> String {
        let mut shown = String::new();
        let width = self.resolved.iter().map(|setting| setting.key.len() + setting.value.len()).max();
        let width = width.unwrap_or(0).min(MAX_SHOWN_WIDTH) + 3;
        for own in [false, true] {
            if own {
                shown += "\n[hcrs]\n";
            }
            for setting in self.resolved.iter().filter(|setting| setting.own == own) {
                let line = match setting.value.as_str() {
                    "" => format!("# {} is unset", setting.key),
                    value => format!("{} = {value}", setting.key),
                };
                shown.extend([format!("{line:width$}  # {}\n", setting.origin)]);
            }
        }
        shown
    }
}

/// Longer lines push their origin out of its column.
const MAX_SHOWN_WIDTH: usize = 60;

/// What the command line asks for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Serve.
    Serve(Box<Config>),
    /// Look for what is wrong and do not serve (`hcrs config check`).
    Check(Box<Config>),
    /// Print every setting (`hcrs config show`).
    Show(Box<Config>),
    /// Give what was made of another server's settings to whom it is for (`hcrs migrate`).
    Migrate(Migrated),
    /// Write a development certificate (`hcrs cert dev`).
    DevCertificate {
        /// The folder of `cert.pem` and `key.pem`.
        folder: PathBuf,
        /// Host names and addresses in the certificate.
        names: Vec<String>,
        /// Whether a certificate that is still good is replaced.
        force: bool,
    },
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The arguments cannot be understood, or they ask for help or the version: printed by clap, which also
    /// knows the exit code.
    Usage(clap::Error),
    /// The file or the values are wrong: every problem found, ready to print.
    Invalid(Vec<String>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::Invalid(problems) => f.write_str(&problems.join("\n\n")),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads the arguments (the first is the command's own name), the environment, and the file that they name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, ConfigError> {
    parse_in(arguments, &std::env::vars_os().collect::<Vec<_>>())
}

/// As [`parse`], in this environment.
pub fn parse_in(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &[(OsString, OsString)],
) -> Result<Command, ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Decided by two words, so that an app in a module named `cert` or `config` can be served; `migrate:app` can too.
    let word = |at: usize| arguments.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let read = |command: clap::Command, arguments: &[OsString]| {
        let matches =
            command.try_get_matches_from(arguments).map_err(|error| ConfigError::Usage(with_tip(error)))?;
        configure(&Said::new(&matches), environment).map(Box::new)
    };
    match (word(1), word(2)) {
        ("cert", "dev") => {
            let flags = CertificateFlags::try_parse_from(&arguments[2..]).map_err(ConfigError::Usage)?;
            Ok(Command::DevCertificate { folder: flags.dir, names: flags.name, force: flags.force })
        }
        ("config", "check") => {
            let command =
                flags::config("hcrs config check", "Says everything that is wrong with a configuration");
            read(command, &arguments[2..]).map(Command::Check)
        }
        ("config", "show") => {
            let command =
                flags::config("hcrs config show", "Says what each setting is, and where that comes from");
            read(command, &arguments[2..]).map(Command::Show)
        }
        ("migrate", _) => {
            let arguments = migrate::marked(&arguments[1..]);
            let flags = MigrateFlags::try_parse_from(arguments).map_err(ConfigError::Usage)?;
            migrate::migrate(&flags).map(Command::Migrate)
        }
        _ => read(flags::serve(), &arguments).map(Command::Serve),
    }
}

/// What is read when neither a file nor an app is named.
const DEFAULT_FILE: &str = "hypercorn.toml";

fn configure(said: &Said, environment: &[(OsString, OsString)]) -> Result<Config, ConfigError> {
    let variable = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let mut draft = Draft::default();
    draft.strict = said.strict;
    let has_app = said.text("application_path").is_some() || variable("HCRS_APPLICATION_PATH").is_some();
    let source = match &said.config {
        Some(name) => match name.split_once(':') {
            Some((kind @ ("file" | "python"), target)) => {
                let python =
                    said.text("python").map(OsString::from).or_else(|| variable("HCRS_PYTHON").cloned());
                Source::evaluated(
                    name.clone(),
                    evaluate(name, kind, target, python.as_deref().map(Path::new))?,
                )
            }
            _ => Source::new(shown(name), read_file(Path::new(name))?),
        },
        None if !has_app && Path::new(DEFAULT_FILE).is_file() => {
            Source::new(DEFAULT_FILE.into(), read_file(Path::new(DEFAULT_FILE))?)
        }
        None => Source::default(),
    };
    let text = |name: &str| variable(name).and_then(|value| value.to_str()).map(str::to_owned);
    draft.proxies.apply_environment(text, &mut draft.mistakes);
    read::apply_file(&source, &mut draft);
    read::apply_environment(environment, &mut draft);
    read::apply_flags(said.values.clone(), &mut draft);
    draft.finish(&source)
}

fn evaluate(name: &str, kind: &str, target: &str, python: Option<&Path>) -> Result<String, ConfigError> {
    let invalid = |problem: String| ConfigError::Invalid(vec![format!("{name}: {problem}")]);
    if kind == "file" && !Path::new(target).is_file() {
        return Err(invalid("cannot read the configuration: there is no such file".into()));
    }
    let python = hcrs_server::interpreters(python).into_iter().next();
    let python = python.ok_or_else(|| {
        invalid(
            "a configuration in Python needs an interpreter, and there is none: name one by --python".into(),
        )
    })?;
    let script = python::Script { kind, target, told: &["logger_class"], ..python::Script::default() };
    python::evaluate(&python, &script, MAX_FILE_BYTES).map_err(invalid)
}

/// What messages call the file. A descriptor's number tells nobody anything.
fn shown(name: &str) -> String {
    if Path::new(name).starts_with("/dev/fd") { "configuration".to_owned() } else { name.to_owned() }
}

/// A configuration is a few kilobytes; more is a mistaken path, which may also never end.
const MAX_FILE_BYTES: u64 = 1 << 20;

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let invalid = |problem: String| ConfigError::Invalid(vec![format!("{}: {problem}", path.display())]);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| invalid(format!("cannot read the configuration: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid(format!("a configuration has at most {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| invalid("a TOML file is UTF-8 text, and this is not".into()))
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;

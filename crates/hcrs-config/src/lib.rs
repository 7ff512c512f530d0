#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bind;
mod draft;
mod flags;
mod keys;
mod proxies;
mod source;
mod value;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Parser as _;

use crate::draft::Draft;
use crate::flags::{CertificateFlags, Flags};
use crate::source::Source;

/// What the server runs on, and what the operator should know about it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's settings, checked.
    pub server: hcrs_server::Settings,
    /// What was ignored or changed, one line each.
    pub warnings: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Serve.
    Serve(Box<Config>),
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

/// Reads the arguments (the first is the command's own name) and the file that they name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Decided by both words, so that an app in a module named `cert` can be served.
    if arguments.get(1).is_some_and(|word| word == "cert")
        && arguments.get(2).is_some_and(|word| word == "dev")
    {
        let flags = CertificateFlags::try_parse_from(&arguments[2..]).map_err(ConfigError::Usage)?;
        return Ok(Command::DevCertificate { folder: flags.dir, names: flags.name, force: flags.force });
    }
    let flags = Flags::try_parse_from(arguments).map_err(ConfigError::Usage)?;
    serve(flags).map(|config| Command::Serve(Box::new(config)))
}

fn serve(flags: Flags) -> Result<Config, ConfigError> {
    let mut draft = Draft::default();
    let source = match &flags.config {
        Some(path) => Source::new(name(path), read(path)?),
        None => Source::default(),
    };
    draft.proxies.apply_environment(|name| std::env::var(name).ok(), &mut draft.mistakes);
    keys::apply_file(&source, &mut draft);
    keys::apply_flags(flags.into_values(), &mut draft);
    draft.finish(&source)
}

/// What messages call the file. A descriptor's number tells nobody anything.
fn name(path: &Path) -> String {
    if path.starts_with("/dev/fd") { "configuration".to_owned() } else { path.display().to_string() }
}

/// A configuration is a few kilobytes; more is a mistaken path, which may also never end.
const MAX_FILE_BYTES: u64 = 1 << 20;

fn read(path: &Path) -> Result<String, ConfigError> {
    let invalid = |problem: String| ConfigError::Invalid(vec![format!("{}: {problem}", path.display())]);
    if path.to_str().is_some_and(|path| path.starts_with("file:") || path.starts_with("python:")) {
        return Err(invalid("a configuration in Python is not supported yet: give a TOML file".into()));
    }
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
mod tests;

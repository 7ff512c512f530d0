#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bind;
mod config;
mod defaults;
mod development;
mod draft;
mod environment;
mod error;
mod file;
mod flags;
mod foreign;
mod kind;
mod logconfig;
mod passed;
mod proxies;
mod python;
mod read;
mod reread;
mod secret;
mod setting;
mod similar;
mod source;
mod start_error;
pub mod table;
mod unused_rules;
mod value;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Parser as _;
use hcrs_server::{AppName, AskedRequest, Domain, Ports};

use crate::draft::Draft;
use crate::flags::{CHECK, CertificateFlags, FlagValues, SHOW};
use crate::passed::Passed;
use crate::reread::Reads;
use crate::source::Source;

pub use crate::bind::DEFAULT_BIND;
pub use crate::config::{Config, Resolved, WrittenApp, WrittenRoute};
pub use crate::development::{Greeting, has_colors};
pub use crate::environment::SHARED_VARIABLES;
pub use crate::error::ConfigError;
pub use crate::file::read_file;
pub use crate::flags::command;
pub use crate::foreign::{Advice, UnknownFlag};
pub use crate::kind::{ValueKind, parse_mask, quoted};
pub use crate::python::Script;
pub use crate::read::{EXTENSION_TABLE, TomlEntry, check_text, parse_toml};
pub use crate::reread::settings_source;
pub use crate::secret::SECRET;
pub use crate::setting::{Flag, Setting};
pub use crate::similar::nearest;
pub use crate::value::{Datum, Value};

/// Command that the arguments ask for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Serve.
    Serve(Box<Config>),
    /// Check a configuration without serving (`hcrs config check`).
    Check(Box<Config>),
    /// Print every setting (`hcrs config show`).
    Show(Box<Config>),
    /// Explain which route takes a request (`hcrs config route`).
    Route {
        /// The configuration.
        config: Box<Config>,
        /// The request.
        request: AskedRequest,
    },
    /// Report on a running server, or change it (`hcrs status` and others).
    Admin {
        /// The configuration of the server.
        config: Box<Config>,
        /// The action.
        action: AdminAction,
    },
    /// Ask about certificates that come by themselves (`hcrs acme`).
    Acme {
        /// The configuration of the server.
        config: Box<Config>,
        /// The action.
        action: AcmeAction,
    },
    /// Serve an app while it is developed (`hcrs dev`).
    Develop {
        /// The configuration.
        config: Box<Config>,
        /// Directory of the development certificate, if that is the one to be used.
        certificate_folder: Option<PathBuf>,
    },
    /// Create a development certificate (`hcrs cert dev`).
    DevCertificate {
        /// Directory of `cert.pem` and `key.pem`.
        folder: PathBuf,
        /// Host names and addresses in the certificate.
        names: Vec<String>,
        /// Whether a certificate that is still valid is replaced.
        force: bool,
    },
}

/// The action of a command about certificates that come by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcmeAction {
    /// Show the state of the names.
    Status,
    /// Ask the authority for the certificate of this name now, or for all.
    Renew(Option<Domain>),
    /// Check what the authority will look for.
    Check(Ports),
}

/// The action of a command on a running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAction {
    /// Show the state.
    Status {
        /// As JSON.
        json: bool,
        /// Once, and not every second.
        once: bool,
    },
    /// Replace the workers.
    Reload {
        /// Those of this app, without reading the configuration.
        app: Option<AppName>,
    },
    /// Stop the server.
    Stop,
    /// Serve with another number of workers.
    Scale {
        /// The number.
        workers: u16,
        /// The app; `None` for the main or only one.
        app: Option<AppName>,
    },
    /// Reopen the logs.
    Reopen,
    /// Tell probes that the server is not ready.
    Drain {
        /// Tell them that it is ready again.
        off: bool,
    },
    /// Print the stacks of all workers.
    Dump,
}

/// Parses the arguments (the first is the command's own name), the environment of the process, and the file
/// that they name.
///
/// The advice about other servers' flags and values takes the place of the usual error.
pub fn parse(arguments: impl IntoIterator<Item = OsString>, advice: &Advice) -> Result<Command, ConfigError> {
    parse_with(arguments, &std::env::vars_os().collect::<Vec<_>>(), advice, Reads::First)
}

/// Does the same as [`parse`] with another environment, and without advice.
pub fn parse_in(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &[(OsString, OsString)],
) -> Result<Command, ConfigError> {
    parse_with(arguments, environment, &Advice::NONE, Reads::First)
}

fn parse_with(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &[(OsString, OsString)],
    advice: &Advice,
    reads: Reads<'_>,
) -> Result<Command, ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Commands are recognized by two words, so that an app in a module named `cert` or `config` can be
    // served. One in a module named `dev` is written with its attribute.
    let word = |at: usize| arguments.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let read_for = |purpose: Purpose, mut command: clap::Command, arguments: &[OsString]| {
        let given = foreign::without_http2(arguments);
        let matches = command.try_get_matches_from_mut(&given.arguments).map_err(|error| {
            advice.about_flags(&error, &command, &given.arguments).unwrap_or(ConfigError::Usage(error))
        })?;
        let flags = FlagValues::new(&matches);
        advice.about_values(&flags)?;
        let (mut config, certificate_folder) = configure(flags, environment, purpose, reads)?;
        if given.has_http2 {
            config.warnings.push(foreign::HTTP2.to_owned());
        }
        Ok((Box::new(config), certificate_folder))
    };
    let read = |command, arguments: &[OsString]| {
        read_for(Purpose::Production, command, arguments).map(|(config, _)| config)
    };
    if let Some(command) = flags::ADMIN_COMMANDS.into_iter().find(|command| command.name == word(1)) {
        let name = format!("hcrs {}", command.name);
        let matches = flags::admin(command)
            .bin_name(name)
            .try_get_matches_from(&arguments[1..])
            .map_err(ConfigError::Usage)?;
        let action = flags::admin_action(command.name, &matches);
        return Ok(Command::Admin {
            config: Box::new(
                configure(FlagValues::new(&matches), environment, Purpose::Production, reads)?.0,
            ),
            action,
        });
    }
    if word(1) == flags::ACME && flags::ACME_COMMANDS.contains(&word(2)) {
        let name = format!("hcrs acme {}", word(2));
        let matches = flags::acme(word(2)).bin_name(name).try_get_matches_from(&arguments[2..]);
        let matches = matches.map_err(ConfigError::Usage)?;
        let action = flags::acme_action(word(2), &matches);
        let flags = FlagValues::new(&matches);
        let (config, _) = configure(flags, environment, Purpose::Production, reads)?;
        return Ok(Command::Acme { config: Box::new(config), action });
    }
    match (word(1), word(2)) {
        ("dev", _) => {
            let command = flags::develop().bin_name("hcrs dev");
            let (config, certificate_folder) = read_for(Purpose::Development, command, &arguments[1..])?;
            Ok(Command::Develop { config, certificate_folder })
        }
        ("cert", "dev") => {
            let flags = CertificateFlags::try_parse_from(&arguments[2..]).map_err(ConfigError::Usage)?;
            Ok(Command::DevCertificate { folder: flags.dir, names: flags.name, force: flags.force })
        }
        ("config", "check") => {
            let command = flags::config("check", CHECK).bin_name("hcrs config check");
            read(command, &arguments[2..]).map(Command::Check)
        }
        ("config", "show") => {
            let command = flags::config("show", SHOW).bin_name("hcrs config show");
            read(command, &arguments[2..]).map(Command::Show)
        }
        ("config", "route") => {
            let matches = flags::route()
                .bin_name("hcrs config route")
                .try_get_matches_from(&arguments[2..])
                .map_err(ConfigError::Usage)?;
            let request = flags::request(&matches)?;
            let flags = FlagValues::new(&matches);
            let (config, _) = configure(flags, environment, Purpose::Production, reads)?;
            Ok(Command::Route { config: Box::new(config), request })
        }
        _ => read(flags::serve(), &arguments).map(Command::Serve),
    }
}

/// File that is read if neither a file nor an app is named.
const DEFAULT_FILE: &str = "hypercorn.toml";

/// The purpose of a server, which its defaults depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Production,
    /// `hcrs dev`
    Development,
}

/// Returns the configuration, and the directory of the development certificate, if that is to be used.
fn configure(
    flags: FlagValues,
    environment: &[(OsString, OsString)],
    purpose: Purpose,
    reads: Reads<'_>,
) -> Result<(Config, Option<PathBuf>), ConfigError> {
    let variable = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let mut draft = Draft::default();
    draft.strict = flags.strict;
    if purpose == Purpose::Development {
        development::set_defaults(&mut draft);
    }
    let has_app = flags.text("application_path").is_some() || variable("HCRS_APPLICATION_PATH").is_some();
    let source = match &flags.config {
        Some(name) => match name.split_once(':') {
            Some((kind @ ("file" | "python"), target)) => {
                let python =
                    flags.text("python").map(OsString::from).or_else(|| variable("HCRS_PYTHON").cloned());
                let text = evaluate(name, kind, target, python.as_deref().map(Path::new), reads)?;
                Source::evaluated(name.clone(), text)
            }
            _ => Source::new(shown_name(name), reads.file(name)?),
        },
        None if !has_app && reads.default_file() => {
            Source::new(DEFAULT_FILE.into(), reads.file(DEFAULT_FILE)?)
        }
        None => Source::default(),
    };
    let text = |name: &str| variable(name).and_then(|value| value.to_str()).map(str::to_owned);
    draft.proxies.apply_environment(text, &mut draft.mistakes);
    let is_root = rustix::process::geteuid().is_root();
    draft.default_storage = table::acme::default_storage(text, is_root);
    draft.passed = Passed::to_process(std::process::id(), environment, &mut draft.mistakes);
    read::apply_file(&source, &mut draft);
    read::apply_environment(environment, &mut draft);
    read::apply_flags(flags.values, &mut draft);
    let certificate_folder = match purpose {
        Purpose::Production => None,
        Purpose::Development => development::complete(&mut draft, environment, io::stdout().is_terminal()),
    };
    Ok((read::finish(draft, &source)?, certificate_folder))
}

fn evaluate(
    name: &str,
    kind: &str,
    target: &str,
    python: Option<&Path>,
    reads: Reads<'_>,
) -> Result<String, ConfigError> {
    let invalid = |problem: String| ConfigError::Invalid(vec![format!("{name}: {problem}")]);
    if kind == "file" && !reads.path(target).is_file() {
        return Err(invalid("cannot read the configuration: there is no such file; check the path".into()));
    }
    let python = hcrs_server::interpreters(python).into_iter().next();
    let python = python.ok_or_else(|| {
        invalid(
            "no Python interpreter was found to evaluate the configuration; name one with --python".into(),
        )
    })?;
    let script =
        Script { kind, target, callables: &["logger_class"], folder: reads.folder(), ..Script::default() };
    script.evaluate(&python).map_err(invalid)
}

/// Returns the name of the file in messages. The number of an inherited descriptor means nothing to the
/// operator.
fn shown_name(name: &str) -> String {
    if Path::new(name).starts_with("/dev/fd") { "configuration".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;

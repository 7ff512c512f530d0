#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod advice;
mod arguments;
mod command;
mod context;
mod conversions;
mod daphne;
mod file;
mod flags;
mod from_command;
mod from_file;
mod granian;
mod gunicorn;
mod hypercorn;
mod migrated;
mod nginx;
mod row;
mod server;
mod sheet;
mod shell_words;
mod steps;
mod unit;
mod uvicorn;

use std::ffi::OsString;
use std::path::Path;

use clap::Parser as _;
use hcrs_config::ConfigError;

pub use crate::advice::ADVICE;
pub use crate::migrated::Migrated;

use crate::context::LaunchContext;
use crate::flags::MigrateFlags;
use crate::migrated::Part;
use crate::unit::Unit;

/// Parses the arguments of `hcrs migrate` (the first is `migrate` itself) and converts the settings that they
/// name.
pub fn parse(arguments: &[OsString]) -> Result<Migrated, ConfigError> {
    let arguments = flags::with_separator(arguments);
    let flags = MigrateFlags::try_parse_from(arguments).map_err(ConfigError::Usage)?;
    migrate(&flags)
}

/// Converted configuration.
struct Converted {
    toml: String,
    /// Whether it contains a password.
    is_secret: bool,
}

fn migrate(flags: &MigrateFlags) -> Result<Migrated, ConfigError> {
    let output = flags.output.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let context = LaunchContext { python: flags.python.clone(), output, ..LaunchContext::default() };
    if let Some(path) = flags.unit() {
        let unit = Unit::read(path)?;
        let config = context
            .output
            .as_ref()
            .map_or_else(|| format!("/etc/hcrs/{}.toml", unit.stem()), |path| path.display().to_string());
        let (unit, Converted { toml, is_secret }) = unit.migrate(context, &config)?;
        let title = path.display().to_string();
        let unit = Part { title, text: unit, path: flags.unit_output.clone(), is_secret: false };
        let config = Part { title: config, text: toml, path: flags.output.clone(), is_secret };
        return Ok(Migrated { parts: vec![unit, config], force: flags.force });
    }
    let file = flags.file.as_ref().filter(|file| !is_command_line(file));
    let is_nginx = |path: &String| match flags.from {
        Some(server) => server == nginx::NAME,
        None => nginx::is_configuration(path),
    };
    let Converted { toml, is_secret } = if let Some(path) = file.filter(|path| is_nginx(path)) {
        nginx::convert(path, &flags.app, &context)?
    } else if let Some(path) = file {
        from_file::convert(path, flags.from, &context)?
    } else {
        let command = flags.file.iter().chain(&flags.command).cloned().collect::<Vec<_>>();
        from_command::convert(&command, context)?
    };
    let part = Part { title: "hypercorn.toml".into(), text: toml, path: flags.output.clone(), is_secret };
    Ok(Migrated { parts: vec![part], force: flags.force })
}

/// Returns whether the argument in place of a file's name is a command line in quotes.
fn is_command_line(text: &str) -> bool {
    text.contains(char::is_whitespace) && !Path::new(text).exists()
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;

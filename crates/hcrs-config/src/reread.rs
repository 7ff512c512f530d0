//! The configuration of a running server, read again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hcrs_server::{AppSettings, NewSettings, SettingsSource};

use crate::config::Resolved;
use crate::setting::TakesEffect;
use crate::{Advice, Command, Config, ConfigError, DEFAULT_FILE, parse_with, read_file, table};

/// The configuration with which a server runs, and the arguments from which it was read.
struct Running {
    arguments: Vec<OsString>,
    /// The directory in which relative names of configurations are looked up: the server may have changed its
    /// own.
    folder: PathBuf,
    /// Whether a file was read that the arguments do not name.
    has_default_file: bool,
    advice: &'static Advice,
    /// The values that are in effect.
    values: Vec<Resolved>,
    /// The warnings of the last read.
    warnings: Vec<String>,
}

/// Returns the source of the settings of a server that was started with these arguments. To be called before the
/// process changes its directory. `None` if the present directory is not known.
pub fn settings_source(
    arguments: Vec<OsString>,
    advice: &'static Advice,
    config: &Config,
) -> Option<SettingsSource> {
    let mut running = Running {
        arguments,
        folder: std::env::current_dir().ok()?,
        has_default_file: config.resolved.iter().any(|value| value.origin.starts_with(DEFAULT_FILE)),
        advice,
        values: config.resolved.clone(),
        warnings: config.warnings.clone(),
    };
    Some(SettingsSource::new(move || running.read_again().map_err(|error| error.to_string())))
}

impl Running {
    fn read_again(&mut self) -> Result<NewSettings, ConfigError> {
        let environment: Vec<_> = std::env::vars_os().collect();
        let reads = Reads::Again { folder: &self.folder, has_default_file: self.has_default_file };
        let command = parse_with(self.arguments.iter().cloned(), &environment, self.advice, reads)?;
        let (Command::Serve(mut config) | Command::Develop { mut config, .. }) = command else {
            let problem = "the arguments of this process do not start a server";
            return Err(ConfigError::Arguments(vec![problem.to_owned()]));
        };
        // As at a start: a folder or a file that is not there stops it.
        if let Err(error) = config.server.routes.load() {
            return Err(ConfigError::Invalid(vec![config.explain(&error)]));
        }
        if let Err(error) = config.server.apps.iter().try_for_each(AppSettings::check_folder) {
            return Err(ConfigError::Invalid(vec![config.explain(&error)]));
        }
        Ok(self.take(*config))
    }

    /// Compares a configuration with the values that are in effect, and takes those that a reload applies.
    fn take(&mut self, config: Config) -> NewSettings {
        let (mut applied, mut unapplied) = (Vec::new(), Vec::new());
        for new in config.resolved {
            let Some(value) = self.values.iter_mut().find(|value| value.key == new.key) else { continue };
            if value.fingerprint == new.fingerprint {
                continue;
            }
            match table::find(new.key).map(|setting| (setting.name(), setting.takes_effect)) {
                Some((name, TakesEffect::AtStart)) => unapplied.push(name),
                Some((name, TakesEffect::AtReload)) => {
                    applied.push(name);
                    *value = new;
                }
                None => {}
            }
        }
        let new_warnings = config.warnings.iter().filter(|warning| !self.warnings.contains(warning));
        let warnings = new_warnings.cloned().collect();
        self.warnings = config.warnings;
        NewSettings { settings: config.server, applied, unapplied, warnings }
    }
}

/// Whether a configuration is read for the first time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reads<'a> {
    /// Relative names are looked up in the working directory.
    First,
    /// Relative names are looked up in the directory.
    Again {
        /// The directory.
        folder: &'a Path,
        /// Whether a file was read that the arguments do not name.
        has_default_file: bool,
    },
}

impl<'a> Reads<'a> {
    /// Returns the path of a configuration.
    pub(crate) fn path(self, name: &str) -> PathBuf {
        match self {
            Self::First => PathBuf::from(name),
            Self::Again { folder, .. } => folder.join(name),
        }
    }

    /// Returns the directory in which a configuration in Python is evaluated, if it is not the working one.
    pub(crate) fn folder(self) -> Option<&'a Path> {
        match self {
            Self::First => None,
            Self::Again { folder, .. } => Some(folder),
        }
    }

    /// Whether the file is read that the arguments do not name. One that was read and is gone is an error.
    pub(crate) fn default_file(self) -> bool {
        let was_read = matches!(self, Self::Again { has_default_file: true, .. });
        was_read || self.path(DEFAULT_FILE).is_file()
    }

    /// Reads a configuration file. One that is read again has to be a regular file: a pipe would be empty.
    pub(crate) fn file(self, name: &str) -> Result<String, ConfigError> {
        let path = self.path(name);
        if matches!(self, Self::Again { .. }) && !path.is_file() {
            let problem =
                format!("{name}: cannot read the configuration: there is no regular file of this name");
            return Err(ConfigError::Invalid(vec![problem]));
        }
        read_file(&path)
    }
}

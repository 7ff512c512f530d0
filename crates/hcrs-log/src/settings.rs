//! The settings of the logs and of the metrics.

use std::path::PathBuf;

use crate::{AccessFormat, SyslogTarget};

/// Where the logs go.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The access log; off without it.
    pub access: Option<LogTarget>,
    /// What its lines say.
    pub access_format: AccessFormat,
    /// The error log.
    pub error: Option<LogTarget>,
    /// The least severe message that is logged.
    pub level: LogLevel,
    /// What the workers do with Python's logging beside the error log.
    pub python: Option<PythonLogging>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            access: None,
            access_format: AccessFormat::default(),
            error: Some(LogTarget::Standard),
            level: LogLevel::Info,
            python: None,
        }
    }
}

/// A configuration of Python's logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PythonLogging {
    /// Hypercorn's `logconfig`: the path of an INI file, or of another one behind `json:` or `toml:`.
    File(PathBuf),
    /// Hypercorn's `logconfig_dict`, as JSON.
    Dict(String),
}

/// Where one log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output for the access log, standard error for the error log.
    Standard,
    /// Appended to a file.
    File(PathBuf),
    /// Sent to a syslog server.
    Syslog(SyslogTarget),
}

impl std::fmt::Display for LogTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Standard => f.write_str("-"),
            Self::File(path) => path.display().fmt(f),
            Self::Syslog(target) => target.fmt(f),
        }
    }
}

impl LogTarget {
    /// Reads what the configuration says: nothing for nowhere, `-`, `syslog:` with what [`SyslogTarget`] shows behind it,
    /// or a file. The error is for people.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        Ok(match text {
            "" => None,
            "-" => Some(Self::Standard),
            _ => Some(match text.strip_prefix("syslog:") {
                Some(target) => Self::Syslog(SyslogTarget::parse(target)?),
                None => Self::File(text.into()),
            }),
        })
    }
}

/// Metrics by way of statsd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsdSettings {
    /// `host:port` of the server; empty for no metrics.
    pub host: String,
    /// What every name begins with; a dot follows.
    pub prefix: String,
    /// What every metric carries, as in `env:test,zone:1`: an extension of `DogStatsD`.
    pub tags: String,
}

/// Python's log levels, which the configuration uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// The usual course of things. Access lines are of this level.
    Info,
    /// Something that an operator may want to change.
    Warning,
    /// Something failed.
    Error,
    /// The server cannot go on.
    Critical,
}

impl LogLevel {
    /// The name in lower case, as the workers take it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

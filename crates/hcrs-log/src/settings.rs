//! The settings of the logs and of the metrics.

use std::path::PathBuf;

use crate::{AccessFormat, SyslogTarget};

/// The targets and the form of the logs.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The target of the access log; `None` for no access log.
    pub access: Option<LogTarget>,
    /// The format of access lines.
    pub access_format: AccessFormat,
    /// The target of the error log; `None` for no error log.
    pub error: Option<LogTarget>,
    /// The least severe message that is logged.
    pub level: LogLevel,
    /// Whether the frames of HTTP/2 connections are logged at debug, about twelve lines for a request.
    pub has_frames: bool,
    /// The configuration of Python's logging in the workers, in addition to the error log.
    pub python: Option<PythonLogging>,
    /// Whether the error log gets what workers write to standard output and standard error.
    pub capture_output: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            access: None,
            access_format: AccessFormat::default(),
            error: Some(LogTarget::Standard),
            level: LogLevel::Info,
            has_frames: true,
            python: None,
            capture_output: false,
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

/// The target of a log.
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
    /// Parses the configuration's text: empty for no log, `-`, `syslog:` with the form that [`SyslogTarget`]
    /// documents behind it, or a file. The error is for the operator.
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

/// The settings of metrics by statsd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsdSettings {
    /// The server's `host:port`; empty for no metrics.
    pub host: String,
    /// The prefix of every name; a dot follows it.
    pub prefix: String,
    /// The tags of every metric, as in `env:test,zone:1`: an extension of `DogStatsD`.
    pub tags: String,
}

/// Python's log levels, which the configuration uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Details for debugging.
    Debug,
    /// The normal course of events. Access lines are of this level.
    Info,
    /// A condition that an operator may want to change.
    Warning,
    /// A failure.
    Error,
    /// A failure that stops the server.
    Critical,
}

impl LogLevel {
    /// Returns the name in lower case, as the workers take it.
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

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod access_log;
pub mod error_log;
mod escape;
mod local_time;
mod log_writer;
mod settings;
pub mod statsd;
mod syslog;

pub use access_log::{AccessEntry, AccessFormat, AccessFormatError, AccessLog};
pub use log_writer::{COMPLAINT_INTERVAL, LogWriter};
pub use settings::{LogLevel, LogSettings, LogTarget, PythonLogging, StatsdSettings};
pub use statsd::{Statsd, StatsdTarget};
pub use syslog::{SyslogAddress, SyslogFacility, SyslogForm, SyslogTarget};

/// A log file that cannot be opened, or a log's thread that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the log {name}: {error}")]
pub struct LogError {
    /// The name of the log in the settings.
    pub name: String,
    /// The system's error.
    #[source]
    pub error: std::io::Error,
}

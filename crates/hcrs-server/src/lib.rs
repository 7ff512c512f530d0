#![doc = include_str!("../README.md")]

mod bind;
mod check;
mod client;
mod clock;
mod command_line;
mod connection;
mod drive;
mod embedder;
mod exchange;
mod explain;
mod glob;
mod handover;
mod hangup;
mod labels;
#[cfg(test)]
mod model;
mod origin;
mod pid_file;
mod process_title;
mod process_user;
mod request;
mod route;
mod rules;
mod run;
mod server_names;
mod settings;
mod state;
mod supervise;
mod thread;
mod usable_cores;

use std::io::ErrorKind;

use hcrs_log::LogError;

pub use bind::passed_sockets;
pub use check::{CheckedAsUser, check, check_as_process_user};
pub use embedder::Embedder;
pub use explain::{AskedRequest, RouteStep, explain};
pub use handover::LISTENERS as INHERITED_LISTENERS;
pub use hcrs_acme::{
    AcmeSettings, ChallengePolicy, DirectoryUrl, Domain, ExternalAccount, Finding, HmacKey, KeyType, Ports,
    check as check_acme, stored_report,
};
pub use hcrs_otlp::{Endpoint, OtlpSettings};
pub use labels::{LabelSettings, SampleRatio, TraceContext};
pub use process_user::AccountName;
pub use run::run;
pub use server_names::ServerNames;
pub use settings::{
    AccessFormat, AccessFormatError, AppIndex, AppName, AppSettings, Balance, Bind, ConfiguredRoute,
    ConnectionSettings, DispatchSettings, FilesSettings, FixedBody, FixedResponse, HashKey, HealthCheck,
    HealthSettings, HostPattern, Lifespan, Listener, LoadedFile, LogLevel, LogSettings, LogTarget, Mismatch,
    MissingFile, NewSettings, OnRunning, PasswordSource, PathPattern, ProxySettings, PythonLogging, RateBy,
    RedirectSettings, ReloadSettings, RouteAction, RouteMatcher, Routes, Rules, Settings, SettingsSource,
    StatsdSettings, StrictTransport, SyslogAddress, SyslogFacility, SyslogForm, SyslogTarget,
    UpstreamAddress, UpstreamHost, UpstreamProtocol, UpstreamSettings, UpstreamUrl, WorkerClass, WorkerHooks,
};
pub use supervise::interpreters;
pub use usable_cores::UsableCores;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The drain finished in time, and every worker ran its lifespan shutdown.
    Clean,
    /// Requests were cut off at the end of the drain.
    CutOff,
    /// A worker's lifespan shutdown failed or took too long.
    ShutdownFailed,
    /// A thread of the edge ended by itself; the error log has the reason.
    ThreadLost,
}

/// The reason why the server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listener could not be bound.
    #[error("cannot listen on {0}: {1}{remedy}", remedy = remedy_for_address(.1, .0))]
    Bind(String, std::io::Error),
    /// The certificate or the key cannot be used.
    #[error(transparent)]
    Tls(#[from] hcrs_tls::TlsError),
    /// A log file cannot be written.
    #[error("cannot write the log {0}: {1}{remedy}", remedy = remedy_for_file(.1))]
    Log(String, std::io::Error),
    /// The directory of the server cannot be entered.
    #[error("cannot change to the directory {0}: {1}")]
    Chdir(String, std::io::Error),
    /// The directory of this app cannot be entered.
    #[error("app {0}: cannot change to the directory {1}: {2}")]
    AppChdir(AppName, String, std::io::Error),
    /// The folder of a route cannot be opened.
    #[error("the folder {0:?} cannot be opened: {1}")]
    Folder(String, std::io::Error),
    /// A file that the configuration names cannot be read.
    #[error("cannot read {0}: {1}")]
    ConfiguredFile(String, std::io::Error),
    /// A file of users and passwords, at this line of it, has this mistake.
    #[error("{0}: {1}")]
    Passwords(String, String),
    /// The process id cannot be written.
    #[error("cannot write the process id to {0}: {1}{remedy}", remedy = remedy_for_file(.1))]
    Pid(String, std::io::Error),
    /// The user or the group of this key cannot be that of the process, for this reason.
    #[error("{0}: {1}")]
    Account(&'static str, String),
    /// The file of `logconfig` cannot be read.
    #[error("cannot read {0}: {1}")]
    LogConfig(String, std::io::Error),
    /// No Python interpreter with hcrs in it was found.
    #[error("cannot start a worker: {0}")]
    Worker(String),
    /// A worker started and reported why it cannot serve the app.
    #[error("the app cannot be served:\n{0}")]
    App(String),
    /// The operating system refused something that the edge needs.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

impl From<LogError> for StartError {
    fn from(LogError { name, error }: LogError) -> Self {
        Self::Log(name, error)
    }
}

impl StartError {
    /// Returns the system's error number, if the system has refused something.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Bind(_, error)
            | Self::Log(_, error)
            | Self::Chdir(_, error)
            | Self::AppChdir(_, _, error)
            | Self::Folder(_, error)
            | Self::ConfiguredFile(_, error)
            | Self::Pid(_, error)
            | Self::LogConfig(_, error)
            | Self::System(error) => error.raw_os_error(),
            Self::Tls(_) | Self::Account(..) | Self::Passwords(..) | Self::Worker(_) | Self::App(_) => None,
        }
    }
}

/// Returns a remedy for an address that cannot be bound.
fn remedy_for_address(error: &std::io::Error, address: &str) -> &'static str {
    let is_path = address.starts_with("unix:");
    match error.kind() {
        ErrorKind::AddrInUse => "; another process is using it; stop that process or choose another address",
        ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has this address; 0.0.0.0 stands for all of them"
        }
        ErrorKind::PermissionDenied if !is_path => {
            "; binding a port below 1024 needs root or CAP_NET_BIND_SERVICE"
        }
        ErrorKind::NotFound if is_path => FOLDER_IS_MISSING,
        _ => "",
    }
}

/// Returns a remedy for a file that cannot be written.
fn remedy_for_file(error: &std::io::Error) -> &'static str {
    if error.kind() == ErrorKind::NotFound { FOLDER_IS_MISSING } else { "" }
}

const FOLDER_IS_MISSING: &str = "; its directory does not exist";

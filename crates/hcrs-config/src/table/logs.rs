//! What is written about requests and about the server.

use hcrs_server::{AccessFormat, LogLevel, LogTarget, PythonLogging};

use super::fill;
use crate::draft::Draft;
use crate::setting::Group::Logs;
use crate::setting::{Kind, Setting, quoted, unset};
use crate::value::{Given, Mistake};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Logs,
        "accesslog",
        Kind::Text,
        unset,
        |v, d| fill(&mut d.server.log.access, log_target(v)),
        "Where the access log goes: a file, - for standard output, syslog:, unset or empty for nowhere.",
    )
    .flag("--access-logfile", None, "FILE")
    .flag_aliases(&["access-log"])
    .aliases(&["access_log", "access_logfile"]),
    Setting::new(
        Logs,
        "access_log_format",
        Kind::Text,
        unset,
        access_log_format,
        "What a line of the access log says, in atoms such as %(h)s. Unset, Hypercorn's line.",
    )
    .flag("--access-logformat", None, "FORMAT")
    .aliases(&["access_logformat"]),
    Setting::new(
        Logs,
        "access_log_json",
        Kind::Boolean,
        |_| "false".into(),
        access_log_json,
        "Whether each line of the access log is a JSON object, whatever access_log_format says.",
    )
    .own(),
    Setting::new(
        Logs,
        "errorlog",
        Kind::Text,
        |_| quoted("-"),
        |v, d| fill(&mut d.server.log.error, log_target(v)),
        "Where the error log goes: a file, - for standard error, syslog:, empty for nowhere.",
    )
    .flag("--error-logfile", None, "FILE")
    .flag_aliases(&["log-file", "error-log"])
    .aliases(&["error_log", "error_logfile", "log_file"]),
    Setting::new(
        Logs,
        "loglevel",
        Kind::OneOf(&["debug", "info", "warning", "error", "critical"]),
        |d| quoted(d.server.log.level.as_str()),
        log_level,
        "The least severe message that is logged. Above info there are no access lines either.",
    )
    .flag("--log-level", None, "LEVEL")
    .aliases(&["log_level"]),
    Setting::new(
        Logs,
        "logconfig",
        Kind::Path,
        unset,
        |v, d| fill(&mut d.server.log.python, v.path().map(PythonLogging::File).map(Some)),
        "The configuration of Python's logging in the workers: an INI file, or one in JSON or TOML that is called so, as log.json \
         or json:FILE.",
    )
    .flag("--log-config", None, "FILE")
    .aliases(&["log_config"]),
    Setting::new(
        Logs,
        "logconfig_dict",
        Kind::Table,
        unset,
        |v, d| fill(&mut d.logconfig_dict, v.placed(v.table_as_json())),
        "The configuration of Python's logging in the workers as a table, as logging.config.dictConfig takes it. \
         Only without logconfig.",
    ),
    Setting::ignored(Logs, "logger_class", Kind::Text, "The server's own log is not written by Python."),
    Setting::new(
        Logs,
        "statsd_host",
        Kind::Text,
        |d| quoted(&d.server.statsd.host),
        statsd_host,
        "host:port of the statsd server that gets metrics, by UDP.",
    )
    .flag("--statsd-host", None, "HOST:PORT"),
    Setting::new(
        Logs,
        "statsd_prefix",
        Kind::Text,
        |d| quoted(&d.server.statsd.prefix),
        |v, d| fill(&mut d.server.statsd.prefix, v.text().map(String::from)),
        "What the metrics' names begin with; a dot follows.",
    )
    .flag("--statsd-prefix", None, "PREFIX"),
    Setting::new(
        Logs,
        "dogstatsd_tags",
        Kind::Text,
        |d| quoted(&d.server.statsd.tags),
        |v, d| fill(&mut d.server.statsd.tags, v.text().map(String::from)),
        "Tags of each metric, as in env:test,zone:1, for servers that know them.",
    ),
];

fn log_target(given: &Given<'_>) -> Result<Option<LogTarget>, Mistake> {
    LogTarget::parse(given.text()?).map_err(|message| Mistake { place: given.value.place.clone(), message })
}

fn statsd_host(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let host = given.text()?;
    let has_port =
        host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
    if !host.is_empty() && !has_port {
        return Err(given.expected("\"host:port\""));
    }
    host.clone_into(&mut draft.server.statsd.host);
    Ok(())
}

fn access_log_format(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    draft.server.log.access_format = AccessFormat::parse(given.text()?)
        .map_err(|error| Mistake { place: given.value.place.clone(), message: error.to_string() })?;
    Ok(())
}

fn access_log_json(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    if given.boolean()? {
        draft.server.log.access_format = AccessFormat::json();
    }
    Ok(())
}

fn log_level(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    draft.server.log.level = match given.text()?.to_ascii_lowercase().as_str() {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warning" | "warn" => LogLevel::Warning,
        "error" => LogLevel::Error,
        "critical" | "fatal" => LogLevel::Critical,
        _ => return Err(given.expected("\"debug\", \"info\", \"warning\", \"error\" or \"critical\"")),
    };
    Ok(())
}

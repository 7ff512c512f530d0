//! Settings of the logs and the metrics.

use hcrs_server::{AccessFormat, LogLevel, LogTarget, PythonLogging};

use super::store;
use crate::draft::Draft;
use crate::kind::{ValueKind, quoted};
use crate::setting::Group::Logs;
use crate::setting::{Setting, unset};
use crate::value::{GivenValue, Mistake};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Logs,
        "accesslog",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.server.log.access, log_target(v)),
        "Destination of the access log: a file, - for standard output, or syslog:; unset or empty disables \
         it.",
    )
    .at_start()
    .flag("--access-logfile", None, "FILE")
    .flag_aliases(&["access-log"])
    .aliases(&["access_log", "access_logfile"]),
    Setting::new(
        Logs,
        "access_log_format",
        ValueKind::Text,
        unset,
        access_log_format,
        "Format of a line of the access log, with atoms such as %(h)s. Unset, Hypercorn's format.",
    )
    .at_start()
    .flag("--access-logformat", None, "FORMAT")
    .aliases(&["access_logformat"]),
    Setting::new(
        Logs,
        "access_log_json",
        ValueKind::Boolean,
        |_| "false".into(),
        access_log_json,
        "Writes each line of the access log as a JSON object and ignores access_log_format.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Logs,
        "errorlog",
        ValueKind::Text,
        |_| quoted("-"),
        |v, d| store(&mut d.server.log.error, log_target(v)),
        "Destination of the error log: a file, - for standard error, or syslog:; empty disables it.",
    )
    .at_start()
    .flag("--error-logfile", None, "FILE")
    .flag_aliases(&["log-file", "error-log"])
    .aliases(&["error_log", "error_logfile", "log_file"]),
    Setting::new(
        Logs,
        "capture_output",
        ValueKind::Boolean,
        |d| d.server.log.capture_output.to_string(),
        |v, d| store(&mut d.server.log.capture_output, v.boolean()),
        "Whether what workers and their children write to standard output and standard error goes to the error \
         log, line by line, at every loglevel. Has no effect on a worker that has the terminal.",
    )
    .at_start()
    .extension()
    .flag("--capture-output", None, ""),
    Setting::new(
        Logs,
        "loglevel",
        ValueKind::OneOf(&["debug", "info", "warning", "error", "critical"]),
        |d| quoted(d.server.log.level.as_str()),
        log_level,
        "Least severe level that is logged. Above info, the access log is off as well.",
    )
    .at_start()
    .flag("--log-level", None, "LEVEL")
    .aliases(&["log_level"]),
    Setting::new(
        Logs,
        "logconfig",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.server.log.python, v.path().map(PythonLogging::File).map(Some)),
        "Configuration file of Python's logging in the workers: INI, or JSON or TOML by its extension or \
         prefix, as in log.json or json:FILE.",
    )
    .at_start()
    .flag("--log-config", None, "FILE")
    .aliases(&["log_config"]),
    Setting::new(
        Logs,
        "logconfig_dict",
        ValueKind::Table,
        unset,
        |v, d| store(&mut d.logconfig_dict, v.placed(v.table_as_json())),
        "Configuration of Python's logging in the workers as a table, in the form of \
         logging.config.dictConfig. Ignored with logconfig.",
    )
    .at_start(),
    Setting::ignored(Logs, "logger_class", ValueKind::Text, "The server's own log is not written by Python."),
    Setting::new(
        Logs,
        "statsd_host",
        ValueKind::Text,
        |d| quoted(&d.server.statsd.host),
        statsd_host,
        "Address of the statsd server that receives metrics over UDP, as host:port.",
    )
    .at_start()
    .flag("--statsd-host", None, "HOST:PORT"),
    Setting::new(
        Logs,
        "statsd_prefix",
        ValueKind::Text,
        |d| quoted(&d.server.statsd.prefix),
        |v, d| store(&mut d.server.statsd.prefix, v.text().map(String::from)),
        "Prefix of the metrics' names; a dot follows it.",
    )
    .at_start()
    .flag("--statsd-prefix", None, "PREFIX"),
    Setting::new(
        Logs,
        "dogstatsd_tags",
        ValueKind::Text,
        |d| quoted(&d.server.statsd.tags),
        |v, d| store(&mut d.server.statsd.tags, v.text().map(String::from)),
        "Tags of every metric, as in env:test,zone:1, for servers that support them.",
    )
    .at_start(),
];

fn log_target(given: &GivenValue<'_>) -> Result<Option<LogTarget>, Mistake> {
    LogTarget::parse(given.text()?).map_err(|message| Mistake { place: given.value.place.clone(), message })
}

fn statsd_host(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let host = given.text()?;
    let has_port =
        host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
    if !host.is_empty() && !has_port {
        return Err(given.expected("\"host:port\""));
    }
    host.clone_into(&mut draft.server.statsd.host);
    Ok(())
}

fn access_log_format(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    draft.server.log.access_format = AccessFormat::parse(given.text()?)
        .map_err(|error| Mistake { place: given.value.place.clone(), message: error.to_string() })?;
    Ok(())
}

fn access_log_json(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    if given.boolean()? {
        draft.server.log.access_format = AccessFormat::json();
    }
    Ok(())
}

fn log_level(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
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

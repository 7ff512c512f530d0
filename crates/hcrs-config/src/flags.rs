//! The command line, with Hypercorn's names; each flag becomes the value of its key.
#![expect(clippy::doc_markdown, reason = "these comments are the text of --help")]

use std::path::PathBuf;

use clap::Parser;

use crate::value::{Datum, Place, Value};

const LISTEN: &str = "Listeners";
const APP: &str = "App and workers";
const TLS: &str = "TLS";
const DEADLINES: &str = "Deadlines";
const LOGS: &str = "Logs";

/// Serves ASGI and WSGI apps over HTTP/2 and HTTP/1.1.
///
/// Without an app a page is served that says that the server works.
#[derive(Debug, Parser)]
#[command(name = "hcrs", version, infer_long_args = true)]
#[command(
    after_help = "hcrs cert dev writes a certificate for developing on this machine; see hcrs cert dev --help."
)]
#[command(after_long_help = "A file knows more settings than there are flags; a flag wins over the file.\n\
    hcrs cert dev writes a certificate for developing on this machine; see hcrs cert dev --help.")]
pub(crate) struct Flags {
    /// The app, as MODULE:APP; APP is an expression and defaults to `app`. A prefix `asgi:` or `wsgi:` says
    /// which of the two it is.
    application: Option<String>,
    /// The TOML file with the settings
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where to listen: HOST:PORT, unix:PATH or fd://N; may be repeated [default: 127.0.0.1:8000]
    #[arg(short, long, value_name = "ADDRESS", help_heading = LISTEN)]
    bind: Vec<String>,
    /// Where to listen without TLS beside `--bind` with TLS; may be repeated
    #[arg(long, value_name = "ADDRESS", help_heading = LISTEN)]
    insecure_bind: Vec<String>,
    /// Connections that may wait to be accepted, for each listener
    #[arg(long, value_name = "NUMBER", help_heading = LISTEN)]
    backlog: Option<i64>,
    /// What is masked out of the permissions of unix sockets, in decimal (or octal as 0o22)
    #[arg(short = 'm', long, value_name = "MASK", value_parser = mask, help_heading = LISTEN)]
    umask: Option<Mask>,
    /// Threads that serve connections [default: one for four workers]
    #[arg(long, value_name = "NUMBER", help_heading = LISTEN)]
    io_threads: Option<i64>,

    /// Worker processes [default: 1]
    #[arg(short, long, value_name = "NUMBER", help_heading = APP)]
    workers: Option<i64>,
    /// The workers' event loop: asyncio, uvloop or trio [default: asyncio]
    #[arg(short = 'k', long, value_name = "CLASS", help_heading = APP)]
    worker_class: Option<String>,
    /// The path below which the app is mounted: ASGI's `root_path`, WSGI's `SCRIPT_NAME`
    #[arg(long, value_name = "PATH", help_heading = APP)]
    root_path: Option<String>,
    /// The Python that runs the workers [default: of $VIRTUAL_ENV, beside this command, or on PATH]
    #[arg(long, value_name = "PATH", help_heading = APP)]
    python: Option<String>,
    /// Threads of each worker that runs a WSGI app
    #[arg(long, value_name = "NUMBER", help_heading = APP)]
    wsgi_threads: Option<i64>,
    /// Requests of one thread that may wait for a worker; more get 503
    #[arg(long, value_name = "NUMBER", help_heading = APP)]
    queue_size: Option<i64>,
    /// The file to write the process id to
    #[arg(short, long = "pid", value_name = "FILE", help_heading = APP)]
    pid_path: Option<String>,

    /// The certificate and its issuers, in PEM; with `--keyfile` it turns TLS on
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    certfile: Option<String>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    keyfile: Option<String>,

    /// How long a connection may stay without a request [default: 5]
    #[arg(long = "keep-alive", value_name = "SECONDS", help_heading = DEADLINES)]
    keep_alive_timeout: Option<f64>,
    /// The longest gap in a request's body [default: 60]
    #[arg(long, value_name = "SECONDS", help_heading = DEADLINES)]
    read_timeout: Option<f64>,
    /// How long requests may go on after the signal to stop [default: 3]
    #[arg(long, value_name = "SECONDS", help_heading = DEADLINES)]
    graceful_timeout: Option<f64>,
    /// How long a request may wait for a worker before it gets 503
    #[arg(long, value_name = "SECONDS", help_heading = DEADLINES)]
    queue_timeout: Option<f64>,

    /// Where the access log goes; - is standard output [default: nowhere]
    #[arg(long, alias = "access-log", value_name = "FILE", help_heading = LOGS)]
    access_logfile: Option<String>,
    /// What a line of the access log says, in atoms such as %(h)s [default: Hypercorn's]
    #[arg(long, value_name = "FORMAT", help_heading = LOGS)]
    access_logformat: Option<String>,
    /// Where the error log goes; - is standard error [default: -]
    #[arg(long, alias = "error-log", visible_alias = "log-file", value_name = "FILE", help_heading = LOGS)]
    error_logfile: Option<String>,
    /// The configuration of Python's logging in the workers: an INI file, json:FILE or toml:FILE
    #[arg(long, value_name = "FILE", help_heading = LOGS)]
    log_config: Option<String>,
    /// The statsd server that gets metrics [default: none]
    #[arg(long, value_name = "HOST:PORT", help_heading = LOGS)]
    statsd_host: Option<String>,
    /// What the metrics' names begin with
    #[arg(long, value_name = "PREFIX", help_heading = LOGS)]
    statsd_prefix: Option<String>,
    /// The least severe messages that are logged: debug, info, warning, error or critical [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = LOGS)]
    log_level: Option<String>,
}

/// Writes cert.pem and key.pem: a self-signed certificate for developing on this machine, good for twelve days.
///
/// One that is still good is kept. Give cert.pem to a client as its authority: curl --cacert certs/cert.pem
#[derive(Debug, Parser)]
#[command(name = "hcrs cert dev", version)]
pub(crate) struct CertificateFlags {
    /// The folder; it is made if need be
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    pub(crate) dir: PathBuf,
    /// A host name or address in the certificate; may be repeated
    #[arg(long, value_name = "NAME", default_values = hcrs_tls::DevCertificate::LOCAL_NAMES)]
    pub(crate) name: Vec<String>,
    /// Replace a certificate that is still good
    #[arg(long)]
    pub(crate) force: bool,
}

impl Flags {
    /// The flags that were given, each as its key's name and its value.
    pub(crate) fn into_values(self) -> Vec<(&'static str, Value)> {
        let text =
            |flag, text: Option<String>| text.map(|text| Value { datum: Datum::Text(text), place: flag });
        let whole = |flag, number: Option<i64>| {
            number.map(|number| Value { datum: Datum::Integer(number), place: flag })
        };
        let seconds = |flag, number: Option<f64>| {
            number.map(|number| Value { datum: Datum::Float(number), place: flag })
        };
        let umask = self.umask.map(|Mask(mask)| mask);
        [
            ("application_path", text(Place::Flag("APPLICATION"), self.application)),
            ("bind", texts("--bind", self.bind)),
            ("insecure_bind", texts("--insecure-bind", self.insecure_bind)),
            ("backlog", whole(Place::Flag("--backlog"), self.backlog)),
            ("umask", whole(Place::Flag("--umask"), umask)),
            ("io_threads", whole(Place::Flag("--io-threads"), self.io_threads)),
            ("workers", whole(Place::Flag("--workers"), self.workers)),
            ("worker_class", text(Place::Flag("--worker-class"), self.worker_class)),
            ("root_path", text(Place::Flag("--root-path"), self.root_path)),
            ("python", text(Place::Flag("--python"), self.python)),
            ("wsgi_threads", whole(Place::Flag("--wsgi-threads"), self.wsgi_threads)),
            ("queue_size", whole(Place::Flag("--queue-size"), self.queue_size)),
            ("pid_path", text(Place::Flag("--pid"), self.pid_path)),
            ("certfile", text(Place::Flag("--certfile"), self.certfile)),
            ("keyfile", text(Place::Flag("--keyfile"), self.keyfile)),
            ("keep_alive_timeout", seconds(Place::Flag("--keep-alive"), self.keep_alive_timeout)),
            ("read_timeout", seconds(Place::Flag("--read-timeout"), self.read_timeout)),
            ("graceful_timeout", seconds(Place::Flag("--graceful-timeout"), self.graceful_timeout)),
            ("queue_timeout", seconds(Place::Flag("--queue-timeout"), self.queue_timeout)),
            ("accesslog", text(Place::Flag("--access-logfile"), self.access_logfile)),
            ("access_log_format", text(Place::Flag("--access-logformat"), self.access_logformat)),
            ("errorlog", text(Place::Flag("--error-logfile"), self.error_logfile)),
            ("logconfig", text(Place::Flag("--log-config"), self.log_config)),
            ("statsd_host", text(Place::Flag("--statsd-host"), self.statsd_host)),
            ("statsd_prefix", text(Place::Flag("--statsd-prefix"), self.statsd_prefix)),
            ("loglevel", text(Place::Flag("--log-level"), self.log_level)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}

/// A repeated flag; `None` if it was not given.
fn texts(flag: &'static str, texts: Vec<String>) -> Option<Value> {
    let element = |text| Value { datum: Datum::Text(text), place: Place::Flag(flag) };
    let elements: Vec<Value> = texts.into_iter().map(element).collect();
    (!elements.is_empty()).then_some(Value { datum: Datum::Array(elements), place: Place::Flag(flag) })
}

/// Permission bits.
#[derive(Debug, Clone, Copy)]
struct Mask(i64);

/// Decimal as Hypercorn reads it, also with a leading zero, so that a command line keeps its meaning.
fn mask(text: &str) -> Result<Mask, String> {
    if let Some(octal) = text.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).map(Mask).map_err(|error| error.to_string());
    }
    text.parse().map(Mask).map_err(|_| "expected a number, in decimal or as 0o22 in octal".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Flags::command().debug_assert();
        CertificateFlags::command().debug_assert();
    }
}

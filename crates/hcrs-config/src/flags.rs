//! The flags of the commands, with Hypercorn's names. Each becomes the value of its setting.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::parser::ValuesRef;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, Parser, value_parser};

use hcrs_server::{AppName, AskedRequest, Domain, Ports};

use crate::defaults::Defaults;
use crate::error::ConfigError;
use crate::kind::{AUTO, ValueKind, parse_mask, quoted};
use crate::setting::{Group, Setting};
use crate::table::{self, admin::ADMIN_BIND};
use crate::value::{Datum, Place, Value};
use crate::{AcmeAction, AdminAction};

const OTHER_COMMANDS: &str = "\
Other commands:
  hcrs status              shows a running server; also reload, stop, scale NUMBER,
                           reopen, drain and dump (they need admin_bind)
  hcrs config check FILE   checks a configuration and reports every problem
  hcrs config show [FILE]  shows every setting, its value and its origin
  hcrs config route REQUEST
                           explains which route takes a request
  hcrs migrate FILE        converts the settings of another server, its command line
                           (-- COMMAND) or its systemd unit (--systemd UNIT)
  hcrs acme check          checks what an authority of certificates will look for;
                           also acme status and acme renew
  hcrs cert dev            creates a certificate for local development
  hcrs dev [APPLICATION]   serves an app while it is developed: HTTPS, reloads, debug log

Each setting can also be given in the file, or as the environment variable HCRS_KEY with the key in capitals.
Flags override the environment, and the environment overrides the file.";

/// Description of `hcrs config check`.
pub(crate) const CHECK: &str = "Checks a configuration and reports every problem";
/// Description of `hcrs config show`.
pub(crate) const SHOW: &str = "Shows every setting, its value and its origin";

/// Description of `hcrs config route`.
const ROUTE: &str = "Explains which route takes a request";

/// A command for a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdminCommand {
    /// The word of the command.
    pub(crate) name: &'static str,
    about: &'static str,
}

const fn admin_command(name: &'static str, about: &'static str) -> AdminCommand {
    AdminCommand { name, about }
}

/// The commands for a running server.
pub(crate) const ADMIN_COMMANDS: [AdminCommand; 7] = [
    admin_command("status", "Shows a running server: workers, requests, rates, queue and certificates"),
    admin_command("reload", "Reads the certificates again and replaces the workers, as SIGHUP does"),
    admin_command("stop", "Stops a running server, as SIGTERM does"),
    admin_command("scale", "Changes the number of workers of a running server"),
    admin_command("reopen", "Reopens the logs of a running server, as SIGUSR1 does"),
    admin_command("drain", "Tells probes that the server is not ready, so that load balancers send no more"),
    admin_command("dump", "Prints the stacks of all workers of a running server"),
];

/// Returns a command for a running server. It takes the configuration only for `admin_bind`.
pub(crate) fn admin(command: AdminCommand) -> Command {
    let address = table::find(ADMIN_BIND).and_then(|setting| argument(setting, &Defaults::default()));
    let mut clap = Command::new(command.name).about(command.about).arg(configuration()).args(address);
    match command.name {
        "status" => {
            let flag = |name: &'static str, help: &'static str| {
                Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
            };
            clap = clap
                .arg(flag(JSON, "Print the state as JSON"))
                .arg(flag(ONCE, "Print the state once, and not every second"));
        }
        "scale" => {
            let number = Arg::new(NUMBER).value_name("NUMBER").required(true).help("The number of workers");
            let number = number.value_parser(value_parser!(u16).range(1..=1024));
            clap = clap.arg(number).arg(app("The app, if it is not the main or only one"));
        }
        "reload" => clap = clap.arg(app("Replace the workers of this app, and nothing else")),
        "drain" => {
            let off = Arg::new(OFF).long(OFF).action(ArgAction::SetTrue);
            clap = clap.arg(off.help("Tell probes that the server is ready again"));
        }
        _ => {}
    }
    clap
}

/// Returns what a command for a running server does.
pub(crate) fn admin_action(name: &str, matches: &ArgMatches) -> AdminAction {
    match name {
        "status" => AdminAction::Status { json: matches.get_flag(JSON), once: matches.get_flag(ONCE) },
        "scale" => AdminAction::Scale {
            workers: matches.get_one(NUMBER).copied().unwrap_or(1),
            app: matches.get_one(APP).cloned(),
        },
        "drain" => AdminAction::Drain { off: matches.get_flag(OFF) },
        "reload" => AdminAction::Reload { app: matches.get_one(APP).cloned() },
        "stop" => AdminAction::Stop,
        "reopen" => AdminAction::Reopen,
        _ => AdminAction::Dump,
    }
}

/// The word with which commands about certificates begin.
pub(crate) const ACME: &str = "acme";
/// The commands about certificates that come by themselves.
pub(crate) const ACME_COMMANDS: [&str; 3] = ["status", "renew", "check"];

/// Returns a command about certificates that come by themselves.
pub(crate) fn acme(name: &str) -> Command {
    match name {
        "status" => settings(
            Command::new("status")
                .about("Shows the names whose certificates come by themselves, and failures"),
        ),
        "renew" => {
            let parse = |text: &str| Domain::parse(text).map_err(|error| error.to_string());
            let domain = Arg::new(NAME).value_name("NAME").value_parser(parse);
            settings(Command::new("renew").about("Has certificates of a running server renewed now"))
                .arg(domain.help("The name; without one all are renewed"))
        }
        _ => {
            let port = |name: &'static str, default: &'static str, help: &'static str| {
                let port = Arg::new(name).long(name).value_name("PORT").default_value(default);
                port.value_parser(value_parser!(u16).range(1..)).help(help)
            };
            settings(Command::new("check").about(
                "Checks what the authority will look for, without asking it for a certificate: DNS, ports, answers \
                 to challenges, storage; the server has to run",
            ))
            .arg(port(HTTP_PORT, "80", "The port of HTTP that the authority connects to"))
            .arg(port(HTTPS_PORT, "443", "The port of HTTPS that the authority connects to"))
        }
    }
}

/// Returns what a command about certificates does.
pub(crate) fn acme_action(name: &str, matches: &ArgMatches) -> AcmeAction {
    let port = |name: &str| given(matches, name);
    match name {
        "status" => AcmeAction::Status,
        "renew" => AcmeAction::Renew(given(matches, NAME)),
        _ => {
            let usual = Ports::default();
            AcmeAction::Check(Ports {
                http: port(HTTP_PORT).unwrap_or(usual.http),
                https: port(HTTPS_PORT).unwrap_or(usual.https),
            })
        }
    }
}

const NAME: &str = "NAME";
const HTTP_PORT: &str = "http-port";
const HTTPS_PORT: &str = "https-port";

const JSON: &str = "json";
const ONCE: &str = "once";
const NUMBER: &str = "NUMBER";
const OFF: &str = "off";
const APP: &str = "app";

fn app(help: &'static str) -> Arg {
    let parse = |text: &str| AppName::parse(text).ok_or("a name has letters, digits, _, - and .");
    Arg::new(APP).long(APP).value_name("NAME").value_parser(parse).help(help)
}

/// Returns the command that serves.
pub(crate) fn serve() -> Command {
    settings(
        Command::new("hcrs")
            .version(env!("CARGO_PKG_VERSION"))
            .about("Serves ASGI and WSGI apps over HTTP/2 and HTTP/1.1")
            .long_about(
                "Serves ASGI and WSGI apps over HTTP/2 and HTTP/1.1.\n\n\
                 Without an app, and without a file hypercorn.toml in the current directory, a welcome page \
                 is served.",
            )
            .after_help(OTHER_COMMANDS)
            .arg(application()),
    )
}

/// Returns `hcrs dev`.
pub(crate) fn develop() -> Command {
    settings(
        Command::new("dev")
            .about("Serves an app while it is developed")
            .long_about(
                "Serves an app while it is developed: with one worker that is restarted when a file changes \
                 (--reload), debug log, short access lines, and HTTPS on 127.0.0.1:8443 with a development \
                 certificate.\n\n\
                 Flags, the environment and the file of --config override this. Without an app, hypercorn.toml \
                 in the current directory is read. An app named app in a module dev is served by: hcrs dev:app",
            )
            .arg(application()),
    )
}

fn application() -> Arg {
    Arg::new(APPLICATION)
        .value_name("APPLICATION")
        .help("The app as MODULE:APP; prefix it with asgi: or wsgi: to set the interface")
}

/// Returns `hcrs config check` or `hcrs config show`.
pub(crate) fn config(name: &'static str, about: &'static str) -> Command {
    let file = Arg::new(FILE).value_name("FILE").help("The configuration, in the form of --config");
    settings(Command::new(name).about(about).arg(file.conflicts_with(CONFIG)))
}

/// Returns `hcrs config route`.
pub(crate) fn route() -> Command {
    let request = Arg::new(REQUEST).value_name("REQUEST").required(true);
    settings(
        Command::new("route")
            .about(ROUTE)
            .arg(request.help("The request, as 'GET https://example.com/path'; GET if it has no method")),
    )
}

/// Returns the request that `hcrs config route` is about.
pub(crate) fn request(matches: &ArgMatches) -> Result<AskedRequest, ConfigError> {
    let text = given::<String>(matches, REQUEST).unwrap_or_default();
    let wrong =
        |expected| ConfigError::Arguments(vec![format!("REQUEST: {expected}, found {}", quoted(&text))]);
    AskedRequest::parse(&text).map_err(wrong)
}

const REQUEST: &str = "REQUEST";
const APPLICATION: &str = "application_path";
const FILE: &str = "FILE";
const CONFIG: &str = "config";
const STRICT: &str = "strict";

fn configuration() -> Arg {
    Arg::new(CONFIG)
        .short('c')
        .long(CONFIG)
        .overrides_with(CONFIG)
        .value_name("FILE")
        .help("The configuration: a TOML file, file:PATH for a Python file, or python:MODULE")
}

fn settings(mut command: Command) -> Command {
    command = command.infer_long_args(true).arg(configuration());
    command = command.arg(
        Arg::new(STRICT)
            .long(STRICT)
            .overrides_with(STRICT)
            .action(ArgAction::SetTrue)
            .help("Treat unknown settings as errors instead of warnings"),
    );
    let defaults = Defaults::default();
    for group in Group::ALL {
        for setting in table::all().filter(|setting| setting.group == group) {
            if let Some(argument) = argument(setting, &defaults) {
                command = command.arg(argument.help_heading(group.title()));
            }
        }
    }
    command
}

fn argument(setting: &'static Setting, defaults: &Defaults) -> Option<Arg> {
    let flag = setting.flag?;
    let default = (setting.default)(defaults);
    let mut help = setting.doc.trim_end_matches('.').to_owned();
    if setting.ignored_reason().is_some() {
        help = format!("Ignored: {help}");
    } else if !default.is_empty() && !setting.kind.is_switch() {
        help = format!("{help} [default: {}]", default.trim_matches('"'));
    }
    let argument = Arg::new(setting.key)
        .long(flag.long.trim_start_matches('-'))
        .short(flag.short)
        .aliases(flag.aliases)
        .help(help);
    if setting.kind.is_switch() {
        return Some(argument.action(ArgAction::SetTrue).overrides_with(setting.key));
    }
    let (parser, action): (ValueParser, ArgAction) = match setting.kind {
        ValueKind::Whole(..) => (value_parser!(i64).into(), ArgAction::Set),
        ValueKind::WholeOrAuto(..) => (ValueParser::new(whole_or_auto), ArgAction::Set),
        ValueKind::Seconds(_) | ValueKind::Ratio => (value_parser!(f64).into(), ArgAction::Set),
        ValueKind::Mask => (ValueParser::new(permission_bits), ArgAction::Set),
        ValueKind::Texts | ValueKind::TextOrTexts | ValueKind::Variables | ValueKind::Pairs => {
            (value_parser!(String), ArgAction::Append)
        }
        _ => (value_parser!(String), ArgAction::Set),
    };
    // The last of several occurrences counts; those of a list add up.
    let argument =
        if matches!(action, ArgAction::Set) { argument.overrides_with(setting.key) } else { argument };
    Some(argument.value_name(flag.value).value_parser(parser).action(action).allow_negative_numbers(true))
}

fn whole_or_auto(text: &str) -> Result<String, String> {
    match text {
        AUTO => Ok(text.to_owned()),
        _ => text.parse::<i64>().map(|number| number.to_string()).map_err(|error| error.to_string()),
    }
}

fn permission_bits(text: &str) -> Result<i64, String> {
    parse_mask(text).ok_or_else(|| "expected a number, in decimal or in octal as 0o22".into())
}

/// Returns the value of an argument; `None` if it is not given, or the command does not take it.
fn given<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
    matches.try_get_one::<T>(name).ok().flatten().cloned()
}

/// Returns the values of an argument that may be repeated.
fn texts<'a>(matches: &'a ArgMatches, name: &str) -> Option<ValuesRef<'a, String>> {
    matches.try_get_many(name).ok().flatten()
}

/// Values given by flags.
pub(crate) struct FlagValues {
    /// Name of the configuration (`--config`).
    pub(crate) config: Option<String>,
    /// Whether unknown settings are mistakes (`--strict`).
    pub(crate) strict: bool,
    /// Values of settings.
    pub(crate) values: Vec<(&'static Setting, Value)>,
}

impl FlagValues {
    /// Collects the values from parsed arguments.
    pub(crate) fn new(matches: &ArgMatches) -> Self {
        let text = |name: &str| given::<String>(matches, name);
        let strict = given(matches, STRICT).unwrap_or(false);
        let mut values = Vec::new();
        for setting in table::all() {
            let (key, place) = match setting.flag {
                Some(flag) => (setting.key, Place::Flag(flag.long)),
                None if setting.key == APPLICATION => (APPLICATION, Place::Flag("APPLICATION")),
                None => continue,
            };
            let datum = match setting.kind {
                ValueKind::Boolean | ValueKind::BooleanOrWords(_) => {
                    given(matches, key).filter(|&is_set| is_set).map(Datum::Boolean)
                }
                ValueKind::Whole(..) | ValueKind::Mask => given(matches, key).map(Datum::Integer),
                ValueKind::Seconds(_) | ValueKind::Ratio => given(matches, key).map(Datum::Float),
                ValueKind::Texts | ValueKind::TextOrTexts | ValueKind::Variables | ValueKind::Pairs => {
                    texts(matches, key).map(|texts| {
                        let value =
                            |text: &String| Value { datum: Datum::Text(text.clone()), place: place.clone() };
                        Datum::Array(texts.map(value).collect())
                    })
                }
                ValueKind::WholeOrAuto(..) | ValueKind::Size => {
                    text(key).map(|text| Datum::from_text(setting.kind, &text))
                }
                _ => text(key).map(Datum::Text),
            };
            values.extend(datum.map(|datum| (setting, Value { datum, place })));
        }
        Self { config: text(CONFIG).or_else(|| text(FILE)), strict, values }
    }

    /// Returns the long flags that take text, with their values.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().filter_map(|(setting, value)| match (setting.flag, &value.datum) {
            (Some(flag), Datum::Text(text)) => Some((flag.long, text.as_str())),
            _ => None,
        })
    }

    /// Returns the value of a setting that takes text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(setting, _)| setting.key == key).and_then(|(_, value)| match &value.datum {
            Datum::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }
}

/// Creates a certificate for local development, valid for twelve days: cert.pem and key.pem, signed by the
/// local authority ca.pem
///
/// A certificate that is still valid is kept, and so is the authority. Clients have to trust ca.pem:
/// curl --cacert certs/ca.pem
#[derive(Debug, Parser)]
#[command(name = "hcrs cert dev", bin_name = "hcrs cert dev", version)]
pub(crate) struct CertificateFlags {
    /// Directory of the files; created if it does not exist
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    pub(crate) dir: PathBuf,
    /// Host name or address in the certificate; may be repeated
    #[arg(long, value_name = "NAME", default_values = hcrs_tls::DevCertificate::LOCAL_NAMES)]
    pub(crate) name: Vec<String>,
    /// Replace a certificate that is still valid
    #[arg(long)]
    pub(crate) force: bool,
}

/// Returns the whole command without `migrate`, for completions.
///
/// The commands below `hcrs` are dispatched by [`parse`](crate::parse) and not by clap, so that an app in a
/// module with the name of a command can be served.
pub fn command() -> Command {
    let parent = |name: &'static str| Command::new(name).disable_help_subcommand(true);
    serve()
        .disable_help_subcommand(true)
        .subcommands(ADMIN_COMMANDS.map(admin))
        .subcommand(
            parent("config")
                .about("Checks or shows a configuration")
                .subcommand(config("check", CHECK))
                .subcommand(config("show", SHOW))
                .subcommand(route()),
        )
        .subcommand(develop())
        .subcommand(
            parent("cert").about("Creates certificates").subcommand(CertificateFlags::command().name("dev")),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        command().debug_assert();
    }
}

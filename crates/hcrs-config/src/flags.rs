//! The command line, with Hypercorn's names; each flag becomes the value of its setting.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, Parser, value_parser};

use crate::setting::{Defaults, Group, Kind, Rule, Setting};
use crate::table;
use crate::value::{Datum, Place, Value, mask};

const OTHER_COMMANDS: &str = "\
Other commands:
  hcrs config check FILE   says everything that is wrong with a configuration
  hcrs config show [FILE]  says what each setting is, and where that comes from
  hcrs migrate FILE        makes such a file of another server's settings,
                           its command (-- COMMAND) or its unit (--systemd UNIT)
  hcrs cert dev            writes a certificate for developing on this machine

Each setting can also be given in the file or as the variable HCRS_ and its key in capitals. A flag wins over
the environment, the environment over the file.";

/// The command that serves.
pub(crate) fn serve() -> Command {
    settings(
        Command::new("hcrs")
            .version(env!("CARGO_PKG_VERSION"))
            .about("Serves ASGI and WSGI apps over HTTP/2 and HTTP/1.1")
            .long_about(
                "Serves ASGI and WSGI apps over HTTP/2 and HTTP/1.1.\n\n\
                 Without an app, and without a file hypercorn.toml here, a page is served that says that the \
                 server works.",
            )
            .after_help(OTHER_COMMANDS)
            .arg(
                Arg::new(APPLICATION)
                    .value_name("APPLICATION")
                    .help("The app as MODULE:APP; asgi: or wsgi: before it says which of the two it is"),
            ),
    )
}

/// `hcrs config check` and `hcrs config show`.
pub(crate) fn config(name: &'static str, about: &'static str) -> Command {
    let file = Arg::new(FILE).value_name("FILE").help("The configuration, as --config takes it");
    settings(Command::new(name).about(about).arg(file.conflicts_with(CONFIG)))
}

const APPLICATION: &str = "application_path";
const FILE: &str = "FILE";
const CONFIG: &str = "config";
const STRICT: &str = "strict";

fn settings(mut command: Command) -> Command {
    command = command.infer_long_args(true).arg(
        Arg::new(CONFIG)
            .short('c')
            .long(CONFIG)
            .overrides_with(CONFIG)
            .value_name("FILE")
            .help("The settings: a TOML file, file:PATH in Python, or python:MODULE"),
    );
    command = command.arg(
        Arg::new(STRICT)
            .long(STRICT)
            .overrides_with(STRICT)
            .action(ArgAction::SetTrue)
            .help("Take unknown settings for mistakes, not for warnings"),
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
    if matches!(setting.rule, Rule::Ignored(_)) {
        help = format!("Ignored: {help}");
    } else if !default.is_empty() && setting.kind != Kind::Boolean {
        help = format!("{help} [default: {}]", default.trim_matches('"'));
    }
    let argument = Arg::new(setting.key)
        .long(flag.long.trim_start_matches('-'))
        .short(flag.short)
        .aliases(flag.aliases)
        .help(help);
    if setting.kind == Kind::Boolean {
        return Some(argument.action(ArgAction::SetTrue).overrides_with(setting.key));
    }
    let (parser, action): (ValueParser, ArgAction) = match setting.kind {
        Kind::Whole(..) => (value_parser!(i64).into(), ArgAction::Set),
        Kind::Seconds(_) => (value_parser!(f64).into(), ArgAction::Set),
        Kind::Mask => (ValueParser::new(permission_bits), ArgAction::Set),
        Kind::Texts | Kind::TextOrTexts => (value_parser!(String), ArgAction::Append),
        _ => (value_parser!(String), ArgAction::Set),
    };
    // Said twice, the last one counts, but a list is made of all.
    let argument =
        if matches!(action, ArgAction::Set) { argument.overrides_with(setting.key) } else { argument };
    Some(argument.value_name(flag.value).value_parser(parser).action(action).allow_negative_numbers(true))
}

fn permission_bits(text: &str) -> Result<i64, String> {
    mask(text).ok_or_else(|| "expected a number, in decimal or as 0o22 in octal".into())
}

/// What a command line says.
pub(crate) struct Said {
    /// Where the settings are.
    pub(crate) config: Option<String>,
    /// Whether what is unknown is a mistake.
    pub(crate) strict: bool,
    /// The settings that were given.
    pub(crate) values: Vec<(&'static Setting, Value)>,
}

impl Said {
    pub(crate) fn new(matches: &ArgMatches) -> Self {
        let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
        let mut values = Vec::new();
        for setting in table::all() {
            let (key, place) = match setting.flag {
                Some(flag) => (setting.key, Place::Flag(flag.long)),
                None if setting.key == APPLICATION => (APPLICATION, Place::Flag("APPLICATION")),
                None => continue,
            };
            let datum = match setting.kind {
                Kind::Boolean => matches.get_flag(key).then_some(Datum::Boolean(true)),
                Kind::Whole(..) | Kind::Mask => matches.get_one(key).copied().map(Datum::Integer),
                Kind::Seconds(_) => matches.get_one(key).copied().map(Datum::Float),
                Kind::Texts | Kind::TextOrTexts => matches.get_many::<String>(key).map(|texts| {
                    let value =
                        |text: &String| Value { datum: Datum::Text(text.clone()), place: place.clone() };
                    Datum::Array(texts.map(value).collect())
                }),
                _ => text(key).map(Datum::Text),
            };
            values.extend(datum.map(|datum| (setting, Value { datum, place })));
        }
        Self { config: text(CONFIG).or_else(|| text(FILE)), strict: matches.get_flag(STRICT), values }
    }

    /// What was given for a setting as text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(setting, _)| setting.key == key).and_then(|(_, value)| match &value.datum {
            Datum::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }
}

/// Writes cert.pem and key.pem, a certificate for developing on this machine that is good for twelve days, and
/// ca.pem, the local authority that has signed it.
///
/// One that is still good is kept, and so is the authority. Give ca.pem to clients as an authority that they
/// trust: curl --cacert certs/ca.pem
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        serve().debug_assert();
        config("check", "").debug_assert();
        CertificateFlags::command().debug_assert();
    }
}

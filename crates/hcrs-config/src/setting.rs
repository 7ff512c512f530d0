//! What is said once of each setting: its name, type, default, flag, meaning, and how it is obeyed.

use std::time::Duration;

use hcrs_server::{AppSettings, Settings};

use crate::draft::Draft;
use crate::value::{Given, Mistake, SECRETS};

/// Puts what was given into the draft.
pub(crate) type Apply = fn(&Given<'_>, &mut Draft) -> Result<(), Mistake>;

/// One setting.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// Hypercorn's name, or ours for what Hypercorn does not have.
    pub(crate) key: &'static str,
    /// What it is about.
    pub(crate) group: Group,
    /// Whether it stands in the table `[hcrs]`.
    pub(crate) own: bool,
    /// What may be written.
    pub(crate) kind: Kind,
    /// What it means, with its unit, in a sentence or two.
    pub(crate) doc: &'static str,
    /// The default as it would be written in the file; empty if it is unset.
    pub(crate) default: fn(&Defaults) -> String,
    /// How it is obeyed, or why it is not.
    pub(crate) rule: Rule,
    /// Its flag, if it has one.
    pub(crate) flag: Option<Flag>,
    /// Other spellings in a file, which mean the same.
    pub(crate) aliases: &'static [&'static str],
}

/// A flag of the command line.
#[derive(Clone, Copy)]
pub(crate) struct Flag {
    /// With its dashes, as it is shown.
    pub(crate) long: &'static str,
    /// The letter of its short form.
    pub(crate) short: Option<char>,
    /// What the help calls its value.
    pub(crate) value: &'static str,
    /// Other names, without dashes.
    pub(crate) aliases: &'static [&'static str],
}

/// What is done with a setting.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// It is obeyed.
    Obeyed(Apply),
    /// Hypercorn has it; here it is ignored, for this reason.
    Ignored(&'static str),
}

/// What a setting is about, in the order of the reference.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Listeners,
    Proxies,
    App,
    Deadlines,
    Tls,
    Protocols,
    Logs,
}

impl Group {
    pub(crate) const ALL: [Self; 7] =
        [Self::Listeners, Self::Proxies, Self::App, Self::Deadlines, Self::Tls, Self::Protocols, Self::Logs];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Listeners => "Listeners",
            Self::Proxies => "Proxies in front",
            Self::App => "App and workers",
            Self::Deadlines => "Deadlines",
            Self::Tls => "TLS",
            Self::Protocols => "Protocols",
            Self::Logs => "Logs and metrics",
        }
    }
}

/// What may be written.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Boolean,
    /// A whole number within both bounds.
    Whole(i64, i64),
    /// Permission bits; as text they are decimal, or octal after `0o`.
    Mask,
    /// Seconds, fractions allowed, from this bound on.
    Seconds(f64),
    Text,
    Path,
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// An array of strings.
    Texts,
    /// A string or an array of strings.
    TextOrTexts,
    /// True or false, or the binds for which it is true.
    BooleanOrBinds,
    /// A name or its number.
    NameOrNumber,
    /// A table whose keys are not ours.
    Table,
    /// An array of tables.
    Tables,
}

/// At least a millisecond: a deadline of nothing would refuse everything.
pub(crate) const ABOVE_ZERO: Kind = Kind::Seconds(0.001);
/// From nothing on.
pub(crate) const FROM_ZERO: Kind = Kind::Seconds(0.0);
/// No deadline is longer than a year: what is meant is "never", and nothing here waits for ever.
pub(crate) const MAX_SECONDS: f64 = 31_536_000.0;

/// The settings as they are when nothing is set, as the crates that obey them say.
pub(crate) struct Defaults {
    pub(crate) server: Settings,
    pub(crate) app: AppSettings,
    pub(crate) tls: hcrs_tls::Settings,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            server: Settings::default(),
            app: AppSettings {
                withheld_variables: SECRETS.iter().map(|key| variable(key)).collect(),
                ..AppSettings::new(String::new())
            },
            tls: hcrs_tls::Settings::new("", ""),
        }
    }
}

impl Setting {
    /// One of Hypercorn's, obeyed.
    #[expect(clippy::too_many_arguments, reason = "the lines that use it read as a table")]
    pub(crate) const fn new(
        group: Group,
        key: &'static str,
        kind: Kind,
        default: fn(&Defaults) -> String,
        apply: Apply,
        doc: &'static str,
    ) -> Self {
        Self {
            key,
            group,
            own: false,
            kind,
            doc,
            default,
            rule: Rule::Obeyed(apply),
            flag: None,
            aliases: &[],
        }
    }

    /// One of Hypercorn's that is ignored, and why.
    pub(crate) const fn ignored(group: Group, key: &'static str, kind: Kind, why: &'static str) -> Self {
        Self {
            key,
            group,
            own: false,
            kind,
            doc: why,
            default: unset,
            rule: Rule::Ignored(why),
            flag: None,
            aliases: &[],
        }
    }

    /// In the table `[hcrs]`.
    pub(crate) const fn own(mut self) -> Self {
        self.own = true;
        self
    }

    /// With a flag; `long` has its dashes.
    pub(crate) const fn flag(mut self, long: &'static str, short: Option<char>, value: &'static str) -> Self {
        self.flag = Some(Flag { long, short, value, aliases: &[] });
        self
    }

    /// With more names for its flag.
    pub(crate) const fn flag_aliases(mut self, aliases: &'static [&'static str]) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.aliases = aliases;
        }
        self
    }

    /// With more spellings in a file.
    pub(crate) const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The variable of the environment that sets it.
    pub(crate) fn variable(&self) -> String {
        variable(self.key)
    }

    /// The key as it is told, with its table.
    pub(crate) fn name(&self) -> String {
        if self.own { format!("[hcrs] {}", self.key) } else { self.key.to_owned() }
    }
}

/// The default of what has none.
pub(crate) fn unset(_: &Defaults) -> String {
    String::new()
}

/// Seconds as they are written in the file.
pub(crate) fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

/// A string as it is written in the file.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                quoted.extend(format!("\\u{:04X}", u32::from(control)).chars());
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// An array of strings as it is written in the file.
pub(crate) fn array<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", texts.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// The variable of the environment that sets the key.
fn variable(key: &str) -> String {
    format!("HCRS_{}", key.to_ascii_uppercase())
}

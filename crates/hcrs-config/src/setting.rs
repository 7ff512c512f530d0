//! The description of a setting: its key, kind, default, flag and documentation, and the code that obeys it.

use hcrs_server::Rules;

use crate::defaults::Defaults;
use crate::draft::Draft;
use crate::environment::variable;
use crate::kind::ValueKind;
use crate::value::{GivenValue, Mistake};

/// The table in `[hcrs]` whose keys are settings with this prefix.
pub(crate) const ACME_TABLE: &str = "acme";
/// The beginning of the names of these settings.
pub(crate) const ACME_PREFIX: &str = "acme_";

/// Stores a given value in the draft.
pub(crate) type Apply = fn(&GivenValue<'_>, &mut Draft) -> Result<(), Mistake>;

/// Stores a given value in the rules of requests.
pub(crate) type ApplyRule = fn(&GivenValue<'_>, &mut Rules) -> Result<(), Mistake>;

/// Description of a setting.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Name in the file; Hypercorn's, unless the setting is an extension.
    pub key: &'static str,
    /// Section of the reference.
    pub(crate) group: Group,
    /// Whether the setting is an extension of Hypercorn's, in the table `[hcrs]`.
    pub is_extension: bool,
    /// Kind of value that it takes.
    pub kind: ValueKind,
    /// Meaning, with the unit, in a sentence or two.
    pub(crate) doc: &'static str,
    /// Default in the form of the file; empty if the setting is unset.
    pub(crate) default: fn(&Defaults) -> String,
    /// How the setting is obeyed, or why it is ignored.
    pub(crate) effect: Effect,
    /// Flag, if it has one.
    pub flag: Option<Flag>,
    /// Alternative spellings in a file.
    pub aliases: &'static [&'static str],
    /// When a change of the setting takes effect.
    pub(crate) takes_effect: TakesEffect,
    /// Whether it is also a key of the tables of further apps.
    pub(crate) is_of_app: bool,
}

/// When a change of a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakesEffect {
    /// When the configuration is read again (SIGHUP).
    AtReload,
    /// When the server starts, or is succeeded (SIGUSR2).
    AtStart,
}

/// Flag of the command line.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Long form, with its dashes.
    pub long: &'static str,
    /// Letter of the short form.
    pub short: Option<char>,
    /// Placeholder for the value in the help; empty if the flag takes none.
    pub value: &'static str,
    /// Alternative long forms, without dashes.
    pub aliases: &'static [&'static str],
}

/// Effect of a setting.
#[derive(Clone, Copy)]
pub(crate) enum Effect {
    /// The setting is obeyed by this function.
    Obeyed(Apply),
    /// The setting is a rule of requests: of those of a route, as a key of its table, or of all.
    OfRequests(ApplyRule),
    /// Hypercorn has the setting; hcrs ignores it, for this reason.
    Ignored(&'static str),
}

/// Section of the reference, in its order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Listeners,
    Proxies,
    Routes,
    Rules,
    App,
    Process,
    Deadlines,
    Tls,
    Acme,
    Protocols,
    Logs,
    Tracing,
    Admin,
}

impl Group {
    pub(crate) const ALL: [Self; 13] = [
        Self::Listeners,
        Self::Proxies,
        Self::Routes,
        Self::Rules,
        Self::App,
        Self::Process,
        Self::Deadlines,
        Self::Tls,
        Self::Acme,
        Self::Protocols,
        Self::Logs,
        Self::Tracing,
        Self::Admin,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Listeners => "Listeners",
            Self::Proxies => "Reverse proxies",
            Self::Routes => "Routes",
            Self::Rules => "Rules of requests",
            Self::App => "App and workers",
            Self::Process => "Process",
            Self::Deadlines => "Deadlines",
            Self::Tls => "TLS",
            Self::Acme => "Certificates by ACME",
            Self::Protocols => "Protocols",
            Self::Logs => "Logs and metrics",
            Self::Tracing => "Tracing and request ids",
            Self::Admin => "Admin interface and probes",
        }
    }
}

impl Setting {
    /// Creates a setting of Hypercorn's that is obeyed.
    #[expect(clippy::too_many_arguments, reason = "the lines that use it read as a table")]
    pub(crate) const fn new(
        group: Group,
        key: &'static str,
        kind: ValueKind,
        default: fn(&Defaults) -> String,
        apply: Apply,
        doc: &'static str,
    ) -> Self {
        Self {
            key,
            group,
            is_extension: false,
            kind,
            doc,
            default,
            effect: Effect::Obeyed(apply),
            flag: None,
            aliases: &[],
            takes_effect: TakesEffect::AtReload,
            is_of_app: false,
        }
    }

    /// Creates an extension that is a rule of requests.
    pub(crate) const fn of_requests(
        key: &'static str,
        kind: ValueKind,
        apply: ApplyRule,
        doc: &'static str,
    ) -> Self {
        Self {
            key,
            group: Group::Rules,
            is_extension: true,
            kind,
            doc,
            default: unset,
            effect: Effect::OfRequests(apply),
            flag: None,
            aliases: &[],
            takes_effect: TakesEffect::AtReload,
            is_of_app: false,
        }
    }

    /// Creates a setting of Hypercorn's that is ignored, with the reason.
    pub(crate) const fn ignored(
        group: Group,
        key: &'static str,
        kind: ValueKind,
        reason: &'static str,
    ) -> Self {
        Self {
            key,
            group,
            is_extension: false,
            kind,
            doc: reason,
            default: unset,
            effect: Effect::Ignored(reason),
            flag: None,
            aliases: &[],
            takes_effect: TakesEffect::AtReload,
            is_of_app: false,
        }
    }

    /// Marks the setting as one whose changes take effect at a start only.
    pub(crate) const fn at_start(mut self) -> Self {
        self.takes_effect = TakesEffect::AtStart;
        self
    }

    /// Makes the setting a key of the tables of further apps, too.
    pub(crate) const fn of_app(mut self) -> Self {
        self.is_of_app = true;
        self
    }

    /// Moves the setting into the table `[hcrs]`.
    pub(crate) const fn extension(mut self) -> Self {
        self.is_extension = true;
        self
    }

    /// Adds a flag; `long` has its dashes.
    pub(crate) const fn flag(mut self, long: &'static str, short: Option<char>, value: &'static str) -> Self {
        self.flag = Some(Flag { long, short, value, aliases: &[] });
        self
    }

    /// Adds alternative names of the flag.
    pub(crate) const fn flag_aliases(mut self, aliases: &'static [&'static str]) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.aliases = aliases;
        }
        self
    }

    /// Adds alternative spellings in a file.
    pub(crate) const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Returns the environment variable that sets it.
    pub fn variable(&self) -> String {
        variable(self.key)
    }

    /// Returns the key with its table, as messages show it.
    pub fn name(&self) -> String {
        if let Some(key) = self.key.strip_prefix(ACME_PREFIX) {
            return format!("[hcrs.{ACME_TABLE}] {key}");
        }
        if self.is_extension { format!("[hcrs] {}", self.key) } else { self.key.to_owned() }
    }

    /// Returns the reason why the setting is ignored, if it is.
    pub fn ignored_reason(&self) -> Option<&'static str> {
        match self.effect {
            Effect::Obeyed(_) | Effect::OfRequests(_) => None,
            Effect::Ignored(reason) => Some(reason),
        }
    }
}

/// Returns the default of a setting that has none.
pub(crate) fn unset(_: &Defaults) -> String {
    String::new()
}

//! Reads the file, the environment and the flags, in this order: a later value replaces an earlier one, which
//! is all there is to precedence.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::config::{Config, Resolved};
use crate::defaults::Defaults;
use crate::draft::{Draft, Finished};
use crate::environment::SHARED_VARIABLES;
use crate::error::ConfigError;
use crate::kind::ValueKind;
use crate::secret::{HIDDEN, is_hidden};
use crate::setting::{ACME_PREFIX, ACME_TABLE, Effect, Setting};
use crate::similar::nearest;
use crate::source::Source;
use crate::table::{self, apps::APPS};
use crate::value::{Datum, GivenValue, Mistake, Place, Value};

/// Table of the settings that Hypercorn does not have.
pub const EXTENSION_TABLE: &str = "hcrs";

/// Top-level entry of a TOML file.
#[derive(Debug, Clone)]
pub struct TomlEntry {
    /// Key.
    pub key: String,
    /// Value of the key.
    pub datum: Datum,
    /// File and line of the key.
    pub origin: String,
}

/// Parses a TOML file into its top-level entries, in the order of the file.
///
/// The error shows each place where the syntax is wrong.
pub fn parse_toml(name: &str, text: String) -> Result<Vec<TomlEntry>, ConfigError> {
    let source = Source::new(name.to_owned(), text);
    let (document, errors) = DeTable::parse_recoverable(source.text());
    if !errors.is_empty() {
        let problems = errors.iter().map(|error| {
            let mistake = syntax_mistake(error);
            source.excerpt(&mistake.place, &mistake.message)
        });
        return Err(ConfigError::Invalid(problems.collect()));
    }
    let entry = |(key, written): (&Key<'_>, &Spanned<DeValue<'_>>)| TomlEntry {
        key: key.get_ref().to_string(),
        datum: Value::from(written).datum,
        origin: source.origin(&Place::File(key.span())),
    };
    Ok(in_order(document.get_ref()).into_iter().map(entry).collect())
}

/// Checks the text of a configuration file as if the server were started with it.
pub fn check_text(name: &str, text: String) -> Result<Config, ConfigError> {
    let source = Source::new(name.to_owned(), text);
    let mut draft = Draft::default();
    apply_file(&source, &mut draft);
    finish(draft, &source)
}

/// Finishes a draft and resolves the value and the origin of every setting.
pub(crate) fn finish(draft: Draft, source: &Source) -> Result<Config, ConfigError> {
    let Finished { server, warnings, given, routes, apps } = draft.finish(source)?;
    Ok(Config { server, warnings, resolved: resolve(&given, source), routes, apps })
}

/// Returns every setting with its effective value and the origin of the value.
fn resolve(given: &BTreeMap<&'static str, Value>, source: &Source) -> Vec<Resolved> {
    let defaults = Defaults::default();
    let resolve = |setting: &'static Setting| {
        let (value, place) = match given.get(setting.key) {
            Some(value) if is_hidden(setting.key) => (HIDDEN.into(), &value.place),
            Some(value) if setting.kind == ValueKind::Variables => (value.literal_names(), &value.place),
            // Their tables are printed apart, without the values of variables.
            Some(value) if setting.key == APPS => (HIDDEN.into(), &value.place),
            Some(value) => (value.literal(), &value.place),
            None => ((setting.default)(&defaults), &Place::Nowhere),
        };
        let whole = given.get(setting.key).map(Value::literal);
        let fingerprint = fingerprint(whole.as_deref().unwrap_or(&value));
        let origin = source.origin(place);
        Resolved { key: setting.key, is_extension: setting.is_extension, value, origin, fingerprint }
    };
    table::all().map(resolve).collect()
}

fn fingerprint(value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Applies the whole file and collects its mistakes in the draft.
pub(crate) fn apply_file(source: &Source, draft: &mut Draft) {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    if !errors.is_empty() {
        draft.mistakes.extend(errors.iter().map(syntax_mistake));
        return;
    }
    for (key, value) in in_order(document.get_ref()) {
        match value.get_ref() {
            DeValue::Table(extensions) if key.get_ref() == EXTENSION_TABLE => {
                let mut table = TableReader { is_extension: true, table: extensions, source, draft };
                for (key, value) in in_order(extensions) {
                    table.apply_entry(key, value);
                }
            }
            _ if key.get_ref() == EXTENSION_TABLE => {
                let mistake = Value::from(value).expected("a table, [hcrs]");
                draft.mistakes.push(with_key(EXTENSION_TABLE, mistake));
            }
            _ => {
                let table = document.get_ref();
                TableReader { is_extension: false, table, source, draft }.apply_entry(key, value);
            }
        }
    }
}

fn syntax_mistake(error: &toml::de::Error) -> Mistake {
    Mistake {
        place: error.span().map_or(Place::Nowhere, Place::File),
        message: error.message().replace('\n', ", "),
    }
}

/// Applies the environment: variables of the form `HCRS_KEY`, and those shared with other servers.
pub(crate) fn apply_environment(environment: &[(OsString, OsString)], draft: &mut Draft) {
    let value_of =
        |variable: &str| environment.iter().find(|(name, _)| name == variable).map(|(_, value)| value);
    let mut given = Vec::new();
    for (variable, key) in SHARED_VARIABLES {
        if let Some(text) = value_of(variable).and_then(|text| text.to_str()).filter(|text| !text.is_empty())
        {
            let text = if *variable == "PORT" { format!("0.0.0.0:{text}") } else { text.to_owned() };
            given.push((table::find(key), (*variable).to_owned(), Some(text)));
        }
    }
    for setting in table::all() {
        let variable = setting.variable();
        if let Some(value) = value_of(&variable) {
            given.push((Some(setting), variable, value.to_str().map(str::to_owned)));
        }
    }
    for (setting, variable, text) in given {
        let Some(setting) = setting else { continue };
        let place = Place::Variable(variable);
        match text {
            Some(text) => {
                let value = Value::from_text(setting.kind, &text, place);
                apply(setting, &value, draft);
            }
            None => draft.mistakes.push(Mistake {
                place,
                message: "the value is not UTF-8; set it to UTF-8 text or unset it".into(),
            }),
        }
    }
}

/// Applies flags.
pub(crate) fn apply_flags(values: Vec<(&'static Setting, Value)>, draft: &mut Draft) {
    for (setting, value) in values {
        apply(setting, &value, draft);
    }
}

fn apply(setting: &'static Setting, value: &Value, draft: &mut Draft) {
    let given = GivenValue { value, kind: setting.kind };
    let applied = match setting.effect {
        Effect::Obeyed(set) => set(&given, draft),
        Effect::OfRequests(set) => set(&given, &mut draft.rules),
        Effect::Ignored(reason) => {
            let message = format!("{} is ignored: {}", setting.name(), reason.trim_end_matches('.'));
            return draft.warn(&value.place, message);
        }
    };
    match applied {
        Ok(()) => draft.record(setting.key, value),
        Err(mistake) if matches!(mistake.place, Place::File(_)) => {
            draft.mistakes.push(with_key(&setting.name(), mistake));
        }
        Err(mistake) => draft.mistakes.push(mistake),
    }
}

type Key<'a> = Spanned<DeString<'a>>;

/// Returns the entries of a table in the order of the file.
fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<(&'a Key<'a>, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Reader of one of the two tables of a file: the top level, or `[hcrs]`.
struct TableReader<'a, 'b> {
    is_extension: bool,
    table: &'a DeTable<'a>,
    source: &'a Source,
    draft: &'b mut Draft,
}

impl TableReader<'_, '_> {
    /// Applies the setting of this key, or reports that there is none.
    fn apply_entry(&mut self, key: &Key<'_>, written: &Spanned<DeValue<'_>>) {
        self.apply_named(key.get_ref().as_ref(), key, written);
    }

    /// Applies the keys of `[hcrs.acme]`, each of which is a setting whose name begins with that of the table.
    fn apply_acme(&mut self, table: &DeTable<'_>) {
        for (key, written) in in_order(table) {
            self.apply_named(&format!("{ACME_PREFIX}{}", key.get_ref()), key, written);
        }
    }

    /// Applies the setting of this name, or reports that there is none.
    fn apply_named(&mut self, name: &str, key: &Key<'_>, written: &Spanned<DeValue<'_>>) {
        if let (true, ACME_TABLE, DeValue::Table(table)) = (self.is_extension, name, written.get_ref()) {
            return self.apply_acme(table);
        }
        let mut value = Value::from(written);
        let place = Place::File(key.span());
        if matches!(written.get_ref(), DeValue::Table(_)) {
            // The span of a table is its header; of one with dotted keys it may be anything.
            value.place = place.clone();
        }
        if let Some(setting) = self.settings().find(|setting| setting.key == name) {
            if setting.ignored_reason().is_some() {
                value.place = place;
            }
            return apply(setting, &value, self.draft);
        }
        let normalized = name.to_ascii_lowercase().replace('-', "_");
        if let Some(setting) = self.settings().find(|setting| setting.aliases.contains(&normalized.as_str()))
        {
            if self.table.keys().any(|key| key.get_ref() == setting.key) {
                let message = format!("{name} is ignored beside {}, which means the same", setting.key);
                return self.draft.warn(&place, message);
            }
            let message = format!("{name} is taken as {}, which is its name in Hypercorn", setting.key);
            self.draft.warn(&place, message);
            return apply(setting, &value, self.draft);
        }
        self.report_unknown(name, &normalized, &place, written);
    }

    fn report_unknown(
        &mut self,
        name: &str,
        normalized: &str,
        place: &Place,
        written: &Spanned<DeValue<'_>>,
    ) {
        let nearest = nearest(self.settings().map(|setting| setting.key), normalized);
        if self.source.is_evaluated() && nearest.is_none() {
            return;
        }
        let (prefix, name, nearest) = match name.strip_prefix(ACME_PREFIX) {
            Some(key) if self.is_extension => {
                ("[hcrs.acme] ", key, nearest.map(|known| known.strip_prefix(ACME_PREFIX).unwrap_or(known)))
            }
            _ if self.is_extension => ("[hcrs] ", name, nearest),
            _ => ("", name, nearest),
        };
        let message = if let Some(setting) = table::find(name) {
            let correction =
                if setting.is_extension { "belongs in the table [hcrs]" } else { "belongs above all tables" };
            format!("unknown key: {prefix}{name}, ignored; it {correction}")
        } else if matches!(written.get_ref(), DeValue::Table(_)) {
            format!("unknown table [{prefix}{name}], ignored; settings belong above all tables")
        } else {
            let hint = nearest.map_or(String::new(), |known| format!("; did you mean {known}?"));
            format!("unknown key: {prefix}{name}, ignored{hint}")
        };
        self.draft.add_unknown(place, message);
    }

    /// Returns the settings of this table.
    fn settings(&self) -> impl Iterator<Item = &'static Setting> + use<> {
        let is_extension = self.is_extension;
        table::all().filter(move |setting| setting.is_extension == is_extension)
    }
}

fn with_key(key: &str, mistake: Mistake) -> Mistake {
    Mistake { message: format!("{key}: {}", mistake.message), ..mistake }
}

#[cfg(test)]
mod tests;

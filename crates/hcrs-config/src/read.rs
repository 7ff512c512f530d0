//! Reads the file, the environment and the flags, in this order: what is read later wins, which is all there
//! is to precedence.

use std::ffi::OsString;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::draft::Draft;
use crate::setting::{Rule, Setting};
use crate::source::Source;
use crate::table;
use crate::value::{Given, Mistake, Place, Value};

/// The table of what Hypercorn does not have.
pub(crate) const OWN_TABLE: &str = "hcrs";

/// Variables of the environment that others have agreed on, and the settings that they set.
pub(crate) const SHARED_VARIABLES: &[(&str, &str)] = &[("WEB_CONCURRENCY", "workers"), ("PORT", "bind")];

/// Applies the whole file; what is wrong with it is collected in the draft.
pub(crate) fn apply_file(source: &Source, draft: &mut Draft) {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    if !errors.is_empty() {
        draft.mistakes.extend(errors.iter().map(|error| Mistake {
            place: error.span().map_or(Place::Nowhere, Place::File),
            message: error.message().replace('\n', ", "),
        }));
        return;
    }
    for (key, value) in in_order(document.get_ref()) {
        match value.get_ref() {
            DeValue::Table(own) if key.get_ref() == OWN_TABLE => {
                for (key, value) in in_order(own) {
                    entry(true, own, (key, value), source, draft);
                }
            }
            _ if key.get_ref() == OWN_TABLE => {
                let mistake = Value::from(value).expected("a table, [hcrs]");
                draft.mistakes.push(named(OWN_TABLE, mistake));
            }
            _ => entry(false, document.get_ref(), (key, value), source, draft),
        }
    }
}

/// Applies the environment: `HCRS_` and a key in capitals, and what others have agreed on.
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
            None => draft.mistakes.push(Mistake { place, message: "expected UTF-8 text".into() }),
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
    match setting.rule {
        Rule::Obeyed(set) => match set(&Given { value, kind: setting.kind }, draft) {
            Ok(()) => draft.note(setting, value),
            Err(mistake) if matches!(mistake.place, Place::File(_)) => {
                draft.mistakes.push(named(&setting.name(), mistake));
            }
            Err(mistake) => draft.mistakes.push(mistake),
        },
        Rule::Ignored(why) => {
            draft.warn(&value.place, format!("{} is ignored: {}", setting.name(), why.trim_end_matches('.')));
        }
    }
}

type Key<'a> = Spanned<DeString<'a>>;

/// The entries of a table as they stand in the file.
fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<(&'a Key<'a>, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn entry(
    own: bool,
    beside: &DeTable<'_>,
    (key, written): (&Key<'_>, &Spanned<DeValue<'_>>),
    source: &Source,
    draft: &mut Draft,
) {
    let name = key.get_ref().as_ref();
    let prefix = if own { "[hcrs] " } else { "" };
    let mut value = Value::from(written);
    let place = Place::File(key.span());
    if matches!(written.get_ref(), DeValue::Table(_)) {
        // The span of a table is its header, but of one that is spelled by dots it may be anything.
        value.place = place.clone();
    }
    let here = || table::all().filter(|setting| setting.own == own);
    if let Some(setting) = here().find(|setting| setting.key == name) {
        if matches!(setting.rule, Rule::Ignored(_)) {
            value.place = place;
        }
        return apply(setting, &value, draft);
    }
    let plain = name.to_ascii_lowercase().replace('-', "_");
    if let Some(setting) = here().find(|setting| setting.aliases.contains(&plain.as_str())) {
        if beside.keys().any(|key| key.get_ref() == setting.key) {
            return draft
                .warn(&place, format!("{name} is ignored beside {}, which means the same", setting.key));
        }
        draft.warn(&place, format!("{name} is taken as {}, which is its name in Hypercorn", setting.key));
        return apply(setting, &value, draft);
    }
    let nearest = nearest(here(), &plain);
    if source.is_evaluated() && nearest.is_none() {
        return;
    }
    if let Some(setting) = table::find(name) {
        let where_to = if setting.own { "belongs into the table [hcrs]" } else { "stands above all tables" };
        return draft.unknown(&place, format!("unknown key: {prefix}{name}, ignored; it {where_to}"));
    }
    if matches!(written.get_ref(), DeValue::Table(_)) {
        let message = format!("unknown table [{prefix}{name}], ignored: settings stand above all tables");
        return draft.unknown(&place, message);
    }
    let hint = nearest.map_or(String::new(), |known| format!("; did you mean {known}?"));
    draft.unknown(&place, format!("unknown key: {prefix}{name}, ignored{hint}"));
}

fn named(key: &str, mistake: Mistake) -> Mistake {
    Mistake { message: format!("{key}: {}", mistake.message), ..mistake }
}

/// The known name that is most like the unknown one, if any is like it.
fn nearest(known: impl Iterator<Item = &'static Setting>, name: &str) -> Option<&'static str> {
    const LIKE: f64 = 0.65;
    known
        .map(|setting| (strsim::normalized_damerau_levenshtein(setting.key, name), setting.key))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests;

//! Hypercorn's settings, which hcrs takes unchanged.

use std::borrow::Cow;

use hcrs_config::{Setting, ValueKind, table};

use crate::row::{FlagValue, Mapping, Row, Server};

pub(super) fn server() -> Server {
    let row = |setting: &Setting| {
        let flag = setting.flag.map_or(String::new(), |flag| {
            let short = flag.short.map_or(String::new(), |short| format!("-{short} "));
            let aliases: String = flag.aliases.iter().flat_map(|alias| [" --", alias]).collect();
            format!("{short}{}{aliases}", flag.long)
        });
        Row {
            name: Cow::Borrowed(setting.key),
            flags: if setting.is_extension { Cow::Borrowed("") } else { Cow::Owned(flag) },
            value: match setting.kind {
                ValueKind::Boolean | ValueKind::BooleanOrWords(_) => FlagValue::Absent,
                ValueKind::Texts | ValueKind::TextOrTexts => FlagValue::List,
                _ => FlagValue::Single,
            },
            default: None,
            mapping: match setting.ignored_reason() {
                None => Mapping::Same(setting.key),
                Some(reason) => Mapping::Unsupported(reason),
            },
        }
    };
    let config = Row::part_of("config", "-c --config", "the settings in it");
    Server {
        name: "hypercorn",
        rows: table::all().map(row).chain([config]).collect(),
        prefix: None,
        variables: &[],
        abbreviates: true,
        app: "application_path",
        config: Some("config"),
        finish: |_| {},
    }
}

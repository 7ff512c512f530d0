//! Hypercorn's settings are ours: they pass as they are.

use std::borrow::Cow;

use crate::migrate::row::{Outcome, Row, Server, Takes};
use crate::setting::{Kind, Rule, Setting};
use crate::table;

pub(super) fn server() -> Server {
    let row = |setting: &Setting| {
        let flag = setting.flag.map_or(String::new(), |flag| {
            let short = flag.short.map_or(String::new(), |short| format!("-{short} "));
            let more: String = flag.aliases.iter().flat_map(|alias| [" --", alias]).collect();
            format!("{short}{}{more}", flag.long)
        });
        Row {
            name: Cow::Borrowed(setting.key),
            flags: if setting.own { Cow::Borrowed("") } else { Cow::Owned(flag) },
            takes: match setting.kind {
                Kind::Boolean => Takes::Nothing,
                Kind::Texts | Kind::TextOrTexts => Takes::List,
                _ => Takes::Value,
            },
            default: None,
            outcome: match setting.rule {
                Rule::Obeyed(_) => Outcome::Same(setting.key),
                Rule::Ignored(why) => Outcome::Without(why),
            },
        }
    };
    let config = Row::part("config", "-c --config", "what it says");
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

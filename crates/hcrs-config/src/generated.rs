//! Files generated from the table of settings. The tests fail if a file is stale; with `HCRS_GENERATE` in the
//! environment they write it.

mod current;

use std::fmt::Write as _;

use self::current::assert_current;
use crate::defaults::Defaults;
use crate::environment::SHARED_VARIABLES;
use crate::kind::{MAX_SECONDS, ValueKind, quoted};
use crate::setting::{ACME_PREFIX, ACME_TABLE, Group, Setting, TakesEffect};
use crate::{check_text, flags, table};

fn in_group(group: Group) -> impl Iterator<Item = &'static Setting> {
    table::all().filter(move |setting| setting.group == group)
}

fn is_obeyed(setting: &Setting) -> bool {
    setting.ignored_reason().is_none()
}

/// Returns the kind in words.
fn name_of(kind: ValueKind) -> String {
    match kind {
        ValueKind::Boolean => "true or false".into(),
        ValueKind::Whole(least, i64::MAX) => format!("whole number from {least}"),
        ValueKind::Whole(least, most) => format!("whole number, {least} to {most}"),
        ValueKind::WholeOrAuto(least, most) => format!("whole number, {least} to {most}, or `\"auto\"`"),
        ValueKind::Size => "bytes, or text as `\"10M\"`".into(),
        ValueKind::Mask => "permission bits, as 0o022".into(),
        ValueKind::Seconds(_) => "seconds".into(),
        ValueKind::Ratio => "number, 0 to 1".into(),
        ValueKind::Text => "string".into(),
        ValueKind::Path => "path".into(),
        ValueKind::OneOf(words) => format!("one of {}", words.join(", ")),
        ValueKind::Texts => "array of strings".into(),
        ValueKind::TextOrTexts => "string or array of strings".into(),
        ValueKind::TrueOrText => "true or string".into(),
        ValueKind::BooleanOrBinds => "true, false or binds".into(),
        ValueKind::BooleanOrWords(words) => format!("true, false, or array of {}", words.join(", ")),
        ValueKind::BooleanOrText => "true, false or string".into(),
        ValueKind::Pairs => "table of strings, or array of `name=value`".into(),
        ValueKind::NameOrNumber => "name or number".into(),
        ValueKind::Variables => "table of strings, or array of `NAME=value`".into(),
        ValueKind::Table => "table".into(),
        ValueKind::Tables => "array of tables".into(),
    }
}

fn code(text: &str) -> String {
    if text.is_empty() { "unset".into() } else { format!("`{text}`") }
}

/// Returns the flag with its short form and its aliases.
fn flags_of(setting: &Setting) -> String {
    setting.flag.map_or(String::new(), |flag| {
        let short = flag.short.map_or(String::new(), |short| format!(", `-{short}`"));
        let more: String = flag.aliases.iter().flat_map(|alias| [", `--", alias, "`"]).collect();
        format!("`{}`{short}{more}", flag.long)
    })
}

#[test]
fn reference_page() {
    let defaults = Defaults::default();
    let mut page = String::from(
        "# Settings\n\n\
         <!-- Generated from the table in crates/hcrs-config/src/table; renew it with: make generate -->\n\n\
         The keys, their types and their defaults are those of Hypercorn; keys marked *hcrs* belong in the\n\
         table `[hcrs]`, which Hypercorn ignores. [guide/configuration.md](guide/configuration.md) explains\n\
         how files, variables and flags are combined. SIGHUP reads the configuration again and applies\n\
         changes, except of those keys whose changes take effect at a start.\n",
    );
    for group in Group::ALL {
        writeln!(
            page,
            "\n## {}\n\n| key | flag | takes | default | meaning |\n|---|---|---|---|---|",
            group.title()
        )
        .unwrap();
        for setting in in_group(group).filter(|setting| is_obeyed(setting)) {
            let flag = flags_of(setting);
            let mark = if setting.is_extension { " *hcrs*" } else { "" };
            let (key, kind, doc) = (setting.key, name_of(setting.kind), setting.doc.replace('|', "\\|"));
            let default = code(&(setting.default)(&defaults));
            let aliases: Vec<_> = setting.aliases.iter().map(|alias| format!("`{alias}`")).collect();
            let aliases = if aliases.is_empty() {
                String::new()
            } else {
                format!(" In a file also {}.", aliases.join(", "))
            };
            let effect = match setting.takes_effect {
                TakesEffect::AtReload => "",
                TakesEffect::AtStart => " Changes take effect at a start.",
            };
            writeln!(page, "| `{key}`{mark} | {flag} | {kind} | {default} | {doc}{aliases}{effect} |")
                .unwrap();
        }
    }
    page += "\n## Keys of a route\n\n\
             A table `[[hcrs.routes]]` has one action, and any of the keys that match requests; without one of them it\n\
             takes every request. [Rules](#rules-of-requests) go with any action, and stand before those of all requests.\n\
             [guide/routes.md](guide/routes.md) has examples.\n\n\
             | key | takes | goes with | meaning |\n|---|---|---|---|\n";
    for key in table::routes::keys() {
        let goes_with = key.goes_with.map_or(String::new(), |action| format!("`{action}`"));
        let doc = key.doc.replace('|', "\\|");
        writeln!(page, "| `{}` | {} | {goes_with} | {doc} |", key.key, name_of(key.kind)).unwrap();
    }
    page += "\n## Keys of an app\n\n\
             A table `[[hcrs.apps]]` has a name and an application_path. Of the other keys, which are those of the main app,\n\
             one that an app does not have is taken from above all tables or from `[hcrs]`, where the last column says so.\n\
             [guide/apps.md](guide/apps.md) has examples.\n\n\
             | key | takes | meaning | taken from above |\n|---|---|---|---|\n";
    for key in table::apps::keys() {
        let doc = key.doc.map_or_else(|| format!("as `{}` of the main app", key.key), str::to_owned);
        let inherited = if key.is_inherited { "yes" } else { "" };
        writeln!(page, "| `{}` | {} | {doc} | {inherited} |", key.key, name_of(key.kind)).unwrap();
    }
    page += "\n## Ignored\n\nThese settings of Hypercorn are accepted with a warning and have no effect.\n\n\
             | key | flag | reason |\n|---|---|---|\n";
    for setting in table::all().filter(|setting| !is_obeyed(setting)) {
        let flag = flags_of(setting);
        writeln!(page, "| `{}` | {flag} | {} |", setting.key, setting.doc).unwrap();
    }
    page += "\n## Environment\n\n\
             Each setting can be given as a variable whose name is `HCRS_` and the key in capitals, as in\n\
             `HCRS_KEEP_ALIVE_TIMEOUT=30`. The elements of a list are separated by commas, and a table\n\
             has the form of the file. Further variables:\n\n\
             | variable | sets |\n|---|---|\n";
    for (variable, key) in SHARED_VARIABLES {
        let how = if *variable == "PORT" { ": this port on every IPv4 interface" } else { "" };
        writeln!(page, "| `{variable}` | `{key}`{how} |").unwrap();
    }
    assert_current("docs/reference.md", &page);
}

/// Returns a file that sets everything to its default, each setting after `mark`.
fn reference_file(mark: &str) -> String {
    let defaults = Defaults::default();
    let mut file = String::from(
        "# Every setting with its default. Uncomment the settings that you change; production.toml is a\n\
         # smaller file to start from. Generated from the table in crates/hcrs-config/src/table; renew it\n\
         # with: make generate\n",
    );
    for is_extension in [false, true] {
        if is_extension {
            file += "\n# Settings that Hypercorn does not have.\n[hcrs]\n";
        }
        for group in Group::ALL {
            let mut settings = in_group(group)
                .filter(|setting| setting.is_extension == is_extension && is_obeyed(setting))
                .peekable();
            if settings.peek().is_some() {
                writeln!(file, "\n# --- {} ---", group.title()).unwrap();
            }
            for setting in settings {
                writeln!(file, "\n# {}", setting.doc).unwrap();
                match (setting.default)(&defaults).as_str() {
                    "" => writeln!(file, "# {} is unset: {}", setting.key, name_of(setting.kind)).unwrap(),
                    default => writeln!(file, "{mark}{} = {default}", setting.key).unwrap(),
                }
            }
        }
    }
    file
}

#[test]
fn reference_configuration() {
    assert_current("config/reference.toml", &reference_file("# "));
}

#[test]
fn reference_configuration_has_the_defaults() {
    let read = |text: String| check_text("reference.toml", text).unwrap_or_else(|error| panic!("{error}"));
    let (set, unset) = (read(reference_file("")), read(String::new()));
    assert_eq!(set.warnings, Vec::<String>::new());
    assert_eq!(format!("{:?}", set.server), format!("{:?}", unset.server));
}

/// Returns the schema of a value of this kind.
fn schema_of(kind: ValueKind) -> String {
    let texts = r#"{ "type": "array", "items": { "type": "string" } }"#;
    match kind {
        ValueKind::Boolean => r#""type": "boolean""#.into(),
        ValueKind::Whole(least, i64::MAX) => format!(r#""type": "integer", "minimum": {least}"#),
        ValueKind::Whole(least, most) => {
            format!(r#""type": "integer", "minimum": {least}, "maximum": {most}"#)
        }
        ValueKind::WholeOrAuto(least, most) => format!(
            r#""anyOf": [{{ "type": "integer", "minimum": {least}, "maximum": {most} }}, {{ "enum": ["auto"] }}]"#
        ),
        ValueKind::Size => r#""type": ["integer", "string"]"#.into(),
        ValueKind::Mask => r#""type": "integer", "minimum": 0, "maximum": 511"#.into(),
        ValueKind::Seconds(least) => {
            format!(r#""type": "number", "minimum": {least}, "maximum": {MAX_SECONDS}"#)
        }
        ValueKind::Ratio => r#""type": "number", "minimum": 0, "maximum": 1"#.into(),
        ValueKind::Text | ValueKind::Path => r#""type": "string""#.into(),
        ValueKind::OneOf(words) => {
            let upper = words.iter().map(|word| word.to_ascii_uppercase());
            let words: Vec<_> =
                words.iter().map(|word| quoted(word)).chain(upper.map(|word| quoted(&word))).collect();
            format!(r#""enum": [{}]"#, words.join(", "))
        }
        ValueKind::Texts => texts[2..texts.len() - 2].into(),
        ValueKind::TextOrTexts => format!(r#""anyOf": [{{ "type": "string" }}, {texts}]"#),
        ValueKind::BooleanOrBinds => {
            format!(r#""anyOf": [{{ "type": "boolean" }}, {{ "type": "string" }}, {texts}]"#)
        }
        ValueKind::TrueOrText | ValueKind::BooleanOrText => r#""type": ["boolean", "string"]"#.into(),
        ValueKind::BooleanOrWords(words) => {
            let words = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
            let array = format!(r#"{{ "type": "array", "items": {{ "enum": [{words}] }} }}"#);
            format!(r#""anyOf": [{{ "type": "boolean" }}, {array}]"#)
        }
        ValueKind::NameOrNumber => r#""type": ["string", "number"]"#.into(),
        ValueKind::Variables | ValueKind::Pairs => format!(
            r#""anyOf": [{texts}, {{ "type": "object", "additionalProperties": {{ "type": "string" }} }}]"#
        ),
        ValueKind::Table => r#""type": "object""#.into(),
        ValueKind::Tables => r#""type": "array", "items": { "type": "object" }"#.into(),
    }
}

/// Returns the schema of the tables of routes.
fn schema_of_routes() -> String {
    let property = |key: table::routes::RouteKey| {
        format!("\"{}\": {{ {}, \"description\": {} }}", key.key, schema_of(key.kind), quoted(key.doc))
    };
    let properties: Vec<_> = table::routes::keys().map(property).collect();
    format!(
        "\"type\": \"array\", \"items\": {{ \"type\": \"object\", \"properties\": {{ {} }}, \
         \"additionalProperties\": false }}",
        properties.join(", ")
    )
}

/// Returns the schema of the tables of apps.
fn schema_of_apps() -> String {
    let property = |key: table::apps::AppKey| {
        let of_setting = || table::find(key.key).map(|setting| setting.doc);
        let doc = key.doc.or_else(of_setting).unwrap_or_default();
        format!("\"{}\": {{ {}, \"description\": {} }}", key.key, schema_of(key.kind), quoted(doc))
    };
    let properties: Vec<_> = table::apps::keys().map(property).collect();
    format!(
        "\"type\": \"array\", \"items\": {{ \"type\": \"object\", \"properties\": {{ {} }}, \
         \"required\": [\"name\", \"application_path\"], \"additionalProperties\": false }}",
        properties.join(", ")
    )
}

/// Returns the schema of the table whose keys are settings with its name in front.
fn schema_of_acme(indent: &str) -> String {
    let property = |setting: &Setting| {
        let key = setting.key.strip_prefix(ACME_PREFIX)?;
        Some(format!(
            "\"{key}\": {{ {}, \"description\": {} }}",
            schema_of(setting.kind),
            quoted(setting.doc)
        ))
    };
    let properties: Vec<_> = table::all().filter_map(property).collect();
    format!(
        "{indent}\"{ACME_TABLE}\": {{ \"type\": \"object\", \"properties\": {{ {} }}, \
         \"additionalProperties\": false }}",
        properties.join(", ")
    )
}

#[test]
fn schema_for_editors() {
    let defaults = Defaults::default();
    let properties = |is_extension: bool, indent: &str| {
        let property = |setting: &Setting| {
            let doc =
                if is_obeyed(setting) { setting.doc.into() } else { format!("Ignored: {}", setting.doc) };
            let default = (setting.default)(&defaults);
            let default =
                if default.is_empty() { String::new() } else { format!(", \"default\": {default}") };
            let kind = match setting.key {
                "routes" => schema_of_routes(),
                table::apps::APPS => schema_of_apps(),
                _ => schema_of(setting.kind),
            };
            format!("{indent}\"{}\": {{ {kind}{default}, \"description\": {} }}", setting.key, quoted(&doc))
        };
        let settings = table::all().filter(|setting| setting.is_extension == is_extension);
        settings.map(property).collect::<Vec<_>>().join(",\n")
    };
    let schema = format!(
        "{{\n  \"$schema\": \"http://json-schema.org/draft-07/schema#\",\n  \
         \"title\": \"hypercorn.toml of hcrs\",\n  \"type\": \"object\",\n  \
         \"properties\": {{\n{},\n    \"hcrs\": {{\n      \"type\": \"object\",\n      \
         \"description\": \"Settings that Hypercorn does not have.\",\n      \
         \"properties\": {{\n{},\n{}\n      }},\n      \
         \"additionalProperties\": false\n    }}\n  }}\n}}\n",
        properties(false, "    "),
        properties(true, "        "),
        schema_of_acme("        "),
    );
    let parsed: serde_json::Value = serde_json::from_str(&schema).expect("the schema is JSON");
    assert_eq!(parsed["properties"]["hcrs"]["properties"]["io_threads"]["type"], "integer");
    assert_current("config/hypercorn.schema.json", &schema);
}

#[test]
fn manual_page() {
    let mut page = Vec::new();
    clap_mangen::Man::new(flags::serve()).date("").render(&mut page).unwrap();
    assert_current("docs/hcrs.1", &String::from_utf8(page).unwrap());
}

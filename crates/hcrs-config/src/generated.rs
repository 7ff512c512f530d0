//! The pages that are made from the table of settings. As tests they say which of them is stale; with
//! `HCRS_GENERATE` in the environment they write it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::migrate::MigrateFlags;
use crate::setting::{Defaults, Group, Kind, MAX_SECONDS, Rule, Setting, quoted};
use crate::{flags, read, table};

#[track_caller]
pub(crate) fn is_current(path: &str, content: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("HCRS_GENERATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == content, "{path} is stale; renew it with: make generate");
}

fn in_group(group: Group) -> impl Iterator<Item = &'static Setting> {
    table::all().filter(move |setting| setting.group == group)
}

fn is_obeyed(setting: &Setting) -> bool {
    matches!(setting.rule, Rule::Obeyed(_))
}

/// In words.
fn name_of(kind: Kind) -> String {
    match kind {
        Kind::Boolean => "true or false".into(),
        Kind::Whole(least, i64::MAX) => format!("whole number from {least}"),
        Kind::Whole(least, most) => format!("whole number, {least} to {most}"),
        Kind::Mask => "permission bits, as 0o022".into(),
        Kind::Seconds(_) => "seconds".into(),
        Kind::Text => "string".into(),
        Kind::Path => "path".into(),
        Kind::OneOf(words) => format!("one of {}", words.join(", ")),
        Kind::Texts => "array of strings".into(),
        Kind::TextOrTexts => "string or array of strings".into(),
        Kind::BooleanOrBinds => "true, false or binds".into(),
        Kind::NameOrNumber => "name or number".into(),
        Kind::Table => "table".into(),
        Kind::Tables => "array of tables".into(),
    }
}

fn code(text: &str) -> String {
    if text.is_empty() { "unset".into() } else { format!("`{text}`") }
}

/// The flag, its short form and its other names.
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
        "# Settings\n\n<!-- Made from the table in crates/hcrs-config/src/table; renew it with: make generate -->\n\n\
         The keys, their types and their defaults are Hypercorn's; those marked *hcrs* stand in the table `[hcrs]`, \
         which Hypercorn ignores. How files, variables and flags go together is told in \
         [guide/configuration.md](guide/configuration.md).\n",
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
            let own = if setting.own { " *hcrs*" } else { "" };
            let (key, kind, doc) = (setting.key, name_of(setting.kind), setting.doc.replace('|', "\\|"));
            let default = code(&(setting.default)(&defaults));
            let also: Vec<_> = setting.aliases.iter().map(|alias| format!("`{alias}`")).collect();
            let also =
                if also.is_empty() { String::new() } else { format!(" In a file also {}.", also.join(", ")) };
            writeln!(page, "| `{key}`{own} | {flag} | {kind} | {default} | {doc}{also} |").unwrap();
        }
    }
    page += "\n## Ignored\n\nHypercorn has these too. They are accepted with a warning.\n\n| key | flag | why |\n|---|---|---|\n";
    for setting in table::all().filter(|setting| !is_obeyed(setting)) {
        let flag = flags_of(setting);
        writeln!(page, "| `{}` | {flag} | {} |", setting.key, setting.doc).unwrap();
    }
    page += "\n## Environment\n\nEach setting can be given as `HCRS_` and its key in capitals, as in \
             `HCRS_KEEP_ALIVE_TIMEOUT=30`; a list is separated by commas, a table is written as in the file. Beside them:\n\n| variable | sets |\n|---|---|\n";
    for (variable, key) in read::SHARED_VARIABLES {
        let how = if *variable == "PORT" { ": that port on every IPv4 interface" } else { "" };
        writeln!(page, "| `{variable}` | `{key}`{how} |").unwrap();
    }
    is_current("docs/reference.md", &page);
}

/// A file that sets everything to its default, with `# ` before each setting or without.
fn reference_file(mark: &str) -> String {
    let defaults = Defaults::default();
    let mut file = String::from(
        "# Every setting with its default. Uncomment what you change; a smaller file to start from is\n\
         # production.toml. Made from the table in crates/hcrs-config/src/table; renew it with: make generate\n",
    );
    for own in [false, true] {
        if own {
            file += "\n# What Hypercorn does not have.\n[hcrs]\n";
        }
        for group in Group::ALL {
            let mut settings =
                in_group(group).filter(|setting| setting.own == own && is_obeyed(setting)).peekable();
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
    is_current("config/reference.toml", &reference_file("# "));
}

#[test]
fn reference_configuration_says_what_holds_without_it() {
    let read = |text: String| {
        let source = crate::source::Source::new("reference.toml".into(), text);
        let mut draft = crate::draft::Draft::default();
        read::apply_file(&source, &mut draft);
        draft.finish(&source).unwrap_or_else(|error| panic!("{error}"))
    };
    let (set, unset) = (read(reference_file("")), read(String::new()));
    assert_eq!(set.warnings, Vec::<String>::new());
    assert_eq!(format!("{:?}", set.server), format!("{:?}", unset.server));
}

/// What an editor needs to know of a value.
fn schema_of(kind: Kind) -> String {
    let texts = r#"{ "type": "array", "items": { "type": "string" } }"#;
    match kind {
        Kind::Boolean => r#""type": "boolean""#.into(),
        Kind::Whole(least, i64::MAX) => format!(r#""type": "integer", "minimum": {least}"#),
        Kind::Whole(least, most) => format!(r#""type": "integer", "minimum": {least}, "maximum": {most}"#),
        Kind::Mask => r#""type": "integer", "minimum": 0, "maximum": 511"#.into(),
        Kind::Seconds(least) => format!(r#""type": "number", "minimum": {least}, "maximum": {MAX_SECONDS}"#),
        Kind::Text | Kind::Path => r#""type": "string""#.into(),
        Kind::OneOf(words) => {
            let upper = words.iter().map(|word| word.to_ascii_uppercase());
            let words: Vec<_> =
                words.iter().map(|word| quoted(word)).chain(upper.map(|word| quoted(&word))).collect();
            format!(r#""enum": [{}]"#, words.join(", "))
        }
        Kind::Texts => texts[2..texts.len() - 2].into(),
        Kind::TextOrTexts => format!(r#""anyOf": [{{ "type": "string" }}, {texts}]"#),
        Kind::BooleanOrBinds => {
            format!(r#""anyOf": [{{ "type": "boolean" }}, {{ "type": "string" }}, {texts}]"#)
        }
        Kind::NameOrNumber => r#""type": ["string", "number"]"#.into(),
        Kind::Table => r#""type": "object""#.into(),
        Kind::Tables => r#""type": "array", "items": { "type": "object" }"#.into(),
    }
}

#[test]
fn schema_for_editors() {
    let defaults = Defaults::default();
    let properties = |own: bool, indent: &str| {
        let property = |setting: &Setting| {
            let doc =
                if is_obeyed(setting) { setting.doc.into() } else { format!("Ignored: {}", setting.doc) };
            let default = (setting.default)(&defaults);
            let default =
                if default.is_empty() { String::new() } else { format!(", \"default\": {default}") };
            let kind = schema_of(setting.kind);
            format!("{indent}\"{}\": {{ {kind}{default}, \"description\": {} }}", setting.key, quoted(&doc))
        };
        table::all().filter(|setting| setting.own == own).map(property).collect::<Vec<_>>().join(",\n")
    };
    let schema = format!(
        "{{\n  \"$schema\": \"http://json-schema.org/draft-07/schema#\",\n  \"title\": \"hypercorn.toml, as hcrs reads it\",\n  \
         \"type\": \"object\",\n  \"properties\": {{\n{},\n    \"hcrs\": {{\n      \"type\": \"object\",\n      \
         \"description\": \"What Hypercorn does not have.\",\n      \"properties\": {{\n{}\n      }},\n      \
         \"additionalProperties\": false\n    }}\n  }}\n}}\n",
        properties(false, "    "),
        properties(true, "        "),
    );
    let parsed: serde_json::Value = serde_json::from_str(&schema).expect("the schema is JSON");
    assert_eq!(parsed["properties"]["hcrs"]["properties"]["io_threads"]["type"], "integer");
    is_current("config/hypercorn.schema.json", &schema);
}

#[test]
fn manual_page() {
    let mut page = Vec::new();
    clap_mangen::Man::new(flags::serve()).date("").render(&mut page).unwrap();
    is_current("docs/hcrs.1", &String::from_utf8(page).unwrap());
    let mut page = Vec::new();
    let migrate = MigrateFlags::command().name("hcrs-migrate").disable_version_flag(true);
    clap_mangen::Man::new(migrate).date("").render(&mut page).unwrap();
    is_current("docs/hcrs-migrate.1", &String::from_utf8(page).unwrap());
}

/// The command with the commands below it, which are told apart by hand (`parse_in`).
fn whole_command() -> clap::Command {
    let below = |name: &'static str| clap::Command::new(name).disable_help_subcommand(true);
    flags::serve()
        .disable_help_subcommand(true)
        .subcommand(
            below("config")
                .about("Checks or shows a configuration")
                .subcommand(flags::config("check", "Says everything that is wrong with a configuration"))
                .subcommand(flags::config("show", "Says what each setting is, and where that comes from")),
        )
        .subcommand(
            below("cert")
                .about("Makes certificates")
                .subcommand(flags::CertificateFlags::command().name("dev")),
        )
        .subcommand(MigrateFlags::command().name("migrate"))
}

#[test]
fn completions_of_shells() {
    for (shell, path) in [
        (Shell::Bash, "docs/completions/hcrs.bash"),
        (Shell::Zsh, "docs/completions/_hcrs"),
        (Shell::Fish, "docs/completions/hcrs.fish"),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut whole_command(), "hcrs", &mut script);
        is_current(path, &String::from_utf8(script).unwrap());
    }
}

//! Files generated from the tables and the flags: docs/migrating.md, the manual page and the shells'
//! completions. The tests fail if a file is stale; with `HCRS_GENERATE` in the environment they write it.

#[path = "../../hcrs-config/src/generated/current.rs"]
mod current;

use std::fmt::Write as _;

use clap_complete::Shell;
use hcrs_config::table;

pub(crate) use self::current::assert_current;
use crate::flags;
use crate::nginx::directives::{Fate, TABLE};
use crate::row::{Mapping, Row};
use crate::server::{NAMES, server};

const HEAD: &str = include_str!("migrating.md");
/// The section about nginx, without its tables.
const NGINX: &str = include_str!("nginx/page.md");

fn title(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_ascii_uppercase() + rest
}

fn codes<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Returns keys of hcrs as code, with their table. Other words stay as they are.
fn keys(list: &str) -> String {
    let key = |key: &str| match table::find(key) {
        Some(setting) if setting.is_extension => format!("`{key}` *hcrs*"),
        Some(_) => format!("`{key}`"),
        None => key.to_owned(),
    };
    if list.is_empty() {
        "the environment".into()
    } else {
        list.split(", ").map(key).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the default that is written out, if any.
fn default(row: &Row) -> String {
    match (row.default, &row.mapping) {
        (Some(default), Mapping::Same(_) | Mapping::Converted(..)) => {
            format!("`{}`", default.replace('|', "\\|"))
        }
        _ => String::new(),
    }
}

#[test]
fn page_of_migrating() {
    let mut page = HEAD.to_owned();
    for name in NAMES.into_iter().filter(|name| *name != "hypercorn") {
        let server = server(name).unwrap();
        let _infallible = write!(
            page,
            "\n## {}\n\n| setting | flags | becomes | default that is written out |\n|---|---|---|---|\n",
            title(name)
        );
        for row in &server.rows {
            let becomes = match &row.mapping {
                Mapping::Same(list) | Mapping::Converted(list, _) | Mapping::PartOf(list) => keys(list),
                Mapping::Unsupported(_) => continue,
            };
            let (name, flags) = (&row.name, codes(row.each_flag()));
            let _infallible = writeln!(page, "| `{name}` | {flags} | {becomes} | {} |", default(row));
        }
        page += "\nWithout a counterpart:\n\n| setting | flags | reason |\n|---|---|---|\n";
        for row in &server.rows {
            if let Mapping::Unsupported(why) = row.mapping {
                let _infallible = writeln!(page, "| `{}` | {} | {why} |", row.name, codes(row.each_flag()));
            }
        }
    }
    page += &nginx_section();
    assert_current("docs/migrating.md", &page);
}

fn nginx_section() -> String {
    let mut section = NGINX.to_owned();
    section += "\n| directive | becomes |\n|---|---|\n";
    for (name, fate) in TABLE {
        if let Fate::Converted(list) = fate {
            let code = |key: &str| if key.contains(' ') { key.to_owned() } else { format!("`{key}`") };
            let list: Vec<_> = list.split(", ").map(code).collect();
            let _infallible = writeln!(section, "| `{name}` | {} |", list.join(", "));
        }
    }
    let mut with_reason = |title: &str, reason: fn(&Fate) -> Option<&'static str>| {
        let _infallible = write!(section, "\n{title}\n\n| directives | reason |\n|---|---|\n");
        let mut reasons: Vec<&str> = Vec::new();
        for why in TABLE.iter().filter_map(|(_, fate)| reason(fate)) {
            if !reasons.contains(&why) {
                reasons.push(why);
            }
        }
        for why in reasons {
            let names = TABLE.iter().filter(|(_, fate)| reason(fate) == Some(why)).map(|(name, _)| *name);
            let _infallible = writeln!(section, "| {} | {why} |", codes(names));
        }
    };
    with_reason("Not needed, because hcrs does this by itself or needs none of it:", |fate| match fate {
        Fate::NotNeeded(reason) => Some(reason),
        _ => None,
    });
    with_reason("Without a counterpart:", |fate| match fate {
        Fate::NoCounterpart(reason) => Some(reason),
        _ => None,
    });
    section
}

#[test]
fn manual_page() {
    let mut page = Vec::new();
    let command = flags::command().name("hcrs-migrate").disable_version_flag(true);
    clap_mangen::Man::new(command).date("").render(&mut page).unwrap();
    assert_current("docs/hcrs-migrate.1", &String::from_utf8(page).unwrap());
}

#[test]
fn completions_of_shells() {
    for (shell, path) in [
        (Shell::Bash, "docs/completions/hcrs.bash"),
        (Shell::Zsh, "docs/completions/_hcrs"),
        (Shell::Fish, "docs/completions/hcrs.fish"),
    ] {
        let mut command = hcrs_config::command().subcommand(flags::command().name("migrate"));
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "hcrs", &mut script);
        assert_current(path, &String::from_utf8(script).unwrap());
    }
}

//! The page docs/migrating.md, made from the servers' tables.

use std::fmt::Write as _;

use super::row::{Outcome, Row};
use super::{NAMES, server};
use crate::generated::is_current;
use crate::setting::Setting;
use crate::table;

const HEAD: &str = include_str!("page.md");

fn title(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_ascii_uppercase() + rest
}

fn codes<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Our keys as codes, with their table; words that are no keys stay words.
fn keys(list: &str) -> String {
    let key = |key: &str| match table::find(key) {
        Some(Setting { own: true, .. }) => format!("`{key}` *hcrs*"),
        Some(_) => format!("`{key}`"),
        None => key.to_owned(),
    };
    if list.is_empty() {
        "the environment".into()
    } else {
        list.split(", ").map(key).collect::<Vec<_>>().join(", ")
    }
}

/// What holds where nothing is said, and whether it is written out.
fn default(row: &Row) -> String {
    match (row.default, &row.outcome) {
        (Some(default), Outcome::Same(_) | Outcome::Made(..)) => format!("`{}`", default.replace('|', "\\|")),
        _ => String::new(),
    }
}

#[test]
fn generated_page_of_what_becomes_of_other_servers_settings() {
    let mut page = HEAD.to_owned();
    for name in NAMES.into_iter().filter(|name| *name != "hypercorn") {
        let server = server(name).unwrap();
        let _infallible = write!(
            page,
            "\n## {}\n\n| setting | flags | becomes | default that is written out |\n|---|---|---|---|\n",
            title(name)
        );
        for row in &server.rows {
            let becomes = match &row.outcome {
                Outcome::Same(ours) | Outcome::Made(ours, _) | Outcome::Part(ours) => keys(ours),
                Outcome::Without(_) => continue,
            };
            let (name, flags) = (&row.name, codes(row.each_flag()));
            let _infallible = writeln!(page, "| `{name}` | {flags} | {becomes} | {} |", default(row));
        }
        page += "\nWithout counterpart:\n\n| setting | flags | why |\n|---|---|---|\n";
        for row in &server.rows {
            if let Outcome::Without(why) = row.outcome {
                let _infallible = writeln!(page, "| `{}` | {} | {why} |", row.name, codes(row.each_flag()));
            }
        }
    }
    is_current("docs/migrating.md", &page);
}

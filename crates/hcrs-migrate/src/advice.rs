//! Advice about another server's flag, or value of a flag, that was given to `hcrs`.

use hcrs_config::{Advice, UnknownFlag, table};

use crate::conversions::host_and_port;
use crate::gunicorn::WorkerKind;
use crate::row::{Mapping, Row, Server};
use crate::server::NAMES;
use crate::{daphne, granian, gunicorn, uvicorn};

/// Advice about the flags of all servers whose settings are known.
pub const ADVICE: Advice = Advice { flags: about_flags, value: about_value };

/// Advice about flags whose rows name the setting but not the way to write it.
const SPECIAL: &[(&str, &str)] = &[
    ("--uds", "write --bind unix:PATH"),
    ("--fd", "write --bind fd://NUMBER"),
    ("--factory", "call the factory in the app's name: MODULE:create()"),
    ("--app-dir", "put the directory before the app's name: FOLDER/MODULE:APP"),
    ("--working-dir", "write --chdir DIRECTORY"),
    ("--env-file", "set the variables by --env NAME=VALUE, or by EnvironmentFile= of systemd"),
    ("--interface", "put asgi: or wsgi: before the app's name"),
    ("--no-access-log", "omit it; there is an access log only with --access-logfile FILE"),
];

/// Returns a line for each of the flags that other servers have, if they have the first.
fn about_flags(flags: &[UnknownFlag]) -> Vec<String> {
    let servers = [uvicorn::server(), gunicorn::server(), granian::server(), daphne::server()];
    let has_flag = |name: &str| servers.iter().find_map(|server| Some((server, row_of(server, name)?)));
    if flags.first().is_none_or(|flag| has_flag(&flag.name).is_none()) {
        return Vec::new();
    }
    let mut lines: Vec<String> = Vec::new();
    let mut has_bind = false;
    let mut is_convertible = true;
    for flag in flags {
        let Some((server, row)) = has_flag(&flag.name) else { continue };
        let name = flag.name.as_str();
        is_convertible &= NAMES.contains(&server.name);
        let line = match name {
            "--host" | "--port" if has_bind => continue,
            "--host" | "--port" => {
                has_bind = true;
                about_bind(server, flags)
            }
            _ => {
                let special = SPECIAL.iter().find(|(known, _)| *known == name);
                let advice = special.map_or_else(|| about_row(row), |(_, advice)| (*advice).to_owned());
                format!("{name} is a flag of {}: {advice}", server.name)
            }
        };
        lines.push(line);
    }
    if let Some(last) = lines.last_mut().filter(|_| is_convertible) {
        *last += "; hcrs migrate -- COMMAND converts a whole command line";
    }
    lines
}

/// Returns the line about `--host` and `--port`, which are one setting of hcrs.
fn about_bind(server: &Server, flags: &[UnknownFlag]) -> String {
    let given = |name: &str| flags.iter().find(|flag| flag.name == name);
    let value = |name: &str, default: &str| {
        given(name).and_then(|flag| flag.value.clone()).unwrap_or_else(|| default.to_owned())
    };
    let bind = host_and_port(&value("--host", "127.0.0.1"), &value("--port", "8000"));
    let names: Vec<_> = ["--host", "--port"].into_iter().filter(|name| given(name).is_some()).collect();
    let are = if names.len() > 1 { "are flags" } else { "is a flag" };
    format!("{} {are} of {}: write --bind {bind}", names.join(" and "), server.name)
}

/// Returns the line about a value of `flag` that is one of another server.
fn about_value(flag: &str, value: &str) -> Option<String> {
    if flag != "--worker-class" || matches!(value, "asyncio" | "uvloop" | "trio") {
        return None;
    }
    let advice = match WorkerKind::of_class(value) {
        WorkerKind::Uvicorn(_) | WorkerKind::Asgi => {
            "omit it, since ASGI apps are recognized; for uvloop write --worker-class uvloop"
        }
        WorkerKind::Sync | WorkerKind::Threads => {
            "omit it, since WSGI apps are recognized and run in threads; --wsgi-threads NUMBER sets how many"
        }
        WorkerKind::Green => {
            "hcrs has no green threads; omit it, and set the threads of a WSGI app by --wsgi-threads NUMBER"
        }
        WorkerKind::Unknown => return None,
    };
    Some(format!("{flag} {value} is a class of gunicorn: {advice}"))
}

/// Returns the setting with this flag, or with the name of the flag, which is a common mistake.
fn row_of<'a>(server: &'a Server, flag: &str) -> Option<&'a Row> {
    let name = flag.trim_start_matches('-').replace('-', "_");
    let has_flag = |row: &&Row| row.flags.split_whitespace().any(|known| known == flag);
    server.rows.iter().find(has_flag).or_else(|| server.rows.iter().find(|row| row.name == name))
}

/// Returns the equivalent of a setting, or the reason why there is none.
fn about_row(row: &Row) -> String {
    match row.mapping {
        Mapping::Same(keys) | Mapping::Converted(keys, _) | Mapping::PartOf(keys) => {
            equivalents(keys).unwrap_or_else(|| "hcrs has no such flag".to_owned())
        }
        Mapping::Unsupported(reason) => reason.to_owned(),
    }
}

/// Returns how settings of hcrs are given, if any of the keys is a setting.
fn equivalents(keys: &str) -> Option<String> {
    let ways = keys.split(", ").filter_map(|key| {
        let setting = table::find(key)?;
        Some(match setting.flag {
            Some(flag) if flag.value.is_empty() => flag.long.to_owned(),
            Some(flag) => format!("{} {}", flag.long, flag.value),
            None => format!("{} in the file, or the variable {}", setting.name(), setting.variable()),
        })
    });
    let ways: Vec<_> = ways.collect();
    (!ways.is_empty()).then(|| format!("write {}", ways.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(flags: &[(&str, Option<&str>)]) -> Vec<String> {
        let flag = |(name, value): &(&str, Option<&str>)| UnknownFlag {
            name: (*name).to_owned(),
            value: value.map(str::to_owned),
        };
        about_flags(&flags.iter().map(flag).collect::<Vec<_>>())
    }

    #[test]
    fn flags_of_other_servers_have_advice() {
        for (flag, words) in [
            ("--host", "--host is a flag of uvicorn: write --bind 127.0.0.1:8000; hcrs migrate -- COMMAND"),
            ("--timeout-keep-alive", "write --keep-alive SECONDS"),
            ("--ssl-keyfile", "write --keyfile "),
            ("--limit-max-requests", "write --max-requests "),
            ("--preload-app", "--preload-app is a flag of gunicorn: "),
            ("--worker-connections", "the edge holds the connections"),
            (
                "--http1-buffer-size",
                "is a flag of granian: write h11_max_incomplete_size in the file, or the variable HCRS_",
            ),
            ("--timeout", "write --worker-timeout SECONDS"),
            ("-t", "-t is a flag of gunicorn: write --worker-timeout SECONDS"),
            ("--threads", "write --wsgi-threads NUMBER"),
            ("--interface", "put asgi: or wsgi: before the app's name"),
            ("--unix-socket", "--unix-socket is a flag of daphne: write --bind ADDRESS"),
            ("--application-close-timeout", "is a flag of daphne"),
            ("--env-file", "set the variables by --env NAME=VALUE"),
        ] {
            let lines = advice(&[(flag, None)]);
            assert!(lines.len() == 1 && lines[0].contains(words), "{flag}: {lines:?}");
        }
        assert_eq!(advice(&[("--no-such-flag", None)]), Vec::<String>::new());
    }

    #[test]
    fn each_flag_has_a_line_and_host_and_port_have_one() {
        let lines = advice(&[
            ("--host", Some("::")),
            ("--no-such-flag", None),
            ("--port", Some("80")),
            ("--factory", None),
        ]);
        assert_eq!(
            lines,
            [
                "--host and --port are flags of uvicorn: write --bind [::]:80",
                "--factory is a flag of uvicorn: call the factory in the app's name: MODULE:create(); \
                 hcrs migrate -- COMMAND converts a whole command line",
            ]
        );
        assert_eq!(advice(&[("--no-such-flag", None), ("--port", None)]), Vec::<String>::new());
    }

    #[test]
    fn classes_of_other_servers_have_advice() {
        for (class, words) in [
            ("uvicorn.workers.UvicornWorker", "omit it, since ASGI apps are recognized"),
            ("uvicorn_worker.UvicornWorker", "omit it, since ASGI apps are recognized"),
            ("gthread", "--wsgi-threads NUMBER"),
            ("sync", "--wsgi-threads NUMBER"),
            ("gevent", "no green threads"),
        ] {
            let line = about_value("--worker-class", class).unwrap_or_else(|| panic!("{class}"));
            assert!(line.contains(words) && line.contains(class), "{line}");
        }
        for (flag, value) in
            [("--worker-class", "trio"), ("--worker-class", "other"), ("--root-path", "sync")]
        {
            assert_eq!(about_value(flag, value), None);
        }
    }
}

//! Advice about another server's flag that was given to `hcrs`.

use hcrs_config::table;

use crate::row::{Mapping, Row, Server};
use crate::{granian, gunicorn, uvicorn};

/// Advice about flags whose rows name the setting but not the way to write it.
const SPECIAL: &[(&str, &str)] = &[
    ("--host", "use --bind HOST:PORT"),
    ("--port", "use --bind HOST:PORT"),
    ("--uds", "use --bind unix:PATH"),
    ("--fd", "use --bind fd://NUMBER"),
    ("--factory", "call the factory in the app's name: MODULE:create()"),
    ("--app-dir", "put the directory before the app's name: FOLDER/MODULE:APP"),
    ("--chdir", "put the directory before the app's name: FOLDER/MODULE:APP"),
    ("--interface", "put asgi: or wsgi: before the app's name"),
    ("--no-access-log", "omit it; there is an access log only with --access-logfile FILE"),
];

/// Returns advice about another server's flag: the equivalent of hcrs, or why there is none.
pub fn flag_advice(flag: &str) -> Option<String> {
    let servers = [uvicorn::server(), gunicorn::server(), granian::server()];
    let (server, row) = servers.iter().find_map(|server| Some((server, row_of(server, flag)?)))?;
    let special = SPECIAL.iter().find(|(known, _)| *known == flag).map(|(_, advice)| (*advice).to_owned());
    let advice = special.or_else(|| match row.mapping {
        Mapping::Same(keys) | Mapping::Converted(keys, _) | Mapping::PartOf(keys) => equivalents(keys),
        Mapping::Unsupported(reason) => Some(reason.to_owned()),
    });
    let advice = advice.unwrap_or_else(|| "hcrs has no such flag".to_owned());
    Some(format!(
        "{flag} is a flag of {}: {advice}; hcrs migrate -- COMMAND converts a whole command line",
        server.name
    ))
}

/// Returns the setting with this flag, or with the name of the flag, which is a common mistake.
fn row_of<'a>(server: &'a Server, flag: &str) -> Option<&'a Row> {
    let name = flag.trim_start_matches('-').replace('-', "_");
    let has_flag = |row: &&Row| row.flags.split_whitespace().any(|known| known == flag);
    server.rows.iter().find(has_flag).or_else(|| server.rows.iter().find(|row| row.name == name))
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
    (!ways.is_empty()).then(|| format!("use {}", ways.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_other_servers_have_advice() {
        for (flag, words) in [
            ("--host", "--host is a flag of uvicorn: use --bind HOST:PORT; hcrs migrate"),
            ("--http2", "HTTP/2 is always enabled"),
            ("--timeout-keep-alive", "use --keep-alive SECONDS"),
            ("--ssl-keyfile", "use --keyfile "),
            ("--limit-max-requests", "use --max-requests "),
            ("--preload-app", "--preload-app is a flag of gunicorn: workers are new processes"),
            ("--worker-connections", "the edge holds the connections"),
            (
                "--http1-buffer-size",
                "is a flag of granian: use h11_max_incomplete_size in the file, or the variable HCRS_",
            ),
            ("--env-file", "hcrs has no such flag"),
        ] {
            let advice = flag_advice(flag).unwrap_or_else(|| panic!("{flag}"));
            assert!(advice.contains(words), "{advice}");
        }
        assert_eq!(flag_advice("--no-such-flag"), None);
    }
}

//! What to write here in place of another server's flag, for who gives one to `hcrs`.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::migrate::row::{Outcome, Row, Server};
use crate::migrate::{granian, gunicorn, uvicorn};
use crate::table;

/// Flags whose rows say which setting they become, but not how.
const IN_WORDS: &[(&str, &str)] = &[
    ("--host", "write --bind HOST:PORT"),
    ("--port", "write --bind HOST:PORT"),
    ("--uds", "write --bind unix:PATH"),
    ("--fd", "write --bind fd://NUMBER"),
    ("--factory", "call it where the app is named: MODULE:create()"),
    ("--app-dir", "name the app by its path: FOLDER/MODULE:APP"),
    ("--chdir", "name the app by its path: FOLDER/MODULE:APP"),
    ("--interface", "say asgi: or wsgi: before the app"),
    ("--no-access-log", "nothing has to be said: there is an access log only with --access-logfile FILE"),
];

/// Adds to the error of an unknown flag what other servers mean by it.
pub(crate) fn with_tip(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    if let Some(tip) = tip(flag) {
        error.remove(ContextKind::SuggestedArg); // what is only spelt alike
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

fn tip(flag: &str) -> Option<String> {
    let found = [uvicorn::server(), gunicorn::server(), granian::server()];
    let (server, row) = found.iter().find_map(|server| Some((server, row_of(server, flag)?)))?;
    let in_words = IN_WORDS.iter().find(|(known, _)| *known == flag).map(|(_, words)| (*words).to_owned());
    let here = in_words.or_else(|| match row.outcome {
        Outcome::Same(keys) | Outcome::Made(keys, _) | Outcome::Part(keys) => written(keys),
        Outcome::Without(why) => Some(why.to_owned()),
    });
    let here = here.unwrap_or_else(|| "it has no flag here".to_owned());
    Some(format!(
        "{flag} is of {}: {here}; hcrs migrate -- COMMAND translates a whole command line",
        server.name
    ))
}

/// The setting that has this flag, or that name, as people write it too.
fn row_of<'a>(server: &'a Server, flag: &str) -> Option<&'a Row> {
    let name = flag.trim_start_matches('-').replace('-', "_");
    let has_flag = |row: &&Row| row.flags.split_whitespace().any(|known| known == flag);
    server.rows.iter().find(has_flag).or_else(|| server.rows.iter().find(|row| row.name == name))
}

/// How settings of ours are given.
fn written(keys: &str) -> Option<String> {
    let ways = keys.split(", ").filter_map(|key| {
        let setting = table::find(key)?;
        Some(match setting.flag {
            Some(flag) if flag.value.is_empty() => flag.long.to_owned(),
            Some(flag) => format!("{} {}", flag.long, flag.value),
            None => format!("{} in the file, or the variable {}", setting.name(), setting.variable()),
        })
    });
    let ways: Vec<_> = ways.collect();
    (!ways.is_empty()).then(|| format!("see {}", ways.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_other_servers_have_a_tip() {
        for (flag, words) in [
            ("--host", "--host is of uvicorn: write --bind HOST:PORT; hcrs migrate"),
            ("--http2", "HTTP/2 is always spoken"),
            ("--timeout-keep-alive", "see --keep-alive SECONDS"),
            ("--ssl-keyfile", "see --keyfile "),
            ("--limit-max-requests", "see --max-requests "),
            ("--preload-app", "--preload-app is of gunicorn: workers are started anew"),
            ("--worker-connections", "connections are the edge's"),
            (
                "--http1-buffer-size",
                "is of granian: see h11_max_incomplete_size in the file, or the variable HCRS_",
            ),
            ("--env-file", "it has no flag here"),
        ] {
            let tip = tip(flag).unwrap_or_else(|| panic!("{flag}"));
            assert!(tip.contains(words), "{tip}");
        }
        assert_eq!(tip("--no-such-flag"), None);
    }
}

//! Finds the server in a command line: behind paths, launchers, variables and a shell.

use std::path::Path;

use crate::server::{NAMES, server};
use crate::shell_words::{assignment, split};

/// Invocation of another server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// Name of the server.
    pub(crate) server: &'static str,
    /// Words before the server that are not variables, as in `poetry run`.
    pub(crate) launcher: Vec<String>,
    /// Environment variables that are set for the server.
    pub(crate) environment: Vec<(String, String)>,
    /// Directory of a `cd` before the server is started.
    pub(crate) folder: Option<String>,
    /// Directory of the server's command, if the command has one.
    pub(crate) bin: Option<String>,
    /// Arguments of the server.
    pub(crate) arguments: Vec<String>,
}

/// Finds the server in a command line.
pub(crate) fn find(words: &[String]) -> Result<Invocation, String> {
    let mut found = Invocation::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = base(word);
        if let Some(server) = NAMES.into_iter().find(|known| *known == name) {
            found.server = server;
            found.bin = folder(word).or(found.bin);
            found.arguments = words.cloned().collect();
            return Ok(found);
        }
        if name.starts_with("python") && words.as_slice().first().is_some_and(|flag| flag == "-m") {
            let module = words.as_slice().get(1).map(String::as_str).unwrap_or_default();
            if let Some(server) = NAMES.into_iter().find(|known| *known == module) {
                found.server = server;
                found.bin = folder(word).or(found.bin);
                found.arguments = words.skip(2).cloned().collect();
                return Ok(found);
            }
        }
        if let Some(set) = assignment(word) {
            found.environment.push(set);
        } else if matches!(name, "sh" | "bash" | "dash" | "zsh")
            && words.as_slice().first().is_some_and(|flag| flag.starts_with('-') && flag.ends_with('c'))
            && let Some(script) = words.as_slice().get(1)
        {
            return in_script(script, found);
        } else if !matches!(word.as_str(), "env" | "/usr/bin/env" | "exec") {
            found.launcher.push(word.clone());
        }
    }
    Err(format!("it contains none of {}; give the command that starts the server", NAMES.join(", ")))
}

/// Finds the server in a shell's script, after `cd`, `source` and `export`.
fn in_script(script: &str, mut found: Invocation) -> Result<Invocation, String> {
    let known = found.environment.clone();
    let value =
        |name: &str| known.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let words = split(&script.replace(';', " ; "), value)?.words;
    let mut failure = String::new();
    for part in words.split(|word| matches!(word.as_str(), "&&" | ";")) {
        match part {
            [] => {}
            [cd, folder] if cd == "cd" => found.folder = Some(folder.clone()),
            [source, file] if matches!(source.as_str(), "source" | ".") => {
                found.bin = folder(file).or(found.bin);
            }
            [export, set @ ..] if export == "export" => {
                found.environment.extend(set.iter().filter_map(|word| assignment(word)));
            }
            _ => match find(part) {
                Ok(inner) => {
                    found.environment.extend(inner.environment);
                    return Ok(Invocation {
                        environment: found.environment,
                        folder: inner.folder.or(found.folder),
                        bin: inner.bin.or(found.bin),
                        ..inner
                    });
                }
                Err(error) => failure = error,
            },
        }
    }
    Err(failure)
}

/// Returns the last component of a path.
fn base(word: &str) -> &str {
    Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn folder(word: &str) -> Option<String> {
    let (folder, _) = word.rsplit_once('/')?;
    Some(if folder.is_empty() { "/".into() } else { folder.to_owned() })
}

/// Returns whether a word is the command of a known server.
pub(crate) fn is_server(word: &str) -> bool {
    server(base(word)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Invocation {
        find(&split(text, |_| None).unwrap().words).unwrap()
    }

    #[test]
    fn the_server_is_found_behind_paths_launchers_and_variables() {
        for (text, server, bin, launcher, environment, arguments) in [
            ("uvicorn a:b", "uvicorn", None, &[][..], &[][..], &["a:b"][..]),
            ("/srv/venv/bin/gunicorn -w 4", "gunicorn", Some("/srv/venv/bin"), &[], &[], &["-w", "4"]),
            ("A=1 B= granian x", "granian", None, &[], &[("A", "1"), ("B", "")], &["x"]),
            ("env A=1 poetry run hypercorn x", "hypercorn", None, &["poetry", "run"], &[("A", "1")], &["x"]),
            ("venv/bin/python3.12 -m uvicorn x", "uvicorn", Some("venv/bin"), &[], &[], &["x"]),
        ] {
            let found = found(text);
            assert_eq!((found.server, found.bin.as_deref()), (server, bin), "{text}");
            assert_eq!(found.launcher, launcher, "{text}");
            let expected: Vec<_> =
                environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(found.environment, expected, "{text}");
            assert_eq!(found.arguments, arguments, "{text}");
        }
    }

    #[test]
    fn the_server_is_found_in_a_shells_script() {
        let found =
            found("/bin/bash -c 'cd /srv/app; source venv/bin/activate && export A=1 && exec uvicorn x:y'");
        assert_eq!((found.server, found.folder.as_deref()), ("uvicorn", Some("/srv/app")));
        assert_eq!(found.bin.as_deref(), Some("venv/bin"));
        assert_eq!(found.environment, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(found.arguments, ["x:y"]);
    }

    #[test]
    fn a_command_without_server_is_refused() {
        let words = |text: &str| split(text, |_| None).unwrap().words;
        assert!(find(&words("daphne x:y")).unwrap_err().contains("uvicorn, gunicorn, granian, hypercorn"));
        assert!(find(&words("sh -c 'cd /srv'")).is_err());
    }
}

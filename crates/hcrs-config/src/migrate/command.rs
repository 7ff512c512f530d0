//! The command line of another server: where the server is in it, and what its flags say.

use std::path::Path;

use crate::migrate::row::{Row, Server, Takes, Told, texts};
use crate::migrate::sheet::Sheet;
use crate::migrate::words::{assignment, split};
use crate::migrate::{NAMES, nearest, server};
use crate::value::Datum;

/// How another server is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// The server's name.
    pub(crate) server: &'static str,
    /// What stands before it and is no variable, as in `poetry run`.
    pub(crate) launcher: Vec<String>,
    /// Variables that are set for it.
    pub(crate) environment: Vec<(String, String)>,
    /// The folder that is gone to first.
    pub(crate) folder: Option<String>,
    /// The folder of its command, as far as one is written.
    pub(crate) bin: Option<String>,
    /// What it is told.
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
    Err(format!("there is none of {} in it: write the command as it starts the server", NAMES.join(", ")))
}

/// Finds the server in what a shell is told, behind `cd`, `source` and `export`.
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

/// The last part of a path.
fn base(word: &str) -> &str {
    Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn folder(word: &str) -> Option<String> {
    let (folder, _) = word.rsplit_once('/')?;
    Some(if folder.is_empty() { "/".into() } else { folder.to_owned() })
}

/// What the flags say: settings in the order in which they stand, and the bare words.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) told: Vec<Told>,
    pub(crate) bare: Vec<String>,
    /// Whether a flag is not known, so that it is not known either what is a bare word.
    pub(crate) unsure: bool,
}

/// Reads flags. `place` stands before each in what is shown; what is wrong goes into `problems`.
pub(crate) fn flags(server: &Server, arguments: &[String], place: &str, problems: &mut Vec<String>) -> Flags {
    let words = arguments.iter().peekable();
    let mut reading = Reading { server, words, place, problems, flags: Flags::default() };
    while let Some(word) = reading.words.next() {
        if word == "--" {
            reading.flags.bare.extend(reading.words.by_ref().cloned());
        } else if !word.starts_with('-') || word == "-" {
            reading.flags.bare.push(word.clone());
        } else if word.starts_with("--") {
            reading.long(word);
        } else {
            reading.short(&word[1..]);
        }
    }
    reading.flags
}

/// Flags as they are read.
struct Reading<'a> {
    server: &'a Server,
    words: std::iter::Peekable<std::slice::Iter<'a, String>>,
    place: &'a str,
    problems: &'a mut Vec<String>,
    flags: Flags,
}

impl Reading<'_> {
    /// A flag in full, or as much of it as makes it clear.
    fn long(&mut self, word: &str) {
        let (flag, joined) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (word, None),
        };
        if let Some((row, flag)) = long(self.server, flag) {
            self.take(row, flag, joined);
        } else {
            self.unknown(flag);
            self.words.next_if(|word| !word.starts_with('-'));
        }
    }

    /// Letters behind one dash: those that take nothing, and then perhaps one with its value.
    fn short(&mut self, letters: &str) {
        for (at, letter) in letters.char_indices() {
            let flag = format!("-{letter}");
            let rows = &self.server.rows;
            let Some(row) = rows.iter().position(|row| row.each_flag().any(|known| known == flag)) else {
                return self.unknown(&flag);
            };
            if rows[row].takes == Takes::Nothing {
                self.take(row, &flag, None);
                continue;
            }
            let rest = &letters[at + letter.len_utf8()..];
            let joined =
                Some(rest.strip_prefix('=').unwrap_or(rest).to_owned()).filter(|rest| !rest.is_empty());
            return self.take(row, &flag, joined);
        }
    }

    fn unknown(&mut self, flag: &str) {
        self.flags.unsure = true;
        let known = self.server.rows.iter().flat_map(Row::each_flag);
        let hint = nearest(known, flag).map_or(String::new(), |near| format!("; did you mean {near}?"));
        let (place, name) = (self.place, self.server.name);
        self.problems.push(format!("{place}{flag}: {name} has no such flag that is known here{hint}"));
    }

    fn take(&mut self, row: usize, flag: &str, joined: Option<String>) {
        let place = self.place;
        let takes = self.server.rows[row].takes;
        let value = match takes {
            Takes::Nothing => None,
            Takes::Perhaps(known) => {
                joined.or_else(|| self.words.next_if(|word| known.contains(&word.as_str())).cloned())
            }
            Takes::Value | Takes::List => match joined.or_else(|| self.words.next().cloned()) {
                Some(value) => Some(value),
                None => return self.problems.push(format!("{place}{flag}: its value is missing")),
            },
        };
        let shown = match &value {
            Some(_) if flag.contains("password") => " (hidden)".to_owned(),
            Some(value) => format!(" {value}"),
            None => String::new(),
        };
        let datum = match value {
            Some(value) if takes == Takes::List => texts([value.as_str()]),
            Some(value) => Datum::Text(value),
            None => Datum::Boolean(!flag.starts_with("--no-")),
        };
        self.flags.told.push(Told { row, datum, origin: format!("{place}{flag}{shown}"), is_default: false });
    }
}

/// The row of a long flag, which may be shortened where the server allows that, and the flag in full.
fn long<'a>(server: &'a Server, flag: &str) -> Option<(usize, &'a str)> {
    let all =
        || server.rows.iter().enumerate().flat_map(|(at, row)| row.each_flag().map(move |known| (at, known)));
    all().find(|(_, known)| *known == flag).or_else(|| {
        let mut like = all().filter(|(_, known)| server.abbreviates && known.starts_with(flag));
        let first = like.next()?;
        like.all(|(at, _)| at == first.0).then_some(first)
    })
}

/// What variables of the environment say.
pub(crate) fn variables(server: &Server, environment: &[(String, String)], sheet: &mut Sheet<'_>) {
    for (name, value) in environment {
        let own = server.prefix.and_then(|prefix| name.strip_prefix(prefix)).map(str::to_ascii_lowercase);
        let shared =
            server.variables.iter().find(|(known, _)| known == name).map(|(_, row)| (*row).to_owned());
        let Some(row) = own.or(shared).and_then(|row| server.row(&row)) else { continue };
        let datum = match server.rows[row].takes {
            Takes::List => texts(value.split_whitespace()),
            _ => Datum::Text(value.clone()),
        };
        let shown = if name.contains("PASSWORD") { "(hidden)" } else { value };
        sheet.tell(Told { row, datum, origin: format!("{name}={shown}"), is_default: false });
    }
}

/// The names of all servers that are known.
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

//! `hcrs migrate`: another server's settings become a configuration of ours, each with what it came from, and a list of
//! what has no counterpart.
//!
//! One file for each server holds the table of its settings; the page docs/migrating.md is made from these tables.

mod command;
mod file;
mod flags;
mod granian;
mod gunicorn;
mod hypercorn;
mod meaning;
mod output;
mod row;
mod sheet;
mod tips;
mod unit;
mod uvicorn;
mod words;

use std::path::{Path, PathBuf};

pub(crate) use self::flags::{MigrateFlags, marked};
pub use self::output::Migrated;
pub(crate) use self::tips::with_tip;

use self::command::Invocation;
use self::file::{Form, Found};
use self::output::Part;
use self::row::{Server, Takes, Told};
use self::sheet::Sheet;
use crate::value::Datum;
use crate::{ConfigError, read};

/// The servers that are known.
const NAMES: [&str; 4] = ["uvicorn", "gunicorn", "granian", "hypercorn"];

fn server(name: &str) -> Option<Server> {
    Some(match name {
        "uvicorn" => uvicorn::server(),
        "gunicorn" => gunicorn::server(),
        "granian" => granian::server(),
        "hypercorn" => hypercorn::server(),
        _ => return None,
    })
}

/// What the server that is left was started with and in.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Variables that are set for it.
    environment: Vec<(String, String)>,
    /// The folder that it is started in, if it is another one.
    folder: Option<PathBuf>,
    /// The folder of its command.
    bin: Option<String>,
    /// The interpreter that the operator has named.
    python: Option<PathBuf>,
    /// Where the file will stand.
    output: Option<PathBuf>,
}

impl Surroundings {
    /// A path that is relative to the server's folder.
    fn path(&self, name: &str) -> PathBuf {
        match &self.folder {
            Some(folder) => folder.join(name),
            None => PathBuf::from(name),
        }
    }

    fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| PathBuf::from("."))
    }

    /// What evaluates files in Python: the interpreter of the server that is left, if it is here.
    fn interpreter(&self) -> Option<PathBuf> {
        let beside =
            self.bin.as_ref().map(|bin| self.path(bin).join("python")).filter(|python| python.is_file());
        let named = self.python.as_deref().or(beside.as_deref());
        hcrs_server::interpreters(named).into_iter().next()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.environment.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// Does what the flags ask for.
pub(crate) fn migrate(flags: &MigrateFlags) -> Result<Migrated, ConfigError> {
    let output = flags.output.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let around = Surroundings { python: flags.python.clone(), output, ..Surroundings::default() };
    let mut parts = Vec::new();
    if let Some(path) = flags.unit() {
        let unit = unit::Unit::read(path)?;
        let config = around
            .output
            .as_ref()
            .map_or_else(|| format!("/etc/hcrs/{}.toml", unit.stem()), |path| path.display().to_string());
        let (unit, toml, secret) = unit.migrate(around, &config)?;
        parts.push(Part {
            title: path.display().to_string(),
            text: unit,
            to: flags.unit_output.clone(),
            secret: false,
        });
        parts.push(Part { title: config, text: toml, to: flags.output.clone(), secret });
        return Ok(Migrated { parts, force: flags.force });
    }
    let file = flags.file.as_ref().filter(|file| !is_command(file));
    let (text, secret) = if let Some(path) = file {
        from_file(path, flags.from, &around)?
    } else {
        let command = flags.file.iter().chain(&flags.command).cloned().collect::<Vec<_>>();
        from_command(&command, around)?
    };
    parts.push(Part { title: "hypercorn.toml".into(), text, to: flags.output.clone(), secret });
    Ok(Migrated { parts, force: flags.force })
}

/// Whether what stands where a file's name is expected is a command line in quotes.
fn is_command(text: &str) -> bool {
    text.contains(char::is_whitespace) && !Path::new(text).exists()
}

fn from_file(
    name: &str,
    from: Option<&'static str>,
    around: &Surroundings,
) -> Result<(String, bool), ConfigError> {
    let found = Found::read(name, Form::of(name), around)?;
    let from = from.or_else(|| found.server()).and_then(server);
    let server = from.ok_or_else(|| {
        let problem =
            format!("{name}: whose settings these are cannot be seen: say it by --from {}", NAMES.join("|"));
        ConfigError::Invalid(vec![problem])
    })?;
    let mut sheet = Sheet::new(&server);
    tell_file(found, &mut sheet);
    if sheet.said(server.app).is_none() {
        sheet.note(
            "the app",
            "the file names none: write application_path = \"MODULE:APP\" above, or name it behind hcrs",
        );
    }
    sheet.convert();
    let ends = ends(&sheet, &[]);
    let text = sheet.written(&head(name, around, &sheet), &ends)?;
    Ok((text, sheet.is_secret()))
}

/// Takes note of what a file says; what it says beside that is told.
fn tell_file(found: Found, sheet: &mut Sheet<'_>) {
    let (told, unknown) = found.told(sheet.server);
    for told in told {
        sheet.tell(told);
    }
    for (said, why) in unknown {
        // Hypercorn ignores what it does not know; a call of uvicorn.run does not.
        if sheet.server.name == "hypercorn" {
            sheet.note(&said, &why);
        } else {
            sheet.problems.push(format!("{said}: {why}"));
        }
    }
}

fn from_command(command: &[String], mut around: Surroundings) -> Result<(String, bool), ConfigError> {
    let invalid = |problem: String| ConfigError::Invalid(vec![problem]);
    let mut problems = Vec::new();
    let words = match command {
        [line] if line.contains(char::is_whitespace) => {
            let assigned = |name: &str| {
                let set = line.split_whitespace().map_while(words::assignment);
                set.filter(|(known, _)| known == name).map(|(_, value)| value).last()
            };
            let split =
                words::split(line, assigned).map_err(|problem| invalid(format!("the command: {problem}")))?;
            problems.extend(split.unknown.iter().map(|name| {
                format!(
                    "${name} is not set here: write {name}=… before the command, or the value in its place"
                )
            }));
            split.words
        }
        words => words.to_vec(),
    };
    let invocation = command::find(&words).map_err(|problem| invalid(format!("the command: {problem}")))?;
    let server = known(&invocation)?;
    around.environment.clone_from(&invocation.environment);
    around.folder = invocation.folder.as_ref().map(PathBuf::from);
    around.bin.clone_from(&invocation.bin);
    let mut sheet = Sheet::new(&server);
    sheet.problems = problems;
    tell_command(&invocation, &around, &mut sheet);
    sheet.convert();
    let ends = ends(&sheet, &invocation.environment);
    let shown = if words.iter().any(|word| word.contains("password")) {
        format!("{} …", server.name)
    } else {
        words.iter().map(|word| words::quote(word)).collect::<Vec<_>>().join(" ")
    };
    let text = sheet.written(&head(&shown, &around, &sheet), &ends)?;
    Ok((text, sheet.is_secret()))
}

fn known(invocation: &Invocation) -> Result<Server, ConfigError> {
    server(invocation.server).ok_or_else(|| ConfigError::Invalid(vec!["the server is not known".into()]))
}

/// Takes note of what a command line says, with the file and the variables that it leads to.
fn tell_command(invocation: &Invocation, around: &Surroundings, sheet: &mut Sheet<'_>) {
    let server = sheet.server;
    let mut problems = Vec::new();
    let flags = command::flags(server, &invocation.arguments, "", &mut problems);
    let more = around.variable("GUNICORN_CMD_ARGS").filter(|_| server.name == "gunicorn");
    let more = match more.map(|line| words::split(&line, |name| around.variable(name))) {
        Some(Ok(split)) => command::flags(server, &split.words, "GUNICORN_CMD_ARGS: ", &mut problems),
        Some(Err(problem)) => {
            problems.push(format!("GUNICORN_CMD_ARGS: {problem}"));
            command::Flags::default()
        }
        None => command::Flags::default(),
    };
    let named = |flags: &command::Flags, row: &str| {
        let told = flags.told.iter().rev().find(|told| server.row(row) == Some(told.row))?;
        told.text().ok().or_else(|| told.texts().ok()?.pop())
    };
    let config = server.config.and_then(|row| named(&flags, row).or_else(|| named(&more, row)));
    // Gunicorn's variables are what its defaults are; its file and its flags win over them.
    if server.name == "gunicorn" {
        command::variables(server, &around.environment, sheet);
    }
    if let Some(name) = config.or_else(|| file::unnamed(server, around)) {
        // Gunicorn takes any file for Python, Hypercorn any for TOML unless the name says otherwise.
        let form = match server.name {
            "hypercorn" if !name.starts_with("file:") => Form::Toml,
            _ => Form::Python,
        };
        match Found::read(&name, form, around) {
            Ok(found) => tell_file(found, sheet),
            Err(ConfigError::Invalid(found)) => problems.extend(found),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if server.name != "gunicorn" {
        command::variables(server, &around.environment, sheet);
    }
    if let Some(name) = named(&flags, "env_file") {
        let shared = |(name, _): &(String, String)| {
            server.variables.iter().any(|(known, _)| known == name) && around.variable(name).is_none()
        };
        match crate::read_file(&around.path(&name)) {
            Ok(text) => {
                let set: Vec<_> = words::dotenv(&text).into_iter().filter(shared).collect();
                command::variables(server, &set, sheet);
            }
            Err(_) => sheet.note(
                &format!("--env-file {name}"),
                "it cannot be read here, so WEB_CONCURRENCY in it is not known",
            ),
        }
    }
    for told in merged(more.told, server).into_iter().chain(merged(flags.told, server)) {
        sheet.tell(told);
    }
    let unsure = flags.unsure;
    let mut bare = flags.bare.into_iter();
    if let (Some(app), Some(row)) = (bare.next(), server.row(server.app)) {
        sheet.tell(Told { row, datum: Datum::Text(app), origin: "the app".into(), is_default: false });
    }
    problems
        .extend(bare.filter(|_| !unsure).map(|word| format!("{word}: nothing is expected behind the app")));
    if sheet.said(server.app).is_none() && sheet.said("paste").is_none() && !unsure {
        problems.push(format!("{}: the app is missing; write it as MODULE:APP", server.name));
    }
    sheet.problems.append(&mut problems);
    if let Some(bin) = invocation.bin.as_ref().filter(|bin| !SYSTEM.contains(&bin.as_str())) {
        sheet.set(
            "python",
            &Datum::Text(format!("{bin}/python")),
            "that of the command; hcrs has to be installed there",
        );
    }
    if sheet.folder.is_none() {
        sheet.folder.clone_from(&invocation.folder);
    }
}

/// Folders of commands in which no particular interpreter is meant.
const SYSTEM: [&str; 4] = ["/bin", "/usr/bin", "/usr/local/bin", "."];

/// Lists that were said in several flags as one, and of everything else what was said last.
fn merged(all: Vec<Told>, server: &Server) -> Vec<Told> {
    let mut merged: Vec<Told> = Vec::new();
    for told in all {
        let before = merged.iter_mut().find(|before| before.row == told.row);
        match (before, told) {
            (Some(before), Told { datum: Datum::Array(mut more), origin, .. })
                if server.rows[before.row].takes == Takes::List =>
            {
                if let Datum::Array(values) = &mut before.datum {
                    values.append(&mut more);
                    before.origin = format!("{}, {origin}", before.origin);
                }
            }
            (Some(before), told) => *before = told,
            (None, told) => merged.push(told),
        }
    }
    merged
}

fn head(from: &str, around: &Surroundings, sheet: &Sheet<'_>) -> String {
    let config = around.output.as_ref().map_or("hypercorn.toml".into(), |path| path.display().to_string());
    let folder =
        sheet.folder.as_ref().map_or(String::new(), |folder| format!("cd {} && ", words::quote(folder)));
    format!(
        "# Made by hcrs migrate from: {}\n# Start it with: {folder}hcrs --config {}\n",
        sheet::printable(from),
        sheet::printable(&words::quote(&config)),
    )
}

/// What whoever starts the server has to see to, because the file cannot.
fn ends(sheet: &Sheet<'_>, environment: &[(String, String)]) -> Vec<(String, String)> {
    let mut ends = Vec::new();
    let mut end = |said: String, why: &str| ends.push((said, why.to_owned()));
    let read = |name: &str| {
        let server = sheet.server;
        name == "GUNICORN_CMD_ARGS"
            || server.prefix.is_some_and(|prefix| name.starts_with(prefix))
            || server.variables.iter().any(|(known, _)| *known == name)
    };
    let set = environment.iter().filter(|(name, _)| !read(name)).chain(&sheet.environment);
    let names: Vec<&str> = set.map(|(name, _)| name.as_str()).collect();
    if !names.is_empty() {
        end(
            names.join(", "),
            "the file sets no variables of the environment: set them where hcrs is started",
        );
    }
    for file in &sheet.environment_files {
        let how = format!(
            "the file sets no variables of the environment: set -a; . {}; set +a",
            words::quote(file)
        );
        end(file.clone(), &how);
    }
    if let Some(folder) = &sheet.folder {
        end(format!("the folder {folder}"), "start hcrs in it, so that relative paths mean the same");
    }
    let identity: Vec<&str> = sheet.identity.iter().flatten().map(String::as_str).collect();
    if !identity.is_empty() {
        let why = "no privileges are dropped: start hcrs as this user, or let systemd do it (User=, Group=)";
        end(format!("user and group {}", identity.join(", ")), why);
    }
    for (name, flag) in overridden(sheet, environment) {
        end(
            name,
            &format!(
                "in the environment it wins over the file here: leave it out, or start hcrs with {flag}"
            ),
        );
    }
    ends
}

/// Variables that would change what the file says, and the flag that holds against them.
fn overridden(sheet: &Sheet<'_>, environment: &[(String, String)]) -> Vec<(String, String)> {
    let mut overridden = Vec::new();
    for (variable, key) in read::SHARED_VARIABLES {
        let Some((_, value)) = environment.iter().rev().find(|(name, _)| name == variable) else { continue };
        let (default, from_variable) = match *key {
            "bind" => {
                (format!("[\"{}\"]", crate::draft::Draft::DEFAULT_BIND), format!("[\"0.0.0.0:{value}\"]"))
            }
            _ => ("1".to_owned(), value.clone()),
        };
        let ours = sheet.literal(key).unwrap_or(&default);
        if ours != from_variable {
            let values = ours.trim_matches(['[', ']']).split(", ").map(|value| value.trim_matches('"'));
            let flags: Vec<_> = values.map(|value| format!("--{key} {}", words::quote(value))).collect();
            overridden.push((format!("{variable}={value}"), flags.join(" ")));
        }
    }
    overridden
}

/// The name that is most like an unknown one, if any is like it.
fn nearest<'a>(known: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    const LIKE: f64 = 0.65;
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(known, name), known))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;

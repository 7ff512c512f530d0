//! A unit of systemd: its `ExecStart` is migrated, and the unit is given back with hcrs in it. What has nothing to do with
//! that stays as it stands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hcrs_server::{AppSettings, Settings};

use crate::migrate::command::{self, Invocation};
use crate::migrate::gunicorn;
use crate::migrate::sheet::{Sheet, printable};
use crate::migrate::words::{assignment, dotenv, quote, split};
use crate::migrate::{Surroundings, known, overridden, tell_command};
use crate::value::Datum;
use crate::{ConfigError, read_file};

/// What precedes the path of a command and is not part of it.
const PREFIXES: [char; 6] = ['@', '-', ':', '+', '!', '|'];
/// What a stop may take beside the graceful and the shutdown timeout, with a little room, in seconds.
const STOP: f64 = 10.0;
/// What the interpreter and the imports may take beside the startup timeout, with a little room, in seconds.
const IMPORTS: f64 = 20.0;
/// The first descriptor that systemd passes on.
const FIRST_SOCKET: usize = 3;

/// A unit as it was read.
pub(super) struct Unit {
    path: PathBuf,
    lines: Vec<String>,
    entries: Vec<Entry>,
}

/// `key=value`, which may go over several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    section: String,
    key: String,
    value: String,
    first: usize,
    last: usize,
}

/// How the other server was started.
struct Was<'a> {
    start: &'a Entry,
    /// What preceded its path.
    prefix: &'a str,
    found: Invocation,
    around: Surroundings,
}

/// What becomes of the unit: lines that are replaced, and lines that come into the section `[Service]`.
#[derive(Default)]
struct Changes {
    replaced: Vec<(Entry, Option<String>)>,
    added: Vec<String>,
}

impl Unit {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_file(path)?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        Ok(Self { path: path.to_owned(), entries: entries(&lines), lines })
    }

    /// Its name without the ending.
    pub(super) fn stem(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("hcrs").trim_end_matches('@')
    }

    fn all(&self, key: &str) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| entry.section == "Service" && entry.key == key).collect()
    }

    /// The one that counts.
    fn last(&self, key: &str) -> Option<&Entry> {
        self.all(key).pop().filter(|entry| !entry.value.is_empty())
    }

    /// The new unit, the file that it names `config`, and whether that holds a password.
    pub(super) fn migrate(
        &self,
        mut around: Surroundings,
        config: &str,
    ) -> Result<(String, String, bool), ConfigError> {
        let name = self.path.display().to_string();
        let invalid = |problem: String| ConfigError::Invalid(vec![format!("{name}: {problem}")]);
        let mut unreadable = Vec::new();
        around.environment = self.environment(&mut unreadable).map_err(invalid)?;
        around.folder =
            self.last("WorkingDirectory").map(|entry| PathBuf::from(entry.value.trim_start_matches('-')));
        let start = self.start().map_err(invalid)?;
        let (prefix, line) = start.value.split_at(start.value.find(|c| !PREFIXES.contains(&c)).unwrap_or(0));
        let line = plain(line).map_err(|problem| invalid(format!("ExecStart: {problem}")))?;
        let words = split(&line, |name| around.variable(name));
        let mut words = words.map_err(|problem| invalid(format!("ExecStart: {problem}")))?;
        if prefix.contains('@') && words.words.len() > 1 {
            words.words.remove(1);
        }
        let found =
            command::find(&words.words).map_err(|problem| invalid(format!("ExecStart: {problem}")))?;
        around.bin.clone_from(&found.bin);
        around.environment.extend(found.environment.iter().cloned());
        if let Some(folder) = &found.folder {
            around.folder = Some(around.path(folder));
        }
        let server = known(&found)?;
        let mut sheet = Sheet::new(&server);
        let unset = |name: &String| format!("{name}: ExecStart uses ${name}, which no Environment= sets");
        sheet.problems.extend(words.unknown.iter().map(unset));
        tell_command(&found, &around, &mut sheet);
        sheet.convert();
        for file in unreadable {
            sheet.note(
                &format!("EnvironmentFile={file}"),
                "it cannot be read here, so what it says to the server is not known",
            );
        }
        let socket = self.socket(&mut sheet);
        let changes = self.changes(&Was { start, prefix, found, around }, config, &mut sheet);
        let head = format!("# Made by hcrs migrate from: {}\n# The unit starts it.\n", printable(&name));
        // Variables, folder and user are the unit's affair, and need not be told.
        let toml = sheet.written(&head, &[])?;
        let companion = if socket { String::new() } else { self.companion(&sheet) };
        Ok((self.text(&changes) + &companion, toml, sheet.is_secret()))
    }

    /// The one command of the unit.
    fn start(&self) -> Result<&Entry, String> {
        let all = self.all("ExecStart");
        // An empty one takes back those before it.
        let from = all.iter().rposition(|entry| entry.value.is_empty()).map_or(0, |at| at + 1);
        match &all[from..] {
            [one] => Ok(one),
            [] => Err("there is no ExecStart= in [Service]".into()),
            _ => Err("there are several ExecStart=: keep the one that starts the server".into()),
        }
    }

    /// The variables that the unit sets. Files that cannot be read are told.
    fn environment(&self, unreadable: &mut Vec<String>) -> Result<Vec<(String, String)>, String> {
        let mut set = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.section == "Service") {
            match entry.key.as_str() {
                "Environment" => {
                    let value = plain(&entry.value).map_err(|problem| format!("Environment: {problem}"))?;
                    let words = split(&value.replace('$', "\\$"), |_| None);
                    let words = words.map_err(|problem| format!("Environment: {problem}"))?.words;
                    set.extend(words.iter().filter_map(|word| assignment(word)));
                }
                "EnvironmentFile" => {
                    let file = entry.value.trim_start_matches('-');
                    match read_file(Path::new(file)) {
                        Ok(text) => set.extend(dotenv(&text)),
                        Err(_) => unreadable.push(file.to_owned()),
                    }
                }
                _ => {}
            }
        }
        Ok(set)
    }

    /// Whether systemd passes sockets on; they are then what is bound.
    fn socket(&self, sheet: &mut Sheet<'_>) -> bool {
        if sheet.literal("bind").is_some_and(|bind| bind.contains("fd://")) {
            return true;
        }
        let name = format!("{}.socket", self.stem());
        let named = |entry: &Entry| {
            matches!(entry.key.as_str(), "Requires" | "Wants" | "After" | "Sockets" | "Also" | "BindsTo")
                && entry.value.split_whitespace().any(|word| word == name)
        };
        let file = self.path.with_extension("socket");
        let text = read_file(&file).ok();
        // The others do not look for sockets that they were passed.
        if sheet.server.name != "gunicorn" || (text.is_none() && !self.entries.iter().any(named)) {
            return false;
        }
        let lines: Vec<String> = text.unwrap_or_default().lines().map(str::to_owned).collect();
        let listened: Vec<Entry> =
            entries(&lines).into_iter().filter(|entry| entry.key == "ListenStream").collect();
        if listened.iter().any(|entry| entry.value.starts_with(['/', '@']))
            && let Err(problem) = gunicorn::believe_unix(sheet)
        {
            sheet.problems.push(problem);
        }
        let listened = listened.len().max(1);
        let binds: Vec<String> =
            (FIRST_SOCKET..FIRST_SOCKET + listened).map(|fd| format!("fd://{fd}")).collect();
        let binds = super::row::texts(binds.iter().map(String::as_str));
        sheet.set("bind", &binds, format!("{name}: what systemd listens on"));
        sheet.unset("umask"); // SocketMode= of the socket's unit says it
        true
    }

    fn changes(&self, was: &Was<'_>, config: &str, sheet: &mut Sheet<'_>) -> Changes {
        let Was { start, prefix, found, around } = was;
        let mut changes = Changes::default();
        let bin = found.bin.as_ref().map(|bin| around.path(bin).display().to_string());
        let hcrs = bin.map_or("hcrs".to_owned(), |bin| format!("{bin}/hcrs"));
        let mut words = found.launcher.clone();
        words.extend([hcrs, "--config".into(), config.into()]);
        let mut line: Vec<String> = words.iter().map(|word| literal(word)).collect();
        // Flags win over the environment, as they do with the server that is left.
        line.extend(overridden(sheet, &around.environment).into_iter().map(|(_, flags)| flags));
        let prefix = prefix.replace('@', "");
        changes.replaced.push(((*start).clone(), Some(format!("ExecStart={prefix}{}", line.join(" ")))));

        let mut set = |key: &str, value: String| match self.last(key) {
            Some(entry) if entry.value == value => {}
            Some(entry) => changes.replaced.push((entry.clone(), Some(format!("{key}={value}")))),
            None => changes.added.push(format!("{key}={value}")),
        };
        set("Type", "notify".into());
        if !found.launcher.is_empty() {
            set("NotifyAccess", "all".into()); // what is launched may not be the process that systemd has started
        }
        if self.last("ExecReload").is_none_or(|entry| !entry.value.contains("HUP")) {
            set("ExecReload", "/bin/kill -HUP $MAINPID".into());
        }
        // The folder of a `cd` is where the server has looked around already.
        let folder = match &sheet.folder {
            None => None,
            folder if *folder == found.folder => around.folder.clone(),
            Some(folder) => Some(around.path(folder)),
        };
        if let Some(folder) = folder {
            set("WorkingDirectory", folder.display().to_string());
        }
        let port =
            |bind: &str| bind.trim_matches(['"', ']']).rsplit(':').next().and_then(|port| port.parse().ok());
        let is_low = |bind: &str| port(bind).is_some_and(|port: u16| (1..1024).contains(&port));
        let low = sheet.literal("bind").unwrap_or_default().split(", ").any(is_low);
        if low && sheet.identity[0].is_some() {
            // Gunicorn has bound it before it became this user.
            set("AmbientCapabilities", "CAP_NET_BIND_SERVICE".into());
        }
        for (key, who) in [("User", &sheet.identity[0]), ("Group", &sheet.identity[1])] {
            if let Some(who) = who {
                set(key, who.clone());
            }
        }
        if self.last("KillMode").is_none() {
            // The edge stops the workers. An app's handler of SIGTERM would be called twice if systemd signalled them, too.
            set("KillMode", "mixed".into());
        }
        let (server, app) = (Settings::default(), AppSettings::new(String::new()));
        let seconds = |key: &str, default: Duration| {
            let told = sheet.literal(key).and_then(|text| text.parse::<f64>().ok());
            told.unwrap_or(default.as_secs_f64())
        };
        let needed = seconds("graceful_timeout", server.graceful_timeout)
            + seconds("shutdown_timeout", app.shutdown_timeout)
            + STOP;
        let start = seconds("startup_timeout", app.startup_timeout) + IMPORTS;
        match self.last("TimeoutStopSec").map(|entry| entry.value.trim_end_matches(['s', ' ']).parse::<f64>())
        {
            Some(Ok(given)) if given < needed => sheet.note(
                &format!("TimeoutStopSec={given}"),
                "systemd may kill before graceful_timeout and shutdown_timeout are over",
            ),
            Some(_) => {}
            None => set("TimeoutStopSec", format!("{needed}")),
        }
        if self.last("TimeoutStartSec").or_else(|| self.last("TimeoutSec")).is_none() {
            // Other servers are said to have started before their app has.
            set("TimeoutStartSec", format!("{start}"));
        }
        let there = self.environment(&mut Vec::new()).unwrap_or_default();
        let more = found.environment.iter().chain(&sheet.environment).filter(|set| !there.contains(set));
        let variables: Vec<String> = more
            .map(|(name, value)| {
                format!("Environment={}", quote(&format!("{name}={value}")).replace('%', "%%"))
            })
            .collect();
        let files = sheet
            .environment_files
            .iter()
            .map(|file| format!("EnvironmentFile=-{}", around.path(file).display()));
        changes.added.extend(variables.into_iter().chain(files));
        if let Some(pid) = self.last("PIDFile") {
            changes.replaced.push((pid.clone(), None)); // for daemons; the main process is the one that is started
        }
        changes
    }

    fn text(&self, changes: &Changes) -> String {
        let mut text = String::from("# Made by hcrs migrate; replaced lines stand behind \"was:\".\n");
        let mut at = 0;
        while at < self.lines.len() {
            if let Some((entry, new)) = changes.replaced.iter().find(|(entry, _)| entry.first == at) {
                if !entry.value.contains("password") {
                    text.extend(["# was: ", &entry.key, "=", &entry.value, "\n"]);
                }
                if let Some(new) = new {
                    text.extend([new, "\n"]);
                }
                if entry.key == "ExecStart" {
                    text.extend(changes.added.iter().map(|line| format!("{line}\n")));
                }
                at = entry.last + 1;
            } else {
                text.extend([&self.lines[at], "\n"]);
                at += 1;
            }
        }
        text
    }

    /// How systemd can hold the listeners, as comments.
    fn companion(&self, sheet: &Sheet<'_>) -> String {
        let stem = self.stem();
        let bind = sheet.literal("bind").unwrap_or("\"127.0.0.1:8000\"").trim_matches(['[', ']']);
        let binds: Vec<&str> = bind.split(", ").map(|bind| bind.trim_matches('"')).collect();
        let fds: Vec<String> =
            (FIRST_SOCKET..).take(binds.len()).map(|fd| format!("\"fd://{fd}\"")).collect();
        let mut text = format!(
            "\n# Socket activation, if it is wanted: systemd then holds the listeners while hcrs restarts. Put this into\n\
             # {stem}.socket, write bind = [{}] into the hypercorn.toml, and Requires={stem}.socket into [Unit]:\n#\n# [Socket]\n",
            fds.join(", ")
        );
        for bind in binds {
            text.extend(["# ListenStream=", bind.trim_start_matches("unix:"), "\n"]);
        }
        if let Some(Datum::Integer(mask)) =
            sheet.literal("umask").and_then(crate::value::mask).map(Datum::Integer)
        {
            text.extend(["# SocketMode=", &format!("{:04o}", 0o777 & !mask), "\n"]);
        }
        text + "# [Install]\n# WantedBy=sockets.target\n"
    }
}

/// A word of a command that systemd shall take as it is.
fn literal(word: &str) -> String {
    quote(word).replace('%', "%%").replace('$', "$$")
}

/// Lines as entries; comments and continued lines are seen to.
fn entries(lines: &[String]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut section = String::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        let mut line = lines[at].trim().to_owned();
        at += 1;
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        while let Some(part) = line.strip_suffix('\\').map(str::to_owned) {
            let Some(next) = lines.get(at) else { break };
            at += 1;
            let is_comment = next.trim_start().starts_with(['#', ';']);
            line = if is_comment { part + "\\" } else { format!("{} {}", part.trim_end(), next.trim()) };
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            entries.push(Entry { section: section.clone(), key, value, first, last: at - 1 });
        }
    }
    entries
}

/// With the doubled percent signs of systemd as one. Its specifiers mean something to it alone.
fn plain(text: &str) -> Result<String, String> {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(letter);
        if letter == '%' {
            match letters.next() {
                Some('%') | None => {}
                Some(specifier) => {
                    return Err(format!("%{specifier} is known to systemd alone: write what it stands for"));
                }
            }
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests;

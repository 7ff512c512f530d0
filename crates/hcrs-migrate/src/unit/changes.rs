//! The changes to a systemd unit that make it start hcrs.

use std::time::Duration;

use hcrs_server::{AppSettings, Settings};

use super::entries::{Entry, literal};
use super::{PreviousStart, Unit};
use crate::sheet::Sheet;
use crate::shell_words::quote;
use crate::steps::overriding_variables;

/// Time for a stop beyond the graceful and the shutdown timeout, in seconds.
const STOP: f64 = 10.0;
/// Time for the interpreter and the imports beyond the startup timeout, in seconds.
const IMPORTS: f64 = 20.0;

/// Changes to a unit.
pub(super) struct Changes<'a> {
    unit: &'a Unit,
    /// Entries that are replaced, with their new line, if any.
    replaced: Vec<(&'a Entry, Option<String>)>,
    /// Lines that are added to the section `[Service]`.
    added: Vec<String>,
}

impl<'a> Changes<'a> {
    /// Collects the changes for a unit whose configuration file is `config`.
    pub(super) fn new(
        unit: &'a Unit,
        previous: &PreviousStart<'a>,
        config: &str,
        sheet: &mut Sheet<'_>,
    ) -> Self {
        let mut changes = Self { unit, replaced: Vec::new(), added: Vec::new() };
        changes.replace_command(previous, config, sheet);
        changes.set_lifecycle(previous);
        changes.set_identity(previous, sheet);
        changes.set_timeouts(sheet);
        changes.add_variables(previous, sheet);
        if let Some(pid) = unit.last("PIDFile") {
            changes.replaced.push((pid, None)); // for daemons; hcrs stays the process that systemd starts
        }
        changes
    }

    fn set(&mut self, key: &str, value: &str) {
        match self.unit.last(key) {
            Some(entry) if entry.value == value => {}
            Some(entry) => self.replaced.push((entry, Some(format!("{key}={value}")))),
            None => self.added.push(format!("{key}={value}")),
        }
    }

    fn replace_command(&mut self, previous: &PreviousStart<'a>, config: &str, sheet: &Sheet<'_>) {
        let PreviousStart { start, prefix, invocation, context } = previous;
        let bin = invocation.bin.as_ref().map(|bin| context.path(bin).display().to_string());
        let hcrs = bin.map_or("hcrs".to_owned(), |bin| format!("{bin}/hcrs"));
        let mut words = invocation.launcher.clone();
        words.extend([hcrs, "--config".into(), config.into()]);
        let mut line: Vec<String> = words.iter().map(|word| literal(word)).collect();
        // Flags override the environment, as they do with the other server.
        let overrides = overriding_variables(sheet, &context.environment);
        line.extend(overrides.into_iter().map(|overriding| overriding.flags));
        let prefix = prefix.replace('@', "");
        self.replaced.push((*start, Some(format!("ExecStart={prefix}{}", line.join(" ")))));
    }

    fn set_lifecycle(&mut self, previous: &PreviousStart<'_>) {
        self.set("Type", "notify");
        if !previous.invocation.launcher.is_empty() {
            // The process that systemd starts may be the launcher's.
            self.set("NotifyAccess", "all");
        }
        if self.unit.last("ExecReload").is_none_or(|entry| !entry.value.contains("HUP")) {
            self.set("ExecReload", "/bin/kill -HUP $MAINPID");
        }
        if self.unit.last("KillMode").is_none() {
            // The edge stops the workers. If systemd signaled them as well, an app's handler of SIGTERM would
            // run twice.
            self.set("KillMode", "mixed");
        }
    }

    fn set_identity(&mut self, previous: &PreviousStart<'_>, sheet: &mut Sheet<'_>) {
        let PreviousStart { invocation, context, .. } = previous;
        // The context already has the directory of a `cd` in the command.
        let folder = match &sheet.chdir {
            Some(folder) => Some(context.path(folder)),
            None => invocation.folder.as_ref().and(context.folder.clone()),
        };
        sheet.unset("chdir");
        if let Some(folder) = folder {
            self.set("WorkingDirectory", &folder.display().to_string());
        }
        let port =
            |bind: &str| bind.trim_matches(['"', ']']).rsplit(':').next().and_then(|port| port.parse().ok());
        let is_privileged = |bind: &str| port(bind).is_some_and(|port: u16| (1..1024).contains(&port));
        let has_privileged = sheet.literal("bind").unwrap_or_default().split(", ").any(is_privileged);
        if has_privileged && sheet.user.is_some() {
            // Gunicorn binds the port before it changes its user.
            self.set("AmbientCapabilities", "CAP_NET_BIND_SERVICE");
        }
        for (key, identity) in [("User", &sheet.user), ("Group", &sheet.group)] {
            if let Some(identity) = identity {
                self.set(key, identity);
            }
        }
    }

    fn set_timeouts(&mut self, sheet: &mut Sheet<'_>) {
        let (server, app) = (Settings::default(), AppSettings::new(String::new()));
        let seconds = |key: &str, default: Duration| {
            let given = sheet.literal(key).and_then(|text| text.parse::<f64>().ok());
            given.unwrap_or(default.as_secs_f64())
        };
        let needed = seconds("graceful_timeout", server.graceful_timeout)
            + seconds("shutdown_timeout", app.shutdown_timeout)
            + STOP;
        let start = seconds("startup_timeout", app.startup_timeout) + IMPORTS;
        let given = self.unit.last("TimeoutStopSec");
        match given.map(|entry| entry.value.trim_end_matches(['s', ' ']).parse::<f64>()) {
            Some(Ok(given)) if given < needed => sheet.note(
                &format!("TimeoutStopSec={given}"),
                &format!("systemd may kill hcrs before its timeouts have passed; set at least {needed}"),
            ),
            Some(_) => {}
            None => self.set("TimeoutStopSec", &format!("{needed}")),
        }
        if self.unit.last("TimeoutStartSec").or_else(|| self.unit.last("TimeoutSec")).is_none() {
            // For systemd, the other servers have started before their app has.
            self.set("TimeoutStartSec", &format!("{start}"));
        }
    }

    fn add_variables(&mut self, previous: &PreviousStart<'_>, sheet: &Sheet<'_>) {
        let PreviousStart { invocation, context, .. } = previous;
        let present = self.unit.environment(&mut Vec::new()).unwrap_or_default();
        let missing =
            invocation.environment.iter().chain(&sheet.environment).filter(|set| !present.contains(set));
        self.added.extend(missing.map(|(name, value)| {
            format!("Environment={}", quote(&format!("{name}={value}")).replace('%', "%%"))
        }));
        let files = sheet
            .environment_files
            .iter()
            .map(|file| format!("EnvironmentFile=-{}", context.path(file).display()));
        self.added.extend(files);
    }

    /// Returns the changed unit. Each replaced line stays as a comment, unless it may contain a password.
    pub(super) fn text(&self) -> String {
        let lines = &self.unit.lines;
        let mut text = String::from(
            "# Generated by hcrs migrate; replaced lines are comments that begin with \"was:\".\n",
        );
        let mut at = 0;
        while at < lines.len() {
            if let Some((entry, new)) = self.replaced.iter().find(|(entry, _)| entry.first == at) {
                if !entry.value.contains("password") {
                    text.extend(["# was: ", &entry.key, "=", &entry.value, "\n"]);
                }
                if let Some(new) = new {
                    text.extend([new, "\n"]);
                }
                if entry.key == "ExecStart" {
                    text.extend(self.added.iter().map(|line| format!("{line}\n")));
                }
                at = entry.last + 1;
            } else {
                text.extend([&lines[at], "\n"]);
                at += 1;
            }
        }
        text
    }
}

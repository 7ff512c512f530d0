//! The flags of `hcrs migrate`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::command::is_server;
use crate::nginx;
use crate::server::NAMES;
use crate::shell_words::assignment;

/// Converts the settings of another server to a hypercorn.toml for hcrs
///
/// The settings come from a file (nginx.conf with the files that it includes, gunicorn.conf.py, a uvicorn.json
/// with the parameters of uvicorn.run, a hypercorn.toml, or Hypercorn's Python), from a command line of uvicorn, gunicorn, granian or hypercorn
/// after --, with the files that it names, or from a systemd unit.
///
/// Each line of the result names its origin; settings without a counterpart follow with the reason. Files in
/// Python are evaluated on this machine, as that server would do.
#[derive(Debug, Parser)]
#[command(
    name = "hcrs migrate",
    version,
    override_usage = "hcrs migrate [OPTIONS] FILE\n       hcrs migrate [OPTIONS] -- COMMAND LINE…\n       \
                      hcrs migrate [OPTIONS] --systemd UNIT",
    after_help = "Examples:\n  hcrs migrate nginx.conf --app main:app -o hypercorn.toml\n  \
                  hcrs migrate gunicorn.conf.py -o hypercorn.toml\n  \
                  hcrs migrate -- uvicorn main:app --host 0.0.0.0 --workers 4\n  \
                  hcrs migrate --systemd web.service -o /etc/hcrs/web.toml --unit-output hcrs-web.service"
)]
pub(crate) struct MigrateFlags {
    /// Settings of the other server, in TOML, JSON or Python, or a configuration of nginx
    #[arg(
        value_name = "FILE",
        conflicts_with_all = ["command", "systemd"],
        required_unless_present_any = ["command", "systemd"]
    )]
    pub(crate) file: Option<String>,
    /// Command line that starts the other server
    #[arg(value_name = "COMMAND", last = true, conflicts_with = "systemd")]
    pub(crate) command: Vec<String>,
    /// Unit that starts the other server; the new unit is printed, followed by the hypercorn.toml
    #[arg(long, value_name = "UNIT")]
    systemd: Option<PathBuf>,
    /// Server of the settings in FILE, if it is not evident: uvicorn, gunicorn, granian, hypercorn or nginx
    #[arg(long, value_name = "SERVER", value_parser = one_of_names)]
    pub(crate) from: Option<&'static str>,
    /// The app behind nginx; with UPSTREAM=, the upstream or address that it takes the place of. May be repeated
    #[arg(long, value_name = "[UPSTREAM=]MODULE:APP")]
    pub(crate) app: Vec<String>,
    /// Write the hypercorn.toml to this file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write the new unit to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) unit_output: Option<PathBuf>,
    /// Replace existing files
    #[arg(long)]
    pub(crate) force: bool,
    /// Interpreter that evaluates files in Python
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
}

fn one_of_names(text: &str) -> Result<&'static str, String> {
    NAMES
        .into_iter()
        .chain([nginx::NAME])
        .find(|name| *name == text)
        .ok_or_else(|| format!("expected one of {}, {}", NAMES.join(", "), nginx::NAME))
}

/// Returns the command `hcrs migrate`, for completions and the manual page.
#[cfg(test)]
pub(crate) fn command() -> clap::Command {
    <MigrateFlags as clap::CommandFactory>::command()
}

impl MigrateFlags {
    /// Returns the unit: that of `--systemd`, or FILE if its name ends in `.service`.
    pub(crate) fn unit(&self) -> Option<&Path> {
        let is_unit = |file: &&String| Path::new(file).extension().is_some_and(|ending| ending == "service");
        self.systemd.as_deref().or_else(|| self.file.as_ref().filter(is_unit).map(Path::new))
    }
}

/// Returns the arguments with `--` before the other server's command, if the operator has omitted it.
pub(crate) fn with_separator(arguments: &[OsString]) -> Vec<OsString> {
    let word = |at: usize| arguments.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let mut separated = arguments.to_vec();
    let flags = 1..arguments.len();
    if flags.clone().any(|at| word(at) == "--") {
        return separated;
    }
    let takes_value = |at: usize| {
        matches!(
            word(at),
            "--from" | "--app" | "--systemd" | "-o" | "--output" | "--unit-output" | "--python"
        )
    };
    let is_first_of_command = |at: &usize| {
        !takes_value(at - 1)
            && (is_server(word(*at)) || assignment(word(*at)).is_some() || word(at + 1) == "-m")
    };
    if let Some(at) = flags.clone().find(is_first_of_command)
        && flags.clone().any(|at| is_server(word(at)))
    {
        separated.insert(at, "--".into());
    }
    separated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        command().debug_assert();
    }

    #[test]
    fn the_separator_before_a_command_may_be_omitted() {
        for (given, expected) in [
            ("migrate uvicorn a:b --port 1", "migrate -- uvicorn a:b --port 1"),
            ("migrate -o x.toml A=1 /bin/gunicorn a:b", "migrate -o x.toml -- A=1 /bin/gunicorn a:b"),
            ("migrate python -m granian a:b", "migrate -- python -m granian a:b"),
            ("migrate --from uvicorn x.json", "migrate --from uvicorn x.json"),
            ("migrate -- env uvicorn a:b", "migrate -- env uvicorn a:b"),
            ("migrate gunicorn.conf.py", "migrate gunicorn.conf.py"),
        ] {
            let words: Vec<OsString> = given.split(' ').map(OsString::from).collect();
            let separated: Vec<_> =
                with_separator(&words).iter().map(|word| word.to_str().unwrap().to_owned()).collect();
            assert_eq!(separated.join(" "), expected);
        }
    }
}

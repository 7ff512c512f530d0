//! The command line of `hcrs migrate`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::migrate::NAMES;
use crate::migrate::command::is_server;
use crate::migrate::words::assignment;

/// Makes a hypercorn.toml for hcrs of how another server was started
///
/// From a file of settings (gunicorn.conf.py, a uvicorn.json with the parameters of uvicorn.run, a hypercorn.toml or
/// Hypercorn's Python), from a whole command line of uvicorn, gunicorn, granian or hypercorn behind --, with the files
/// that it names, or from a unit of systemd.
///
/// Each line says what it came from; below stands what has no counterpart, and why. Files in Python are evaluated,
/// as that server does it, on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "hcrs migrate",
    version,
    override_usage = "hcrs migrate [OPTIONS] FILE\n       hcrs migrate [OPTIONS] -- COMMAND LINE…\n       \
                      hcrs migrate [OPTIONS] --systemd UNIT",
    after_help = "Examples:\n  hcrs migrate gunicorn.conf.py -o hypercorn.toml\n  \
                  hcrs migrate -- uvicorn main:app --host 0.0.0.0 --workers 4\n  \
                  hcrs migrate --systemd /etc/systemd/system/web.service -o /etc/hcrs/web.toml --unit-output web.service"
)]
pub(crate) struct MigrateFlags {
    /// The settings: TOML, JSON or Python
    #[arg(value_name = "FILE", conflicts_with_all = ["command", "systemd"], required_unless_present_any = ["command", "systemd"])]
    pub(crate) file: Option<String>,
    /// The command line that starts the other server
    #[arg(value_name = "COMMAND", last = true, conflicts_with = "systemd")]
    pub(crate) command: Vec<String>,
    /// The unit that starts the other server; the new one is printed, and the hypercorn.toml below it
    #[arg(long, value_name = "UNIT")]
    systemd: Option<PathBuf>,
    /// Whose settings FILE holds, if that cannot be seen: uvicorn, gunicorn, granian or hypercorn
    #[arg(long, value_name = "SERVER", value_parser = one_of_names)]
    pub(crate) from: Option<&'static str>,
    /// Write the hypercorn.toml to this file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write the new unit to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) unit_output: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// The interpreter that evaluates files in Python
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
}

fn one_of_names(text: &str) -> Result<&'static str, String> {
    NAMES
        .into_iter()
        .find(|name| *name == text)
        .ok_or_else(|| format!("expected one of {}", NAMES.join(", ")))
}

impl MigrateFlags {
    /// The unit, which is also known by its ending.
    pub(crate) fn unit(&self) -> Option<&Path> {
        let is_unit = |file: &&String| Path::new(file).extension().is_some_and(|ending| ending == "service");
        self.systemd.as_deref().or_else(|| self.file.as_ref().filter(is_unit).map(Path::new))
    }
}

/// The arguments with `--` before the other server's command, where the operator has left it out.
pub(crate) fn marked(arguments: &[OsString]) -> Vec<OsString> {
    let word = |at: usize| arguments.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let mut marked = arguments.to_vec();
    let flags = 1..arguments.len();
    if flags.clone().any(|at| word(at) == "--") {
        return marked;
    }
    let takes_value = |at: usize| {
        matches!(word(at), "--from" | "--systemd" | "-o" | "--output" | "--unit-output" | "--python")
    };
    let begins = |at: &usize| {
        !takes_value(at - 1)
            && (is_server(word(*at)) || assignment(word(*at)).is_some() || word(at + 1) == "-m")
    };
    if let Some(at) = flags.clone().find(begins)
        && flags.clone().any(|at| is_server(word(at)))
    {
        marked.insert(at, "--".into());
    }
    marked
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        MigrateFlags::command().debug_assert();
    }

    #[test]
    fn the_mark_before_a_command_may_be_left_out() {
        for (said, expected) in [
            ("migrate uvicorn a:b --port 1", "migrate -- uvicorn a:b --port 1"),
            ("migrate -o x.toml A=1 /bin/gunicorn a:b", "migrate -o x.toml -- A=1 /bin/gunicorn a:b"),
            ("migrate python -m granian a:b", "migrate -- python -m granian a:b"),
            ("migrate --from uvicorn x.json", "migrate --from uvicorn x.json"),
            ("migrate -- env uvicorn a:b", "migrate -- env uvicorn a:b"),
            ("migrate gunicorn.conf.py", "migrate gunicorn.conf.py"),
        ] {
            let words: Vec<OsString> = said.split(' ').map(OsString::from).collect();
            let marked: Vec<_> =
                marked(&words).iter().map(|word| word.to_str().unwrap().to_owned()).collect();
            assert_eq!(marked.join(" "), expected);
        }
    }
}

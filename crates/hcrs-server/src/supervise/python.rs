//! Which Python runs the workers: the one that the operator names, else that of the virtual environment,
//! the one beside this command (where the wheel puts it), or the first on `PATH`; it has to have hcrs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::StartError;

/// How long an interpreter may take to say whether it has hcrs.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// Exits with 3 if there is no package hcrs. Nothing is looked for in the working directory, which is the app's.
const PROBE: &str = "import sys; sys.path[:] = filter(None, sys.path); import importlib.util as u; \
                     s = u.find_spec('hcrs'); sys.exit(0 if s and s.origin else 3)";

/// What is looked at, in this order.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    /// What the operator names. Nothing else is looked at then.
    pub named: Option<&'a Path>,
    /// `$VIRTUAL_ENV`
    pub virtual_env: Option<&'a OsStr>,
    /// Folders in which this command was found: as it was called, and with symbolic links resolved.
    pub beside: Vec<PathBuf>,
    /// `$PATH`
    pub path: Option<&'a OsStr>,
}

impl Places<'_> {
    /// The interpreters that exist, best first.
    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(named) = self.named {
            return vec![named.to_owned()];
        }
        let virtual_env =
            self.virtual_env.filter(|folder| !folder.is_empty()).map(|folder| Path::new(folder).join("bin"));
        let on_path =
            self.path.into_iter().flat_map(std::env::split_paths).filter_map(|folder| python_in(&folder));
        let mut found: Vec<PathBuf> = Vec::new();
        for python in
            virtual_env.iter().chain(&self.beside).filter_map(|f| python_in(f)).chain(on_path.take(1))
        {
            if !found.contains(&python) {
                found.push(python);
            }
        }
        found
    }
}

/// The interpreter of a `bin` folder. Its links are not resolved: the path is what makes it a venv's.
fn python_in(folder: &Path) -> Option<PathBuf> {
    ["python3", "python"].iter().map(|name| folder.join(name)).find(|python| python.is_file())
}

/// The interpreters that there are, the one to prefer first; only the named one if one is named. Whether they
/// have hcrs is not asked.
pub fn interpreters(named: Option<&Path>) -> Vec<PathBuf> {
    let folder_of = |path: PathBuf| path.parent().map(Path::to_owned);
    let called = std::env::args_os().next().map(PathBuf::from).and_then(folder_of);
    let (virtual_env, path) = (std::env::var_os("VIRTUAL_ENV"), std::env::var_os("PATH"));
    let places = Places {
        named,
        virtual_env: virtual_env.as_deref(),
        // Called by its bare name, the command's folder is one of PATH, and so is its Python.
        beside: [called, std::env::current_exe().ok().and_then(folder_of)]
            .into_iter()
            .flatten()
            .filter(|folder| !folder.as_os_str().is_empty())
            .collect(),
        path: path.as_deref(),
    };
    places.candidates()
}

/// Finds the interpreter for the workers.
pub(super) async fn find(named: Option<&Path>) -> Result<PathBuf, StartError> {
    choose(interpreters(named)).await
}

async fn choose(mut candidates: Vec<PathBuf>) -> Result<PathBuf, StartError> {
    if candidates.len() == 1 {
        // If it has no hcrs, its first worker will fail, and `explain` says so.
        return Ok(candidates.remove(0));
    }
    let mut reasons = Vec::new();
    for python in candidates {
        match probe(&python).await {
            Ok(()) => return Ok(python),
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        reasons.push("there is no python3 on PATH".to_owned());
    }
    Err(StartError::Worker(format!(
        "no Python with hcrs was found; name one by --python, or install hcrs with pip\n  {}",
        reasons.join("\n  ")
    )))
}

/// Whether `python` is to blame for a worker that died without a word.
pub(super) async fn explain(python: &Path) -> Option<StartError> {
    let reason = probe(python).await.err()?;
    Some(StartError::Worker(format!("{reason}; install it with: {} -m pip install hcrs", python.display())))
}

/// Asks an interpreter whether it has hcrs; else says what is wrong with it.
async fn probe(python: &Path) -> Result<(), String> {
    let name = python.display();
    let mut command = Command::new(python);
    command.args(["-c", PROBE]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let run = command.kill_on_drop(true).status();
    match tokio::time::timeout(PROBE_TIMEOUT, run).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) if status.code() == Some(3) => Err(format!("hcrs is not installed in {name}")),
        Ok(Ok(status)) => Err(format!("{name} {}", super::signals::describe(status))),
        Ok(Err(error)) => Err(format!("{name} cannot be run: {error}")),
        Err(_elapsed) => Err(format!("{name} did not answer in {} s", PROBE_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with an interpreter that answers the probe with `status`.
    fn folder(status: u8) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        // Another process writes it: one that this process has open could not be run while another test forks.
        let write = format!("printf '#!/bin/sh\\nexit {status}\\n' > python3 && chmod +x python3");
        let written =
            std::process::Command::new("sh").args(["-c", &write]).current_dir(bin).status().unwrap();
        assert!(written.success());
        folder
    }

    fn chosen(places: &Places<'_>) -> Result<PathBuf, StartError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(choose(places.candidates()))
    }

    #[test]
    fn the_named_one_is_taken_without_a_question() {
        let other = folder(0);
        let places = Places {
            named: Some(Path::new("/opt/python")),
            virtual_env: Some(other.path().as_os_str()),
            ..Places::default()
        };
        assert_eq!(chosen(&places).unwrap(), Path::new("/opt/python"));
    }

    #[test]
    fn the_first_that_has_hcrs_wins() {
        let (without, broken, with) = (folder(3), folder(1), folder(0));
        let path = std::env::join_paths([with.path().join("bin")]).unwrap();
        let places = Places {
            virtual_env: Some(without.path().as_os_str()),
            beside: vec![broken.path().join("bin")],
            path: Some(&path),
            ..Places::default()
        };
        assert_eq!(chosen(&places).unwrap(), with.path().join("bin/python3"));
    }

    #[test]
    fn says_what_was_looked_at_when_none_has_hcrs() {
        let (without, broken) = (folder(3), folder(1));
        let path = std::env::join_paths([broken.path().join("bin")]).unwrap();
        let places =
            Places { virtual_env: Some(without.path().as_os_str()), path: Some(&path), ..Places::default() };
        let text = chosen(&places).unwrap_err().to_string();
        assert!(
            text.contains(&format!("not installed in {}/bin/python3", without.path().display())),
            "{text}"
        );
        assert!(text.contains("exited with status 1") && text.contains("--python"), "{text}");
        let text = chosen(&Places::default()).unwrap_err().to_string();
        assert!(text.contains("no python3 on PATH"), "{text}");
    }

    #[test]
    fn a_worker_without_hcrs_is_explained() {
        let (with, without) = (folder(0), folder(3));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let python = |folder: &tempfile::TempDir| folder.path().join("bin/python3");
        assert!(runtime.block_on(explain(&python(&with))).is_none());
        let text = runtime.block_on(explain(&python(&without))).unwrap().to_string();
        assert!(text.contains("-m pip install hcrs"), "{text}");
    }
}

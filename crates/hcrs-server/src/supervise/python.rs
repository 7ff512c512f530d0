//! Finds the Python interpreter of the workers: the one that the operator names, or that has called this
//! command; otherwise that of the virtual environment in which this command is installed, of the active one,
//! the one beside this command, for which pip has installed it (`--user`), or the first on `PATH`. It needs
//! to have the package hcrs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::StartError;
use crate::command_line::command_line;

/// How long an interpreter may take to report whether it has hcrs.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// The probe, which exits with 3 if there is no package hcrs. It does not search the working directory, which
/// is the app's.
const PROBE: &str = "import sys; sys.path[:] = filter(None, sys.path); import importlib.util as u; \
                     s = u.find_spec('hcrs'); sys.exit(0 if s and s.origin else 3)";

/// The variable in which `python -m hcrs` passes the path of its interpreter.
pub(super) const CALLED_BY: &str = "_HCRS_CALLED_BY";
/// The most interpreters that are checked to find those for which this command was installed.
const ON_PATH_MAX: usize = 8;

/// The places that are searched.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    /// The interpreter that the operator or [`CALLED_BY`] names. Nothing else is searched then.
    pub named: Option<&'a Path>,
    /// `$VIRTUAL_ENV`
    pub virtual_env: Option<&'a OsStr>,
    /// The folders in which this command was found: as it was called, and with symbolic links resolved.
    pub beside: Vec<PathBuf>,
    /// `$PATH`
    pub path: Option<&'a OsStr>,
}

impl Places<'_> {
    /// Returns the interpreters that exist, best first.
    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(named) = self.named {
            return vec![named.to_owned()];
        }
        let active =
            self.virtual_env.filter(|folder| !folder.is_empty()).map(|folder| Path::new(folder).join("bin"));
        let (own, beside): (Vec<_>, Vec<_>) =
            self.beside.iter().cloned().partition(|bin| is_virtual_env(bin));
        let folders = own.into_iter().chain(active).chain(beside);
        let mut found: Vec<PathBuf> = Vec::new();
        let on_path = self.installed_for().into_iter().chain(self.on_path("python3"));
        for python in folders.filter_map(|folder| python_in(&folder)).chain(on_path) {
            if !found.contains(&python) {
                found.push(python);
            }
        }
        found
    }

    /// Returns the interpreters on `PATH` of the version for whose packages this command was installed: `pip
    /// install --user` puts no interpreter beside it.
    fn installed_for(&self) -> Vec<PathBuf> {
        let libraries =
            self.beside.iter().filter_map(|bin| bin.parent()?.join("lib").read_dir().ok()).flatten();
        let versions = libraries.filter_map(Result::ok).filter(|library| {
            let has_package = |packages: &str| library.path().join(packages).join("hcrs").is_dir();
            has_package("site-packages") || has_package("dist-packages")
        });
        let names: BTreeSet<_> = versions.map(|library| library.file_name()).collect();
        names.iter().flat_map(|name| self.on_path(name)).take(ON_PATH_MAX).collect()
    }

    /// Returns the programs of that name on `PATH`.
    fn on_path(&self, name: impl AsRef<Path>) -> Vec<PathBuf> {
        let folders = self.path.into_iter().flat_map(std::env::split_paths);
        let programs = folders.map(|folder| folder.join(&name)).filter(|program| program.is_file());
        programs.take(ON_PATH_MAX).collect()
    }

    /// Whether this command was installed for the interpreter, so that it need not be probed.
    fn is_certain(&self, python: &Path) -> bool {
        let Some(bin) = python.parent().filter(|bin| self.beside.iter().any(|beside| beside == bin)) else {
            return self.named.is_some();
        };
        is_virtual_env(bin) || self.installed_for().iter().all(|other| is_same(other, python))
    }

    /// Returns a warning about an active virtual environment that `chosen` does not belong to.
    fn ignored(&self, chosen: &Path) -> Option<String> {
        let active = Path::new(self.virtual_env.filter(|_| self.named.is_none())?);
        let bin = active.join("bin");
        let is_active = chosen.parent().is_some_and(|folder| is_same(folder, &bin));
        (!is_active && bin.is_dir()).then(|| {
            format!(
                "The app runs on {}, not on the Python of VIRTUAL_ENV, {}",
                chosen.display(),
                active.display()
            )
        })
    }
}

/// Whether two paths lead to the same file.
fn is_same(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).ok() == fs::canonicalize(other).ok()
}

/// Whether a `bin` folder is a virtual environment's.
fn is_virtual_env(bin: &Path) -> bool {
    bin.parent().is_some_and(|folder| folder.join("pyvenv.cfg").is_file())
}

/// Returns the interpreter of a `bin` folder. Its links are not resolved, because the path is what makes it a
/// venv's.
fn python_in(folder: &Path) -> Option<PathBuf> {
    ["python3", "python"].iter().map(|name| folder.join(name)).find(|python| python.is_file())
}

/// Returns the interpreters that exist, best first; only the named one if one is named. They are not probed
/// for hcrs.
pub fn interpreters(named: Option<&Path>) -> Vec<PathBuf> {
    in_places(named, found).candidates
}

/// The interpreters that the places hold.
struct Found {
    /// The interpreters that exist, best first.
    candidates: Vec<PathBuf>,
    /// Whether the first need not be probed.
    is_certain: bool,
}

fn found(places: &Places<'_>) -> Found {
    let candidates = places.candidates();
    let is_certain = candidates.first().is_some_and(|python| places.is_certain(python));
    Found { candidates, is_certain }
}

fn in_places<T>(named: Option<&Path>, look: impl FnOnce(&Places<'_>) -> T) -> T {
    let folder_of = |path: PathBuf| path.parent().map(Path::to_owned);
    let called = folder_of(command_line().command.clone());
    let (virtual_env, path) = (std::env::var_os("VIRTUAL_ENV"), std::env::var_os("PATH"));
    let called_by = std::env::var_os(CALLED_BY);
    look(&Places {
        named: named.or(called_by.as_deref().map(Path::new)),
        virtual_env: virtual_env.as_deref(),
        beside: [called, std::env::current_exe().ok().and_then(folder_of)]
            .into_iter()
            .flatten()
            .filter(|folder| !folder.as_os_str().is_empty())
            .collect(),
        path: path.as_deref(),
    })
}

/// Finds the interpreter for the workers.
pub(super) async fn find(named: Option<&Path>) -> Result<PathBuf, StartError> {
    let Found { mut candidates, is_certain } = in_places(named, found);
    if is_certain {
        candidates.truncate(1);
    }
    let python = choose(candidates).await?;
    if let Some(warning) = in_places(named, |places| places.ignored(&python)) {
        tracing::warn!("{warning}");
    }
    Ok(python)
}

async fn choose(mut candidates: Vec<PathBuf>) -> Result<PathBuf, StartError> {
    if candidates.len() == 1 {
        // If it has no hcrs, its first worker will fail, and `explain` reports it.
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

/// Returns an error if `python` is the cause of a worker's death without a report.
pub(super) async fn explain(python: &Path) -> Option<StartError> {
    let reason = probe(python).await.err()?;
    Some(StartError::Worker(format!("{reason}; install it with: {} -m pip install hcrs", python.display())))
}

/// Probes an interpreter for hcrs. The error describes the problem.
async fn probe(python: &Path) -> Result<(), String> {
    let name = python.display();
    let mut command = Command::new(python);
    command
        .args(["-c", PROBE])
        .env_remove(CALLED_BY)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
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

    /// Returns a folder with an interpreter that answers the probe with `status`.
    fn folder(status: u8) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        // Another process writes it: a file that this process has open for writing could not be executed
        // while another test forks.
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
    fn a_command_of_a_virtual_environment_belongs_to_it() {
        let (own, active, on_path) = (folder(0), folder(0), folder(0));
        let path = std::env::join_paths([on_path.path().join("bin")]).unwrap();
        let python = |folder: &tempfile::TempDir| folder.path().join("bin/python3");
        let places = Places {
            virtual_env: Some(active.path().as_os_str()),
            beside: vec![own.path().join("bin")],
            path: Some(&path),
            ..Places::default()
        };
        assert_eq!(places.candidates(), [&active, &own, &on_path].map(python));
        assert_eq!(places.ignored(&python(&active)), None);
        fs::write(own.path().join("pyvenv.cfg"), "").unwrap();
        assert_eq!(places.candidates(), [&own, &active, &on_path].map(python));
        let warning = places.ignored(&python(&own)).unwrap();
        for folder in [&own, &active] {
            assert!(warning.contains(folder.path().to_str().unwrap()), "{warning}");
        }
        let named = python(&on_path);
        assert_eq!(Places { named: Some(&named), ..places }.ignored(&named), None);
    }

    #[test]
    fn a_users_command_is_of_the_version_that_has_installed_it() {
        let (user, active, system) = (tempfile::tempdir().unwrap(), folder(3), folder(0));
        fs::create_dir_all(user.path().join("bin")).unwrap();
        fs::create_dir_all(user.path().join("lib/python3.99/site-packages/hcrs")).unwrap();
        fs::create_dir_all(user.path().join("lib/python3.98/site-packages/other")).unwrap();
        for (folder, version) in [(&active, "python3.99"), (&system, "python3.99"), (&system, "python3.98")] {
            let bin = folder.path().join("bin");
            std::os::unix::fs::symlink(bin.join("python3"), bin.join(version)).unwrap();
        }
        let path = std::env::join_paths([&active, &system].map(|f| f.path().join("bin"))).unwrap();
        let places = Places {
            virtual_env: Some(active.path().as_os_str()),
            beside: vec![user.path().join("bin")],
            path: Some(&path),
            ..Places::default()
        };
        let chosen = chosen(&places).unwrap();
        assert_eq!(chosen, system.path().join("bin/python3.99"));
        assert!(places.ignored(&chosen).is_some());
    }

    #[test]
    fn the_error_lists_what_was_tried_when_none_has_hcrs() {
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

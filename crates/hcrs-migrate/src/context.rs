//! The environment in which the migrated server was started.

use std::path::PathBuf;

/// Environment variables, directories and interpreter of the migrated server.
#[derive(Debug, Default)]
pub(crate) struct LaunchContext {
    /// Variables that are set for the server.
    pub(crate) environment: Vec<(String, String)>,
    /// Working directory of the server, if it differs from that of this process.
    pub(crate) folder: Option<PathBuf>,
    /// Directory of the server's command.
    pub(crate) bin: Option<String>,
    /// Interpreter that the operator has named.
    pub(crate) python: Option<PathBuf>,
    /// Path of the new configuration, if it is written to a file.
    pub(crate) output: Option<PathBuf>,
}

impl LaunchContext {
    /// Resolves a path that is relative to the server's working directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match &self.folder {
            Some(folder) => folder.join(name),
            None => PathBuf::from(name),
        }
    }

    /// Returns the server's working directory.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| PathBuf::from("."))
    }

    /// Returns the interpreter that evaluates Python files: the server's own, if it exists on this machine.
    pub(crate) fn interpreter(&self) -> Option<PathBuf> {
        let beside =
            self.bin.as_ref().map(|bin| self.path(bin).join("python")).filter(|python| python.is_file());
        let named = self.python.as_deref().or(beside.as_deref());
        hcrs_server::interpreters(named).into_iter().next()
    }

    /// Returns the value of a variable that is set for the server.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.environment.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

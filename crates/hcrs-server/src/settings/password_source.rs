//! A file of users and passwords that the configuration names.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hcrs_rules::{PASSWORD_FILE_MAX, PasswordFile, PasswordFileError};

use crate::StartError;

/// A file of users, which is read when the server starts and when the configuration is read again.
#[derive(Debug, Clone)]
pub struct PasswordSource {
    path: PathBuf,
    users: Option<Users>,
}

/// The users of a file.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    /// The number of this read of the file, by which pairs are remembered.
    pub serial: u64,
    /// The users.
    pub file: Arc<PasswordFile>,
}

impl PartialEq for PasswordSource {
    fn eq(&self, other: &Self) -> bool {
        let serial = |source: &Self| source.users.as_ref().map(|users| users.serial);
        self.path == other.path && serial(self) == serial(other)
    }
}

impl Eq for PasswordSource {}

impl PasswordSource {
    /// Returns the file, which is not read yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, users: None }
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the users; `None` before the file was read.
    pub(crate) fn users(&self) -> Option<&Users> {
        self.users.as_ref()
    }

    /// Reads the file.
    pub(crate) fn load(&mut self) -> Result<(), StartError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let path = || self.path.display().to_string();
        let failed = |error| StartError::ConfiguredFile(path(), error);
        let mut contents = Vec::new();
        let file = File::open(&self.path).map_err(failed)?;
        file.take(PASSWORD_FILE_MAX as u64 + 1).read_to_end(&mut contents).map_err(failed)?;
        if contents.len() > PASSWORD_FILE_MAX {
            let reason = format!("it is larger than {PASSWORD_FILE_MAX} bytes");
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
        }
        let file = PasswordFile::parse(&contents).map_err(|error| match error {
            PasswordFileError::Line { line, error } => {
                StartError::Passwords(format!("{}:{line}", path()), error.to_string())
            }
            PasswordFileError::Empty => StartError::Passwords(path(), error.to_string()),
        })?;
        self.users = Some(Users { serial: SERIAL.fetch_add(1, Ordering::Relaxed), file: Arc::new(file) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_the_file_are_named_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let mut source = PasswordSource::new(path.clone());
        assert!(matches!(source.load(), Err(StartError::ConfiguredFile(..))));
        std::fs::write(&path, "# users\nann:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=\n").unwrap();
        let error = source.load().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:2: SHA-1", path.display())), "{error}");
        std::fs::write(&path, vec![b'#'; PASSWORD_FILE_MAX + 1]).unwrap();
        assert!(source.load().unwrap_err().to_string().contains("larger than"));
        assert!(source.users().is_none());
        let line = "ann:$2y$04$rkTXB0teiRj4S91reMFdEO/m1ckT93BrsVEt1O2t12eRcOdpdqz6m\n";
        std::fs::write(&path, line).unwrap();
        source.load().unwrap();
        let before = source.clone();
        source.load().unwrap();
        assert_ne!(source, before, "what is remembered of the file before is worth nothing");
    }
}

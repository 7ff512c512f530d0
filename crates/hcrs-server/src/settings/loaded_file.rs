//! Files that the configuration names and whose contents are a part of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use bytes::Bytes;

use crate::StartError;

/// The largest file whose contents are kept, in bytes.
const CONTENTS_MAX: u64 = 1 << 20;

/// A file whose contents are read when the server starts and when the configuration is read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedFile {
    path: PathBuf,
    contents: Bytes,
}

impl LoadedFile {
    /// Returns the file, which is not read yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, contents: Bytes::new() }
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Returns the contents that were read last.
    pub(crate) fn contents(&self) -> &Bytes {
        &self.contents
    }

    /// Reads the file. One that is larger than 1 MiB is an error.
    pub(crate) fn load(&mut self) -> Result<(), StartError> {
        let failed = |error| StartError::ConfiguredFile(self.path.display().to_string(), error);
        let mut contents = Vec::new();
        let file = File::open(&self.path).map_err(failed)?;
        file.take(CONTENTS_MAX + 1).read_to_end(&mut contents).map_err(failed)?;
        if contents.len() as u64 > CONTENTS_MAX {
            let reason = format!("it is larger than {CONTENTS_MAX} bytes");
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
        }
        self.contents = contents.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_a_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        let mut file = LoadedFile::new(path.clone());
        assert!(matches!(file.load(), Err(StartError::ConfiguredFile(..))));
        std::fs::write(&path, "page").unwrap();
        file.load().unwrap();
        assert_eq!(&file.contents()[..], b"page");
        std::fs::write(&path, vec![0; CONTENTS_MAX as usize + 1]).unwrap();
        let error = file.load().unwrap_err().to_string();
        assert!(error.contains("larger than 1048576 bytes"), "{error}");
        assert_eq!(&file.contents()[..], b"page", "what was read before stays");
    }
}

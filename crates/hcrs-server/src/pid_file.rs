//! The file that names the edge's process: decimal, no newline, gone when the edge has ended.

use std::io;
use std::path::{Path, PathBuf};

/// A written process id; dropping it removes the file.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes this process's id to `path`, over what stands there.
    pub(crate) fn write(path: &Path) -> io::Result<Self> {
        std::fs::write(path, std::process::id().to_string())?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another instance may have taken the file over meanwhile.
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text == std::process::id().to_string()) {
            let _gone_already = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_id_without_newline_and_goes_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hcrs.pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn leaves_the_file_of_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hcrs.pid");
        let file = PidFile::write(&path).unwrap();
        std::fs::write(&path, "1").unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn says_why_it_cannot_be_written() {
        assert!(PidFile::write(Path::new("/nonexistent/hcrs.pid")).is_err());
    }
}

//! The file with the edge's process id: decimal, no newline, removed when the edge has ended.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A written process id; dropping it removes the file.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Where it was renamed to, once a successor starts.
    aside: Option<PathBuf>,
}

impl PidFile {
    /// Writes this process's id to `path`, replacing the file's content: readers see either whole, and the
    /// target of a link stays in place.
    pub(crate) fn write(path: &Path) -> io::Result<Self> {
        let id = std::process::id().to_string();
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{id}"));
        let beside = PathBuf::from(beside);
        let written = File::create_new(&beside)
            .and_then(|mut file| file.write_all(id.as_bytes()))
            .and_then(|()| std::fs::rename(&beside, path));
        if written.is_err() {
            let _not_created = std::fs::remove_file(&beside);
        }
        written.map(|()| Self { path: path.to_owned(), aside: None })
    }

    /// Renames the file to `PATH.oldbin`, so that a successor can write its own.
    pub(crate) fn set_aside(&mut self) {
        let mut aside = self.path.as_os_str().to_owned();
        aside.push(".oldbin");
        // If it is gone, there is nothing to keep.
        if is_own(&self.path) && std::fs::rename(&self.path, &aside).is_ok() {
            self.aside = Some(aside.into());
        }
    }

    /// Writes the file again, in place of the one that was set aside.
    pub(crate) fn restore(&mut self) -> io::Result<()> {
        match self.aside.take() {
            Some(aside) => std::fs::rename(aside, &self.path),
            None => Ok(()),
        }
    }
}

/// Whether the file names this process. Another instance may have replaced it meanwhile.
fn is_own(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text == std::process::id().to_string())
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let path = self.aside.as_ref().unwrap_or(&self.path);
        if is_own(path) {
            let _gone_already = std::fs::remove_file(path);
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
    fn what_a_link_points_to_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, precious) = (folder.path().join("hcrs.pid"), folder.path().join("precious"));
        std::fs::write(&precious, "data").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "data");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(file);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only what was there before");
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
    fn the_error_names_why_it_cannot_be_written() {
        assert!(PidFile::write(Path::new("/nonexistent/hcrs.pid")).is_err());
    }
}

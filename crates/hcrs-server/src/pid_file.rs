//! The file with the edge's process id: decimal, no newline, removed when the edge has ended.
//!
//! A server that has given up root (`process_user`) may own the file in a directory where it can neither create
//! nor remove one, as in `/run`. It then writes within the file, and empties it at the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, fchown};
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
    /// target of a link stays in place. The file belongs to the `owner`, if there is one.
    pub(crate) fn write(path: &Path, owner: Option<(u32, u32)>) -> io::Result<Self> {
        let id = std::process::id().to_string();
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{id}"));
        let beside = PathBuf::from(beside);
        let written = File::create_new(&beside)
            .and_then(|mut file| {
                if let Some((user, group)) = owner {
                    fchown(&file, Some(user), Some(group))?;
                }
                file.write_all(id.as_bytes())
            })
            .and_then(|()| std::fs::rename(&beside, path));
        let written = match written {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write_within(path, &id).map_err(|_| error)
            }
            other => other,
        };
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
            // It could not be renamed, and a successor that has ended has emptied it.
            None if std::fs::read(&self.path).is_ok_and(|text| text.is_empty()) => {
                write_within(&self.path, &std::process::id().to_string())
            }
            None => Ok(()),
        }
    }
}

/// Writes a text within a file that is there and is no link.
fn write_within(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(true).custom_flags(libc::O_NOFOLLOW);
    options.open(path)?.write_all(text.as_bytes())
}

/// Whether the file names this process. Another instance may have replaced it meanwhile.
fn is_own(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text == std::process::id().to_string())
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let path = self.aside.as_ref().unwrap_or(&self.path);
        if is_own(path) {
            let removed = std::fs::remove_file(path);
            if removed.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                let _stays = write_within(path, "");
            }
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
        let file = PidFile::write(&path, None).unwrap();
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
        let file = PidFile::write(&path, None).unwrap();
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "data");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(file);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only what was there before");
    }

    #[test]
    fn leaves_the_file_of_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hcrs.pid");
        let file = PidFile::write(&path, None).unwrap();
        std::fs::write(&path, "1").unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_file_is_written_within_but_not_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("hcrs.pid"), folder.path().join("link"));
        std::fs::write(&path, "123456789").unwrap();
        write_within(&path, "1").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(write_within(&link, "2").is_err());
        assert!(write_within(&folder.path().join("missing"), "2").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1");
    }

    #[test]
    fn what_a_successor_has_emptied_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hcrs.pid");
        let mut file = PidFile::write(&path, None).unwrap();
        std::fs::write(&path, "").unwrap();
        file.restore().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
    }

    #[test]
    fn the_error_names_why_it_cannot_be_written() {
        assert!(PidFile::write(Path::new("/nonexistent/hcrs.pid"), None).is_err());
    }
}

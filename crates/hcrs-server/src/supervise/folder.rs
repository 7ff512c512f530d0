//! The working directory of the workers: that of the server, or one of the app's own. If its name leads through a
//! symbolic link, as in deployments that repoint the link from one release to the next, SIGHUP follows it again.

use std::path::{Path, PathBuf, absolute};

use crate::command_line::{command_line, is_working_directory};

/// The folder that the server was started in or has changed to, or that of an app, by its name.
#[derive(Debug)]
pub(super) struct Folder {
    /// The name, as in `$PWD`.
    name: PathBuf,
    /// The folder that the name led to when it was last followed.
    path: PathBuf,
    /// Whether it is the app's own, without which its workers cannot start.
    is_own: bool,
}

impl Folder {
    /// Returns an app's own directory.
    pub(super) fn of_app(chdir: &Path) -> Self {
        let name = absolute(chdir).unwrap_or_else(|_| chdir.to_owned());
        let path = name.canonicalize().unwrap_or_else(|_| name.clone());
        Self { name, path, is_own: true }
    }

    /// Returns the working directory, if the name of `chdir` or, without one, of the start leads through a link.
    pub(super) fn of(chdir: Option<&Path>) -> Option<Self> {
        let started_in = &command_line().folder;
        Self::named(&chdir.map_or_else(|| started_in.clone(), |chdir| started_in.join(chdir)))
    }

    /// Returns the working directory, if this is a name of it that leads through a link.
    pub(super) fn named(name: &Path) -> Option<Self> {
        let is_this = name.is_absolute() && is_working_directory(name);
        let path = name.canonicalize().ok().filter(|path| is_this && path != name)?;
        Some(Self { name: name.to_owned(), path, is_own: false })
    }

    /// Follows the name again. Returns the folder if it is another one.
    pub(super) fn follow(&mut self) -> Option<&Path> {
        let path = self.name.canonicalize().ok().filter(|path| path.is_dir() && *path != self.path)?;
        self.path = path;
        Some(&self.path)
    }

    /// Returns the folder where a worker starts; `None`, which means the server's, if that is gone.
    pub(super) fn path(&self) -> Option<&Path> {
        Some(self.path.as_path()).filter(|path| self.is_own || path.is_dir())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_name_of_the_working_directory_is_followed() {
        let here = std::env::current_dir().unwrap();
        let folder = tempfile::TempDir::new().unwrap();
        for other in [folder.path(), Path::new("."), Path::new("/nowhere")] {
            assert!(Folder::named(other).is_none());
        }
        let (link, next) = (folder.path().join("current"), folder.path().join("next"));
        symlink(&here, &link).unwrap();
        let mut found = Folder::named(&link).unwrap();
        assert_eq!(found.path(), Some(here.canonicalize().unwrap().as_path()));
        assert_eq!(found.follow(), None);
        fs::create_dir(&next).unwrap();
        fs::remove_file(&link).unwrap();
        assert_eq!(found.follow(), None);
        symlink(&next, &link).unwrap();
        let next = next.canonicalize().unwrap();
        assert_eq!(found.follow(), Some(next.as_path()));
        fs::remove_dir(&next).unwrap();
        assert_eq!(found.path(), None);
    }
}

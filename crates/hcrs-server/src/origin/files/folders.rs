//! The folders whose files an edge thread sends, held open, so that a name is looked up below them and nowhere else.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::opened::Found;
use crate::clock;
use crate::settings::FilesSettings;

/// How long a folder is held: after that its name may mean another one, as after a deployment.
const HELD: Duration = Duration::from_secs(1);

/// The open folders of an edge thread.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    held: RefCell<Vec<Held>>,
    /// When an error was last logged.
    warned: Cell<Option<Instant>>,
}

#[derive(Debug)]
struct Held {
    path: PathBuf,
    folder: Rc<OwnedFd>,
    since: Instant,
}

/// The folder of a route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root<'a> {
    /// The folders of the thread.
    pub folders: &'a Folders,
    /// The settings of the route.
    pub settings: &'a FilesSettings,
}

impl Root<'_> {
    /// Opens what has the name below the folder.
    pub(super) fn open(&self, name: &Path) -> Found {
        self.folders.open(self.settings, name)
    }
}

impl Folders {
    /// Opens what has the name below the folder of the settings. An error that is not the client's is logged.
    fn open(&self, settings: &FilesSettings, name: &Path) -> Found {
        let opened = self.folder(&settings.folder).and_then(|folder| {
            let descriptor = if settings.follow_links {
                openat(&*folder, or_itself(name), FILE, Mode::empty())?
            } else {
                open_below(&folder, name)?
            };
            Found::of(descriptor)
        });
        opened.unwrap_or_else(|error| {
            let is_absent = matches!(
                Errno::from_io_error(&error),
                Some(
                    Errno::NOENT
                        | Errno::NOTDIR
                        | Errno::NAMETOOLONG
                        | Errno::LOOP
                        | Errno::XDEV
                        | Errno::NXIO
                        | Errno::INVAL
                )
            );
            if !is_absent {
                self.warn(&settings.folder.join(name), &error);
            }
            Found::Nothing
        })
    }

    /// Logs an error that is not the client's, at most once a second.
    fn warn(&self, path: &Path, error: &io::Error) {
        let now = clock::now();
        let is_due = self.warned.get().is_none_or(|at| now.saturating_duration_since(at) >= HELD);
        if is_due {
            self.warned.set(Some(now));
            tracing::warn!("Files cannot be sent: {}: {error}", path.display());
        }
    }

    /// Returns a folder, opened within the last second.
    fn folder(&self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        let now = clock::now();
        let mut held = self.held.borrow_mut();
        held.retain(|held| now.saturating_duration_since(held.since) < HELD);
        if let Some(held) = held.iter().find(|held| held.path == path) {
            return Ok(Rc::clone(&held.folder));
        }
        let folder = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let folder = Rc::new(folder.inspect_err(|&error| {
            self.warn(path, &error.into());
        })?);
        held.push(Held { path: path.to_owned(), folder: Rc::clone(&folder), since: now });
        Ok(folder)
    }
}

/// How files are opened: a FIFO or a device does not make the thread wait.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Returns `.` for the empty name of a folder itself.
fn or_itself(name: &Path) -> &Path {
    if name.as_os_str().is_empty() { Path::new(".") } else { name }
}

/// Opens a name below a folder. Symbolic links may not lead out of it.
fn open_below(folder: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(folder, or_itself(name), FILE, Mode::empty(), resolve) {
        // Linux before 5.6, or a container that does not allow the call.
        Err(Errno::NOSYS | Errno::PERM) => open_without_links(folder, name),
        opened => Ok(opened?),
    }
}

/// Opens a name below a folder segment by segment, and follows no symbolic link at all.
fn open_without_links(folder: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    let segments: Vec<_> = name.components().collect();
    if segments.iter().any(|segment| !matches!(segment, Component::Normal(_))) {
        return Err(Errno::NOENT.into());
    }
    let Some((last, folders)) = segments.split_last() else {
        return Ok(openat(folder, ".", FILE, Mode::empty())?);
    };
    let mut below = None;
    for segment in folders {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let at = below.as_ref().unwrap_or(folder);
        below = Some(openat(at, segment.as_os_str(), flags, Mode::empty())?);
    }
    Ok(openat(below.as_ref().unwrap_or(folder), last.as_os_str(), FILE | OFlags::NOFOLLOW, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn settings(folder: PathBuf, follow_links: bool) -> FilesSettings {
        FilesSettings { follow_links, ..FilesSettings::new(folder) }
    }

    #[test]
    fn links_lead_out_of_a_folder_only_if_they_may() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("folder");
        fs::create_dir_all(folder.join("sub")).unwrap();
        for (path, text) in [("secret", "s"), ("folder/file", "f"), ("folder/sub/deep", "d")] {
            fs::write(outer.path().join(path), text).unwrap();
        }
        symlink("../secret", folder.join("out")).unwrap();
        symlink(outer.path().join("secret"), folder.join("absolute")).unwrap();
        symlink("sub/deep", folder.join("within")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        rustix::fs::mkfifoat(CWD, folder.join("fifo"), Mode::RUSR).unwrap();
        let folders = Folders::default();
        let is_file = |name: &str, follow| {
            matches!(folders.open(&settings(folder.clone(), follow), Path::new(name)), Found::File(_))
        };
        for (name, within, anywhere) in [
            ("file", true, true),
            ("sub/deep", true, true),
            ("within", true, true),
            ("out", false, true),
            ("absolute", false, true),
            ("up/secret", false, true),
            ("../secret", false, true),
            ("fifo", false, false),
            ("none", false, false),
            ("file/x", false, false),
            ("/proc/self/environ", false, true),
        ] {
            assert_eq!((is_file(name, false), is_file(name, true)), (within, anywhere), "{name}");
        }
        assert!(matches!(folders.open(&settings(folder.clone(), false), Path::new("sub")), Found::Folder(_)));
        assert!(matches!(folders.open(&settings(folder.clone(), false), Path::new("")), Found::Folder(_)));
        let held = folders.folder(&folder).unwrap();
        for (name, is_open) in [("file", true), ("sub/deep", true), ("within", false), ("up/secret", false)] {
            assert_eq!(
                open_without_links(&held, Path::new(name)).is_ok(),
                is_open,
                "{name} segment by segment"
            );
        }
        assert!(open_without_links(&held, Path::new("../secret")).is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_files() {
        let folders = Folders::default();
        let gone = settings(PathBuf::from("/nonexistent/folder"), false);
        assert!(matches!(folders.open(&gone, Path::new("a")), Found::Nothing));
    }
}

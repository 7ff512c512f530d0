//! `use_reloader`: replaces the workers when files of the app change.
//!
//! Each worker reports the files that it has loaded. Those, and the files in the app's folders, are checked
//! at intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _, BufReader, PipeReader, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::Sender;

use super::event::Event;
use crate::{AppName, AppSettings, ReloadSettings, glob};

/// How often the files are checked. A change counts once two checks agree, so that files that are saved or
/// checked out together are loaded together.
const PERIOD: Duration = Duration::from_millis(500);
/// The most loaded files that are watched.
const LOADED_MAX: usize = 1 << 16;
/// The most entries of folders that one check reads; further files are not found.
const ENTRIES_MAX: usize = 1 << 15;
/// The longest path that a worker may report, with its NUL.
const PATH_MAX: u64 = 4096 + 1;

/// The stamp of a file: when it was written, and its length. `None` if it does not exist.
pub(super) type Stamp = Option<(SystemTime, u64)>;
type Stamps = BTreeMap<PathBuf, Stamp>;

/// The watched files and their stamps.
#[derive(Debug)]
pub(super) struct Watch {
    /// The app, which results of checks are for.
    name: AppName,
    settings: ReloadSettings,
    folders: Vec<PathBuf>,
    loaded: BTreeSet<PathBuf>,
    /// The stamps when the workers loaded the files.
    known: Stamps,
    /// The stamps at the last check, if they were different.
    changing: Option<Stamps>,
    /// The files that workers have loaded since a running check began.
    meanwhile: Option<Stamps>,
    has_warned: bool,
    due: Instant,
}

/// A check of the files. It takes as long as the disk does, so it runs on a thread of its own.
#[derive(Debug)]
struct Look {
    settings: ReloadSettings,
    folders: Vec<PathBuf>,
    loaded: BTreeSet<PathBuf>,
}

/// The result of a check.
#[derive(Debug)]
pub(super) struct Found {
    stamps: Stamps,
    /// Whether there were more entries than are read.
    is_cut: bool,
}

impl Watch {
    /// Returns the watch that an app asks for.
    pub(super) fn of(app: &AppSettings) -> Option<Self> {
        app.use_reloader.then(|| Self::new(app, Instant::now()))
    }

    /// Returns a watch of the files that the workers of the app are about to load.
    fn new(app: &AppSettings, now: Instant) -> Self {
        let settings = &app.reload;
        let folders = match &settings.dirs[..] {
            [] => vec![folder_of(&app.path, app.chdir.as_deref())],
            dirs => dirs.iter().map(|folder| real(folder)).collect(),
        };
        let mut watch = Self {
            name: app.name.clone(),
            settings: settings.clone(),
            folders,
            loaded: BTreeSet::new(),
            known: Stamps::new(),
            changing: None,
            meanwhile: None,
            has_warned: false,
            due: now + PERIOD,
        };
        let found = watch.begin().run();
        watch.warn_if_cut(&found);
        watch.known = found.stamps;
        watch
    }

    /// Returns when the next check is due; `None` while one is running.
    pub(super) fn due(&self) -> Option<Instant> {
        self.meanwhile.is_none().then_some(self.due)
    }

    /// Adds a file that a worker has loaded, with its stamp at that time.
    pub(super) fn add(&mut self, path: PathBuf, found: Stamp) {
        let is_excluded = is_excluded(&self.settings, &self.folders, &path);
        if self.loaded.len() >= LOADED_MAX || self.known.contains_key(&path) || is_excluded {
            return;
        }
        for later in [&mut self.changing, &mut self.meanwhile].into_iter().flatten() {
            later.insert(path.clone(), found);
        }
        self.known.insert(path.clone(), found);
        self.loaded.insert(path);
    }

    /// Begins a check if it is due; [`Event::Files`] carries its result.
    pub(super) fn look(&mut self, now: Instant, events: &Sender<Event>) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        let (look, events, name) = (self.begin(), events.clone(), self.name.clone());
        self.meanwhile = Some(Stamps::new());
        let looking = std::thread::Builder::new().name("hcrs-reload".to_owned()).spawn(move || {
            let _supervisor_gone = events.blocking_send(Event::Files(name, look.run()));
        });
        if let Err(error) = looking {
            tracing::warn!("Cannot watch the app's files: {error}");
            self.meanwhile = None;
            self.due = now + PERIOD;
        }
    }

    fn begin(&self) -> Look {
        let (settings, folders) = (self.settings.clone(), self.folders.clone());
        Look { settings, folders, loaded: self.loaded.clone() }
    }

    /// Takes the result of a check. Returns a file that has changed since the workers were started.
    pub(super) fn take(&mut self, found: Found, now: Instant) -> Option<PathBuf> {
        self.warn_if_cut(&found);
        self.due = now + PERIOD;
        let mut found = found.stamps;
        for (path, stamp) in self.meanwhile.take().into_iter().flatten() {
            found.entry(path).or_insert(stamp);
        }
        if found == self.known {
            self.changing = None;
            return None;
        }
        if self.changing.as_ref() != Some(&found) {
            self.changing = Some(found);
            return None;
        }
        let changed = difference(&self.known, &found).or_else(|| difference(&found, &self.known)).cloned();
        self.known = found;
        self.changing = None;
        changed
    }

    fn warn_if_cut(&mut self, found: &Found) {
        if found.is_cut && !std::mem::replace(&mut self.has_warned, true) {
            let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
            let folders = folders.join(", ");
            tracing::warn!("{folders} hold more than {ENTRIES_MAX} files; those behind are not watched");
        }
    }
}

impl Look {
    fn run(self) -> Found {
        let mut stamps: Stamps = self.loaded.iter().map(|path| (path.clone(), stamp(path))).collect();
        let mut left = ENTRIES_MAX;
        let mut folders: Vec<_> = self.folders.iter().map(|root| (root, root.clone())).collect();
        while let Some((root, folder)) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten().take(left) {
                left -= 1;
                let (name, path) = (entry.file_name(), entry.path());
                // Links to folders are not followed, because they may form circles.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if !is_foreign(&name, &path) {
                        folders.push((root, path));
                    }
                } else if self.is_included(root, &path) && !is_excluded(&self.settings, &self.folders, &path)
                {
                    let stamp = stamp(&path);
                    stamps.insert(path, stamp);
                }
            }
        }
        Found { stamps, is_cut: left == 0 }
    }

    fn is_included(&self, root: &Path, path: &Path) -> bool {
        let within = path.strip_prefix(root).unwrap_or(path);
        // Editors keep hidden files beside those that they have open.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        path.extension() == Some(OsStr::new("py")) && !is_hidden
            || self.settings.include.iter().any(|pattern| is_match(pattern, within))
    }
}

/// Whether the operator has excluded the file.
fn is_excluded(settings: &ReloadSettings, folders: &[PathBuf], path: &Path) -> bool {
    settings.exclude.iter().any(|pattern| {
        let within = folders.iter().find_map(|folder| path.strip_prefix(folder).ok());
        is_match(pattern, within.unwrap_or(path))
    })
}

/// Whether a folder holds no files of the app itself.
fn is_foreign(name: &OsStr, path: &Path) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".")
        || name == b"__pycache__"
        || name == b"node_modules"
        || path.join("pyvenv.cfg").exists()
}

/// Returns the folder that the module of an application path is searched in: that of its file, or the working
/// directory, which is that of the server or `chdir`.
fn folder_of(path: &str, chdir: Option<&Path>) -> PathBuf {
    // A colon in the arguments of a call does not end the module's name.
    let has_module = |rest: &&str| rest.split_once(':').is_some_and(|(module, _)| !module.contains('('));
    let mode = |mode: &&str| path.strip_prefix(*mode).filter(has_module);
    let path = ["asgi:", "wsgi:"].iter().find_map(mode).unwrap_or(path);
    let module = path.split(':').next().unwrap_or_default();
    let folder = Path::new(module).parent().unwrap_or(Path::new(""));
    real(&chdir.unwrap_or(Path::new(".")).join(folder))
}

/// Returns a path in the form that workers report: absolute and without links.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether a path, or its last part if the pattern has no slash, matches `pattern`: `*` matches anything, `?`
/// any one byte.
fn is_match(pattern: &str, path: &Path) -> bool {
    let subject = if pattern.contains('/') { path.as_os_str() } else { path.file_name().unwrap_or_default() };
    glob::is_match(pattern.as_bytes(), subject.as_encoded_bytes())
}

/// Returns a path of `one` whose stamp differs from that in `other`.
fn difference<'a>(one: &'a Stamps, other: &Stamps) -> Option<&'a PathBuf> {
    one.iter().find(|&(path, stamp)| other.get(path) != Some(stamp)).map(|(path, _)| path)
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// Turns the reports of a worker of the app, paths that end in NUL, into events. Runs on a thread of its own, because it
/// stats the files; the thread ends with the worker.
pub(super) fn listen(pipe: PipeReader, app: AppName, events: Sender<Event>) -> io::Result<()> {
    let mut reader = BufReader::new(pipe);
    std::thread::Builder::new().name("hcrs-loaded-files".to_owned()).spawn(move || {
        loop {
            let mut path = Vec::new();
            let read = (&mut reader).take(PATH_MAX).read_until(0, &mut path);
            // The worker has ended, or has sent no path.
            if read.is_err() || path.pop() != Some(0) {
                return;
            }
            let path = PathBuf::from(std::ffi::OsString::from_vec(path));
            let found = stamp(&path);
            if events.blocking_send(Event::Loaded(app.clone(), path, found)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        folder: tempfile::TempDir,
        watch: Watch,
        now: Instant,
    }

    impl Scene {
        fn new(include: &[&str], exclude: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("app.py"), "1").unwrap();
            let mut app = AppSettings::new("app".to_owned());
            app.reload = ReloadSettings {
                dirs: vec![folder.path().to_owned()],
                include: include.iter().map(ToString::to_string).collect(),
                exclude: exclude.iter().map(ToString::to_string).collect(),
            };
            let now = Instant::now();
            let watch = Watch::new(&app, now);
            Self { folder, watch, now }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }

        /// Runs the next check.
        fn look(&mut self) -> Option<PathBuf> {
            self.now += PERIOD;
            assert_eq!(self.watch.due(), Some(self.now));
            let found = self.watch.begin().run();
            self.watch.take(found, self.now)
        }

        fn add(&mut self, path: PathBuf) {
            let found = stamp(&path);
            self.watch.add(path, found);
        }

        fn finds(&mut self, name: &str) {
            assert_eq!(self.look(), None, "it may be changing still");
            assert_eq!(self.look(), Some(self.path(name)));
            assert_eq!(self.look(), None, "it is reported once");
        }

        fn finds_nothing(&mut self) {
            for _ in 0..3 {
                assert_eq!(self.look(), None);
            }
        }
    }

    #[test]
    fn what_is_changed_made_or_removed_is_found_once() {
        let mut scene = Scene::new(&[], &[]);
        scene.finds_nothing();
        scene.write("app.py", "22");
        scene.finds("app.py");
        scene.write("shop/views/new.py", "");
        scene.finds("shop/views/new.py");
        fs::remove_file(scene.path("shop/views/new.py")).unwrap();
        scene.finds("shop/views/new.py");
    }

    #[test]
    fn a_file_that_keeps_changing_is_waited_for() {
        let mut scene = Scene::new(&[], &[]);
        for text in ["22", "333", "4444"] {
            scene.write("app.py", text);
            assert_eq!(scene.look(), None);
        }
        assert_eq!(scene.look(), Some(scene.path("app.py")));
        scene.write("new.py", "");
        assert_eq!(scene.look(), None);
        fs::remove_file(scene.path("new.py")).unwrap();
        scene.finds_nothing(); // what is as it was is no change
    }

    #[test]
    fn loaded_files_are_watched_wherever_they_are() {
        let mut scene = Scene::new(&[], &[]);
        let elsewhere = tempfile::tempdir().unwrap();
        let library = elsewhere.path().join("library.py");
        fs::write(&library, "1").unwrap();
        scene.add(library.clone());
        scene.add(scene.path("app.py"));
        scene.finds_nothing();
        fs::write(&library, "22").unwrap();
        assert_eq!(scene.look(), None);
        // A file that a worker loads meanwhile does not delay it.
        scene.add(elsewhere.path().join("gone.py"));
        assert_eq!(scene.look(), Some(library.clone()));
        fs::remove_file(&library).unwrap();
        assert_eq!(scene.look(), None);
        assert_eq!(scene.look(), Some(library));
    }

    #[test]
    fn a_look_runs_beside_the_supervisor_and_one_at_a_time() {
        let mut scene = Scene::new(&[], &[]);
        let (events, mut received) = tokio::sync::mpsc::channel(8);
        scene.watch.look(scene.now, &events);
        assert!(scene.watch.due().is_some(), "it is not time");
        scene.now += PERIOD;
        scene.watch.look(scene.now, &events);
        assert_eq!(scene.watch.due(), None);
        // A file that a worker loads meanwhile is not a change.
        let library = tempfile::tempdir().unwrap();
        fs::write(library.path().join("library.py"), "1").unwrap();
        scene.add(library.path().join("library.py"));
        let Some(Event::Files(_, found)) = received.blocking_recv() else { panic!("what was found") };
        assert_eq!(scene.watch.take(found, scene.now), None);
        scene.finds_nothing();
    }

    #[test]
    fn only_what_is_the_apps_own_counts() {
        let mut scene = Scene::new(&["*.html", "data/*.json"], &["test_*", "made/*"]);
        for name in [
            "notes.txt",
            ".#app.py",
            "other.json",
            "test_app.py",
            "made/deep/by.py",
            ".git/hook.py",
            "__pycache__/a.py",
            "node_modules/a/b.py",
            "env/pyvenv.cfg",
            "env/lib/c.py",
        ] {
            scene.write(name, "");
        }
        scene.add(scene.path("made/loaded.py"));
        scene.finds_nothing();
        scene.write("templates/page.html", "");
        scene.finds("templates/page.html");
        scene.write("data/deep/x.json", "");
        scene.finds("data/deep/x.json");
    }

    #[test]
    fn a_pattern_is_of_names_or_with_a_slash_of_paths() {
        for (pattern, path, expected) in [
            ("*.html", "templates/a.html", true),
            ("*.html", "a.htm", false),
            ("a?c*", "x/abc", true),
            ("a?c*", "x/ac", false),
            ("*a*b", "xxaxxbxxab", true),
            ("*a*b", "xxaxxbxxa", false),
            ("x/*", "x/y/z", true),
            ("x/*", "y/x", false),
            ("", "a", false),
            ("*", "a", true),
        ] {
            assert_eq!(is_match(pattern, Path::new(path)), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn an_apps_folder_is_that_of_its_file() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        for path in ["shop.main:app", "main", "wsgi:main:app", "main:make('a/b')"] {
            assert_eq!(folder_of(path, None), here, "{path}");
        }
        assert_eq!(folder_of("src/lib.py:app", None), here.join("src"));
        assert_eq!(folder_of("asgi:src/lib.py:app", None), here.join("src"));
        assert_eq!(folder_of("asgi:create('src/x:y')", None), here);
        assert_eq!(folder_of("shop.main:app", Some(Path::new("src"))), here.join("src"));
        assert_eq!(folder_of("/srv/lib.py:app", Some(Path::new("src"))), Path::new("/srv"));
    }

    #[test]
    fn paths_come_over_a_pipe_until_one_is_none() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (events, mut received) = tokio::sync::mpsc::channel(8);
        listen(reader, AppName::default(), events).unwrap();
        io::Write::write_all(&mut writer, b"/nonexistent/a.py\0/b\n.py\0").unwrap();
        for expected in ["/nonexistent/a.py", "/b\n.py"] {
            let Some(Event::Loaded(_, path, None)) = received.blocking_recv() else { panic!("a path") };
            assert_eq!(path, Path::new(expected));
        }
        io::Write::write_all(&mut writer, &[b'x'; 5000]).unwrap();
        assert!(received.blocking_recv().is_none());
    }
}

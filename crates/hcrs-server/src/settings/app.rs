//! The settings of an app, of the processes that run it, and of the requests that wait for them.

use std::fmt;
use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{StartError, UsableCores};

/// The place of an app among those of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppIndex(pub usize);

impl AppIndex {
    /// The place of an app that is not served.
    pub(crate) const NONE: Self = Self(usize::MAX);
}

/// The name of an app, by which routes, commands and logs refer to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppName(Arc<str>);

impl AppName {
    /// The name of the app that the top level of the configuration describes.
    pub const MAIN: &str = "main";

    /// The longest name, in bytes: titles of processes and columns of the state have it.
    const LENGTH_MAX: usize = 32;

    /// Parses a name: letters and digits of ASCII, `_`, `-` and `.`, so that it needs no escaping in metrics,
    /// queries and titles.
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let is_name = (1..=Self::LENGTH_MAX).contains(&text.len()) && text.bytes().all(is_allowed);
        is_name.then(|| Self(text.into()))
    }

    /// Whether it is that of the main app.
    pub fn is_main(&self) -> bool {
        &*self.0 == Self::MAIN
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the words that follow what belongs to the app, in messages; none for the main one.
    pub(crate) fn suffix(&self) -> String {
        if self.is_main() { String::new() } else { format!(" of app {self}") }
    }
}

impl Default for AppName {
    fn default() -> Self {
        Self(Self::MAIN.into())
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An app and the processes that run it.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// The name.
    pub name: AppName,
    /// The app, as `module:attribute` or in another form that Hypercorn accepts.
    pub path: String,
    /// The directory that its workers start in; `None` for that of the server.
    pub chdir: Option<PathBuf>,
    /// The number of worker processes.
    pub workers: NonZeroUsize,
    /// The cores from which `workers` was derived, if the operator has left it to the server.
    pub usable_cores: Option<UsableCores>,
    /// The number of requests after which a worker is replaced.
    pub max_requests: Option<NonZeroU64>,
    /// The most requests that are added to each worker's `max_requests`, drawn when it starts.
    pub max_requests_jitter: u64,
    /// The age at which a worker is replaced, or up to a tenth earlier.
    pub max_worker_age: Option<Duration>,
    /// The resident memory in bytes at which a worker is replaced, or up to a tenth less.
    pub max_worker_rss: Option<u64>,
    /// Whether the workers are replaced when files of the app change.
    pub use_reloader: bool,
    /// The files that are watched.
    pub reload: ReloadSettings,
    /// The event loop of the workers.
    pub worker_class: WorkerClass,
    /// Whether the event loop of the workers is in its debug mode.
    pub debug: bool,
    /// ASGI's `root_path`, WSGI's `SCRIPT_NAME`.
    pub root_path: String,
    /// The interpreter that runs the workers; `None` looks at `$VIRTUAL_ENV`, beside the command, and on
    /// `PATH`.
    pub python: Option<PathBuf>,
    /// The number of threads of a worker that runs a WSGI app; `None` leaves it to the worker.
    pub wsgi_threads: Option<NonZeroUsize>,
    /// The largest request body that a WSGI app gets, in bytes.
    pub wsgi_max_body_size: usize,
    /// Whether lifespan events are sent to the app.
    pub lifespan: Lifespan,
    /// How long the app's lifespan startup may take.
    pub startup_timeout: Duration,
    /// How long the app's lifespan shutdown may take.
    pub shutdown_timeout: Duration,
    /// How long requests in flight in a worker that is replaced may take to finish.
    pub retire_timeout: Duration,
    /// How long a ready worker may leave pings unanswered before it is killed and replaced; zero means
    /// indefinitely.
    pub worker_timeout: Duration,
    /// Whether workers are forked from a process that has loaded the app.
    pub preload: bool,
    /// The functions that workers call.
    pub hooks: WorkerHooks,
    /// Variables of the environment that may hold secrets of the server and that workers do not get: an app
    /// shows its variables on debug pages, and passes them to its children.
    pub withheld_variables: Vec<String>,
    /// Variables of the environment that workers have in addition, with their values.
    pub variables: Vec<(String, String)>,
    /// The limits and deadlines of its requests that wait for a worker.
    pub dispatch: DispatchSettings,
}

impl AppSettings {
    /// Returns the default settings for the app at `path`, as the main one.
    pub fn new(path: String) -> Self {
        Self {
            name: AppName::default(),
            path,
            chdir: None,
            workers: NonZeroUsize::MIN,
            usable_cores: None,
            max_requests: None,
            max_requests_jitter: 0,
            max_worker_age: None,
            max_worker_rss: None,
            use_reloader: false,
            reload: ReloadSettings::default(),
            worker_class: WorkerClass::Asyncio,
            debug: false,
            root_path: String::new(),
            python: None,
            wsgi_threads: None,
            wsgi_max_body_size: 16 << 20,
            lifespan: Lifespan::Auto,
            startup_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(60),
            retire_timeout: Duration::from_secs(60),
            worker_timeout: Duration::from_secs(60),
            preload: false,
            hooks: WorkerHooks::default(),
            withheld_variables: Vec::new(),
            variables: Vec::new(),
            dispatch: DispatchSettings::default(),
        }
    }
}

impl AppSettings {
    /// Checks that the directory of the workers is there.
    pub fn check_folder(&self) -> Result<(), StartError> {
        let Some(folder) = &self.chdir else { return Ok(()) };
        let error = match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => io::ErrorKind::NotADirectory.into(),
            Err(error) => error,
        };
        Err(StartError::AppChdir(self.name.clone(), folder.display().to_string(), error))
    }
}

/// Functions that a worker calls, each as `module:function`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerHooks {
    /// Called after the fork, with `preload`.
    pub post_fork: Option<String>,
    /// Called when the app is loaded, before its startup.
    pub worker_start: Option<String>,
    /// Called after the app's shutdown.
    pub worker_exit: Option<String>,
}

/// The files that are watched in addition to those that the workers have loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadSettings {
    /// The folders whose Python files are watched; empty for the app's own.
    pub dirs: Vec<PathBuf>,
    /// Patterns of other files in these folders that are watched: of names, or with a slash of paths within
    /// the folder.
    pub include: Vec<String>,
    /// Patterns of files that are not watched, even if a worker has loaded them.
    pub exclude: Vec<String>,
}

/// Whether lifespan events are sent to an ASGI app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifespan {
    /// They are sent; an app that raises before it has received `lifespan.startup` does not support them.
    Auto,
    /// They are sent; an app that does not support them cannot be served.
    On,
    /// They are not sent.
    Off,
}

impl Lifespan {
    /// Returns the name that the configuration uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// The event loop of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerClass {
    /// The event loop of the standard library.
    Asyncio,
    /// uvloop, which has to be installed beside the app.
    Uvloop,
    /// trio, which has to be installed beside the app.
    Trio,
}

impl WorkerClass {
    /// Returns the name that the configuration uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asyncio => "asyncio",
            Self::Uvloop => "uvloop",
            Self::Trio => "trio",
        }
    }
}

/// The limits and deadlines of requests that wait for a worker.
#[derive(Debug, Clone, Copy)]
pub struct DispatchSettings {
    /// The number of requests that may be sent to a worker over one link and not yet begun; at most
    /// [`hcrs_link::SLOTS`].
    pub start_credits: usize,
    /// The number of requests of one edge thread that may wait while no worker has a start credit; more get
    /// 503.
    pub queue_size: usize,
    /// The number of bytes that unbegun requests of one edge thread may hold, heads and arrived parts of
    /// bodies; more get 503.
    pub queue_bytes: usize,
    /// How long a request may wait for a worker to begin it before it gets 503.
    pub queue_timeout: Duration,
    /// How long a worker may leave a request unbegun, and do nothing else, before other workers are preferred
    /// and get the requests that it has not begun.
    pub stall_timeout: Duration,
}

impl Default for DispatchSettings {
    fn default() -> Self {
        Self {
            start_credits: 32,
            queue_size: 4096,
            queue_bytes: 64 << 20,
            queue_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_millis(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_escaping() {
        for name in ["main", "a", "shop_2", "v1.0-beta", &"x".repeat(32)] {
            assert_eq!(AppName::parse(name).unwrap().as_str(), name);
        }
        for bad in ["", "a b", "ä", "a\"", "a/b", &"x".repeat(33)] {
            assert_eq!(AppName::parse(bad), None, "{bad}");
        }
        assert_eq!(AppName::default().suffix(), "");
        assert_eq!(AppName::parse("shop").unwrap().suffix(), " of app shop");
    }
}

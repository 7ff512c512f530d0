//! A whole run of the server: everything that is opened before the supervisor takes over, and closed after
//! it.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::SystemTime;

use hcrs_log::{LogWriter, StatsdTarget, access_log, error_log};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::command_line::change_directory;
use crate::handover::Inherited;
use crate::pid_file::PidFile;
use crate::{Outcome, PythonLogging, Settings, StartError, bind, process_title, supervise};

/// The number of workers for which one edge thread is enough: an edge thread's share of a request's work is a
/// fraction of a worker's.
const WORKERS_PER_THREAD: usize = 4;

/// Serves until a signal stops the server. Returns the outcome.
///
/// Blocks the calling thread, which should be the process's main thread and its only one. `warnings` are
/// logged at the beginning.
pub fn run(settings: Settings, warnings: &[String]) -> Result<Outcome, StartError> {
    let (statsd, no_metrics) = match StatsdTarget::open(&settings.statsd) {
        Ok(target) => (target, None),
        Err(error) => (None, Some(error)),
    };
    process_title::name_edge(&settings);
    change_directory(&settings)?;
    let error_log = error_log::install(&settings.log, statsd.as_ref())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if let Some(error) = no_metrics {
        tracing::warn!("Metrics are disabled: cannot use statsd_host {:?}: {error}", settings.statsd.host);
    }
    for warning in startup_warnings(&settings) {
        tracing::warn!("{warning}");
    }
    if let Some(cores) = settings.app.as_ref().and_then(|app| app.usable_cores) {
        tracing::info!("{cores}");
    }
    let outcome = run_logged(settings, error_log.as_ref(), statsd);
    if let Some(log) = error_log {
        log.close();
    }
    outcome
}

/// Returns warnings about how the server was started.
fn startup_warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.socket_owner.is_some() && settings.app.is_some() && rustix::process::geteuid().is_root() {
        warnings.push(
            "user and group own unix sockets and nothing else: the server and the app run as root. Start them as another user, \
             as by User= of systemd"
                .to_owned(),
        );
    }
    warnings
}

fn run_logged(
    settings: Settings,
    error_log: Option<&LogWriter>,
    statsd: Option<StatsdTarget>,
) -> Result<Outcome, StartError> {
    let access_log = access_log::open(&settings.log)?;
    let outcome = run_opened(settings, error_log, access_log.as_ref(), statsd);
    if let Some(log) = access_log {
        log.close();
    }
    outcome
}

fn run_opened(
    settings: Settings,
    error_log: Option<&LogWriter>,
    access_log: Option<&LogWriter>,
    statsd: Option<StatsdTarget>,
) -> Result<Outcome, StartError> {
    let tls = match &settings.tls {
        Some(tls) => {
            let (tls, warnings) = hcrs_tls::TlsConfig::load(tls.clone(), SystemTime::now())?;
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            Some(Arc::new(tls))
        }
        None => None,
    };
    if let Some(listener) = settings.listeners.iter().find(|listener| listener.tls && tls.is_none()) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "TLS needs a certificate and a key");
        return Err(StartError::Bind(listener.bind.to_string(), error));
    }
    settings.routes.check_folders()?;
    let mut inherited = Inherited::take()?;
    let admin = settings.admin_bind.as_ref();
    let admin_sockets = admin.map(|bind| inherited.sockets(bind)).unwrap_or_default();
    let listeners = bind::bind(&settings, io_threads(&settings), |bind| inherited.sockets(bind))?;
    let admin = admin.map(|bind| bind::bind_admin(bind, admin_sockets)).transpose()?;
    // Written once the addresses are bound, so that a second start by mistake does not replace the file of
    // the first.
    let pid_file = match &settings.pid_path {
        Some(path) => {
            Some(PidFile::write(path).map_err(|error| StartError::Pid(path.display().to_string(), error))?)
        }
        None => None,
    };
    keep_inherited_descriptors(&settings);
    let descriptors = raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise::serve(supervise::Setup {
        settings: Arc::new(settings),
        tls,
        listeners,
        admin,
        predecessor: inherited.into_predecessor(),
        pid_file,
        descriptors,
        error_log,
        access_log,
        statsd,
    }))
}

fn io_threads(settings: &Settings) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = settings.app.as_ref().map_or(1, |app| app.workers.get());
    match settings.io_threads {
        Some(threads) => threads.get(),
        None => workers.div_ceil(WORKERS_PER_THREAD).min(cores),
    }
}

/// Prevents the workers from inheriting descriptors that were open when the server was started: a
/// configuration in a pipe or a lock is not for the app. Only descriptors that the workers open by number are
/// passed on, as a log at `/dev/fd/3`.
fn keep_inherited_descriptors(settings: &Settings) {
    let error_log = settings.log.error.as_ref().map(ToString::to_string).unwrap_or_default();
    let python_log = match &settings.log.python {
        Some(PythonLogging::File(path)) => path.display().to_string(),
        _ => String::new(),
    };
    let is_opened = |number: i32| {
        ["/dev/fd", "/proc/self/fd"].iter().any(|folder| {
            let path = format!("{folder}/{number}");
            error_log == path || python_log.ends_with(&path)
        })
    };
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    for number in listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if number > 2 && !is_opened(number) {
            #[expect(unsafe_code, reason = "an inherited descriptor is only a number")]
            // SAFETY: the descriptor is only set to close on exec, which fails if it is closed, as the
            // listing's own may be by now.
            let inherited = unsafe { BorrowedFd::borrow_raw(number) };
            let _closed = fcntl_setfd(inherited, FdFlags::CLOEXEC);
        }
    }
}

/// Raises the limit of descriptors as far as the system allows. Returns the limit that held before.
fn raise_descriptor_limit() -> Option<Rlimit> {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if before.current == before.maximum {
        return None;
    }
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(before),
        Err(error) => {
            tracing::debug!("The limit on descriptors stays as it is: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::tests::settings;
    use crate::{AppSettings, Bind, Listener};

    #[test]
    fn four_workers_share_an_edge_thread() {
        let threads = |workers| {
            let mut app = AppSettings::new("app".to_owned());
            app.workers = NonZeroUsize::new(workers).unwrap();
            io_threads(&Settings { app: Some(app), ..settings(Vec::new()) })
        };
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!((threads(1), threads(4)), (1, 1));
        assert_eq!(threads(5), 2.min(cores));
        assert_eq!(threads(1000), cores);
        assert_eq!(io_threads(&settings(Vec::new())), 1, "the welcome page needs no more");
    }

    #[test]
    fn a_tls_listener_without_certificate_is_refused() {
        let mut settings = settings(Vec::new());
        settings.listeners = vec![Listener {
            bind: Bind::Tcp { host: "127.0.0.1".into(), port: 0 },
            tls: true,
            proxy_protocol: false,
        }];
        let error = run_opened(settings, None, None, None).unwrap_err().to_string();
        assert_eq!(error, "cannot listen on 127.0.0.1:0: TLS needs a certificate and a key");
    }
}

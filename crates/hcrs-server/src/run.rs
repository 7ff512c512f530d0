//! A whole run of the server: everything that is opened before the supervisor takes over, and closed after
//! it.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use hcrs_log::{LogWriter, StatsdTarget, access_log, error_log};
use hcrs_otlp::Exporter;
use hcrs_tls::TlsConfig;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::Socket;

use crate::bind::BoundListener;
use crate::bind::udp::{BoundUdp, RECEIVE_BUFFER, bind_udp};
use crate::command_line::change_directory;
use crate::handover::{Inherited, Predecessor};
use crate::pid_file::PidFile;
use crate::process_user::Identity;
use crate::{
    AppSettings, Bind, Outcome, PythonLogging, Settings, StartError, bind, process_title, process_user,
    supervise,
};

/// The number of workers for which one edge thread is enough: an edge thread's share of a request's work is a
/// fraction of a worker's.
const WORKERS_PER_THREAD: usize = 4;

/// Serves until a signal stops the server. Returns the outcome.
///
/// Blocks the calling thread, which should be the process's main thread and its only one. `warnings` are
/// logged at the beginning.
pub fn run(mut settings: Settings, warnings: &[String]) -> Result<Outcome, StartError> {
    let (statsd, no_metrics) = match StatsdTarget::open(&settings.statsd) {
        Ok(target) => (target, None),
        Err(error) => (None, Some(error)),
    };
    process_title::name_edge(&settings);
    change_directory(&settings)?;
    let identity = Identity::of(&settings)?;
    // With another user the logs are that user's, so nothing can be logged before.
    let begun = match &identity {
        None => begin_log(&settings, warnings, no_metrics.as_ref(), statsd.as_ref())?,
        Some(_) => None,
    };
    let opened = Opened::open(&mut settings, identity.as_ref()).and_then(|mut opened| {
        if let Some(identity) = &identity {
            identity.create_logs(&settings)?;
            identity.assume()?;
            let files = opened.tls.as_ref().map(|tls| tls.files()).unwrap_or_default();
            // Those of the storage need not exist.
            let is_stored =
                |file: &Path| settings.acme.as_ref().is_some_and(|acme| file.starts_with(&acme.storage));
            let files = files.iter().map(AsRef::as_ref).filter(|file| !is_stored(file));
            opened.warnings.extend(process_user::unreadable(files));
        }
        Ok(opened)
    });
    let error_log = match &identity {
        None => begun,
        // Without what had to be opened, the error is all that there is to say.
        Some(_) if opened.is_err() => None,
        Some(_) => begin_log(&settings, warnings, no_metrics.as_ref(), statsd.as_ref())?,
    };
    let user = identity.as_ref().and(settings.process_user.clone());
    let outcome = opened.and_then(|opened| {
        opened.report(&settings, identity.as_ref());
        run_logged(settings, opened, error_log.as_ref(), statsd)
    });
    let outcome = match (outcome, user) {
        (Err(StartError::Worker(why)), Some(user)) => Err(StartError::Worker(format!(
            "{why}\n  the server runs as user {user}, who has to be able to run the interpreter and to read its packages"
        ))),
        (outcome, _) => outcome,
    };
    if let Some(log) = error_log {
        log.close();
    }
    outcome
}

/// Opens the error log and begins it with the warnings about the configuration.
fn begin_log(
    settings: &Settings,
    warnings: &[String],
    no_metrics: Option<&io::Error>,
    statsd: Option<&StatsdTarget>,
) -> Result<Option<LogWriter>, StartError> {
    let error_log = error_log::install(&settings.log, statsd)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if let Some(error) = no_metrics {
        tracing::warn!("Metrics are disabled: cannot use statsd_host {:?}: {error}", settings.statsd.host);
    }
    Ok(error_log)
}

/// The parts of the server that may need root, and are opened before anything else.
#[derive(Debug)]
struct Opened {
    tls: Option<Arc<TlsConfig>>,
    /// The bound sockets of each thread.
    listeners: Vec<Vec<BoundListener>>,
    /// The sockets for HTTP/3.
    quic: Vec<BoundUdp>,
    admin: Option<BoundListener>,
    predecessor: Option<Predecessor>,
    /// The way for datagrams of the predecessor's connections.
    to_predecessor: Option<Socket>,
    pid_file: Option<PidFile>,
    /// Warnings about what was opened.
    warnings: Vec<String>,
}

impl Opened {
    /// Logs what there is to say about the parts.
    fn report(&self, settings: &Settings, identity: Option<&Identity>) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        if let (Some(wanted), Some(identity)) = (&settings.process_user, identity) {
            let (user, group) = identity.owner();
            tracing::info!("The server runs as user {wanted} ({user}:{group}) from now on");
        }
        if let Some(size) = self.quic.iter().find_map(BoundUdp::small_buffer) {
            tracing::info!(
                "The kernel limits the receive buffers of HTTP/3 to {} KiB, which loses datagrams under load; raise \
                 the limit with: sysctl -w net.core.rmem_max={RECEIVE_BUFFER}",
                size >> 10
            );
        }
        if let Some(cores) = settings.apps.iter().find_map(|app| app.usable_cores) {
            tracing::info!("{cores}");
        }
    }

    /// Opens everything. Files that are created belong to the identity, if there is one.
    fn open(settings: &mut Settings, identity: Option<&Identity>) -> Result<Self, StartError> {
        let mut warnings = Vec::new();
        if settings.socket_owner.is_some()
            && !settings.apps.is_empty()
            && settings.process_user.is_none()
            && rustix::process::geteuid().is_root()
        {
            warnings.push(
                "user and group own unix sockets and nothing else: the server and the app run as root. Set process_user \
                 of [hcrs], or start them as another user, as by User= of systemd"
                    .to_owned(),
            );
        }
        let owner = identity.map(Identity::owner);
        settings.socket_owner = settings.socket_owner.or(owner);
        if let Some(acme) = &settings.acme
            && let Err(error) = hcrs_acme::create_storage(&acme.storage, owner)
        {
            let folder = acme.storage.display();
            warnings.push(format!(
                "The folder {folder} cannot be made: {error}; no certificate is asked for before it is there (storage \
                 of [hcrs.acme])"
            ));
        }
        if let Some(acme) = settings.acme.as_ref().filter(|acme| hcrs_acme::is_open_to_others(&acme.storage))
        {
            let folder = acme.storage.display();
            warnings.push(format!("Other users may enter {folder}, where keys are: chmod 700 {folder}"));
        }
        let tls = match &settings.tls {
            Some(tls) => {
                let (tls, found) = TlsConfig::load(tls.clone(), SystemTime::now())?;
                warnings.extend(found.iter().map(ToString::to_string));
                Some(Arc::new(tls))
            }
            None => None,
        };
        if let Some(listener) = settings.listeners.iter().find(|listener| listener.tls && tls.is_none()) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "TLS needs a certificate and a key");
            return Err(StartError::Bind(listener.bind.to_string(), error));
        }
        if let (Some(bind), None) = (settings.quic_binds.first(), &tls) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "HTTP/3 needs a certificate and a key");
            return Err(StartError::Bind(bind.to_string(), error));
        }
        let mut inherited = Inherited::take()?;
        let admin = settings.admin_bind.as_ref();
        let admin_sockets = admin.map(|bind| inherited.sockets(bind)).unwrap_or_default();
        let threads = io_threads(settings);
        // Passed descriptors come before all sockets of our own, as in `bind`.
        let (passed, own): (Vec<_>, Vec<_>) =
            settings.quic_binds.iter().cloned().partition(|bind| matches!(bind, Bind::Fd(_)));
        let mut quic = bind_udp(&passed, threads, |bind| inherited.quic_sockets(bind))?;
        let listeners = bind::bind(settings, threads, |bind| inherited.sockets(bind))?;
        quic.extend(bind_udp(&own, threads, |bind| inherited.quic_sockets(bind))?);
        let admin = admin.map(|bind| bind::bind_admin(bind, admin_sockets, owner)).transpose()?;
        // Written once the addresses are bound, so that a second start by mistake does not replace the file of
        // the first.
        let failed = |path: &Path, error| StartError::Pid(path.display().to_string(), error);
        let pid_file = settings.pid_path.as_deref();
        let pid_file = pid_file
            .map(|path| PidFile::write(path, owner).map_err(|error| failed(path, error)))
            .transpose()?;
        keep_inherited_descriptors(settings);
        let to_predecessor = inherited.take_datagrams();
        let predecessor = inherited.into_predecessor();
        Ok(Self { tls, listeners, quic, admin, predecessor, to_predecessor, pid_file, warnings })
    }
}

fn run_logged(
    mut settings: Settings,
    opened: Opened,
    error_log: Option<&LogWriter>,
    statsd: Option<StatsdTarget>,
) -> Result<Outcome, StartError> {
    settings.routes.load()?;
    settings.apps.iter().try_for_each(AppSettings::check_folder)?;
    let access_log = access_log::open(&settings.log)?;
    let exporter = Exporter::start(&settings.otlp).unwrap_or_else(|error| {
        tracing::warn!("Spans are not exported: {error}");
        None
    });
    let logs = Logs { error: error_log, access: access_log.as_ref() };
    let outcome = run_opened(settings, opened, logs, statsd, exporter.as_ref());
    if let Some(exporter) = exporter {
        exporter.close();
    }
    if let Some(log) = access_log {
        log.close();
    }
    outcome
}

/// The logs that are open.
#[derive(Debug, Clone, Copy, Default)]
struct Logs<'a> {
    error: Option<&'a LogWriter>,
    access: Option<&'a LogWriter>,
}

fn run_opened(
    settings: Settings,
    opened: Opened,
    logs: Logs<'_>,
    statsd: Option<StatsdTarget>,
    exporter: Option<&Exporter>,
) -> Result<Outcome, StartError> {
    let Opened { tls, listeners, quic, admin, predecessor, to_predecessor, pid_file, warnings: _ } = opened;
    let descriptors = raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise::serve(supervise::Setup {
        settings: Arc::new(settings),
        tls,
        listeners,
        quic,
        admin,
        predecessor,
        to_predecessor,
        pid_file,
        descriptors,
        error_log: logs.error,
        access_log: logs.access,
        statsd,
        exporter,
    }))
}

fn io_threads(settings: &Settings) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers: usize = settings.apps.iter().map(|app| app.workers.get()).sum();
    match settings.io_threads {
        Some(threads) => threads.get(),
        None => workers.max(1).div_ceil(WORKERS_PER_THREAD).min(cores),
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
    use crate::Listener;
    use crate::bind::tests::settings;

    #[test]
    fn four_workers_share_an_edge_thread() {
        let threads = |workers| {
            let mut app = AppSettings::new("app".to_owned());
            app.workers = NonZeroUsize::new(workers).unwrap();
            io_threads(&Settings { apps: vec![app], ..settings(Vec::new()) })
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
        let error = Opened::open(&mut settings, None).unwrap_err().to_string();
        assert_eq!(error, "cannot listen on 127.0.0.1:0: TLS needs a certificate and a key");
    }
}

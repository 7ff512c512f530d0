//! Notifies the service manager of the server's state, if `NOTIFY_SOCKET` asks for it (`sd_notify(3)`), so
//! that systemd's `Type=notify` waits for the first connection and not for the first process, and
//! `systemctl status` shows how many workers are ready.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Supervisor;
use super::pool::longest;
use super::succession::Successor;
use super::workers::Worker;
use crate::Settings;

/// The variable that names the socket: a path, or an abstract name after `@`.
pub(super) const VARIABLE: &str = "NOTIFY_SOCKET";

/// The variable with the number of microseconds within which the manager expects the next notification.
pub(super) const WATCHDOG: &str = "WATCHDOG_USEC";

/// The variable with the id of the process that the interval is meant for.
pub(super) const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// How much longer than the sum of its timeouts a phase may take: more than all slacks of the supervisor
/// together.
const SLACK: Duration = Duration::from_secs(20);

/// The state of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Workers start for the first time.
    Starting,
    /// Connections are accepted.
    Ready,
    /// Certificates are read again and workers replaced; [`State::Ready`] follows.
    Reloading,
    /// A worker has become ready or has ended.
    WorkersChanged,
    /// The process with this id is the service from now on.
    Succeeded(u32),
    /// The server drains.
    Stopping,
    /// No requests are left, and the app shuts down.
    ShuttingDown,
    /// The server is alive.
    Alive,
}

/// The number of workers that serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Readiness {
    ready: usize,
    /// The number of configured workers.
    of: usize,
    /// Whether all workers are being replaced.
    is_reloading: bool,
}

impl std::fmt::Display for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let workers = if self.of == 1 { "worker" } else { "workers" };
        write!(f, "{} of {} {workers} ready", self.ready, self.of)
    }
}

impl Supervisor<'_> {
    /// Sends the state, if a manager asks for it. With an embedder nothing is sent, because that program is
    /// the service.
    pub(super) fn notify(&self, state: State) {
        if self.settings.embedder.is_some() || matches!(self.successor, Successor::Serving(_)) {
            return;
        }
        let Some(socket) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else { return };
        let serves = |worker: &Worker| worker.ready_at.is_some() && !worker.is_retired() && !worker.ended;
        let workers = Readiness {
            ready: self.workers().filter(|worker| serves(worker)).count(),
            of: self.pools.iter().map(|pool| pool.slots.len()).sum(),
            is_reloading: self.is_reloading(),
        };
        if let Err(error) = send(&socket, &message(&self.settings, state, workers)) {
            tracing::warn!("Cannot notify the service manager on {} ({VARIABLE}): {error}", socket.display());
        }
    }
}

/// Returns the assignments of a notification. A phase that has a deadline of its own asks the manager to wait
/// for that long (`EXTEND_TIMEOUT_USEC`), so that the unit does not have to repeat the server's timeouts; it
/// never makes the manager's own timeout shorter.
fn message(settings: &Settings, state: State, workers: Readiness) -> String {
    // The apps start, reload and shut down at the same time.
    let startup = longest(settings, |app| app.startup_timeout);
    let shutdown = longest(settings, |app| app.shutdown_timeout);
    let retire = longest(settings, |app| app.retire_timeout);
    // The manager measures it from each notification on, of which there is one for each worker.
    let reload = startup + retire + shutdown;
    match state {
        State::Starting => format!("STATUS=Starting: {workers}\n{}", extension(startup)),
        State::Ready if settings.apps.is_empty() => "READY=1\nSTATUS=Serving the welcome page".into(),
        State::Ready => format!("READY=1\nSTATUS=Serving: {workers}"),
        State::Reloading => {
            // The manager distinguishes this reload from the one before by the time.
            let now = clock_gettime(ClockId::Monotonic);
            let now = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
            format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Reloading: {workers}\n{}", extension(reload))
        }
        State::WorkersChanged if workers.is_reloading => {
            format!("STATUS=Reloading: {workers}\n{}", extension(reload))
        }
        State::WorkersChanged => format!("STATUS=Serving: {workers}"),
        State::Succeeded(pid) => format!("MAINPID={pid}"),
        State::Stopping => format!(
            "STOPPING=1\nSTATUS=Stopping: requests in flight finish within {} s\n{}",
            settings.graceful_timeout.as_secs_f64(),
            extension(settings.graceful_timeout + shutdown)
        ),
        State::ShuttingDown => format!("STATUS=Stopping: the app shuts down\n{}", extension(shutdown)),
        State::Alive => "WATCHDOG=1".into(),
    }
}

/// Asks for the time of a phase, whose timeouts have this sum.
fn extension(timeouts: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", timeouts.saturating_add(SLACK).as_micros())
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?; // a manager that does not read must not hold up the server
    sender.send_to_addr(message.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AppSettings;

    fn received(socket: &UnixDatagram) -> String {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    fn notification(state: State, ready: usize, is_reloading: bool) -> String {
        let app = AppSettings { startup_timeout: Duration::from_secs(100), ..AppSettings::new("m:a".into()) };
        let settings = Settings { apps: vec![app], ..Settings::default() };
        message(&settings, state, Readiness { ready, of: 2, is_reloading })
    }

    #[test]
    fn a_path_and_an_abstract_name_are_notified() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&socket), "READY=1");

        let name = format!("@hcrs-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(name.as_ref(), "STOPPING=1").unwrap();
        assert_eq!(received(&socket), "STOPPING=1");
    }

    #[test]
    fn each_phase_asks_for_the_time_of_its_timeouts() {
        let of = |state, is_reloading| {
            let text = notification(state, 1, is_reloading);
            text.lines().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC=")).map(str::to_owned)
        };
        assert_eq!(of(State::Starting, false).as_deref(), Some("120000000"));
        assert_eq!(of(State::Reloading, true).as_deref(), Some("240000000"), "startup, retirement, shutdown");
        assert_eq!(of(State::WorkersChanged, true).as_deref(), Some("240000000"), "for the next worker");
        assert_eq!(of(State::Stopping, false).as_deref(), Some("83000000"));
        assert_eq!(of(State::ShuttingDown, false).as_deref(), Some("80000000"));
        // It would extend the life of a unit with RuntimeMaxSec=.
        assert_eq!(of(State::Ready, false).or(of(State::WorkersChanged, false)), None);
    }

    #[test]
    fn the_status_has_the_number_of_workers_that_are_ready() {
        assert_eq!(notification(State::Ready, 2, false), "READY=1\nSTATUS=Serving: 2 of 2 workers ready");
        assert_eq!(notification(State::WorkersChanged, 1, false), "STATUS=Serving: 1 of 2 workers ready");
        assert!(
            notification(State::Starting, 0, false).starts_with("STATUS=Starting: 0 of 2 workers ready\n")
        );
        let text = notification(State::Stopping, 2, false);
        assert!(
            text.starts_with("STOPPING=1\nSTATUS=Stopping: requests in flight finish within 3 s\n"),
            "{text}"
        );
        assert_eq!(Readiness { ready: 1, of: 1, is_reloading: false }.to_string(), "1 of 1 worker ready");
        let none = Readiness { ready: 0, of: 0, is_reloading: false };
        let text = message(&Settings::default(), State::Ready, none);
        assert_eq!(text, "READY=1\nSTATUS=Serving the welcome page");
    }

    #[test]
    fn a_reload_has_its_time() {
        let message = notification(State::Reloading, 2, true);
        let time = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.lines().next().unwrap().parse::<u64>().unwrap() > 0, "{message}");
    }

    #[test]
    fn a_socket_that_is_not_there_is_an_error() {
        assert!(send("/nonexistent/notify".as_ref(), "READY=1").is_err());
    }
}
